"""Precisions compared: verdicts against closed forms, planted differences, rankings, refusals."""

import json
from dataclasses import dataclass
from itertools import product as every
from math import comb, sqrt

import cells
import numpy as np
import pandas as pd
import pytest
import torch
from toys import NotANumber, Tiny, classifier, images_of

from benchmark import precision
from benchmark.config import load
from benchmark.equivalence import ABOVE, BELOW, UNCLEAR, Z, judge, threshold
from benchmark.interfaces import BadInput
from benchmark.models import ImageClassifier, Precision
from benchmark.precision_findings import rounded, sentences
from benchmark.precision_tables import (
    ALL,
    ALONE,
    SEED,
    WHOLE,
    Compared,
    Measure,
    differences,
    orders,
    passes_of,
    speeds,
)
from benchmark.precision_texts import texts_of
from benchmark.precision_trial import refusal, seconds_of
from benchmark.stats import Mean
from benchmark.tf32 import TF32Classifier

SPREAD = np.random.default_rng(0).uniform(0.2, 0.8, 40)  # of a metric over images
LIMIT = threshold(SPREAD, 5000, 0.1)
MEASURE = Measure("fp32", n=5000, share=0.1, least=20)


# Verdicts


def test_the_threshold_is_a_tenth_of_half_the_interval_of_a_mean():
    # of 0 and 2 the variance is 2; the 97.5th percentile of a normal distribution is 1.959964
    assert threshold([0, 2, np.nan], 5000, 0.1) == pytest.approx(0.1 * 1.959964 * sqrt(2 / 5000))
    assert threshold([0, 2], 20_000, 0.1) == pytest.approx(threshold([0, 2], 5000, 0.1) / 2)
    assert np.isnan(threshold([1.0], 5000, 0.1))


def test_the_same_values_are_below_and_their_difference_is_exactly_nothing():
    found = judge(SPREAD, SPREAD, LIMIT, 20)
    assert found.difference == Mean(0.0, 0.0, 0.0, 40)
    assert found.verdict == BELOW


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("times", "verdict"), [(0.5, BELOW), (1.5, ABOVE), (1.0, UNCLEAR)])
def test_a_planted_shift_is_below_or_above_by_its_size(times, verdict, sign):
    jitter = 0.2 * LIMIT * np.sin(np.arange(40))
    found = judge(SPREAD, SPREAD + sign * times * LIMIT + jitter, LIMIT, 20)
    assert found.verdict == verdict
    assert found.difference.value == pytest.approx(sign * times * LIMIT, abs=0.02 * LIMIT)


def test_few_images_cannot_tell_whatever_they_say():
    for values in (SPREAD[:19], SPREAD[:19] + 1):
        assert judge(SPREAD[:19], values, LIMIT, 20)[1:] == (UNCLEAR, 20)


def test_a_metric_that_does_not_vary_cannot_tell_and_no_number_of_images_would():
    found = judge([0.5] * 30, [0.5] * 30, threshold([0.5] * 30, 5000, 0.1), 20)
    assert found.verdict == UNCLEAR
    assert np.isnan(found.images)


def test_images_without_a_value_at_either_precision_do_not_count():
    first, second = SPREAD.copy(), SPREAD.copy()
    first[0], second[1] = np.nan, np.nan
    assert judge(first, second, LIMIT, 20).difference.n == 38


@pytest.mark.parametrize("middle", [0.0, 0.7, 1.4])
def test_as_many_images_as_were_estimated_do_tell(middle):
    wide = np.tile([-1.0, 1.0], 20) * (5 if middle == 0 else 2) * LIMIT
    few = judge(SPREAD, SPREAD + wide + middle * LIMIT, LIMIT, 20)
    assert few.verdict == UNCLEAR
    assert few.images > 40
    times = int(np.ceil(1.1 * few.images / 40))
    many = np.tile(SPREAD, times)
    found = judge(many, many + np.tile(wide, times) + middle * LIMIT, LIMIT, 20)
    assert found.verdict == (ABOVE if middle > 1 else BELOW)
    times = int(0.7 * few.images / 40)
    if times > 1:
        many = np.tile(SPREAD, times)
        found = judge(many, many + np.tile(wide, times) + middle * LIMIT, LIMIT, 20)
        assert found.verdict == UNCLEAR


