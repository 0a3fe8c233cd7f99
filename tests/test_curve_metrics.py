"""Metrics made of deletion and insertion curves: closed forms, identities, and whose passes."""

import math

import cells
import numpy as np
import pytest
import torch
from cells import start
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import (
    Additive,
    Constant,
    Flat,
    OnePixel,
    Recorder,
    Smooth,
    batch_of,
    classifier,
    images_of,
    protocol,
)

from benchmark import curves, plan
from benchmark.curves import Curve, curve
from benchmark.images import upsample
from benchmark.interfaces import BadInput
from benchmark.known_curves import in_order, keepers_of
from metrics.deletion_insertion import Deletion, Insertion
from metrics.insertion_minus_deletion import InsertionMinusDeletion
from metrics.least_relevant_first import LeastRelevantFirst
from metrics.normalised_area import NormalisedArea
from metrics.relevance_gain import RelevanceGain

GREY = Flat(0.5)


def heatmaps_of(count, res, seed=0):
    return torch.rand(count, res, res, generator=torch.Generator().manual_seed(seed))


def reversed_heatmaps(heatmaps):
    """Heatmaps whose cells go in the exact reverse order, ties too."""
    return curves.removal_order(heatmaps).view_as(heatmaps).float()


def value(metric, model, batch, heatmaps):
    model.begin_count(len(batch.ids))
    return metric(model, batch, heatmaps).values


# An additive score: every curve is known


def additive(images, offset=0.1):
    """A score of weights over pixels of 8 x 8, and what each pixel contributes to it, [B, 64]."""
    weights = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.5 / 64
    amounts = (weights * images).sum(1).flatten(1).double()
    return classifier(Additive(weights, offset), input_size=8, pass_batch=64), amounts


def areas(amounts, heatmap):
    """The areas of an additive score above its offset, most and least relevant first, by a loop."""
    order = sorted(range(64), key=lambda cell: -float(heatmap.flatten()[cell]))
    found = []
    for way in (order, order[::-1]):
        left = [float(amounts.sum())]
        for cell in way:
            left.append(left[-1] - float(amounts[cell]))
        found.append(np.trapezoid(left, dx=1 / 64))
    return found


@pytest.mark.parametrize("order", ["native", "pixels"])
def test_metrics_of_an_additive_score_over_black_have_their_closed_forms(order):
    images, heatmaps = images_of(2, 8), heatmaps_of(2, 8)
    model, amounts = additive(images)
    batch, rules = batch_of(images), protocol(steps=64, order=order)
    got = {
        kind: value(kind(rules), model, batch, heatmaps)
        for kind in (Deletion, LeastRelevantFirst, RelevanceGain, InsertionMinusDeletion)
    }
    for row in range(2):
        most, least = areas(amounts[row], heatmaps[row])
        assert float(got[Deletion][row]) == pytest.approx(0.1 + most, abs=2e-6)
        assert float(got[LeastRelevantFirst][row]) == pytest.approx(0.1 + least, abs=2e-6)
        assert float(got[RelevanceGain][row]) == pytest.approx(least - most, abs=4e-6)
        assert float(got[InsertionMinusDeletion][row]) == pytest.approx(least - most, abs=4e-6)
        for insertion, expected in ((False, most), (True, least)):
            whole = float(amounts[row].sum())
            metric = NormalisedArea(rules, insertion=insertion, least=0.01)
            share = value(metric, model, batch, heatmaps)[row]
            assert float(share) == pytest.approx(expected / whole, abs=4e-5)


def test_the_order_by_contribution_gains_most_and_the_reverse_loses_as_much():
    images = images_of(1, 8)
    model, amounts = additive(images)
    batch, metric = batch_of(images), RelevanceGain(protocol(steps=64))
    best = value(metric, model, batch, amounts.view(1, 8, 8).float())
    for seed in range(5):
        assert value(metric, model, batch, heatmaps_of(1, 8, seed)) < best
    worst = value(metric, model, batch, -amounts.view(1, 8, 8).float())
    assert float(worst) == pytest.approx(-float(best), abs=1e-6)


