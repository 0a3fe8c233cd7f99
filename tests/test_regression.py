"""The verdicts of the regression gate: by hand, on drawn scores, and on faults put into I-GOS."""

import dataclasses
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from toys import batch_of, classifier

from benchmark import curves, images, masking
from benchmark.building import build
from benchmark.check import exit_code
from benchmark.config import load
from benchmark.errors import BadInput
from benchmark.masking import Noise
from benchmark.measured import Measured
from benchmark.pairing import pairs
from benchmark.regression import Rules, Verdict, judge
from methods.controls import Centre
from metrics.deletion_insertion import Deletion, Insertion

RULES = Rules(
    margins={"deletion": 0.02, "insertion": 0.02, "pointing": 0.1},
    passes=0.05,
    time=0.25,
    exact=["centre"],
    tolerance=1e-4,
    level=0.05,
    unclear=3,
)
NOISE = np.random.default_rng(0).normal(0, 0.01, size=40)
NAN = float("nan")


def measured(values, metric="deletion", *, passes=300.0, name="cell", method="mine", **made):
    """Put values of one metric into what the gate compares."""
    ids = [f"image-{number}" for number in range(len(values))]
    table = {"digest": "d", "target": 0, metric: values}
    table |= {"forward_passes": passes, "backward_passes": 7.0}
    better = {metric: metric != "deletion"}
    facts = {f"metric.{metric}.steps": 10, "weights_sha256": "w"}
    return Measured(
        name,
        f"runs/{name}",
        method,
        facts,
        {"seed": 0} | made,
        better,
        pd.DataFrame(table, index=ids),
    )


def verdict(candidate, baseline, rules=RULES):
    return judge([(candidate, baseline)], rules)[0]


@pytest.mark.parametrize(("metric", "sign"), [("deletion", 1), ("insertion", -1)])
@pytest.mark.parametrize(
    ("harm", "expected"), [(0.04, "worse"), (0.01, "same"), (0.0, "same"), (-0.04, "better")]
)
def test_a_shift_beyond_the_margin_is_worse_one_within_it_is_not(metric, sign, harm, expected):
    candidate = measured(0.5 + sign * harm + NOISE, metric)
    assert verdict(candidate, measured(np.full(40, 0.5), metric)).verdict.name == expected


def test_the_same_scores_are_the_same_even_of_one_image():
    finding = verdict(measured([0.5]), measured([0.5 + 1e-8]))
    assert (finding.verdict, finding.note) == (Verdict.same, "identical")


def test_few_images_that_scatter_tell_nothing_and_it_is_said_how_many_would():
    scatter = np.array([0.3, -0.3, 0.2, -0.2, 0.1, -0.1])
    finding = verdict(measured(0.5 + scatter), measured(np.full(6, 0.5)))
    assert finding.verdict is Verdict.unclear
    # (1.645 + 0.842)^2 times the variance .056 over the squared margin.
    needed = (1.64485 + 0.84162) ** 2 * 0.056 / 0.02**2
    assert finding.note == f"needs about {int(np.ceil(needed))} images"


def test_that_many_images_tell_four_times_in_five():
    source = np.random.default_rng(3)
    n, told = 155, 0  # (2.487 * .1 / .02)^2
    for _ in range(40):
        candidate = measured(0.5 + source.normal(0, 0.1, size=n))
        told += verdict(candidate, measured(np.full(n, 0.5))).verdict is not Verdict.unclear
    assert 25 <= told <= 39  # 32 are expected, give or take 2.5


def test_gates_without_a_fault_are_seldom_called_worse():
    source = np.random.default_rng(1)
    false = 0
    for _ in range(100):
        found = [
            (measured(0.5 + source.normal(0, 0.2, size=30)), measured(np.full(30, 0.5)))
            for _ in range(4)
        ]
        false += any(each.verdict is Verdict.worse for each in judge(found, RULES))
    assert false <= 12  # 5 are expected at most, give or take 2.2


