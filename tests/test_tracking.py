"""What stands on Weights & Biases, read back from its own files."""

import contextlib
import json
import runpy
import shutil
import struct
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import cells
import pandas as pd
import pytest
from google.protobuf.message import DecodeError
from PIL import Image
from wandb.proto.wandb_internal_pb2 import Record

from benchmark import tracking
from benchmark.config import load
from benchmark.experiment import read
from benchmark.records import RunFolder
from benchmark.tracking import LEDGER, Mode, Tracking, is_logged, log_run, log_table, tracking_of

BLOCK = 32768  # bytes of LevelDB's log format, in which an offline run is kept
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(folder):
    """Read the records of the one offline run below a folder."""
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    data, at, whole = file.read_bytes(), 7, b""  # the file begins with seven bytes of its own
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # what a record's head does not fit in is left empty
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole = (b"" if kind in (FULL, FIRST) else whole) + data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (FULL, LAST):
            yield Record.FromString(whole)


def complete(folder, seconds=60):
    """Wait until an offline run has its last record: W&B may write it after it has ended."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(DecodeError):
            found = list(records(folder))
            if found and found[-1].WhichOneof("record_type") == "exit":
                return found
        assert time.monotonic() < deadline, f"the run in {folder} has no end"
        time.sleep(0.05)


def read_back(folder):
    """Collect an offline run's settings, summary, tables and artifacts."""
    known = SimpleNamespace(config={}, summary={}, tables={}, artifacts={}, run=None)
    for record in complete(folder):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            known.run = record.run
            known.config |= {
                each.key: json.loads(each.value_json) for each in record.run.config.update
            }
        elif kind == "config":
            known.config |= {each.key: json.loads(each.value_json) for each in record.config.update}
        elif kind == "summary":
            for each in record.summary.update:
                key = each.key or ".".join(each.nested_key)
                known.summary[key] = json.loads(each.value_json)
        elif kind == "artifact":
            contents = record.artifact.manifest.contents
            known.artifacts[record.artifact.name] = {
                each.path: each.local_path for each in contents
            }
    for file in folder.glob("wandb/offline-run-*/files/media/table/*.table.json"):
        table = json.loads(file.read_text())
        known.tables[file.name.rsplit("_", 2)[0]] = pd.DataFrame(
            table["data"], columns=table["columns"]
        )
    return known


def tracked(folder, **changes):
    given = {"mode": Mode.offline, "project": "p", "entity": None, "group": "g", "name": None}
    given |= {"tags": ["t"], "images": 2, "folder": str(folder)}
    return Tracking(**given | changes)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracking")
    cells.make_images(folder / "images", count=4)
    cells.make_conf(folder / "conf")
    started, _ = cells.start(folder, "res=8", "metric=[deletion,insertion,pointing]")
    return SimpleNamespace(path=folder, run=started.folder, outcome=started.outcome)


@pytest.fixture(scope="module")
def logged(place, tmp_path_factory):
    """One run, logged offline and read back."""
    folder = tmp_path_factory.mktemp("wandb")
    line = log_run(tracked(folder), place.run, *place.run.starts()[-1])
    return SimpleNamespace(line=line, folder=folder, known=read_back(folder))


def test_an_offline_run_holds_the_settings(logged, place):
    known = logged.known
    assert (known.run.project, known.run.run_group, list(known.run.tags)) == ("p", "g", ["t"])
    assert known.run.display_name == "toy at 8 x 8"
    assert known.config["settings"]["res"] == 8
    assert known.config["settings"]["method"]["_target_"] == "cells.Toy"
    assert known.config["git"] == place.run.started()["git"]
    assert "offline" in logged.line and str(logged.folder) in logged.line


def test_its_summary_has_means_with_intervals(logged, place):
    table = pd.DataFrame(place.run.stage(place.outcome.stages["deletion"]).rows.values())
    found = logged.known.summary["deletion"]
    assert found["mean"] == pytest.approx(table["value"].mean())
    assert found["low"] <= found["mean"] <= found["high"]
    assert found["n"] == 4
    assert {"seconds", "forward_passes", "peak_memory_mib"} <= logged.known.summary.keys()


def test_its_table_has_a_line_per_image_and_examples_show_some(logged, place):
    rows = place.run.stage(place.outcome.stages["deletion"]).rows
    table = logged.known.tables["per_image"].set_index("id")
    assert table["deletion"].to_dict() == {name: row["value"] for name, row in rows.items()}
    assert (
        logged.known.tables["examples"]["id"].tolist() == place.run.ids(place.outcome.manifest)[:2]
    )


