"""Make the files of a method of your own: ``python -m benchmark.template mine``.

In this checkout, or by ``--package FOLDER`` as a package of its own elsewhere. What is made works:
it can be run and tested at once, and is to be replaced bit by bit. Nothing is ever overwritten.
"""

from __future__ import annotations

import argparse
import importlib.util
import keyword
import re
import sys
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmark.errors import BadInput
from benchmark.files import write_whole
from benchmark.resolvers import CONF

HERE, ROOT = Path(__file__).parent, CONF.parent
WORKFLOW = ROOT / "docs" / "ci-workflow.yml"
LONGEST = 40  # letters of a name, so that lines with it stay short
# What the command line takes for a value of its own, in place of a name.
VALUES = ("null", "nan", "inf")
OF_CHECKOUT = {
    "methods/{name}.py": "method.py.jinja",
    "conf/method/{name}.yaml": "method.yaml.jinja",
    "tests/test_{name}.py": "test.py.jinja",
}
OF_PACKAGE = {
    "pyproject.toml": "pyproject.toml.jinja",
    ".gitignore": "gitignore.jinja",
    "{package}/__init__.py": "package.py.jinja",
    "{package}/{name}.py": "method.py.jinja",
    "conf/method/{name}.yaml": "method.yaml.jinja",
    "tests/test_{name}.py": "test.py.jinja",
}
NEXT_IN_CHECKOUT = """\
run it:      python -m benchmark method={name} res=28
test it:     python -m pytest tests/test_{name}.py tests/test_methods_contract.py -k {name}
a test asks: for a row in conf/experiment/surveys.yaml, {words}: {{set: [method={name}]}}
the gate:    python -m benchmark.check --accept RUN baseline={name}, RUN being the folder it names;
             after a change python -m benchmark.check candidate=RUN baseline={name}
leaderboard: python -m benchmark.leaderboard results/runs/scenes"""
NEXT_IN_PACKAGE = """\
go there:    cd {folder} && pip install -e ".[dev]"
test it:     python -m pytest
run it:      python -m benchmark --config-dir conf --multirun method={name},random,centre,sobel
the gate:    python -m benchmark.check --accept results/runs baseline=baselines/{name}.json
             changed, python -m benchmark.check candidate=RUNS baseline=baselines/{name}.json;
             then, at each push, .github/workflows/saliency.yml: change what is marked CHANGE
leaderboard: python -m benchmark.leaderboard results/runs"""


class Named(NamedTuple):
    """What the new method is called, in each place."""

    name: str  # of its files, and of the choice method=
    kind: str  # of its class
    words: str  # in tables
    package: str  # where its module lies

    @classmethod
    def after(cls, name: str, package: str) -> Named:
        """Derive all names from the method's.

        Raises:
            BadInput: it is no name that Python and the command line can take, or is taken.
        """
        kind = "".join(part.capitalize() for part in name.split("_"))
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or len(name) > LONGEST:
            raise BadInput(
                f"{name!r} is no name: take lower case letters, digits and _, a letter first, "
                f"{LONGEST} at most"
            )
        if keyword.iskeyword(name) or keyword.iskeyword(kind) or name in VALUES:
            raise BadInput(f"{name} is a word of Python's or of the command line's: take another")
        known = {each.stem for each in (CONF / "method").glob("*.yaml")}
        known |= {each.stem for each in (ROOT / "methods").glob("*.py")}
        if name in known:
            raise BadInput(f"there is a method {name} already: take another name")
        if re.search(rf"import .*\b{kind}\b", (HERE / "method.py.jinja").read_text("utf-8")):
            raise BadInput(f"{name} would make a class {kind}, which the benchmark has: another")
        return cls(name, kind, name.replace("_", " ").strip().capitalize(), package)


def make_in_checkout(name: str, root: Path) -> list[Path]:
    """Make a method, its configuration and its test in a checkout; return the files.

    Raises:
        BadInput: the name cannot be used, or a file of this name is there.
    """
    return _make(Named.after(name, "methods"), root, OF_CHECKOUT, {})


def make_package(name: str, folder: Path) -> list[Path]:
    """Make a package of its own with a method, its test and a workflow; return the files.

    The package is called as the folder.

    Raises:
        BadInput: a name cannot be used, or a file of this name is there.
    """
    package = folder.resolve().name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", package) or keyword.iskeyword(package):
        raise BadInput(
            f"the package is called as its folder, which {package!r} cannot be: take lower case "
            "letters, digits, - and _, a letter first"
        )
    found = importlib.util.find_spec(package)
    own = (folder / package / "__init__.py").resolve()
    if found and found.origin and Path(found.origin).resolve() != own:
        raise BadInput(
            f"the package is called as its folder, and there is a {package} already "
            f"({found.origin}): take another folder"
        )
    workflow = WORKFLOW.read_text(encoding="utf-8").replace("METHOD: mine", f"METHOD: {name}", 1)
    more = {".github/workflows/saliency.yml": workflow}
    return _make(Named.after(name, package), folder, OF_PACKAGE, more)


def _make(
    named: Named, folder: Path, templates: dict[str, str], more: dict[str, str]
) -> list[Path]:
    # Python, YAML and GitHub all have a use for { and $.
    made = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=False,  # no page, but source code
        undefined=StrictUndefined,
        variable_start_string="<<",
        variable_end_string=">>",
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    known = {**named._asdict(), "outside": bool(more)}
    texts = {
        folder / path.format(**known): made.get_template(template).render(known)
        for path, template in templates.items()
    }
    texts |= {folder / path: text for path, text in more.items()}
    if taken := [file for file in texts if file.exists()]:
        raise BadInput(f"{taken[0]} is there already, and nothing is overwritten")
    for file, text in texts.items():
        write_whole(file, text)
    return list(texts)


def main() -> int:
    """Make the files, and say what to do next."""
    parser = argparse.ArgumentParser(prog="benchmark.template", description=__doc__)
    parser.add_argument("name", help="of the method, as in method=mine")
    parser.add_argument("--package", metavar="FOLDER", type=Path, help="outside this checkout")
    arguments = parser.parse_args()
    name, folder = arguments.name, arguments.package
    try:
        files = make_package(name, folder) if folder else make_in_checkout(name, ROOT)
    except (BadInput, OSError) as error:
        print(f"benchmark.template: {error}", file=sys.stderr)
        return 2
    for file in files:
        print(f"written to {file}")
    told = NEXT_IN_PACKAGE if folder else NEXT_IN_CHECKOUT
    print(told.format(name=name, words=name.replace("_", " ").capitalize(), folder=folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