def test_one_pixel_that_matters_is_lost_at_once_or_kept_to_the_last():
    model = classifier(OnePixel(2, 5), input_size=8, pass_batch=256)
    batch, heatmap = batch_of(torch.ones(1, 3, 8, 8)), torch.zeros(1, 8, 8)
    heatmap[0, 2, 5] = 1.0
    rules, half = protocol(), 0.5 / 64  # half a step is between the two scores
    for kind, expected in [
        (LeastRelevantFirst(rules), 0.9 - 0.8 * half),
        (RelevanceGain(rules), 0.8 * (1 - 2 * half)),
        (NormalisedArea(rules, insertion=False, least=0.1), half),
        (NormalisedArea(rules, insertion=True, least=0.1), 1 - half),
    ]:
        assert float(value(kind, model, batch, heatmap)) == pytest.approx(expected, abs=1e-6)


def test_a_constant_score_gains_nothing_and_has_no_normalised_area():
    model, batch = classifier(Constant(0.3), pass_batch=64), batch_of(images_of(2, 32))
    heatmaps, rules = heatmaps_of(2, 4), protocol(GREY)
    assert value(RelevanceGain(rules), model, batch, heatmaps).tolist() == [0, 0]
    assert value(InsertionMinusDeletion(rules), model, batch, heatmaps).tolist() == [0, 0]
    least = value(LeastRelevantFirst(rules), model, batch, heatmaps)
    assert least.tolist() == pytest.approx([0.3, 0.3], abs=1e-6)
    for insertion in (False, True):
        metric = NormalisedArea(rules, insertion=insertion, least=0.01)
        assert value(metric, model, batch, heatmaps).isnan().all()


# The reverse order is the insertion over the same substrate, read backwards


def shown_by(walk, images, heatmap):
    """The composites of a walk, by the fraction of cells that they show."""
    model = classifier(Constant(0.3), kind=Recorder, input_size=12, pass_batch=64)
    _, fractions = curve(model, batch_of(images), heatmap, walk)
    left = fractions if walk.insertion else 1 - fractions
    return dict(zip([round(float(each), 4) for each in left], model.seen, strict=True))


@pytest.mark.parametrize(
    ("order", "res", "steps", "common"),
    [("native", 4, 16, 17), ("native", 4, 8, 9), ("native", 5, 8, 2), ("pixels", 4, 12, 13)],
)
def test_it_shows_what_deletion_in_the_reverse_order_shows(order, res, steps, common):
    images, heatmap = images_of(1, 12), heatmaps_of(1, res)
    rules = protocol(GREY, steps=steps, order=order)
    forth = shown_by(rules.least_relevant_first(), images, heatmap)
    if order == "pixels":  # these are the cells that are ranked
        heatmap = upsample(heatmap[:, None], 12)[:, 0]
    back = shown_by(rules.walk(insertion=False), images, reversed_heatmaps(heatmap))
    both = forth.keys() & back.keys()  # where the groups do not fill the grid, the ends alone
    assert len(both) == common
    for place in both:
        assert torch.equal(forth[place], back[place])


@pytest.mark.parametrize("steps", [16, 5])
def test_it_is_insertion_where_one_substrate_serves_both_with_ties_and_without(steps):
    model, batch = classifier(Smooth(), classes=4, pass_batch=64), batch_of(images_of(2, 12))
    for heatmaps in (heatmaps_of(2, 4), heatmaps_of(2, 4).mul(3).round()):
        rules = protocol(GREY, GREY, steps)
        least, inserted = (
            value(metric(rules), model, batch, heatmaps)
            for metric in (LeastRelevantFirst, Insertion)
        )
        assert least.tolist() == pytest.approx(inserted.tolist(), abs=1e-12)
        other = value(Insertion(protocol(GREY, Flat(0.1), steps)), model, batch, heatmaps)
        assert ((other - least).abs() > 1e-4).all()


