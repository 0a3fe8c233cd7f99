"""What a large sweep costs: closed forms of a sweep small enough to add up by hand."""

import dataclasses

import pytest

from benchmark import scaling
from benchmark.errors import BadInput
from benchmark.plan import Explained, Scored

SWEEP = scaling.planned(
    [
        "images=1000", "methods=[own,native]", "resolutions=[7,14]", "models=[a,b]",
        "forward=[1.0,2.0]", "backward=[10.0,20.0]", "shards=10", "batch=8",
    ]
)  # fmt: skip
METRICS = {"curve": Scored(passes=5, numbers=12), "place": Scored(passes=1, numbers=0)}
COUNTED = scaling.Counted(
    explaining={
        ("own", 7): Explained(2, 1, 7),
        ("own", 14): Explained(4, 2, 14),
        ("native", 7): Explained(3, 3, 14),
        ("native", 14): Explained(3, 3, 14),
    },
    scoring={7: METRICS, 14: METRICS},
    own=frozenset({"own"}),
)
WHOLE = scaling.total(SWEEP, COUNTED)


def test_a_method_of_one_resolution_explains_once_and_one_of_many_each_time():
    explained, scored = 2 + 4 + 3, 4 * (5 + 1)
    assert WHOLE.forward == 2 * 1000 * (explained + scored)
    assert WHOLE.backward == 2 * 1000 * (1 + 2 + 3)


def test_hours_are_passes_times_what_each_models_take():
    ahead, back = 2 + 4 + 3 + 24, 1 + 2 + 3
    assert WHOLE.hours == pytest.approx(1000 * (ahead * (1 + 2) + back * (10 + 20)) / 3600)
    dearest = 1000 * ((4 + 6) * 2 + 2 * 20)  # of b, own at 14; native at 7 has (3 + 6) * 2 + 3 * 20
    dearest = max(dearest, 1000 * ((3 + 6) * 2 + 3 * 20))
    assert WHOLE.longest == pytest.approx(dearest / 10 / 3600)


def test_bytes_are_those_of_heatmaps_curves_and_lines():
    lines = scaling.LINES
    each = 2 * lines["scored"] + 4 * 12
    own = 2 * lines["explained"] + 4 * (7**2 + 14**2)
    native = lines["explained"] + 4 * 14**2 + lines["resized"] + 4 * 7**2
    assert WHOLE.size == 2 * 1000 * (4 * each + own + native)
    assert WHOLE.lines == 2 * 1000 * (4 * 2 + 2 + 2)


def test_files_are_those_of_the_shards_and_of_the_folders():
    own = 2 * (10 * (2 + 1 + 2 + 2) + 3)  # heatmaps, one metric with curves and one without, 2 own
    native = 10 * (4 + 1 + 2 + 2) + 3 + 10 * (1 + 2 + 2)  # at 7 resized too, at 14 scored only
    assert WHOLE.files == 2 * (own + native)


@pytest.mark.parametrize(
    ("changed", "bottleneck"),
    [
        ({"forward": [10.0, 10.0]}, "passes"),
        ({"start": 1e6}, "starts of jobs"),
        ({"sync": 1e4}, "appends"),
        ({"decode": 1e5}, "decoding"),
        ({"syncs": 1e-6}, "the file system"),
    ],
)
def test_what_takes_longest_is_the_bottleneck(changed, bottleneck):
    sweep = dataclasses.replace(SWEEP, workers=[1], **changed)
    ((_, rows),) = scaling.tables(sweep, scaling.total(sweep, COUNTED))[1:]
    assert rows[0][2] == bottleneck


def test_no_number_of_workers_is_faster_than_the_longest_job_or_the_file_system():
    slow = dataclasses.replace(SWEEP, syncs=0.001)
    for sweep in (SWEEP, slow):
        many = scaling.waits(sweep, WHOLE, 10**9)
        assert scaling.hours(many) == max(many["the longest job"], many["the file system"])
        assert scaling.hours(scaling.waits(sweep, WHOLE, 2)) <= scaling.hours(
            scaling.waits(sweep, WHOLE, 1)
        )


def test_passes_are_counted_as_a_run_counts_them():
    counted = scaling.count(
        scaling.planned(["methods=[integrated_gradients,centre]", "resolutions=[7,4]"])
    )
    explained = counted.explaining["integrated_gradients", 7]
    assert (explained.forward, explained.backward, explained.cells) == (50, 50, 224)
    assert counted.explaining["centre", 4] == Explained(0, 0, 4)
    assert counted.own == {"centre"}
    assert {name: each.passes for name, each in counted.scoring[7].items()} == {
        "deletion": 50, "insertion": 50, "pointing": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "given", [["images=0"], ["forward=[1.0]"], ["imagse=3"], ["batch=many"], ["workers=[0]"]]
)
def test_a_sweep_that_makes_no_sense_is_refused(given):
    with pytest.raises(BadInput):
        scaling.planned(given)