def test_a_mean_worse_by_the_margin_is_seldom_called_the_same():
    source = np.random.default_rng(2)
    candidates = (measured(0.52 + source.normal(0, 0.05, size=40)) for _ in range(100))
    base = measured(np.full(40, 0.5))
    same = sum(verdict(each, base).verdict is Verdict.same for each in candidates)
    assert same <= 12


def test_a_control_may_not_move_on_any_image():
    still, moved = np.full(40, 0.5), np.full(40, 0.5)
    still[3], moved[3] = 0.50005, 0.5003
    base = measured(np.full(40, 0.5), method="centre")
    assert verdict(measured(still, method="centre"), base).verdict is Verdict.same
    finding = verdict(measured(moved, method="centre"), base)
    assert finding.verdict is Verdict.worse
    assert "the harness measures something else" in finding.note


def test_constant_passes_are_counted_and_others_tested():
    values, base = np.full(40, 0.5), measured(np.full(40, 0.5))
    for passes, expected in ((301, "worse"), (299, "better"), (300, "same")):
        assert judge([(measured(values, passes=passes), base)], RULES)[1].verdict.name == expected
    searched = 440 + 100 * NOISE
    base = measured(values, passes=searched)
    for factor, expected in ((1.1, "worse"), (1.01, "same")):
        finding = judge([(measured(values, passes=searched * factor), base)], RULES)[1]
        assert finding.verdict.name == expected


def test_a_metric_that_applies_to_other_images_has_changed():
    base = measured([0.0, 1.0, NAN, 1.0], "pointing")
    assert verdict(measured([0.0, 1.0, 1.0, NAN], "pointing"), base).verdict is Verdict.worse
    assert verdict(measured([0.0, 1.0, NAN, 1.0], "pointing"), base).verdict is Verdict.same


def test_a_score_that_moves_with_the_same_settings_is_told():
    base = measured(np.full(40, 0.5))
    assert verdict(measured(0.5 + NOISE), base).note.startswith("moved on 40 images")
    assert verdict(measured(0.5 + NOISE, seed=1), base).note == ""


def test_a_metric_without_a_margin_is_refused():
    rules = dataclasses.replace(RULES, margins={"insertion": 0.1})
    with pytest.raises(BadInput, match=r"give \+check\.margins\.deletion="):
        verdict(measured([0.5]), measured([0.5]), rules)


def test_a_loss_within_the_margin_is_never_called_worse():
    worse_by = 0.018 + np.tile([0.01, -0.01], 20)  # surely a loss, and not surely within .02
    finding = verdict(measured(0.5 + worse_by), measured(np.full(40, 0.5)))
    assert finding.verdict is Verdict.unclear


def test_a_mean_at_its_margin_needs_no_particular_number_of_images():
    hits = np.ones(10)
    hits[0] = 0
    finding = verdict(measured(hits, "pointing"), measured(np.ones(10), "pointing"))
    assert (finding.verdict, finding.note) == (Verdict.unclear, "needs more images")


def test_a_metric_that_applies_to_no_image_tells_nothing():
    nothing = measured(np.full(5, NAN), "pointing")
    finding = verdict(nothing, nothing)
    assert (finding.verdict, finding.note) == (Verdict.unclear, "applies to no image")


def test_measures_that_cannot_differ_cost_the_others_nothing():
    apart = 0.5 + np.full(6, 0.1)  # of six signs one in 64 are all alike
    found = [(measured(apart), measured(np.full(6, 0.5)))]
    found += [(measured(np.full(6, 0.5)), measured(np.full(6, 0.5)))] * 20
    assert judge(found, RULES)[0].verdict is Verdict.worse


def test_what_cannot_be_told_passes_only_where_no_mean_is_beyond_its_margin():
    lenient = dataclasses.replace(RULES, unclear=0)
    for shift, code in ((0.015, 0), (0.03, 3)):
        values = 0.5 + shift + np.tile([0.1, -0.1], 5)
        findings = judge([(measured(values), measured(np.full(10, 0.5)))], lenient)
        assert findings[0].verdict is Verdict.unclear
        assert exit_code(findings, lenient) == code


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"margins": {"deletion": 0.0}}, "check.margins.deletion must be above 0"),
        ({"passes": -1.0}, "at least 0"),
        ({"level": 1.0}, "check.level must be between 0 and 1"),
        ({"unclear": 1}, "0 or 3, got 1"),
    ],
)
def test_rules_that_make_no_sense_are_refused(changes, said):
    with pytest.raises(BadInput, match=said):
        dataclasses.replace(RULES, **changes)


