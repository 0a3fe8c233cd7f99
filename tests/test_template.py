"""The files of a new method, as they are made: that they work, are clean and overwrite nothing."""

import re
import shlex
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from cells import ROOT, environment

from benchmark.config import load
from benchmark.errors import BadInput
from benchmark.template import __main__ as template

LONG = "a_name_that_is_as_long_as_a_name_may_be1"
WORKFLOW = ROOT / "docs" / "ci-workflow.yml"
BROKEN = """
        torch.seed()  # the process's own noise
        maps = resize_heatmaps(magnitudes, self.res, "area")
        return maps.mean(0) + maps.std() * torch.rand(1) - maps
"""


def python(*arguments, cwd):
    """Run a module in a folder that comes first among the places where Python looks."""
    places = environment()
    places["PYTHONPATH"] = f"{cwd}:{ROOT}"
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=cwd,
        env=places,
        capture_output=True,
        text=True,
        check=False,
    )
    return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside") / "my-saliency"
    template.make_package("mine", folder)
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of all that a method in a checkout needs, with a method."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("benchmark", "conf", "methods", "metrics"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    files = template.make_in_checkout("mine", root)
    assert [str(file.relative_to(root)) for file in files] == [
        "methods/mine.py",
        "conf/method/mine.yaml",
        "tests/test_mine.py",
    ]
    return root


def test_the_test_of_a_method_in_the_checkout_passes(checkout):
    done = python("pytest", "-q", "-n", "0", "tests/test_mine.py", cwd=checkout)
    assert "6 passed" in done.out, done.out + done.err


def test_the_test_of_a_package_passes_where_it_lies(package):
    done = python("pytest", "-q", cwd=package)
    assert "6 passed" in done.out, done.out + done.err


def test_the_made_test_fails_for_a_method_that_keeps_no_promise(package, tmp_path):
    folder = tmp_path / "my-saliency"
    shutil.copytree(package, folder)
    file = folder / "my_saliency" / "mine.py"
    text = file.read_text().replace("from torch import", "import torch\nfrom torch import")
    kept, _, _ = text.partition('        return resize_heatmaps(magnitudes, self.res, "area")')
    file.write_text(kept + BROKEN)
    done = python("pytest", "-q", cwd=folder)
    failed = set(re.findall(r"FAILED \S+::(\w+)", done.out))
    assert failed == {
        "test_the_same_seed_gives_the_same_heatmap",
        "test_an_images_heatmap_does_not_depend_on_the_rest_of_its_batch",
        "test_deleting_what_it_finds_hurts_more_than_deleting_at_random",
    }, done.out


@pytest.mark.parametrize("name", ["q", LONG])
def test_what_is_made_is_clean_whatever_it_is_called(name, checkout, tmp_path):
    outside = tmp_path / "my-saliency"
    made = {
        outside: template.make_package(name, outside),
        checkout: template.make_in_checkout(name, checkout),
    }
    for folder, files in made.items():
        sources = [file for file in files if file.suffix == ".py"]
        for check in (["check"], ["format", "--check"]):
            done = python("ruff", *check, "--no-cache", *sources, cwd=folder)
            assert done.code == 0, done.out + done.err


def test_a_package_is_named_as_its_folder_and_its_method_found_from_there(package, monkeypatch):
    monkeypatch.syspath_prepend(package)
    settings = load("method=mine", "res=14", folder=package / "conf")
    assert settings.method._target_ == "my_saliency.mine.Mine"
    text = (package / "pyproject.toml").read_text()
    assert 'name = "my-saliency"' in text
    assert 'packages = ["my_saliency"]' in text


def test_a_folder_of_configuration_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"there is no folder .*nowhere with configuration files"):
        load("method=mine", folder=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Mine", "is no name: take lower case letters"),
        ("2nd", "is no name"),
        ("my-method", "is no name"),
        ("", "is no name"),
        ("a/b", "is no name"),
        (f"{LONG}x", "40 at most"),
        ("lambda", "a word of Python's"),
        ("none", "a word of Python's"),
        ("null", "or of the command line's"),
        ("igos", "there is a method igos already"),
        ("controls", "there is a method controls already"),
        ("tensor", "would make a class Tensor"),
    ],
)
def test_a_name_that_cannot_be_is_refused_and_nothing_is_made(name, said, tmp_path):
    for make, folder in (
        (template.make_in_checkout, tmp_path / "checkout"),
        (template.make_package, tmp_path / "my-saliency"),
    ):
        with pytest.raises(BadInput, match=said):
            make(name, folder)
        assert not folder.exists()


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("benchmark", "there is a benchmark already"),
        ("email", r"there is a email already .* take another folder"),
        ("My Saliency", "called as its folder, which 'My Saliency' cannot be"),
        ("class", "which 'class' cannot be"),
    ],
)
def test_a_folder_that_no_package_can_be_called_after_is_refused(folder, said, tmp_path):
    with pytest.raises(BadInput, match=said):
        template.make_package("mine", tmp_path / folder)
    assert not list(tmp_path.iterdir())