def test_its_examples_are_pictures_of_image_heatmap_and_curves(logged, place):
    artifacts = logged.known.artifacts
    (held,) = (files for name, files in artifacts.items() if name.endswith("examples"))
    (file,) = (local for path, local in held.items() if path.endswith("table.json"))
    table = json.loads(Path(file).read_text())
    examples = pd.DataFrame(table["data"], columns=table["columns"])
    size = place.run.started()["input_size"]
    for column in ("image", "heatmap", "curves"):
        pictures = [Image.open(held[each["path"]]) for each in examples[column]]
        assert len({picture.tobytes() for picture in pictures}) == 2, "each shows another image"
        if column != "curves":
            assert {picture.size for picture in pictures} == {(size, size)}


def test_its_artifact_holds_the_records_without_the_heatmaps_numbers(logged, place):
    (name,) = (each for each in logged.known.artifacts if each.startswith("records-"))
    held = set(logged.known.artifacts[name])
    assert name == f"records-{place.run.path.name}"
    assert {"settings.json", "log.jsonl", "heatmaps.jsonl", place.outcome.manifest} <= held
    assert {
        f"{stage}.f32" for stage in place.outcome.stages.values() if "pointing" not in stage
    } <= held
    assert "heatmaps.f32" not in held


def test_what_is_logged_is_not_logged_again_but_elsewhere(logged, place):
    last = place.run.starts()[-1]
    assert is_logged(tracked(logged.folder), place.run, *last)
    assert not is_logged(tracked(logged.folder, mode=Mode.online), place.run, *last)
    assert not is_logged(tracked(logged.folder, project="q"), place.run, *last)
    assert not is_logged(tracked(logged.folder, tags=["u"]), place.run, *last)
    assert is_logged(tracked(logged.folder, group="another"), place.run, *last)


def test_a_failure_costs_nothing_and_is_kept_until_it_is_made_good(
    place, tmp_path, monkeypatch, capsys
):
    cells.start(place.path, "res=7")
    run = RunFolder(next((place.path / "results").glob("*/*/toy-7-*")))
    broken = tracked(tmp_path / "file" / "x")
    (tmp_path / "file").write_text("not a folder")
    line = log_run(broken, run, *run.starts()[-1])
    assert line.startswith("not logged to Weights & Biases: NotADirectoryError")
    assert not is_logged(broken, run, *run.starts()[-1])
    entry = json.loads((run.path / LEDGER).read_text())
    assert "NotADirectoryError" in entry["error"]
    words = ["--sync", str(run.path), "wandb.mode=offline", f"wandb.folder='{tmp_path}'"]
    monkeypatch.setattr("sys.argv", ["tracking", *words])
    assert tracking.main() == 0
    assert str(tmp_path) in capsys.readouterr().out
    assert read_back(tmp_path).config["settings"]["res"] == 7
    usual = tracked(tmp_path, project="saliency-faithfulness", tags=[], images=8)
    assert is_logged(usual, run, *run.starts()[-1])


def test_what_is_logged_is_not_synced_again_unless_it_changed_or_is_gone(
    place, tmp_path, monkeypatch, capsys
):
    def synced(*more):
        words = ["--sync", str(place.run.path), "wandb.mode=offline", f"wandb.folder='{tmp_path}'"]
        monkeypatch.setattr("sys.argv", ["tracking", *words, "wandb.project=again", *more])
        assert tracking.main() == 0
        return capsys.readouterr().out, sorted(tmp_path.glob("wandb/offline-run-*"))

    first, kept = synced()
    assert first == f"Weights & Biases, offline: {kept[0]}\n"
    assert synced() == (f"logged already to {first}", kept)
    assert synced("wandb.tags=[new]")[0].startswith("Weights & Biases, offline: ")
    assert synced("wandb.tags=[new]")[0].startswith("logged already")
    shutil.rmtree(tmp_path / "wandb")
    again, left = synced()
    assert again == f"Weights & Biases, offline: {left[0]}\n"


