"""The regression gate's command: what it reads and writes, its exit codes, what it refuses."""

import json
import shutil
from xml.etree import ElementTree

import cells
import pandas as pd
import pytest

from benchmark import baselines, check, records, timed_pair
from benchmark.building import build
from benchmark.config import composed
from benchmark.errors import BadInput
from benchmark.lines import append_line, read_lines
from benchmark.regression import Verdict, judge

EXPERIMENT = """
# @package _global_
defaults:
  - override /model: tiny
  - override /dataset: tiny
  - override /metric: [deletion, pointing]
  - override /hydra/sweeper: cells
n: 32
dataset: {limit: "${n}"}
device: cpu
protocol: {steps: 10}
experiment:
  title: two methods
  rows:
    Toy: {set: [method=toy]}
    centre: {set: [method=centre]}
  columns:
    7 × 7: {set: [res=7]}
  metrics: {deletion: {}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with runs of a method and of a worse version of it, and a baseline."""
    folder = tmp_path_factory.mktemp("check")
    cells.make_images(folder / "images", count=32)
    cells.make_conf(folder / "conf")
    (folder / "conf" / "experiment").mkdir()
    (folder / "conf" / "experiment" / "two.yaml").write_text(EXPERIMENT.lstrip())
    for name, more in {
        "good": [],
        "seed": ["seed=1"],
        "worse": ["method.gain=-1.0"],
        "fewer": ["dataset.limit=3"],
        "finer": ["protocol.steps=20"],
    }.items():
        cells.start(folder, *more, f"results='{folder / name}'")
    assert run(folder, "--accept", str(folder / "good")) == 0
    return folder


def run(folder, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["check", *arguments, "baseline=mine.json"])
        return check.main()


def gate(folder, candidate, *more):
    return run(folder, f"candidate={candidate}", *more)


def test_a_run_that_is_no_worse_passes(place, capsys):
    assert gate(place, "good") == 0
    shown = capsys.readouterr().out
    assert "no regression: 4 same" in shown
    assert "identical" in shown


def test_a_worse_one_fails_and_what_was_changed_is_said(place, capsys):
    assert gate(place, "worse", "check.margins.pointing=0.9") == 1
    shown = capsys.readouterr().out
    assert "worse: " in shown
    assert "method.gain is -1.0 and was 1.0" in shown
    assert "code is" not in shown


def test_what_cannot_be_told_has_a_code_of_its_own(place, capsys):
    strict = ["check.margins.deletion=1e-9", "check.margins.pointing=1.0"]
    assert gate(place, "seed", *strict) == 3
    assert "cannot tell" in capsys.readouterr().out


def test_findings_are_written_as_markdown_json_and_junit(place):
    files = [f"out/check{suffix}" for suffix in (".md", ".json", ".xml")]
    given = [word for file in files for word in ("--write", file)]
    assert gate(place, "worse", "check.margins.pointing=0.9", *given) == 1
    page, values, suite = ((place / file).read_text() for file in files)
    assert "**worse**" in page
    assert "- method.gain is -1.0 and was 1.0" in page
    whole = json.loads(values)
    by_name = {each["measure"]: each for each in whole["findings"]}
    assert by_name["deletion"]["verdict"] == "worse"
    assert by_name["deletion"]["n"] == 32
    root = ElementTree.fromstring(suite)
    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("4", "1", "0")
    assert root.find("testcase[@name='deletion']/failure") is not None
    assert root.find("testcase[@name='forward_passes']/failure") is None