def test_hits_that_no_image_loses_are_no_evidence_until_there_are_enough():
    few = judge([0, 1] * 20, [0, 1] * 20, 0.01, 20)
    assert few.verdict == UNCLEAR
    assert few.difference[1:3] == pytest.approx((-Z / 42, Z / 42))  # Agresti & Min, nothing moved
    half = int(1.1 * few.images) // 2
    assert judge([0, 1] * half, [0, 1] * half, 0.01, 20).verdict == BELOW
    half = int(0.8 * few.images) // 2
    assert judge([0, 1] * half, [0, 1] * half, 0.01, 20).verdict == UNCLEAR


@pytest.mark.parametrize(("lost", "gained"), [(0.1, 0.02), (0.03, 0.03), (0.3, 0.1)])
def test_the_interval_of_hits_holds_the_true_difference_as_often_as_it_says(lost, gained):
    n, covered = 30, 0.0
    for less, more in every(range(n + 1), repeat=2):
        if less + more > n:
            continue
        chance = comb(n, less) * comb(n - less, more) * lost**less * gained**more
        chance *= (1 - lost - gained) ** (n - less - more)
        before = [1] * less + [0] * (n - less)
        after = [0] * less + [1] * more + [0] * (n - less - more)
        found = judge(before, after, 0.01, 2).difference
        covered += chance * (found.low <= gained - lost <= found.high)
    assert 0.94 < covered < 0.999


# Tables


def table(values, seconds=1.0, warm_up=(), target=0, passes=4):
    """Lines of images with one metric."""
    frame = pd.DataFrame({"m": np.asarray(values, float)})
    frame.index = pd.Index([f"image {number}" for number in frame.index])
    frame["target"], frame["seconds"], frame["passes"] = target, seconds, passes
    frame[passes_of("m")] = passes
    frame["warm_up"] = [number in warm_up for number in range(len(frame))]
    frame["forward_passes"], frame["backward_passes"] = 3.0, 2.0
    return frame


def compared(name, values, other, seed=None, **more):
    both = {"fp32": table(values), "bf16": table(other, **{"seconds": 0.5} | more)}
    again = None if seed is None else table(seed)
    return Compared(name, 7, {"m": True}, both, dict(both), again)


def test_a_line_says_the_reference_the_difference_and_where_it_stands():
    lines = differences([compared("a", SPREAD, SPREAD + 1, seed=SPREAD[::-1])], MEASURE)
    assert lines["comparison"].tolist() == [ALONE, WHOLE, SEED]
    assert lines["verdict"].tolist() == [ABOVE, ABOVE, UNCLEAR]
    line = lines.iloc[1]
    assert (line["n"], line["mean"]) == (40, pytest.approx(SPREAD.mean()))
    assert line["threshold"] == pytest.approx(0.1 * Z * SPREAD.std(ddof=1) / sqrt(5000))
    assert line["difference"] == pytest.approx(1)
    moved = lines.iloc[2]
    assert moved["of_image"] == pytest.approx(sqrt(((SPREAD - SPREAD[::-1]) ** 2).mean()))


def test_images_are_paired_by_their_names():
    first = compared("a", SPREAD, SPREAD)
    mixed = first.alone["bf16"].sample(frac=1, random_state=0)
    lines = differences([first._replace(alone=first.alone | {"bf16": mixed})], MEASURE)
    assert lines["difference"].tolist() == [0, 0]


def test_hits_of_the_same_heatmaps_are_the_same_where_no_pass_was_needed():
    hits = [0, 1] * 20
    sure, unsure = compared("a", hits, hits), compared("a", hits, hits)
    for each in sure.alone.values():
        each[passes_of("m")] = 0
    lines = differences([sure, unsure], MEASURE).set_index("comparison")
    assert lines.loc[ALONE, "verdict"].tolist() == [BELOW, UNCLEAR]
    assert lines.loc[WHOLE, "verdict"].tolist() == [UNCLEAR, UNCLEAR]


