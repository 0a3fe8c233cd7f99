"""Tables out of stored records."""

import io
import json
import sys

import cells
import pandas as pd
import pytest
from cells import start
from rich.console import Console

from benchmark import tables
from benchmark.lines import line_of, read_lines
from benchmark.records import RunFolder


@pytest.fixture
def place(tmp_path):
    cells.make_images(tmp_path / "images")
    cells.make_conf(tmp_path / "conf")
    return tmp_path


def test_starts_that_differ_in_their_metrics_are_one_outcome_with_all_of_them(place):
    start(place, "metric=[deletion]")
    first, _ = start(place, "metric=[pointing]")
    (outcome,) = RunFolder(first.folder.path).outcomes()
    assert set(outcome.stages) == set(outcome.higher_is_better) == {"deletion", "pointing"}
    table = tables.per_image(first.folder, outcome)
    assert table["deletion"].between(0, 1).all()


def test_a_smaller_start_does_not_hide_a_larger_one(place):
    start(place)
    made, _ = start(place, "dataset.limit=3")
    sizes = [len(made.folder.ids(each.manifest)) for each in made.folder.outcomes()]
    assert sizes == [8, 3]


def test_runs_on_other_images_or_protocols_stand_in_tables_of_their_own(place):
    start(place)
    start(place, "method=random")
    start(place, "dataset.limit=3")
    start(place, "protocol.steps=3")
    grouped = tables.overview(place / "results")
    assert sorted(len(table) for _, table, *_ in grouped) == [1, 1, 2]
    assert any("protocol.steps=3" in facts for facts, *_ in grouped)


def test_of_runs_that_differ_in_their_images_alone_the_largest_can_be_had(place):
    for given in (["dataset.limit=3"], [], ["method=random", "dataset.limit=3"]):
        start(place, *given)
    grouped = tables.overview(place / "results", largest=True)
    shown = [(line["method"].split()[0], line["n"]) for each in grouped for line in lines(each)]
    assert sorted(shown) == [("random", "3"), ("toy", "8")]


def lines(comparable):
    return comparable.rows.to_dict("records")


@pytest.mark.parametrize("suffix", [".csv", ".md"])
def test_a_written_table_holds_the_means_of_the_images(place, monkeypatch, suffix):
    made, _ = start(place)
    target = place / f"table{suffix}"
    monkeypatch.setattr(sys, "argv", ["tables", str(place / "results"), "--write", str(target)])
    assert tables.main() == 0
    mean = tables.per_image(made.folder, made.outcome)["deletion"].mean()
    assert f"{mean:.4f} [" in target.read_text()
    if suffix == ".csv":
        assert list(pd.read_csv(target)["n"]) == [8]


def test_runs_with_other_metrics_stand_in_one_table_with_dashes(place):
    start(place, "metric=[deletion]")
    start(place, "method=random", "metric=[pointing]")
    ((_, table, *_),) = tables.overview(place / "results")
    assert sorted(table["deletion ↓"] == "–") == sorted(table["pointing ↑"] == "–") == [False, True]


def test_a_run_with_many_metrics_is_shown_in_lines(place):
    names = "deletion,insertion,lerf,relevance_gain,sparseness,complexity,best_iou"
    made, _ = start(place, f"metric=[{names}]")
    means = tables.summary(tables.per_image(made.folder, made.outcome), list(made.stages))
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(tables.row(made.outcome, means))
    lines = console.export_text().splitlines()
    for name in names.split(","):
        (line,) = [each for each in lines if f" {name} " in each]
        assert f"{means[name].value:.4f}" in line or "–" in line


def test_an_empty_folder_has_no_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tables", str(tmp_path)])
    assert tables.main() == 2
    assert "there is no finished run below" in capsys.readouterr().err


def test_a_run_of_a_version_without_resized_stages_is_still_read(place):
    made, _ = start(place)
    log = made.folder.path / "log.jsonl"
    entries = read_lines(log)
    for entry in entries:
        entry.pop("heatmaps", None)
        entry.pop("about", None)
    log.write_bytes(b"".join(map(line_of, entries)))
    (outcome,) = made.folder.outcomes()
    assert (outcome.heatmaps, outcome.about) == ("heatmaps", "")


def test_a_torn_log_line_costs_only_itself(place):
    made, _ = start(place)
    log = made.folder.path / "log.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    start(place)
    whole = []
    for line in log.read_text().splitlines():
        try:
            whole.append(json.loads(line)["event"])
        except json.JSONDecodeError:
            whole.append("torn")
    assert whole == ["start", "torn", "start", "end"]
    assert len(made.folder.outcomes()) == 1
