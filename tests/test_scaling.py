"""What a large sweep costs: closed forms of a sweep small enough to add up by hand."""

import dataclasses

import cells
import pytest

from benchmark import scaling, scaling_model, scaling_page
from benchmark.config import load
from benchmark.constant_scores import Constant
from benchmark.errors import BadInput
from benchmark.models import ImageClassifier
from benchmark.plan import Explained, Scored
from benchmark.scaling_measured import Left, compared

SWEEP = scaling.planned(
    [
        "images=1000", "methods=[own,native]", "resolutions=[7,14]", "models=[a,b]",
        "forward=[1.0,2.0]", "backward=[10.0,20.0]", "shards=10", "batch=8",
    ]
)  # fmt: skip
METRICS = {"curve": Scored(passes=5, numbers=12), "place": Scored(passes=1, numbers=0)}
COUNTED = scaling_model.Counted(
    explaining={
        ("own", 7): Explained(2, 1, 7),
        ("own", 14): Explained(4, 2, 14),
        ("native", 7): Explained(3, 3, 14),
        ("native", 14): Explained(3, 3, 14),
    },
    scoring={7: METRICS, 14: METRICS},
    own=frozenset({"own"}),
)
WHOLE = scaling_model.total(SWEEP, COUNTED)


def test_a_method_of_one_resolution_explains_once_and_one_of_many_each_time():
    explained, scored = 2 + 4 + 3 + 3 * scaling_model.BESIDE, 4 * (5 + 1)
    checked = 2 * 4 * 10 * (16 + 4 * 4 + 1)  # jobs, and passes of the self-check of each
    assert WHOLE.forward == 2 * 1000 * (explained + scored) + checked
    assert WHOLE.backward == 2 * 1000 * (1 + 2 + 3)


def test_hours_are_passes_times_what_each_models_take():
    beside = scaling_model.BESIDE
    ahead, back = 2 + 4 + 3 + 3 * beside + 24, 1 + 2 + 3
    assert WHOLE.hours == pytest.approx(1000 * (ahead * (1 + 2) + back * (10 + 20)) / 3600)
    # Of b, whose passes are slower: native at 7 has 3 + 6 passes ahead and 3 back, own at 14 less.
    dearest = 1000 * ((3 + 6 + beside) * 2 + 3 * 20)
    assert WHOLE.longest == pytest.approx(dearest / 10 / 3600)


def test_bytes_are_those_of_heatmaps_curves_and_lines():
    lines = scaling_model.LINES
    each = lines["curve"] + lines["place"] + 4 * 12
    once = lines["explained"] + lines["audited"] + lines["batch"] / 8
    own = 2 * once + 4 * (7**2 + 14**2)
    native = once + 4 * 14**2 + lines["resized"] + 4 * 7**2
    jobs = 2 * 4 * 10
    assert WHOLE.size == pytest.approx(2 * 1000 * (4 * each + own + native) + jobs * lines["job"])
    assert WHOLE.lines == 2 * 1000 * (4 * 2 + 2 * 2 + 3)