def test_an_experiment_is_run_first_and_then_compared_cell_by_cell(place, monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", cells.environment()["PYTHONPATH"])
    monkeypatch.setenv("WANDB_MODE", "disabled")
    given = [
        "--config-dir",
        "conf",
        f"dataset.root={place / 'images'}",
        f"results={place / 'made'}",
    ]
    assert run(place, "--stored", "--accept", "two", *given) == 2
    assert "two: Toy, 7 × 7 is missing: run it" in capfd.readouterr().err
    kept = (place / "mine.json").read_text(), (place / "mine.csv").read_text()
    try:
        assert run(place, "--accept", "two", *given) == 0
        assert run(place, "candidate=two", "--stored", *given) == 0
        shown = capfd.readouterr().out
        assert "+ python -m benchmark --config-dir" in shown
        assert "Toy, 7 × 7" in shown
        assert "on every image" in shown, "the control is compared, not tested"
        assert run(place, "candidate=good") == 2
        assert "the candidate has no Toy, 7 × 7, but toy at 7 x 7" in capfd.readouterr().err
        assert run(place, "candidate=good", "cell='Toy, 7 × 7'") == 0
    finally:
        (place / "mine.json").write_text(kept[0])
        (place / "mine.csv").write_text(kept[1])


@pytest.mark.parametrize(
    ("candidate", "more", "said"),
    [
        ("fewer", [], "cannot be compared: the baseline has 32 images, the candidate 3"),
        ("finer", [], "metric.deletion.protocol.steps is 20 and was 10"),
        ("good", ["cell=other"], "cell=other: the baseline has toy at 7 x 7"),
        ("good", ["n=3"], " is a folder of runs, which takes no settings"),
        ("good", ["check.level=2"], "check.level must be between 0 and 1"),
        ("good", ["check.margins.deletion=much"], "check.margins"),
        ("good", ["check=nothing"], "there is no check=nothing: choose one of default"),
        ("good", ["--write", "x.pdf"], "--write takes files that end in .md, .json, .xml"),
        ("nowhere/at/all", [], "there is no folder nowhere/at/all"),
        ("conf", [], "there is no finished run below"),
    ],
)
def test_what_cannot_be_compared_is_refused(place, candidate, more, said, capsys):
    assert gate(place, candidate, *more) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_a_candidate_has_to_be_named(place, capsys):
    for given in ([], ["candidate="]):
        assert run(place, *given) == 2
        assert "candidate=... is missing" in capsys.readouterr().err


def test_a_folder_with_runs_that_nothing_is_compared_with_is_refused(place, capsys):
    shutil.copytree(place / "good", place / "both", dirs_exist_ok=True)
    shutil.copytree(place / "worse", place / "both", dirs_exist_ok=True)
    assert gate(place, "both") == 2
    assert "which nothing is compared with" in capsys.readouterr().err


def test_a_run_whose_last_start_was_killed_is_refused(place, capsys):
    shutil.copytree(place / "good", place / "killed", dirs_exist_ok=True)
    (log,) = (place / "killed").glob("**/log.jsonl")
    started = read_lines(log)[0] | {"start": "another", "time": records.now()}
    append_line(log, started)
    assert gate(place, "killed") == 2
    assert "its last start has not ended" in capsys.readouterr().err


def test_a_fault_of_the_gate_itself_is_no_regression(place, monkeypatch, capsys):
    monkeypatch.setattr(check, "judge", lambda *_: 1 / 0)
    assert gate(place, "good") == 2
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_an_older_verdict_does_not_outlive_a_refusal(place):
    (place / "old.md").write_text("no regression")
    assert gate(place, "fewer", "--write", "old.md") == 2
    assert not (place / "old.md").exists()


@pytest.mark.parametrize("name", ["scenes", "imagenet"])
def test_each_method_of_the_projects_baselines_can_fail(name):
    kept = baselines.read(baselines.file_of(name))
    rules = build(composed("check", [])[0].check, "check")
    for cell in kept:
        harm = {
            metric: cell.images[metric] - (0.3 if better else -0.3)
            for metric, better in cell.higher_is_better.items()
        }
        worse = cell._replace(images=cell.images.assign(**harm))
        findings = judge([(worse if each is cell else each, each) for each in kept], rules)
        failed = {each.cell for each in findings if each.verdict is Verdict.worse}
        assert failed == {cell.name}


def test_every_metric_has_a_margin():
    rules = build(composed("check", [])[0].check, "check")
    known = {file.stem for file in (cells.ROOT / "conf" / "metric").glob("*.yaml")}
    assert set(rules.margins) == known


# Time


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([(1, 1.3), (1, 1.4), (2, 2.6)], "worse"),
        ([(1, 1.3), (1, 1.4), (2, 2.0)], "unclear"),
        ([(1, 1.3), (1, 1.0), (2, 2.0)], "same"),
        ([(1.3, 1), (1.4, 1), (2.6, 2)], "better"),
        ([(1e-5, 1e-4)] * 3, "same"),
    ],
)
def test_what_is_slower_in_every_round_is_worse(monkeypatch, tmp_path, seconds, expected):
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "__main__.py").touch()
    told = iter([value for pair in seconds for value in pair])
    monkeypatch.setattr(timed_pair, "_seconds", lambda *_: {"method=mine": next(told)})
    rules = build(composed("check", [])[0].check, "check")
    (finding,) = timed_pair.time_pair(["method=mine"], tmp_path, rules)
    assert finding.verdict.name == expected


