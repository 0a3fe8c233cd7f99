"""The runtime protocol: what is timed, and what is not."""

import os

import cells
import pytest
import torch

from benchmark import runtime
from benchmark.cell import Cell
from benchmark.collect import runtime_means
from benchmark.errors import BadInput
from benchmark.records import RunFolder
from benchmark.runtime import Runtime, time_calls

PROTOCOL = "{_target_: benchmark.runtime.Runtime, batches: [1, 3], images: 4, repeats: 2}"


@pytest.fixture
def place(tmp_path):
    cells.make_images(tmp_path / "images")
    cells.make_conf(tmp_path / "conf")
    return tmp_path


@pytest.fixture
def clock(monkeypatch):
    """A clock by which each call of the method takes a second per image, and the first ten more."""
    now = {"time": 0.0, "calls": 0}
    explain = cells.Toy.__call__

    def slow(self, model, batch):
        now["time"] += len(batch.ids) + (10 if now["calls"] == 0 else 0)
        now["calls"] += 1
        return explain(self, model, batch)

    monkeypatch.setattr(cells.Toy, "__call__", slow)
    monkeypatch.setattr(runtime, "clock", lambda _: now["time"])
    return now


def test_seconds_are_per_image_and_leave_out_the_batch_that_warms_up(place, clock):
    cell = Cell.open(cells.settings(place))
    single, three = Runtime(batches=[3, 1], images=4, repeats=2).measure(cell, print)
    assert (single["batch"], single["seconds"]) == (1, [1.0] * 4)
    assert (three["batch"], three["seconds"]) == (3, [1.0] * 2)
    assert clock["calls"] == 4 + 1 + 2 + 1


def test_passes_are_those_of_one_image_at_any_batch(place):
    cell = Cell.open(cells.settings(place))
    for each in Runtime(batches=[1, 3], images=1, repeats=1).measure(cell, print):
        assert (each["forward_passes"], each["backward_passes"]) == (1, 1)
        assert each["memory"] > 2**20


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="not on Linux")
def test_memory_is_that_since_the_reset_and_not_what_an_earlier_cell_took(place):
    def of(rows):
        def call(model, batch):
            torch.ones(rows, 2**20)

        return time_calls(cell.model, call, [cell.batch(cell.dataset.ids()[:1])] * 2)["memory"]

    cell = Cell.open(cells.settings(place))
    least, large, small = of(1), of(256), of(64)
    # An allocator may take a block anew beside the one that it has just got back.
    assert 0.9 * 2**30 < large - least < 2.2 * 2**30
    assert 0.9 * 2**28 < small - least < 2.2 * 2**28


def test_more_images_are_timed_than_there_are_by_taking_them_again(place):
    cell = Cell.open(cells.settings(place, "dataset.limit=2"))
    (single,) = Runtime(batches=[1], images=5, repeats=1).measure(cell, print)
    assert len(single["seconds"]) == 5


def test_a_batch_that_does_not_fit_ends_the_search_for_the_best(place, monkeypatch):
    explain = cells.Toy.__call__

    def small(self, model, batch):
        if len(batch.ids) > 2:
            raise torch.cuda.OutOfMemoryError
        return explain(self, model, batch)

    monkeypatch.setattr(cells.Toy, "__call__", small)
    cell = Cell.open(cells.settings(place))
    measured = Runtime(batches=[1, 2, 4, 8], images=1, repeats=1).measure(cell, print)
    assert [each["batch"] for each in measured] == [1, 2]


def test_a_run_with_runtime_logs_what_was_measured_and_makes_no_heatmaps(place):
    settings = cells.settings(place, f"+runtime={PROTOCOL}".replace("+", ""))
    folder, entry = runtime.measure(settings, print)
    ((start, end),) = RunFolder(folder.path).starts()
    assert end["measured"] == entry["measured"]
    assert "threads" in end["caption"]["device"] and "seed 0" in end["caption"]["model"]
    assert start["settings"]["runtime"]["batches"] == [1, 3]
    assert not list(folder.path.glob("heatmaps*"))


def test_the_table_takes_medians_and_the_fastest_size():
    def size(batch, *seconds):
        return {
            "batch": batch,
            "seconds": list(seconds),
            "forward_passes": 7.0,
            "backward_passes": 3.0,
            "memory": 1024,
        }

    means = runtime_means({"measured": [size(1, 5, 1, 2), size(4, 0.6, 0.4), size(8, 0.9, 0.7)]})
    assert means["seconds"] == (2, 1, 5, 3)
    assert means["throughput"] == (0.5, 0.4, 0.6, 2)
    assert (means["forward_passes"].value, means["backward_passes"].value) == (7, 3)
    assert means["memory"].value == 1024


@pytest.mark.parametrize(
    "wrong", [{"batches": [2, 4]}, {"batches": [1, 0]}, {"images": 0}, {"repeats": 0}]
)
def test_a_protocol_that_cannot_be_followed_is_refused(wrong):
    with pytest.raises(BadInput, match="batches with 1 among them"):
        Runtime(**({"batches": [1], "images": 1, "repeats": 1} | wrong))


def test_a_resolution_that_the_method_cannot_do_is_refused_before_it_is_timed(place):
    settings = cells.settings(place, f"runtime={PROTOCOL}", "method=gradcam", "res=31")
    with pytest.raises(BadInput, match="resize"):
        runtime.measure(settings, print)


def test_no_memory_for_a_single_image_is_no_measurement(place, monkeypatch):
    def full(self, model, batch):
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(cells.Toy, "__call__", full)
    cell = Cell.open(cells.settings(place))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        Runtime(batches=[1], images=1, repeats=1).measure(cell, print)