def test_nothing_that_is_there_is_overwritten_and_nothing_else_is_made(
    tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "my-saliency"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("mine\n")
    monkeypatch.setattr("sys.argv", ["template", "mine", "--package", str(folder)])
    assert template.main() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"benchmark.template: {folder}/pyproject.toml is there already, and nothing " + (
        "is overwritten"
    )
    assert [file.name for file in folder.rglob("*")] == ["pyproject.toml"]


def test_the_command_says_what_was_made_and_what_to_do_next(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(template, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", ["template", "my_method"])
    assert template.main() == 0
    said = capsys.readouterr().out
    assert f"written to {tmp_path}/methods/my_method.py" in said
    assert "class MyMethod:" in (tmp_path / "methods" / "my_method.py").read_text()
    assert "surveys.yaml, My method: {set: [method=my_method]}" in said
    for line in ("run it:", "test it:", "the gate:", "leaderboard:"):
        assert line in said


# The workflow


def steps(file):
    (job,) = yaml.safe_load(file.read_text())["jobs"].values()
    return job["steps"]


def commands(file):
    """Every ``python -m MODULE ...`` of a workflow, its variables replaced."""
    known = {key: str(value) for key, value in yaml.safe_load(file.read_text())["env"].items()}
    text = "\n".join(step.get("run", "") for step in steps(file))
    for key, value in known.items():
        text = text.replace(f"${key}", value)
    lines = [line.strip() for line in text.splitlines()]
    return [shlex.split(line)[2:] for line in lines if line.startswith("python -m ")]


def test_a_package_has_the_workflow_with_its_methods_name(tmp_path):
    template.make_package("other", tmp_path / "my-saliency")
    file = tmp_path / "my-saliency" / ".github" / "workflows" / "saliency.yml"
    whole, made = yaml.safe_load(WORKFLOW.read_text()), yaml.safe_load(file.read_text())
    assert (whole["env"].pop("METHOD"), made["env"].pop("METHOD")) == ("mine", "other")
    assert whole == made


def test_the_workflow_tests_scores_compares_and_reports_whatever_the_gate_says():
    modules = [module for module, *_ in commands(WORKFLOW)]
    assert modules == ["pytest", "benchmark", "benchmark.leaderboard", "benchmark.check"]
    by_name = {step.get("name", step.get("uses")): step for step in steps(WORKFLOW)}
    for last in ("Summary", "actions/upload-artifact@v4"):
        assert by_name[last]["if"] == "${{ !cancelled() }}"
    assert '>> "$GITHUB_STEP_SUMMARY"' in by_name["Summary"]["run"]
    kept = by_name["actions/upload-artifact@v4"]["with"]["path"].split()
    assert {"check.xml", "results/runs"} <= set(kept)
    assert not re.search(r"\bMETHOD\b", by_name["Install"]["run"])


def test_every_placeholder_of_the_workflow_is_marked():
    text = WORKFLOW.read_text()
    assert "CHANGE-ME" in yaml.safe_load(text)["env"]["BENCHMARK"]
    for key in ("METHOD:", "BENCHMARK:", "RES:", "branches:"):
        (line,) = [line for line in text.splitlines() if line.strip().startswith(key)]
        assert "# CHANGE" in line


@pytest.mark.parametrize("module", ["benchmark.leaderboard", "benchmark.check"])
def test_the_commands_of_the_workflow_are_understood(module, tmp_path):
    """The parser takes the flags: what is refused is that there are no runs."""
    (words,) = [words for name, *words in commands(WORKFLOW) if name == module]
    (tmp_path / "results" / "runs").mkdir(parents=True)
    done = python(module, *words, cwd=tmp_path)
    assert done.code == 2
    assert "there is no finished run below results/runs" in done.err


def test_the_runs_of_the_workflow_are_composed(package, monkeypatch):
    monkeypatch.syspath_prepend(package)
    (words,) = [words for name, *words in commands(WORKFLOW) if name == "benchmark"]
    assert words[:3] == ["--config-dir", "conf", "--multirun"]
    methods, *rest = words[3:]
    for method in methods.removeprefix("method=").split(","):
        assert load(f"method={method}", *rest, folder=package / "conf").res == 28
