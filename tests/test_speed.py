"""How near to its limit the benchmark runs: what is timed, what the limit is, what is written."""

import gc
import json
from types import SimpleNamespace

import cells
import pandas as pd
import pytest
import torch
from torch.nn import functional
from toys import Smooth, Tiny, classifier, images_of

from benchmark import alternation, pass_times, runtime, speed, speed_formats, speed_run
from benchmark.calibration import calibrate
from benchmark.errors import BadInput
from benchmark.models import Precision
from benchmark.pass_times import Bare, Best, PassTime, Size, best, by_size
from benchmark.runtime import Call
from benchmark.speed_run import Line, Timed

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.fixture
def place(tmp_path, monkeypatch):
    cells.make_images(tmp_path / "images")
    cells.make_conf(tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def command(place, monkeypatch):
    """Run the command on the tiny cell, in this process; return its exit code."""
    searched = f"hydra.searchpath=['file://{place / 'conf'}','torchvision://models']"
    tiny = [each for each in cells.choices(place) if not each.startswith(("method=", "metric="))]
    quick = [
        "batch_size=2",
        "speed.batches=[2,1]",
        "speed.repeats=1",
        "speed.series=0.001",
        "speed.timed=1",
    ]

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["speed", searched, *tiny, *quick, *arguments])
        return speed.main()

    return run


class Watched(torch.nn.Module):
    """Remembers what it was shown, and in which precision its weights were."""

    def __init__(self, network, shown):
        super().__init__()
        self.network = network
        self.shown = shown

    def __deepcopy__(self, memo):
        copied = classifier(Tiny()).network
        copied.load_state_dict(self.network.state_dict())
        return Watched(copied, self.shown)

    def forward(self, images):
        weights = next(self.network.parameters()).dtype
        self.shown.append((images.detach().clone(), weights, images.requires_grad))
        return self.network(images)


# The limit


def test_the_bare_network_is_shown_normalised_images_without_rows_that_pad():
    shown = []
    model = classifier(Watched(Tiny(), shown), classes=5, mean=MEAN, std=STD)
    images = images_of(3)
    (size,) = by_size(model, images, [5], repeats=1, series=1e-9)
    assert size.batch == 5
    bare = shown[-6:]  # three passes forward and three with the way back, two of each to warm up
    expected = (images[[0, 1, 2, 0, 1]] - model.mean.view(3, 1, 1)) / model.std.view(3, 1, 1)
    for given, _, _ in bare:
        assert torch.equal(given, expected)
        assert given.is_contiguous(memory_format=torch.channels_last)
    assert [leads_back for _, _, leads_back in bare] == [False] * 3 + [True] * 3
    assert {len(given) for given, _, _ in shown[:-6]} == {4, 8}  # of a classifier


def test_in_half_precision_the_bare_network_has_weights_of_it_and_the_classifier_keeps_its_own():
    shown = []
    network = Watched(Tiny(), shown)
    model = classifier(network, classes=5, precision=Precision.bf16)
    list(by_size(model, images_of(4), [4], repeats=1, series=1e-9))
    assert {(given.dtype, weights) for given, weights, _ in shown[-6:]} == {
        (torch.bfloat16, torch.bfloat16)
    }
    assert {weights for _, weights, _ in shown[:-6]} == {torch.float32}
    assert next(network.parameters()).dtype == torch.float32


def test_of_several_passes_the_fastest_counts_and_the_first_never(monkeypatch):
    forward, both = [0, 1, 0, 8, 0, 4], [0, 1, 0, 12, 0, 20]
    ticks = iter([*forward, *both])
    monkeypatch.setattr(pass_times, "clock", lambda _: next(ticks))
    found = pass_times.of_classifier(classifier(Tiny()), images_of(2), repeats=2)
    assert found == PassTime(forward=4 / 2, both=12 / 2)
    assert found.backward == 6 - 2


def test_a_pass_takes_what_it_does_on_average_in_the_faster_of_two_series(monkeypatch):
    """Of at least 6 seconds, so of 3 passes of 2 seconds; the first pass counts for nothing."""
    forward = [0, 9, 0, 2, 0, 15, 0, 12]
    both = [0, 9, 0, 7, 0, 8, 0, 10]
    ticks = iter([*forward, *both])
    monkeypatch.setattr(pass_times, "clock", lambda _: next(ticks))
    shown = []
    model = classifier(Watched(Tiny(), shown), classes=5)
    found = pass_times.of_classifier(model, images_of(2), repeats=2, series=6)
    assert found == PassTime(forward=12 / 3 / 2, both=8 / 2)
    assert len(shown) == (2 + 2 * 3) + (2 + 2 * 1)