@given(st.lists(st.integers(0, 4), min_size=9, max_size=9))
@settings(max_examples=15, deadline=None)
def test_its_area_is_that_of_deletion_in_the_reverse_order(values):
    model = classifier(Smooth(), classes=4, pass_batch=64)
    batch, rules = batch_of(images_of(1, 12)), protocol(GREY, steps=9)
    heatmap = torch.tensor(values, dtype=torch.float32).view(1, 3, 3)
    backwards = Deletion(rules)(model, batch, reversed_heatmaps(heatmap))
    got = LeastRelevantFirst(rules)(model, batch, heatmap)
    assert torch.allclose(got.values, backwards.values, rtol=0, atol=1e-6)
    assert torch.equal(got.curves["scores"].flip(1), backwards.curves["scores"])


def test_under_the_igospp_area_the_last_step_of_the_reverse_order_counts_as_one():
    scores = torch.tensor([[0.2, 0.4, 0.6]])  # none, one third and all of the cells shown
    shown = Curve(scores, torch.tensor([0.0, 1 / 3, 1.0]))
    metric = LeastRelevantFirst(protocol(area="right_last_one"))
    expected = 0.4 * 2 / 3 + 1 / 3  # the right end of the first two thirds; then one
    assert float(metric.from_curves(shown).values) == pytest.approx(expected, abs=1e-6)


def test_differences_of_areas_are_those_of_the_protocols_rule():
    fractions = torch.tensor([0.0, 0.25, 1.0])
    high, low = (
        Curve(torch.tensor([scores]), fractions) for scores in ([0.2, 0.8, 0.6], [0.5, 0.3, 0.1])
    )
    for rule, gap, gain in (  # the gain's least relevant first is backwards: 0.6, 0.8, 0.2
        # The right end of the first group; then one.
        ("right_last_one", (0.8 - 0.3) * 0.25, 0.8 * 0.75 + 0.25 - (0.3 * 0.25 + 0.75)),
        ("trapezoid", (0.5 - 0.4) * 0.25 + (0.7 - 0.2) * 0.75, 0.7 * 0.75 + 0.5 * 0.25 - 0.25),
    ):
        rules = protocol(area=rule)
        between = float(InsertionMinusDeletion(rules).from_curves(high, low).values)
        assert between == pytest.approx(gap, abs=1e-6)
        gained = float(RelevanceGain(rules).from_curves(low, high).values)
        assert gained == pytest.approx(gain, abs=1e-6)


# Which images have a normalised area


@pytest.mark.parametrize("insertion", [False, True])
@pytest.mark.parametrize(
    ("image", "substrate", "expected"), [(0.6, 0.5, 0.5), (0.6, 0.51, None), (0.3, 0.9, None)]
)
def test_images_that_lose_little_or_gain_have_no_value(insertion, image, substrate, expected):
    metric = NormalisedArea(protocol(), insertion=insertion, least=0.0999)
    ends = [substrate, image] if insertion else [image, substrate]
    drawn = Curve(torch.tensor([ends]), torch.tensor([0.0, 1.0]))
    got = float(metric.from_curves(drawn).values)
    assert math.isnan(got) if expected is None else got == pytest.approx(expected)
    assert metric.higher_is_better is insertion


@pytest.mark.parametrize("insertion", [False, True])
def test_exactly_the_least_difference_is_enough(insertion):
    metric = NormalisedArea(protocol(), insertion=insertion, least=0.5)
    ends = [0.25, 0.75] if insertion else [0.75, 0.25]
    drawn = Curve(torch.tensor([ends]), torch.tensor([0.0, 1.0]))
    assert float(metric.from_curves(drawn).values) == 0.5


@pytest.mark.parametrize("least", [0.0, 1.0])
def test_a_normalised_area_needs_some_difference(least):
    with pytest.raises(BadInput, match="least between 0 and 1"):
        NormalisedArea(protocol(), insertion=True, least=least)