def test_a_torn_note_of_what_was_logged_keeps_nothing_from_going_on(place, tmp_path):
    ledger = place.run.path / LEDGER
    before = ledger.read_text() if ledger.exists() else ""
    ledger.write_text(before + '{"time": "20')
    assert not is_logged(tracked(tmp_path, project="torn"), place.run, *place.run.starts()[-1])
    log_run(tracked(tmp_path, project="torn"), place.run, *place.run.starts()[-1])
    assert is_logged(tracked(tmp_path, project="torn"), place.run, *place.run.starts()[-1])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wandb.mode=offline"], "needs a run's folder or an experiment"),
        (["."], "wandb.mode=disabled logs nothing"),
        ([".", "wandb.mode=offline"], "is not the folder of a finished run"),
        ([".", "wandb.mode=on"], "wandb.mode=on is none of offline, online, disabled"),
        ([".", "wandb.mode=offline", "wandb.images=-1"], "wandb.images must be at least 0"),
    ],
)
def test_what_cannot_be_logged_is_refused(words, said, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("sys.argv", ["tracking", "--sync", *words])
    monkeypatch.chdir(tmp_path)
    assert tracking.main() == 2
    assert said in capsys.readouterr().err


def test_the_command_logs_offline_unless_told_otherwise(place, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_MODE")
    assert tracking_of(load().wandb).mode is Mode.offline
    for named, mode in (("online", Mode.online), ("dryrun", Mode.offline)):
        monkeypatch.setenv("WANDB_MODE", named)
        assert tracking_of(load().wandb).mode is mode
    own = [each for each in cells.choices(place.path, "res=6") if not each.startswith("results=")]
    for mode, kept, told in (("disabled", 0, 0), ("offline", 1, 1), ("offline", 1, 0)):
        words = [*own, f"results='{tmp_path}'", f"wandb.mode={mode}"]
        done = cells.command("--config-dir", str(place.path / "conf"), *words, cwd=tmp_path)
        assert done.code == 0, done.err
        assert done.out.count("Weights & Biases, offline: ") == told
        assert len(list(tmp_path.glob("wandb/offline-run-*"))) == kept


def test_the_command_as_it_is_typed_knows_what_disabled_and_online_mean(place, monkeypatch, capsys):
    words = ["tracking", "--sync", str(place.run.path), "wandb.mode=disabled"]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # runpy's, that the module was imported before
        runpy.run_module("benchmark.tracking", run_name="__main__")
    assert ended.value.code == 2
    assert "wandb.mode=disabled logs nothing" in capsys.readouterr().err


def test_an_experiments_table_is_logged_with_its_numbers_and_its_figures(
    place, tmp_path, monkeypatch
):
    (place.path / "conf" / "experiment").mkdir()
    (place.path / "conf" / "experiment" / "two.yaml").write_text(EXPERIMENT)
    given = [
        each
        for each in cells.choices(place.path)
        if not each.startswith(("method", "metric", "res="))
    ]
    composed = read("two", given, str(place.path / "conf"))
    empty = tmp_path / "empty"  # where no cell is done, as where all have failed
    nothing = read("two", [*given, f"results='{empty / 'results'}'"], str(place.path / "conf"))
    assert "offline" in log_table(tracked(empty, group=None), nothing)
    assert set(read_back(empty).tables["cells"]["state"]) == {"missing"}
    for row, column in composed.experiment.cells():
        settings = composed.settings(row, column)
        assert settings.wandb.group == "two", "cells are grouped by their experiment"
        cells.run(settings, cells.Listener())
    # A folder holds other outcomes too; the newest is not the table's.
    cells.start(place.path, "metric=[deletion,insertion]", "res=8", "dataset.limit=2")
    line = log_table(tracked(tmp_path, group=None), composed)
    known = read_back(tmp_path)
    assert "offline" in line and known.run.run_group == "two"
    assert known.tables["table"]["row"].tolist() == ["Toy", "Centre"]
    lines = known.tables["cells"]
    assert set(lines["metric"]) == {"deletion", "insertion"}
    assert lines["value"].notna().all() and set(lines["state"]) == {"done"}
    assert known.summary["figures_left_out"] == []
    pictures = tmp_path.glob("wandb/offline-run-*/files/media/images/*.png")
    assert {each.name.rsplit("_", 2)[0] for each in pictures} == {
        "heatmaps, 8 × 8",
        "curves, 8 × 8",
    }
    assert log_table(tracked(tmp_path, group=None), composed) == f"logged already to {line}"
    monkeypatch.setattr(tracking, "FORMATS", {".csv": lambda *_: "other numbers"})
    assert log_table(tracked(tmp_path, group=None), composed).startswith("Weights & Biases")


EXPERIMENT = """# @package _global_
defaults:
  - override /metric: [deletion, insertion]
  - override /hydra/sweeper: cells
experiment:
  title: Two
  rows:
    Toy: {set: [method=toy]}
    Centre: {set: [method=centre]}
  columns:
    8 × 8: {set: [res=8]}
  metrics: {deletion: {}, insertion: {}}
"""