# Who is compared with whom


def test_cells_go_by_name_and_a_single_one_with_whatever_is_there():
    a, b = measured([0.1], name="a"), measured([0.2], name="b")
    assert pairs([b, a], [a, b], None) == [(a, a), (b, b)]
    assert pairs([b], [a], None) == [(b, a)]
    assert pairs([b], [a, b], "a") == [(b, a)]


def test_of_several_choices_of_images_the_baselines_counts():
    few, many = measured([0.1, 0.2]), measured([0.1, 0.2, 0.3])
    assert pairs([few, many], [few], None) == [(few, few)]


def test_several_runs_that_may_be_compared_are_refused():
    older, newer = measured([0.1]), measured([0.2])._replace(run="runs/newer")
    with pytest.raises(BadInput, match=r"2 runs of the candidate .* such as runs/newer"):
        pairs([older, newer], [measured([0.1])], None)


def other(base, **changes):
    return base._replace(images=base.images.assign(**changes))


BASE = measured([0.1, 0.2])


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        (
            BASE._replace(facts=BASE.facts | {"weights_sha256": "v"}),
            "weights_sha256 is v and was w",
        ),
        (
            BASE._replace(facts=BASE.facts | {"metric.deletion.steps": 5}),
            r"metric\.deletion\.steps is 5 and was 10",
        ),
        (measured([0.1, 0.2], "insertion"), r"metric\.deletion\.steps is none and was 10"),
        (measured([0.1, 0.2, 0.3]), "the baseline has 2 images, the candidate 3, and image-2 is"),
        (other(BASE, digest=["d", "e"]), "1 of 2 images have changed, such as image-1"),
        (other(BASE, target=[3, 0]), "1 of 2 targets have changed, such as image-0"),
    ],
)
def test_what_may_not_be_compared_is_refused(candidate, said):
    with pytest.raises(BadInput, match=f"cell cannot be compared: .*{said}"):
        pairs([candidate], [BASE], None)


def test_a_cell_that_is_not_there_is_refused():
    with pytest.raises(BadInput, match="the candidate has no cell, but a; b"):
        pairs([measured([0.1], name="a"), measured([0.1], name="b")], [BASE], None)
    with pytest.raises(BadInput, match="cell=c: the baseline has cell"):
        pairs([BASE], [BASE], "c")


# Faults. Sixty-four digits on coloured noise, and a network that a few seconds of training have
# taught to read them: wrong steps and missing noise cost I-GOS something there, as on real images.

SIZE, COUNT = 32, 64
SETTINGS = (
    "res=16",
    "method.iterations=8",
    "method.l1=1.0",
    "method.tv=10.0",
    "method.noise_sd=0.3",
)
BASELINE = ("baseline.kernel=31", "baseline.sigma=15.0")
GIVEN = load("method=igos", "protocol.steps=32", *SETTINGS, *BASELINE)
PLAIN, PROTOCOL = build(GIVEN.method, "method"), build(GIVEN.protocol, "protocol")


def pictures(places, seed):
    source = torch.Generator().manual_seed(seed)
    digits = torch.tensor(load_digits().images[places] / 16, dtype=torch.float32)[:, None]
    digits = functional.interpolate(digits, (16, 16), mode="bilinear")
    shown = torch.rand(len(places), 3, 8, 8, generator=source)
    shown = functional.interpolate(shown, (SIZE, SIZE), mode="bilinear") / 2
    corners = torch.randint(0, SIZE - 15, (len(places), 2), generator=source).tolist()
    for image, digit, (row, column) in zip(shown, digits, corners, strict=True):
        part = image[:, row : row + 16, column : column + 16]
        part.copy_(torch.maximum(part, digit))
    return shown, torch.tensor(load_digits().target[places])