def size(batch, forward, both):
    slower = PassTime(2 * forward, 2 * both)
    return Size(batch, classifier=slower, bare=PassTime(forward, both))


def test_each_way_is_as_fast_as_in_the_batch_that_suits_it_best():
    found = best([size(1, 3, 9), size(4, 1, 5), size(8, 2, 4)])
    assert (found.time, found.forward_batch, found.both_batch) == (PassTime(1, 4), 4, 8)


def test_passes_that_do_not_fit_into_memory_are_left_out(monkeypatch):
    def full(model, images, repeats, series):
        if len(images) > 2:
            raise torch.cuda.OutOfMemoryError
        return PassTime(1, 2)

    monkeypatch.setattr(pass_times, "of_classifier", full)
    model, images = classifier(Tiny()), images_of(2)
    assert [each.batch for each in by_size(model, images, [8, 2, 1], repeats=1, series=1)] == [1, 2]
    with pytest.raises(torch.cuda.OutOfMemoryError):
        list(by_size(model, images, [4, 8], repeats=1, series=1))


# Random weights


def test_calibrated_batch_norm_has_the_statistics_of_what_it_is_given():
    network = Tiny()
    first, norm = network.features[0], network.features[1]
    model = classifier(network, classes=5, mean=MEAN, std=STD)
    images = images_of(8)
    assert calibrate(model, images) == 1
    normalised = (images - model.mean.view(3, 1, 1)) / model.std.view(3, 1, 1)
    given = functional.conv2d(normalised, first.weight, first.bias, stride=2, padding=1)
    assert torch.allclose(norm.running_mean, given.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(norm.running_var, given.var((0, 2, 3)), rtol=1e-4)
    assert not network.training and not norm.training
    assert norm.momentum == 0.1


def test_a_network_without_batch_norm_stays_as_it_is():
    network = Smooth()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert calibrate(classifier(network, classes=4), images_of(4)) == 0
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_random_weights_are_calibrated_and_others_are_not(command, place, capsys, monkeypatch):
    network = cells.tiny_network()
    norm = torch.nn.BatchNorm2d(8)
    network.insert(1, norm)
    monkeypatch.setattr(cells, "tiny_network", network.eval)
    given = ["speed.methods=[]", "speed.metrics=[]", "--write", "found.json"]
    assert command(*given) == 0
    assert json.loads((place / "found.json").read_text())["calibrated_layers"] == 0
    assert norm.running_mean.eq(0).all()
    monkeypatch.setattr(speed_run, "RANDOM", "seed 0")  # what the tiny network calls its weights
    assert command(*given) == 0
    assert json.loads((place / "found.json").read_text())["calibrated_layers"] == 1
    assert norm.running_mean.ne(0).all()
    assert "1 layers of batch norm were given the statistics" in capsys.readouterr().out


# Methods and metrics


def test_efficiency_is_what_the_passes_would_take_over_what_is_taken(command, place, monkeypatch):
    """One pass with the way back; of three calls, 1/2, 2/5 and 4/32, the second in the middle."""
    now = {"time": 0.0}
    explain = cells.Toy.__call__
    takes = iter([9, 2, 32, 5])  # seconds an image; the first warms up

    def slow(self, model, batch):
        now["time"] += next(takes) * len(batch.ids)
        return explain(self, model, batch)

    limits = iter([PassTime(0.2, 1), PassTime(0.2, 1), PassTime(0.4, 7), PassTime(0.6, -3)])
    asked = []

    def at_best(self, sizes, series):
        asked.append((sizes.forward_batch, sizes.both_batch, series))
        return next(limits)

    monkeypatch.setattr(cells.Toy, "__call__", slow)
    monkeypatch.setattr(runtime, "clock", lambda _: now["time"])
    monkeypatch.setattr(speed_run, "by_size", lambda *_: iter([size(4, 0.5, 3), size(8, 0.7, 2)]))
    monkeypatch.setattr(pass_times.Bare, "at_best", at_best)
    given = ("speed.methods=[toy]", "speed.metrics=[]", "speed.timed=3")
    assert command(*given, "--write", "found.json", "--write", "found.csv") == 0
    assert asked == [(4, 8, 0.001)] * 4
    (line,) = json.loads((place / "found.json").read_text())["lines"]
    assert (line["forward_passes"], line["backward_passes"]) == (1, 1)
    assert (line["limit"], line["seconds"], line["efficiency"]) == (2.0, 5.0, 0.4)
    assert (line["images_per_second"], line["fastest"]) == (0.2, 2.0)
    assert [each["seconds"] for each in line["calls"]] == [2.0, 32.0, 5.0]
    assert [each["both_alone"] for each in line["calls"]] == [1.0, 4.0, 2.0]
    assert "calls" not in pd.read_csv(place / "found.csv")
    assert line["memory"] > 0


def test_of_two_calls_the_less_efficient_counts():
    calls = [Timed(Call(each, 1, 0), PassTime(1, 2)) for each in (4.0, 2.0, 8.0, 1.0)]
    assert Line("", 1, 0, calls[:2]).middle == calls[0]
    assert Line("", 1, 0, calls[:3]).middle == calls[0]
    assert Line("", 1, 0, calls).middle == calls[0]
    assert Line("", 1, 0, calls).fastest == 1


def test_beside_a_call_passes_have_the_size_that_suits_each_way(monkeypatch):
    ticks = iter([0, 1, 0, 4, 0, 1, 0, 30])
    monkeypatch.setattr(pass_times, "clock", lambda _: next(ticks))
    shown = []
    model = classifier(Watched(Tiny(), shown), classes=5)
    alone = Bare(model, images_of(3))
    shown.clear()
    found = alone.at_best(Best(PassTime(0, 0), forward_batch=2, both_batch=5), series=0)
    assert found == PassTime(forward=4 / 2, both=30 / 5)
    assert [(len(given), back) for given, _, back in shown if len(given) in (2, 5)] == [
        *[(2, False)] * 2,
        *[(5, True)] * 2,
    ]


def test_no_copy_of_the_network_takes_memory_while_a_call_is_timed(command, monkeypatch):
    alive = []
    explain = cells.Toy.__call__

    def watched(self, model, batch):
        gc.collect()
        alive.append(sum(type(each) is Bare for each in gc.get_objects()))
        return explain(self, model, batch)

    monkeypatch.setattr(cells.Toy, "__call__", watched)
    assert command("speed.methods=[toy]", "speed.metrics=[]", "model.precision=bf16") == 0
    assert set(alive) == {0}


def test_passes_are_those_that_the_settings_ask_for(command, place):
    methods = "[mask method.iterations=3 res=4,rise method.samples=10,centre]"
    given = [f"speed.methods={methods}", "--write", "found.json"]
    assert command(*given) == 0
    lines = json.loads((place / "found.json").read_text())["lines"]
    points = 14  # 49 cells in groups of 4, and both ends
    assert [(line["what"], line["forward_passes"], line["backward_passes"]) for line in lines] == [
        ("mask method.iterations=3 res=4", 3, 3),
        ("rise method.samples=10", 10, 0),
        ("centre", 0, 0),
        ("deletion + insertion", 2 * points, 0),
    ]


def test_every_number_is_written_with_what_it_was_measured_with(command, place, capsys):
    files = [place / f"found.{suffix}" for suffix in ("json", "csv", "md")]
    writes = [part for file in files for part in ("--write", str(file))]
    assert (
        command(
            "speed.methods=[toy]", "speed.metrics=[deletion]", "speed.precisions=[bf16]", *writes
        )
        == 0
    )
    found = json.loads(files[0].read_text())
    assert {"processor", "platform", "git", "packages", "threads", "device", "precision"} <= set(
        found
    )
    assert found["threads"] == torch.get_num_threads()
    assert found["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert [(each["precision"], each["batch"]) for each in found["passes"]] == [
        ("bf16", 1),
        ("bf16", 2),
        ("fp32", 1),
        ("fp32", 2),
    ]
    times = ("forward", "both", "forward_alone", "both_alone")
    assert all(each[name] > 0 for each in found["passes"] for name in times)
    for precision, limit in found["limits"].items():
        own = [each for each in found["passes"] if each["precision"] == precision]
        assert limit["forward"] == min(each["forward_alone"] for each in own)
        assert limit["both"] == min(each["both_alone"] for each in own)
    assert "dataset=tiny" in found["settings"]
    assert pd.read_csv(files[1])["what"].tolist() == ["toy", "deletion"]
    text = files[2].read_text()
    assert "| toy | 2 | 1.0 + 1.0 |" in text
    assert found["git"]["commit"][:10] in text
    assert "toy" in capsys.readouterr().out
    assert not (place / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--write", "found.txt"], r"end in .md, .json, .csv, not found.txt"),
        (["method=toy"], "method=... is of one run: use speed.methods=[...]"),
        (["metric=[deletion]"], "metric=... is of one run: use speed.metrics=[...]"),
        (["speed.metrics=[deletions]"], "metric"),
        (["speed.batches=[]"], "speed.batches needs numbers of at least 1"),
        (["speed.batches=[4,0]"], "speed.batches needs numbers of at least 1"),
        (["speed.repeats=0"], "speed.repeats must be at least 1, got 0"),
        (["speed.series=0"], "speed.series must be above 0"),
        (["speed.timed=few"], "speed.timed"),
        (["speed.methods=[toy,toy]"], "names 'toy' twice"),
        (["speed.methods=[method.gain=2]"], "each followed by its settings"),
        (["speed.methods=[toy seed=3]"], "'toy seed=3' changes seed, which all lines share"),
        (["speed.methods=[toy method.pain=3]"], "method.pain"),
        (["speed.methods=[nothing]"], "there is no method=nothing"),
        (["speed.speed=3"], "speed.speed is not a setting of Timing"),
        (["speed.precisions=[fp8]"], "precision=fp8"),
        (["speed.precisions=[tf32]"], "needs a CUDA device"),
        (["--against", "images"], "there is no checkout of this benchmark"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(command, capsys, arguments, message):
    assert command(*arguments) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("benchmark.speed: ")
    assert message in line


def test_a_batch_that_does_not_fit_is_refused_with_what_to_do(command, monkeypatch, capsys):
    def full(self, model, batch):
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(cells.Toy, "__call__", full)
    assert command("speed.methods=[toy]") == 2
    assert "2 images at once do not fit into memory: lower batch_size" in capsys.readouterr().err


# Two checkouts


def test_a_ratio_is_of_neighbours_in_time_and_its_range_that_of_the_rounds():
    rounds = [({"a": 1.0}, {"a": 2.0}), ({"a": 10.0}, {"a": 5.0}), ({"a": 4.0}, {"a": 4.0})]
    (found,) = alternation.by_name(rounds, "--against").values()
    assert (found.before, found.here) == (4, 4)
    assert (found.ratio, found.least, found.most) == (1, 0.5, 2)


def test_a_mistyped_setting_of_the_commands_own_is_refused_with_what_was_meant():
    with pytest.raises(BadInput, match=r"no setting sped\.rounds: did you mean speed\.rounds\?"):
        speed.settings_of(["sped.rounds=1"])


@pytest.mark.parametrize("theirs", [{"a": 1.0, "b": 1.0}, {}])
def test_checkouts_that_do_not_run_the_same_are_refused(theirs):
    with pytest.raises(BadInput, match=r"do not run the same: (a|b)"):
        alternation.by_name([(theirs, {"a": 1.0})], "--against")


def test_checkouts_take_turns(monkeypatch, tmp_path):
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "__main__.py").touch()
    found = alternation.in_turn(lambda place: place, tmp_path, 2, "--against")
    assert found == [(tmp_path, cells.ROOT)] * 2


def test_what_a_checkout_says_is_why_it_cannot_run(monkeypatch, tmp_path):
    said = SimpleNamespace(returncode=2, stderr="first\nNo module named benchmark.speed\n")
    monkeypatch.setattr(alternation.subprocess, "run", lambda *_, **__: said)
    with pytest.raises(BadInput, match=r"cannot run it: No module named benchmark\.speed"):
        alternation.run_in(tmp_path, "benchmark.speed", [], "--against")


def test_two_checkouts_are_compared_line_by_line(command, place, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", cells.environment()["PYTHONPATH"])
    given = ["speed.methods=[toy]", "speed.metrics=[]", "speed.rounds=1", "--write", "found.json"]
    assert command(*given, "--against", str(cells.ROOT)) == 0, capsys.readouterr().err
    found = json.loads((place / "found.json").read_text())
    (pair,) = found["rounds"]
    assert [line["what"] for line in pair["before"]["lines"]] == ["toy"]
    ratios = {each["what"]: each for each in found["ratios"]}
    assert set(ratios) == {
        "forward pass, as methods ask for it",
        "forward + backward, as methods ask for it",
        "forward pass, alone",
        "forward + backward, alone",
        "toy",
    }
    here, before = (pair[side]["lines"][0]["fastest"] for side in ("here", "before"))
    assert ratios["toy"]["ratio"] == here / before
    # a checkout from before there were series times passes in another way: only calls are compared
    earlier = {name: each for name, each in pair["before"].items() if name != "timing"}
    assert pair["here"]["timing"] == {"repeats": 1, "series": 0.001, "timed": 1}
    later = pair["before"] | {"timing": pair["before"]["timing"] | {"timed": 7}}
    assert speed_formats.timed_alike(later, pair["here"])
    monkeypatch.setattr(speed, "in_turn", lambda *_: [(earlier, pair["here"])])
    assert command(*given, "--against", str(cells.ROOT)) == 0
    assert [each["what"] for each in json.loads((place / "found.json").read_text())["ratios"]] == [
        "toy"
    ]
    assert "passes are left out" in capsys.readouterr().out
