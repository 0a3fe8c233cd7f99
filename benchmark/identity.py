"""What a number was made with: the code behind an object, the environment, the settings."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.util
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# Libraries that compute, import name -> distribution: those a result used are part of its key.
COMPUTE = {
    "torch": "torch",
    "torchvision": "torchvision",
    "captum": "captum",
    "cv2": "opencv-python-headless",
    "numpy": "numpy",
    "scipy": "scipy",
    "shap": "shap",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "zennit": "zennit",
}
PACKAGES = (*COMPUTE.values(), "pillow")


def key_of(settings: dict[str, Any], length: int = 10) -> str:
    """Hash settings that are plain JSON; equal settings, equal key."""
    text = json.dumps(settings, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def code_hash(*modules: str) -> str:
    """Hash the source of modules and of all they import from the same top-level packages.

    Comments, docstrings and layout do not count: editing them keeps stored results valid, and
    any other edit to code that a result depends on gives it a new key.
    """
    total = hashlib.sha256()
    for module in _with_imports(modules):
        total.update(module.encode() + b"\0" + _code(module).encode())
    return total.hexdigest()[:16]


def library_versions(*modules: str) -> dict[str, str]:
    """Return the versions of the computing libraries that modules and their imports use."""
    used = {name for module in _with_imports(modules) for name in _imports(module)}
    tops = sorted({name.partition(".")[0] for name in used} & COMPUTE.keys())
    return {COMPUTE[top]: version_of(COMPUTE[top]) for top in tops}


def _with_imports(modules: Sequence[str]) -> list[str]:
    """Name modules and all they import from the same top-level packages, sorted."""
    ours = {"benchmark", "methods", "metrics"} | {module.partition(".")[0] for module in modules}
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += [each for each in _imports(module) if each.partition(".")[0] in ours]
    return sorted(seen)


def modules_of(*things: object) -> list[str]:
    """Name the modules of objects and of the objects in their fields."""
    modules = []
    for thing in things:
        modules.append(type(thing).__module__)
        if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
            values = [getattr(thing, field.name) for field in dataclasses.fields(thing)]
            modules += modules_of(*(each for each in values if dataclasses.is_dataclass(each)))
    return modules


def fingerprints_of(model: object, *things: object) -> list[str]:
    """List what objects, and those in their fields, say of data of their own.

    One that reads files or other images says by ``fingerprint(model)`` which they are.
    """
    found = []
    for thing in things:
        if callable(own := getattr(thing, "fingerprint", None)):
            found.append(own(model))
        if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
            values = [getattr(thing, field.name) for field in dataclasses.fields(thing)]
            inner = (each for each in values if dataclasses.is_dataclass(each))
            found += fingerprints_of(model, *inner)
    return found


def version_of(package: str) -> str:
    """Return the installed version of a distribution."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def environment() -> dict[str, Any]:
    """Describe Python, the libraries, the machine and the state of the checkout."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "packages": {name: version_of(name) for name in PACKAGES},
        "git": _git(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


@cache
def _tree(module: str) -> ast.Module:
    """Parse a module's source without its docstrings; empty where it has no source."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return ast.Module([], [])
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]  # checked above
    return tree


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@cache
def _code(module: str) -> str:
    return ast.unparse(_tree(module))


def _imports(module: str) -> list[str]:
    """Name the modules that one imports, its package's ``__init__`` files left out."""
    own = module.partition(".")[0]
    names = []
    for base, below in _asked(module):
        submodules = [name for name in below if _is_module(name, own)]
        names += submodules if below and len(submodules) == len(below) else [base, *submodules]
    return [name for name in names if _is_module(name, own)]


@cache
def _asked(module: str) -> list[tuple[str, list[str]]]:
    """List what a module imports, and what from it, each of which may be a module or not."""
    spec = importlib.util.find_spec(module)
    package = module if spec and spec.submodule_search_locations else module.rpartition(".")[0]
    asked: list[tuple[str, list[str]]] = []
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            asked += [(alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level + (node.module or "")
            base = importlib.util.resolve_name(dots, package) if node.level else dots
            asked.append((base, [f"{base}.{alias.name}" for alias in node.names]))
    return asked


def _is_module(name: str, own: str) -> bool:
    """Whether there is such a module, now; in a library that is not one's ``own``, the library."""
    top = name.partition(".")[0]
    known = top in COMPUTE and top != own  # to look into it would be to load it: seconds
    try:
        return importlib.util.find_spec(top if known else name) is not None
    except (ImportError, ValueError):
        return False


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} x {len(names)}" if names else platform.processor()


def _git() -> dict[str, Any]:
    """The commit of the checkout, and whether files differ from it."""
    try:
        commit = _ask_git("rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(_ask_git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "changed": None}


def _ask_git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