@pytest.fixture(scope="module")
def reader():
    """A classifier of digits, trained here, and what it is measured on."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            *(nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(24, 48, 3, padding=1), nn.ReLU()),
            *(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(48, 10)),
        )
    known, labels = pictures(np.arange(1500), seed=1)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    source = torch.Generator().manual_seed(0)
    for _ in range(200):
        some = torch.randint(0, len(known), (64,), generator=source)
        optimizer.zero_grad()
        functional.cross_entropy(network(known[some]), labels[some]).backward()
        optimizer.step()
    model = classifier(network.eval(), classes=10, input_size=SIZE)
    shown, labels = pictures(np.arange(1500, 1500 + COUNT), seed=2)
    with torch.no_grad():
        targets = model(shown).argmax(1)
    assert (targets == labels).float().mean() > 0.9
    return model, shown, targets


def cells(reader, method=PLAIN, seed=0):
    """Measure I-GOS and a control as the harness would."""
    model, shown, targets = reader
    seeds = [
        int.from_bytes(sha256(f"{seed}:{number}".encode()).digest()[:8]) >> 1
        for number in range(COUNT)
    ]
    batch = batch_of(shown, targets, seeds=seeds)
    found = []
    for name, explain in (("igos", method), ("centre", Centre(res=16, sigma=0.2))):
        model.begin_count(COUNT)
        heatmaps = explain(model, batch)
        table = {"digest": "d", "target": targets}
        table["forward_passes"] = model.forward_passes.tolist()
        table["backward_passes"] = model.backward_passes.tolist()
        for metric in (Deletion(PROTOCOL), Insertion(PROTOCOL)):
            values = metric(model, batch, heatmaps).values
            table[type(metric).__name__.lower()] = values.numpy()
        frame = pd.DataFrame(table, index=batch.ids)
        better = {"deletion": False, "insertion": True}
        found.append(Measured(name, "", name, {}, {"seed": seed}, better, frame))
    return found


@pytest.fixture(scope="module")
def accepted(reader):
    return cells(reader)


def verdicts(candidates, accepted):
    found = judge(pairs(candidates, accepted, None), RULES)
    return {(each.cell, each.measure): each.verdict for each in found}


def wrong_sign(patch):
    right = masking.Objective.penalty

    def penalty(self, masks, rows):
        self.tv = -self.tv
        try:
            return right(self, masks, rows)
        finally:
            self.tv = -self.tv

    patch.setattr(masking.Objective, "penalty", penalty)


def swapped(patch):
    right = masking.composite
    patch.setattr(masking, "composite", lambda front, back, kept: right(back, front, kept))


def one_group_late(patch):
    right = curves.removed_counts

    def late(cells, steps):
        return (right(cells, steps) - max(1, cells // steps)).clamp(min=0)

    patch.setattr(curves, "removed_counts", late)


def nearest(patch):
    def upsample(masks, size):
        return functional.interpolate(masks, size=(size, size), mode="nearest")

    for module in (images, masking, curves):
        patch.setattr(module, "upsample", upsample)


FAULTS = {
    "the total variation's sign": (wrong_sign, {}),
    "image and baseline swapped": (swapped, {}),
    "ten times the weight": (None, {"l1": 10.0}),
    "no noise": (None, {"noise": Noise.none}),
    "a curve one group late": (one_group_late, {}),
    "nearest instead of bilinear": (nearest, {}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_on_64_images(reader, accepted, monkeypatch, name):
    inject, settings = FAULTS[name]
    if inject is not None:
        inject(monkeypatch)
    found = verdicts(cells(reader, dataclasses.replace(PLAIN, **settings)), accepted)
    assert Verdict.worse in found.values(), found


def test_a_rerun_is_the_same_and_another_seed_is_no_worse(reader, accepted):
    assert set(verdicts(cells(reader), accepted).values()) == {Verdict.same}
    found = verdicts(cells(reader, seed=1), accepted)
    assert set(found.values()) <= {Verdict.same, Verdict.better}, found