def test_a_pair_of_methods_that_turns_round_is_named_with_whether_it_had_been_told_apart():
    close = compared("b", SPREAD + 0.01 * np.sin(np.arange(40)), SPREAD - 0.1)
    far = compared("c", SPREAD + 0.2, SPREAD - 0.2)
    methods = [compared("a", SPREAD - 0.001, SPREAD), close, far]
    found = orders(methods, MEASURE)
    assert found["comparison"].tolist() == [ALONE, WHOLE]
    line = found.iloc[0]
    means = {"fp32": [-0.001, 0.0, 0.2], "bf16": [0.0, -0.1, -0.2]}  # but for a constant
    assert means["fp32"] == sorted(means["fp32"])
    assert means["bf16"] == sorted(means["bf16"], reverse=True)
    assert (line["tau"], line["pairs"], line["methods"]) == (-1, 3, 3)
    assert line["turned"] == ["a and b", "a and c", "b and c"]
    assert line["lost"] == ["a and c", "b and c"]


def test_methods_of_different_resolutions_are_not_ranked_together():
    methods = [compared("a", SPREAD, SPREAD), compared("b", SPREAD, SPREAD)._replace(res=14)]
    assert orders(methods, MEASURE).empty


def test_speed_is_a_median_without_the_first_batch_over_the_references():
    slow = compared("a", SPREAD, SPREAD, warm_up=(0, 1))
    slow.whole["bf16"].loc[["image 0", "image 1"], "seconds"] = 100.0
    lines = speeds([slow, compared("b", SPREAD, SPREAD, seconds=0.2)], MEASURE)
    lines = lines.set_index(["method", "precision"])
    assert lines.loc[("a", "bf16"), "explain_ratio"] == 0.5
    assert lines.loc[("b", "bf16"), "ratio"] == pytest.approx(0.2)
    assert lines.loc[(ALL, "fp32"), "score"] == 2
    assert lines.loc[(ALL, "bf16"), "ratio"] == pytest.approx(0.35)
    assert lines.loc[(ALL, "bf16"), "forward"] == 6


# Sentences


def said(*methods):
    tables = [each(methods, MEASURE) for each in (differences, orders, speeds)]
    return sentences(*tables, MEASURE)


def test_the_last_sentences_name_the_fastest_precision_that_stays_below():
    same = compared("a", SPREAD, SPREAD)
    faster = {"fp16": table(SPREAD, seconds=0.3)}
    alone, whole = said(same._replace(alone=same.alone | faster, whole=same.whole | faster))
    for sentence in (alone, whole):
        assert "fp16 is the fastest precision whose differences are all below 0.1 of" in sentence
        assert sentence.endswith("takes 0.30 of fp32's time")


def test_the_last_sentences_say_what_is_above_and_what_it_would_take():
    _, whole = said(compared("a", SPREAD, SPREAD + 1))
    assert "no precision faster than fp32 can be shown to stay below" in whole
    assert "bf16 (0.50 of fp32's time) is above it for m of a (+1)" in whole
    unsure = SPREAD + np.tile([-1, 1], 20) * 5 * LIMIT
    _, whole = said(compared("a", SPREAD, unsure), compared("b", SPREAD, SPREAD))
    assert "cannot be told for 1 of 2 scores (about " in whole
    _, whole = said(compared("a", SPREAD, SPREAD, seconds=2.0))
    assert "bf16 (2.00 of fp32's time) stays below it, but is not faster" in whole


def test_another_class_a_turned_pair_and_another_seed_are_said():
    found = said(
        compared("a", SPREAD, SPREAD, seed=SPREAD + 0.25, target=[0] * 38 + [1] * 2),
        compared("b", SPREAD + 0.2, SPREAD - 0.2, seed=SPREAD + 0.2),
    )
    assert "bf16 explains another class than fp32 on 2 of 40 images" in found
    assert any("moves by 0.25 (root mean square) with another seed at fp32" in e for e in found)
    assert "m of b: another seed gives the same scores" in found
    assert "m (whole, 7 x 7): bf16 turns round a and b, tau -1.00; fp32 had told apart a and b" in (
        found
    )


def test_an_estimated_number_is_rounded_up_to_two_digits():
    assert [rounded(each) for each in (7.0, 41.0, 1601.0, 296_001.0)] == [
        "7",
        "41",
        "1,700",
        "300,000",
    ]
    assert rounded(np.nan) == "–"


# The whole of it, with a model whose precisions differ by what is planted