def test_a_normalised_area_of_what_is_no_area_is_refused():
    told = r"whose last step is no score: use protocol\.area=trapezoid or another protocol$"
    with pytest.raises(BadInput, match=told):
        NormalisedArea(protocol(area="right_last_one"), insertion=True, least=0.1)


# Whose passes


def of_all(rules):
    return {
        "relevance_gain": RelevanceGain(rules),
        "lerf": LeastRelevantFirst(rules),
        "insertion": Insertion(rules),
        "deletion": Deletion(rules),
        "insertion_minus_deletion": InsertionMinusDeletion(rules),
    }


def keepers(rules):
    """For each metric of curves, who else keeps those that it needs, in the order of its walks."""
    metrics = of_all(rules)
    return {name: list(keepers_of(name, metrics).values()) for name in metrics}


def test_over_one_substrate_everything_is_read_off_two_curves():
    assert keepers(protocol(GREY, GREY)) == {
        "relevance_gain": [["deletion"], ["lerf", "insertion"]],
        "lerf": [["insertion"]],
        "insertion": [["lerf"]],
        "deletion": [[]],
        "insertion_minus_deletion": [["lerf", "insertion"], ["deletion"]],
    }
    assert in_order(of_all(protocol()))[:3] == ["lerf", "insertion", "deletion"]


def test_over_two_substrates_the_reverse_order_is_a_curve_of_its_own():
    assert keepers(protocol(GREY, Flat(0.1))) == {
        "relevance_gain": [["deletion"], ["lerf"]],
        "lerf": [[]],
        "insertion": [[]],
        "deletion": [[]],
        "insertion_minus_deletion": [["insertion"], ["deletion"]],
    }


NAMES = "deletion,insertion,lerf,relevance_gain,insertion_minus_deletion,insertion_normalised"


@pytest.mark.parametrize(
    ("rules", "asked", "needed"),
    [
        ("igos", NAMES, 2),
        ("igos", "lerf,insertion", 1),
        ("igos", "relevance_gain", 2),
        ("igos", "relevance_gain,deletion", 2),
        ("rise", NAMES, 3),
        ("rise", "relevance_gain,lerf,deletion", 2),
        ("rise", "deletion,deletion_normalised", 1),
    ],
)
def test_passes_are_those_of_the_different_curves(tmp_path, rules, asked, needed):
    cells.make_conf(tmp_path / "conf")
    given = ("res=4", "protocol.steps=16", f"protocol={rules}", f"metric=[{asked}]")
    model, batch = classifier(Additive(torch.zeros(3, 32, 32))), batch_of(torch.zeros(1, 3, 32, 32))
    points = 17
    cost = plan.count_passes(cells.settings(tmp_path, *given), model, batch).scoring
    assert sum(cost.values()) == needed * points
    assert cost.keys() == set(asked.split(","))


@pytest.mark.parametrize("names", [NAMES, ",".join(reversed(NAMES.split(",")))])
def test_a_later_command_scores_no_kept_curve_again_and_comes_to_the_same(
    tmp_path, monkeypatch, names
):
    cells.make_images(tmp_path / "images", 4)
    cells.make_conf(tmp_path / "conf")
    start(tmp_path, "metric=[deletion,insertion]")
    walks, own = [], curves.curve
    monkeypatch.setattr(curves, "curve", lambda *given: walks.append(given) or own(*given))
    made, _ = start(tmp_path, f"metric=[{names}]")
    assert walks == []
    alone, _ = start(tmp_path, "metric=[relevance_gain,lerf]", f"results='{tmp_path / 'other'}'")
    assert len(walks) == 2
    for name in ("relevance_gain", "lerf"):
        rows = [each.folder.stage(each.stages[name]).rows for each in (made, alone)]
        values = [[row[one]["value"] for one in made.ids] for row in rows]
        assert values[0] == values[1]
        assert len(set(values[0])) > 1