def test_files_are_those_of_the_shards_and_of_the_folders():
    # Of a job: heatmaps, a metric with a curve and one without, what is left; log and times.
    own = 2 * (10 * (2 + 2 + 1 + 1 + 2) + 3)
    native = 10 * (2 + 2 + 2 + 1 + 1 + 2) + 3  # at 7, resized too
    native += 10 * (2 + 1 + 1)  # at 14 scored only: no heatmaps, and no times
    assert WHOLE.files == 2 * (own + native)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A sweep of two methods, two resolutions and two shards: as it was run, and as added up."""
    place, passed = tmp_path_factory.mktemp("small"), []
    settings = ["protocol.steps=5", "metric=[deletion,insertion,pointing]"]
    given = ["model=scenes_vgg", "dataset=scenes", "dataset.limit=8", "batch_size=2", "shards=2"]
    given += [*settings, "resize=area", "device=cpu", f"results='{place}'"]
    call = ImageClassifier.__call__

    def recorded(model, images):
        if not isinstance(model.network, Constant):  # the self-check's stand-in costs nothing
            passed.append(len(images))
        return call(model, images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageClassifier, "__call__", recorded)
        for method in ("centre", "gradient"):
            for res in (14, 7):
                for shard in range(2):
                    asked = (f"method={method}", f"res={res}", f"shard={shard}")
                    cells.run(load(*given, *asked), cells.Listener())
    sweep = scaling.planned(
        [
            "images=8", "batch=2", "shards=2", "methods=[centre,gradient]", "resolutions=[14,7]",
            "models=[scenes_vgg]", "forward=[1.0]", "backward=[1.0]",
        ]
    )  # fmt: skip
    sweep = dataclasses.replace(sweep, settings=settings)
    return place, sum(passed), sweep, scaling_model.total(sweep, scaling_model.count(sweep))


def test_a_real_sweep_leaves_what_the_model_says(small):
    place, _, sweep, whole = small
    left = Left.of(f"{place}=12.5")
    assert left.jobs == whole.cells * sweep.shards == 8
    assert (left.lines, left.backward) == (whole.lines, whole.backward)
    assert left.size == pytest.approx(whole.size, rel=0.05)
    # per_image.csv is written by the command line
    assert left.files == whole.files - 3
    headings, rows = compared(sweep, whole, {"one": left})
    assert headings == ["", "model", "one"]
    assert rows[1] == ["lines of images", f"{whole.lines}", f"{whole.lines}"]
    assert rows[-1][2] == "12"


def test_a_real_sweep_passes_what_the_model_says(small):
    _, passed, _, whole = small
    assert passed == whole.forward


def test_a_job_that_looked_at_every_claim_would_ask_far_more():
    long = dataclasses.replace(SWEEP, images=100_000, shards=64)
    whole = scaling_model.total(long, COUNTED)
    assert scaling_model.asked_at_each_claim(long, COUNTED) > 10 * whole.questions


def test_the_page_names_its_command_and_the_bottleneck_of_each_number_of_workers():
    laid = scaling.tables(SWEEP, WHOLE)
    text = scaling_page.page(
        ["images=1000", "--write", "a.md"], laid, (SWEEP, WHOLE, 1.0), ([], [])
    )
    assert "`python -m benchmark.scaling images=1000 --write a.md`" in text
    assert "Against measurements" not in text
    for workers, (row, hours) in zip(SWEEP.workers, [(r, r[1]) for r in laid[1][1]], strict=True):
        plural = "s" * (workers > 1)
        assert f"- {workers} worker{plural}: {hours} hours; the bottleneck is {row[2]}," in text


def test_what_is_no_folder_of_runs_is_refused(tmp_path):
    with pytest.raises(BadInput, match="there are no runs below"):
        Left.of(str(tmp_path))
    with pytest.raises(BadInput, match="takes FOLDER=SECONDS"):
        Left.of(f"{tmp_path}=long")


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
    ((_, rows),) = scaling.tables(sweep, scaling_model.total(sweep, COUNTED))[1:]
    assert rows[0][2] == bottleneck


def test_where_a_workers_own_sum_is_the_longest_its_largest_part_is_the_bottleneck():
    parts = dict.fromkeys(scaling_model.waits(SWEEP, WHOLE, 1), 0.0)
    parts |= {"passes": 0.03, "starts of jobs": 0.89, "appends": 0.54, "decoding": 1.42}
    assert scaling_model.hours(parts) == pytest.approx(1.46)
    assert scaling_model.bottleneck(parts) == "starts of jobs"
    assert scaling_model.bottleneck(parts | {"decoding": 1.47}) == "decoding"


def test_no_number_of_workers_is_faster_than_the_longest_job_or_the_file_system():
    slow = dataclasses.replace(SWEEP, syncs=0.001)
    for sweep in (SWEEP, slow):
        many = scaling_model.waits(sweep, WHOLE, 10**9)
        assert scaling_model.hours(many) == max(many["the longest job"], many["the file system"])
        assert scaling_model.hours(scaling_model.waits(sweep, WHOLE, 2)) <= scaling_model.hours(
            scaling_model.waits(sweep, WHOLE, 1)
        )


def test_passes_are_counted_as_a_run_counts_them():
    counted = scaling_model.count(
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
