"""How much of a heatmap is on the object: closed forms, slow loops, and which images count."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Constant, batch_of, classifier, enlarge, images_of

from benchmark.interfaces import Truth
from benchmark.regions import Region, region_of
from metrics.best_iou import BestIoU
from metrics.relevance_mass import RelevanceMass
from metrics.relevance_rank import RelevanceRank

SIZE = 16
KINDS = [RelevanceMass, RelevanceRank, BestIoU]


def truth(*boxes, classes=None, mask=None, **place):
    return Truth(
        boxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        classes=torch.tensor(classes or [0] * len(boxes), dtype=torch.int64),
        mask=mask,
        **place,
    )


def batch(*truths, target=0, label=None):
    made = batch_of(images_of(len(truths), SIZE), targets=target, truths=list(truths))
    return made if label is None else made._replace(labels=torch.full_like(made.labels, label))


def score(kind, heatmap, where, region=Region.mask, **more):
    """The value of one heatmap [H, W]; no metric of places asks the classifier anything."""
    model = classifier(Constant(0.5))
    model.begin_count(1)
    scores = kind(region)(model, batch(where, **more), heatmap[None])
    assert scores.values.dtype == torch.float64
    assert scores.curves == {}
    assert kind.higher_is_better
    assert float(model.forward_passes[0]) == 0
    return float(scores.values[0])


def square(top, left, bottom, right, size=SIZE):
    """A mask [H, W], the last row and column left out."""
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


# Which pixels belong to the object


def test_a_box_is_its_pixels_borders_included():
    found = region_of(batch(truth((3, 5, 6, 9))), 0, Region.boxes)
    assert torch.equal(found, square(5, 3, 10, 7))


def test_several_boxes_are_all_of_them_and_those_of_other_classes_are_not():
    where = truth((0, 0, 1, 1), (8, 8, 9, 9), (4, 4, 5, 5), classes=[0, 0, 1])
    expected = square(0, 0, 2, 2) | square(8, 8, 10, 10)
    assert torch.equal(region_of(batch(where), 0, Region.boxes), expected)
    assert torch.equal(region_of(batch(where, target=1), 0, Region.boxes), square(4, 4, 6, 6))


@given(
    st.integers(5, 60), st.integers(5, 60), st.integers(-4, 9), st.integers(-4, 9), st.integers(0)
)
@settings(max_examples=25, deadline=None)
def test_a_pixel_belongs_where_the_original_pixel_under_its_centre_does(
    width, height, left, top, seed
):
    mask = torch.from_numpy(np.random.default_rng(seed).random((height, width)) < 0.5)
    place = {"scale": (width / SIZE, height / SIZE), "offset": (float(left), float(top))}
    found = region_of(batch(truth(mask=mask, **place)), 0, Region.mask)
    expected = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    for row in range(SIZE):
        for column in range(SIZE):
            x = math.floor((column + 0.5) * width / SIZE + left)
            y = math.floor((row + 0.5) * height / SIZE + top)
            inside = 0 <= x < width and 0 <= y < height
            expected[row, column] = inside and bool(mask[y, x])
    assert (found is None and not expected.any()) or torch.equal(found, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("where", "region", "more"),
    [
        (truth(), Region.boxes, {}),
        (truth(), Region.mask, {}),
        (truth((0, 0, 3, 3), classes=[1]), Region.boxes, {}),
        (truth((0, 0, 3, 3)), Region.mask, {}),
        (truth(mask=square(0, 0, 4, 4)), Region.boxes, {}),
        (truth(mask=square(0, 0, 4, 4)), Region.mask, {"target": 0, "label": 1}),
        (truth(mask=square(0, 0, 0, 0)), Region.mask, {}),
        (truth((40, 40, 50, 50)), Region.boxes, {}),
    ],
)
def test_where_the_target_is_not_known_there_is_no_value(kind, where, region, more):
    assert math.isnan(score(kind, torch.rand(SIZE, SIZE), where, region, **more))


# Closed forms


@pytest.mark.parametrize("region", list(Region))
@pytest.mark.parametrize("kind", KINDS)
def test_the_object_itself_as_a_heatmap_has_one_and_all_but_it_has_least(kind, region):
    where = truth((2, 4, 9, 11), mask=square(4, 2, 12, 10))
    heatmap = square(4, 2, 12, 10).float()
    assert score(kind, heatmap, where, region) == 1
    # 64 of 256 pixels; the threshold that takes everything is the best of a heatmap upside down
    expected = {RelevanceMass: 0.0, RelevanceRank: 0.0, BestIoU: 0.25}[kind]
    assert score(kind, 1 - heatmap, where, region) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [1.0, 0.3])
@pytest.mark.parametrize("res", [SIZE, 3, 7])
def test_a_heatmap_that_is_the_same_everywhere_has_the_objects_share_of_the_image(kind, value, res):
    where = truth(mask=square(0, 0, 4, 8))
    assert score(kind, torch.full((res, res), value), where) == pytest.approx(32 / 256)


def test_an_empty_or_a_negative_heatmap_has_no_mass_and_no_place_to_hide():
    where = truth(mask=square(0, 0, 4, 8))
    for heatmap in (torch.zeros(SIZE, SIZE), torch.full((SIZE, SIZE), -1.0)):
        assert score(RelevanceMass, heatmap, where) == 0


def test_negative_relevance_weighs_nothing():
    heatmap = torch.full((SIZE, SIZE), -5.0)
    heatmap[0, 0], heatmap[10, 10] = 3.0, 1.0
    assert score(RelevanceMass, heatmap, truth(mask=square(0, 0, 4, 4))) == 0.75


def test_a_little_relevance_has_its_share_as_much_has():
    heatmap = torch.zeros(SIZE, SIZE)
    heatmap[0, 0], heatmap[10, 10] = 3e-9, 1e-9
    got = score(RelevanceMass, heatmap, truth(mask=square(0, 0, 4, 4)))
    assert got == pytest.approx(0.75)


@pytest.mark.parametrize(("row", "column", "expected"), [(1, 1, 1), (12, 12, 0)])
def test_one_pixel_is_on_the_object_with_all_its_mass_or_with_none(row, column, expected):
    heatmap, where = torch.zeros(SIZE, SIZE), truth(mask=square(0, 0, 4, 4))
    heatmap[row, column] = 2.0
    assert score(RelevanceMass, heatmap, where) == expected
    # The other 15 places of the object's 16 are shared among 255 pixels.
    left = 15 / 255 * (16 - expected)
    assert score(RelevanceRank, heatmap, where) == pytest.approx((expected + left) / 16)
    assert score(BestIoU, heatmap, where) == pytest.approx(1 / 16)


def test_half_an_overlap():
    heatmap, where = square(0, 0, 4, 4).float(), truth(mask=square(0, 2, 4, 6))
    for kind, expected in ((RelevanceMass, 0.5), (RelevanceRank, 0.5), (BestIoU, 8 / 24)):
        assert score(kind, heatmap, where) == pytest.approx(expected)


# Slow loops


def slow(kind, heatmap, region):
    """The same in plain Python, over lists of pixels."""
    pixels = list(zip(heatmap.flatten().tolist(), region.flatten().tolist(), strict=True))
    count = sum(on for _, on in pixels)
    if kind is RelevanceMass:
        total = sum(max(each, 0) for each, _ in pixels)
        return sum(max(each, 0) for each, on in pixels if on) / total if total else 0.0
    if kind is BestIoU:
        found = []
        for threshold in {each for each, _ in pixels}:
            both = sum(on for each, on in pixels if each >= threshold)
            either = sum(on or each >= threshold for each, on in pixels)
            found.append(both / either)
        return max(found)
    # The mean over all orders of equal pixels: each is equally likely to be among the last taken.
    ranked = sorted((each for each, _ in pixels), reverse=True)
    lowest, hits = ranked[count - 1], 0.0
    equal = sum(each == lowest for each, _ in pixels)
    taken = sum(each == lowest for each in ranked[:count])
    for each, on in pixels:
        hits += on * (1 if each > lowest else taken / equal if each == lowest else 0)
    return hits / count


@given(st.integers(0, 10_000), st.sampled_from(KINDS), st.sampled_from([None, 2, 5]))
@settings(max_examples=30, deadline=None)
def test_each_equals_a_slow_loop_with_and_without_equal_pixels(seed, kind, levels):
    source = np.random.default_rng(seed)
    mask = torch.from_numpy(source.random((SIZE, SIZE)) < 0.3)
    heatmap = torch.from_numpy(source.standard_normal((SIZE, SIZE)).astype(np.float32))
    if levels:
        heatmap = (heatmap * levels / 2).round()
    got = score(kind, heatmap, truth(mask=mask))
    assert got == pytest.approx(slow(kind, heatmap, mask), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_coarse_heatmap_is_enlarged_first(kind):
    heatmap, mask = torch.rand(3, 3), square(2, 3, 9, 12)
    large = enlarge(heatmap, SIZE).float()
    expected = slow(kind, large, mask)
    assert score(kind, heatmap, truth(mask=mask)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", [RelevanceRank, BestIoU])
@given(st.floats(0.1, 100), st.integers(-50, 50))
@settings(max_examples=10, deadline=None)
def test_only_the_order_counts_for_rank_and_overlap(kind, scale, shift):
    heatmap = torch.randperm(SIZE**2, generator=torch.Generator().manual_seed(1)).view(SIZE, SIZE)
    where = truth(mask=square(2, 3, 9, 12))
    changed = heatmap.float() * scale + shift
    assert score(kind, changed, where) == score(kind, heatmap.float(), where)


@pytest.mark.parametrize("kind", KINDS)
def test_each_image_is_scored_by_itself(kind):
    truths = [truth(mask=square(0, 0, 4, 4)), truth(), truth(mask=square(3, 3, 12, 9))]
    heatmaps = torch.rand(3, 5, 5)
    values = kind(Region.mask)(classifier(Constant(0.5)), batch(*truths), heatmaps).values
    alone = [score(kind, heatmap, where) for heatmap, where in zip(heatmaps, truths, strict=True)]
    assert values.tolist() == pytest.approx(alone, nan_ok=True)