@dataclass(frozen=True)
class Planted(cells.TinyModel):
    """The tiny model in full precision; bf16 is fp32 but for the logits' scale, fp16 is fp32."""

    scale: float

    def load(self, device):
        network = cells.tiny_network()
        if self.precision is Precision.bf16:
            network[-1].weight.data *= self.scale
        return ImageClassifier(
            network,
            mean=(0.5, 0.4, 0.3),
            std=(0.2, 0.2, 0.2),
            input_size=cells.SIDE,
            class_names=cells.CLASSES,
            weights="planted",
            device=device,
            precision=Precision.tf32 if self.precision is Precision.tf32 else Precision.fp32,
            pass_batch=self.pass_batch,
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("precision")
    cells.make_images(place / "images", 24)
    cells.make_conf(place / "conf")
    text = (place / "conf/model/tiny.yaml").read_text()
    planted = text.replace("cells.TinyModel", "test_precision.Planted") + "scale: 3.0\n"
    (place / "conf/model/planted.yaml").write_text(planted)
    return place


def given(folder, *more):
    names = {each.partition("=")[0] for each in more}
    usual = [
        f"hydra.searchpath=['file://{folder / 'conf'}','torchvision://models']",
        "dataset=tiny",
        "dataset.limit=null",
        "batch_size=24",
        "model=planted",
        "res=7",
        "resize=refuse",
        "device=cpu",
        "metric=[deletion,pointing]",
        "protocol.steps=10",
        f"dataset.root='{folder / 'images'}'",
        f"results='{folder / 'results'}'",
        "precision.methods=[toy,random]",
        "precision.seeds=[toy,igos]",  # igos is not compared, so there is nothing to explain again
        "precision.slowest=1000",
    ]
    return [*(each for each in usual if each.partition("=")[0] not in names), *more]


@pytest.fixture(scope="module")
def comparison(folder):
    return precision.measured(given(folder))


def test_a_precision_that_changes_nothing_is_below_and_a_planted_change_is_above(comparison):
    lines = comparison.tables["differences"].set_index(
        ["comparison", "precision", "metric", "method"]
    )
    for method in ("toy", "random"):
        for kind in (ALONE, WHOLE):
            same = lines.loc[(kind, "fp16", "deletion", method)]
            assert (same["difference"], same["low"], same["high"]) == (0, 0, 0)
            assert same["verdict"] == BELOW
            assert lines.loc[(kind, "bf16", "deletion", method), "verdict"] == ABOVE
        assert lines.loc[(ALONE, "bf16", "pointing", method), "verdict"] == BELOW
    assert lines.loc[(SEED, "fp32", "deletion", "toy"), "of_image"] > 0
    assert comparison.left_out == {"tf32": "precision=tf32 needs a CUDA device, this run is on cpu"}
    assert not any("scores the same heatmap again" in each for each in comparison.findings)


def test_the_metric_alone_is_the_reference_heatmaps_scored_by_the_other_model(folder, comparison):
    settings = [each for each in given(folder) if not each.startswith("precision.")]
    full, half = (
        precision.Cell.open(load(*settings, "method=toy", f"model.precision={each}"))
        for each in ("fp32", "bf16")
    )
    batch = full.batch(full.dataset.ids())
    maps = np.stack([full.folder.stage("heatmaps").array(each, "heatmap") for each in batch.ids])
    scored = [
        each.metrics["deletion"](each.model, batch, torch.from_numpy(maps)).values
        for each in (full, half)
    ]
    lines = comparison.tables["differences"].set_index(
        ["comparison", "precision", "metric", "method"]
    )
    line = lines.loc[(ALONE, "bf16", "deletion", "toy")]
    assert line["difference"] == pytest.approx(float((scored[1] - scored[0]).mean()), abs=1e-6)
    assert line["mean"] == pytest.approx(float(scored[0].mean()), abs=1e-6)


def test_the_same_command_computes_nothing_again(folder, comparison, monkeypatch):
    def files():
        found = (folder / "results").rglob("*.jsonl")
        return {each: each.read_bytes() for each in found if each.name != "log.jsonl"}

    before, calls = files(), len(cells.CALLS)
    monkeypatch.setattr("benchmark.precision_scores.score_all", None)
    again = precision.measured(given(folder))
    assert files() == before
    assert len(cells.CALLS) == calls
    for name, frame in comparison.tables.items():
        pd.testing.assert_frame_equal(again.tables[name], frame)


def test_what_is_written_is_shown_too(comparison, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(precision, "measured", lambda _: comparison)
    file = tmp_path / "a.csv"
    monkeypatch.setattr("sys.argv", ["precision", "--write", str(file)])
    assert precision.main() == 0
    shown = capsys.readouterr().out
    assert "┃ comparison " in shown
    assert shown.splitlines()[-1] == f"written to {file}"
    assert file.read_text() == precision.rendered(comparison, ".csv")


def test_it_is_written_as_markdown_json_and_csv(comparison):
    text = precision.rendered(comparison, ".md")
    assert text.startswith("| comparison | method | res | metric | precision | mean at fp32 |")
    assert "- tf32 is left out: precision=tf32 needs a CUDA device" in text
    assert text.count("\n|---") == len(texts_of(comparison.tables, comparison.measure)) == 3
    told = json.loads(precision.rendered(comparison, ".json"))
    assert told["measure"] == {"reference": "fp32", "n": 5000, "share": 0.1, "least": 20}
    for name, frame in comparison.tables.items():
        assert len(told["tables"][name]) == len(frame)
    assert told["findings"] == comparison.findings
    lines = precision.rendered(comparison, ".csv").splitlines()
    assert len(lines) == 1 + len(comparison.tables["differences"])


def test_a_precision_whose_run_fails_is_left_out_with_the_reason(folder, monkeypatch):
    load_planted = Planted.load

    def overflowing(self, device):
        model = load_planted(self, device)
        if self.precision is Precision.fp16:
            model.network[-1].bias.data.fill_(torch.inf)
        return model

    monkeypatch.setattr(Planted, "load", overflowing)
    monkeypatch.setattr("benchmark.precision_runs.refusal", lambda *_: "")
    found = precision.measured(
        given(folder, "precision.tried=[fp16,bf16]", "precision.methods=[toy]", "seed=5")
    )
    assert set(found.left_out) == {"fp16"}
    assert found.left_out["fp16"].startswith("toy: the model returned NaN or infinity for image-")
    assert set(found.tables["differences"]["precision"]) == {"fp32", "bf16"}


# Refusals


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["method=toy"], "method=... cannot be given here: precision.methods"),
        (["model.precision=bf16"], "model.precision=... cannot be given here"),
        (["precision.tried=[fp32]"], "precision.tried has to name another one than reference=fp32"),
        (["precision.tried=[fp64]"], "fp64"),
        (["precision.tried=[tf32]"], "nothing to compare fp32 with: tf32: precision=tf32 needs"),
        (["precision.seeds=[igoss]"], "there is no method=igoss"),
        (["precision.methods=[toy,toy]"], "name one or more, each once"),
        (["precision.methods=['toy seed=1']", "precision.seeds=[]"], "'toy seed=1' sets seed=1"),
        (["precision.methods=[nothing]", "precision.seeds=[]"], "there is no method=nothing"),
        (["precision.share=0"], "share and slowest above 0"),
        (["precision.lots=3"], "lots"),
        (["precison.share=1"], "no setting precison.share: did you mean precision.share?"),
        (["precision.methods=[toy"], "no viable alternative at input '[toy'"),
        (["res=8"], "makes 7 x 7"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(more, message, folder, monkeypatch, capsys):
    name = "precision.methods=['toy method.res=7']"
    more = [*more, name, "precision.seeds=[]"] if more == ["res=8"] else more
    monkeypatch.setattr("sys.argv", ["precision", *given(folder, *more)])
    assert precision.main() == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("benchmark.precision: ")
    assert message in lines[-1]


def test_a_method_with_settings_of_its_own_is_explained_with_another_seed_by_its_name(folder):
    methods = ["precision.methods=['toy method.res=7']", "precision.tried=[fp16]"]
    lines = precision.measured(given(folder, *methods)).tables["differences"]
    assert set(lines["comparison"]) == {ALONE, WHOLE, SEED}


def test_a_second_method_of_another_resolution_is_refused_before_the_first_is_run(
    folder, tmp_path, monkeypatch, capsys
):
    methods = "precision.methods=[random,'toy method.res=7']"
    more = [methods, "precision.seeds=[]", "res=8", f"results={tmp_path / 'results'}"]
    monkeypatch.setattr("sys.argv", ["precision", *given(folder, *more)])
    assert precision.main() == 2
    assert "method=toy makes 7 x 7" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_another_kind_of_file_is_refused_before_anything_is_run(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["precision", "--write", "precision.xls"])
    assert precision.main() == 2
    assert "takes files that end in .md, .json, .csv, not precision.xls" in capsys.readouterr().err


def test_a_precision_that_the_device_lacks_or_is_slow_at_is_left_out():
    images = images_of(4, 32)

    def missing():
        raise RuntimeError("no kernel for Half\nof any kind")

    def fine():
        return classifier(Tiny(), classes=5)

    assert refusal(missing, images, 1.0, 2.0) == "no kernel for Half"
    assert refusal(fine, images, 1e9, 2.0) == ""
    assert "times as long as at the reference" in refusal(fine, images, 1e-9, 2.0)
    with pytest.raises(BadInput, match="gives NaN or infinity"):
        seconds_of(classifier(NotANumber()), images_of(4, 8))


def test_what_others_do_on_a_cpu_meanwhile_does_not_count_for_a_pass(monkeypatch):
    ticks = iter(range(100))
    monkeypatch.setattr("benchmark.precision_trial.time.process_time", lambda: next(ticks))
    assert seconds_of(classifier(Tiny(), classes=5), images_of(4, 32)) == 1


# TF32: torch's switch is the process's


def is_on():
    both = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    assert len(set(both)) == 1
    return both[0]


class Watch(torch.autograd.Function):
    """Nothing but a note of where the switch stands, forward and backward."""

    @staticmethod
    def forward(ctx, notes, x):
        ctx.notes = notes
        notes.append(("forward", is_on()))
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.notes.append(("backward", is_on()))
        return None, gradient


class Watched(torch.nn.Module):
    def __init__(self, fails=False):
        super().__init__()
        self.notes, self.inner, self.fails = [], Tiny(), fails

    def forward(self, images):
        if self.fails:
            raise RuntimeError("out of memory")
        return Watch.apply(self.notes, self.inner(Watch.apply(self.notes, images)))


@pytest.fixture
def taking_turns():
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [each.allow_tf32 for each in switches]
    coarse, fine = Watched(), Watched()
    models = TF32Classifier.around(classifier(coarse, classes=5)), classifier(fine, classes=5)
    yield *models, coarse.notes, fine.notes
    for each, state in zip(switches, before, strict=True):
        each.allow_tf32 = state


def test_tf32_is_on_in_its_own_passes_and_in_no_others(taking_turns):
    coarse, fine, coarse_notes, fine_notes = taking_turns
    images = images_of(4, 32).requires_grad_()
    first, second = coarse(images), fine(images)
    assert not is_on()
    torch.autograd.grad(first.sum(), images, retain_graph=True)
    assert not is_on()
    torch.autograd.grad(second.sum(), images)
    torch.autograd.grad((2 * first).sum() + coarse(images).sum(), images)
    assert not is_on()
    assert {on for _, on in coarse_notes} == {True}
    assert {on for _, on in fine_notes} == {False}
    assert sum(way == "backward" for way, _ in coarse_notes) == 6


def test_tf32_is_off_after_a_pass_that_fails_and_a_gradient_of_an_inner_layer(taking_turns):
    coarse, *_ = taking_turns
    seen = []
    handle = coarse.network.inner.register_forward_hook(lambda _m, _i, out: seen.append(out))
    logits = coarse(images_of(4, 32).requires_grad_())
    handle.remove()
    torch.autograd.grad(logits.sum(), seen[0])
    assert not is_on()
    failing = coarse.with_network(Watched(fails=True))
    assert isinstance(failing, TF32Classifier)
    with pytest.raises(RuntimeError, match="out of memory"):
        failing(images_of(4, 32))
    assert not is_on()


def test_a_classifier_taken_over_keeps_what_belongs_to_it_and_counts(taking_turns):
    coarse, fine, *_ = taking_turns
    assert set(vars(coarse)) == set(vars(fine))
    coarse.begin_count(4)
    coarse(images_of(4, 32))
    assert coarse.forward_passes.tolist() == [1, 1, 1, 1]