def test_a_run_is_timed_here_and_in_another_checkout(place, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", cells.environment()["PYTHONPATH"])
    monkeypatch.setattr(timed_pair, "ROUNDS", 1)
    given = ["--config-dir", "conf", "--time"]
    code = gate(place, "good", *given, str(cells.ROOT), "check.time=1000")
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "seconds" in said.out
    assert gate(place, "good", *given, str(place)) == 2
    assert "there is no checkout of this benchmark" in capsys.readouterr().err


# Baselines


def test_a_baseline_is_read_back_as_it_was_kept(place):
    (cell,) = baselines.read(place / "mine.json")
    table = pd.read_csv(place / "mine.csv")
    assert cell.name == "toy at 7 x 7"
    assert cell.higher_is_better == {"deletion": False, "pointing": True}
    assert list(cell.images.index) == list(table["id"])
    assert cell.images["deletion"].tolist() == table["deletion"].tolist()
    assert cell.made["method.gain"] == 1.0
    assert "method.gain" not in cell.facts


def test_a_baseline_that_was_edited_is_refused(place, tmp_path):
    for suffix in (".json", ".csv"):
        shutil.copy(place / f"mine{suffix}", tmp_path)
    table = tmp_path / "mine.csv"
    table.write_text(table.read_text().replace("0.", "0.1", 1))
    with pytest.raises(BadInput, match="do not belong together"):
        baselines.read(tmp_path / "mine.json")
    (tmp_path / "mine.json").write_text("{}")
    for text in ("{}", "[]", '{"format": 1, "values_sha256": null, "cells": []}'):
        (tmp_path / "mine.json").write_text(text)
        with pytest.raises(BadInput, match=r"is no baseline|do not belong"):
            baselines.read(tmp_path / "mine.json")
    table.unlink()
    with pytest.raises(BadInput, match=r"there is no .*mine\.csv"):
        baselines.read(tmp_path / "mine.json")


def test_baselines_have_names_or_are_files():
    assert baselines.file_of("mine") == baselines.FOLDER / "mine.json"
    assert str(baselines.file_of("a/mine.json")) == "a/mine.json"
    with pytest.raises(BadInput, match="give a name such as mine"):
        baselines.file_of("a/mine")
    with pytest.raises(BadInput, match="there is no baseline nobody: there are "):
        baselines.read(baselines.file_of("nobody"))


def test_a_hundred_images_by_ten_metrics_take_less_than_200_kb(place, tmp_path):
    (cell,) = baselines.read(place / "mine.json")
    names = [f"metric_{number}" for number in range(10)]
    ids = [f"ILSVRC2012_val_{number:08}" for number in range(100)]
    images = pd.DataFrame({"digest": "0123456789abcdef", "target": 999}, index=ids)
    images[[*names, "forward_passes", "backward_passes"]] = 1 / 3
    large = cell._replace(higher_is_better=dict.fromkeys(names, True), images=images)
    written = baselines.keep([large], tmp_path / "large.json", "a command")
    assert sum(file.stat().st_size for file in written) < 200_000
    assert baselines.read(tmp_path / "large.json")[0].images.shape == (100, 14)


def test_two_cells_of_one_name_are_no_baseline(place, tmp_path):
    (cell,) = baselines.read(place / "mine.json")
    with pytest.raises(BadInput, match="several runs of toy at 7 x 7, as on other images or with"):
        baselines.keep([cell, cell], tmp_path / "twice.json", "a command")
