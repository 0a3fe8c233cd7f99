from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.signal import correlate2d
from toys import (
    BLACK,
    Additive,
    Constant,
    NotANumber,
    OnePixel,
    Recorder,
    Smooth,
    batch_of,
    bilinear_matrix,
    classifier,
    images_of,
    protocol,
)

from benchmark.building import build
from benchmark.config import load
from benchmark.curves import Area, Order, area, curve, removal_order, removed_counts
from benchmark.images import composite, generators, normal, upsample
from benchmark.interfaces import BadInput
from benchmark.substrates import Blur, MeanColour, RiseBlur
from metrics.deletion_insertion import Deletion, Insertion

PROTOCOLS = ["igos", "igospp", "rise"]
BLUR = Blur(kernel=51, sigma=50.0)
SMALL_BLUR = Blur(kernel=9, sigma=5.0)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def named():
    """The three protocols as the YAML files define them."""
    return {
        name: build(load(f"protocol={name}").protocol, f"protocol={name}") for name in PROTOCOLS
    }


def heatmaps_of(count, res, seed=0):
    return torch.rand(count, res, res, generator=torch.Generator().manual_seed(seed))


def ranked(order):
    """Heatmaps [B, r, r] that remove cells in these orders [B, r*r] of cell numbers."""
    order = torch.as_tensor(order)
    cells = order.shape[-1]
    heatmaps = torch.empty(order.shape)
    falling = torch.arange(cells, 0, -1, dtype=torch.float32).expand_as(heatmaps).contiguous()
    res = int(cells**0.5)
    return heatmaps.scatter(1, order, falling).view(-1, res, res)


def both(model, batch, heatmaps, rules):
    return {
        kind: metric(rules)(model, batch, heatmaps)
        for kind, metric in (("deletion", Deletion), ("insertion", Insertion))
    }


# A constant classifier


@pytest.mark.parametrize("value", [0.0625, 0.3, 0.9])
@pytest.mark.parametrize("res", [32, 16, 8, 4])
@pytest.mark.parametrize("name", ["igos", "rise"])
def test_area_of_a_constant_classifier_is_its_constant(named, name, res, value):
    model = classifier(Constant(value), pass_batch=512)
    batch = batch_of(images_of(2, 32))
    seen = model.scores(batch.images, batch.targets)
    for scores in both(model, batch, heatmaps_of(2, res), named[name]).values():
        assert scores.values.dtype == torch.float64
        torch.testing.assert_close(scores.values, seen.double(), rtol=0, atol=1e-12)
        assert scores.values.tolist() == pytest.approx([value, value], rel=1e-5)


@pytest.mark.parametrize("res", [32, 16, 8, 4])
def test_area_of_a_constant_classifier_under_igospp_counts_the_last_group_as_one(named, res):
    model = classifier(Constant(0.3), pass_batch=512)
    batch = batch_of(images_of(2, 32))
    cells, group = res**2, max(1, res**2 // 50)
    last = (cells % group or group) / cells
    for scores in both(model, batch, heatmaps_of(2, res), named["igospp"]).values():
        expected = torch.full((2,), 0.3 * (1 - last) + last, dtype=torch.float64)
        torch.testing.assert_close(scores.values, expected, rtol=0, atol=1e-6)


def test_the_bias_of_igospp_is_what_the_protocol_page_says():
    for res, bias in ((7, 0.019), (28, 0.005)):
        group = max(1, res**2 // 50)
        last = (res**2 % group or group) / res**2
        counts = removed_counts(res**2, 50)
        ones = torch.ones(1, len(counts))
        constant = area(0.05 * ones, counts / res**2, Area.right_last_one)
        assert float(constant) - 0.05 == pytest.approx(0.95 * last, abs=1e-6)
        assert float(constant) - 0.05 == pytest.approx(bias, abs=0.001)


@pytest.mark.parametrize("res", [7, 14, 28, 112, 224])
def test_area_of_a_constant_classifier_is_its_constant_on_images_of_224_pixels(res):
    model = classifier(Constant(0.3), pass_batch=64)
    scores = Deletion(protocol())(model, batch_of(images_of(1, 224)), heatmaps_of(1, res))
    assert float(scores.values[0]) == pytest.approx(0.3, abs=1e-6)


def test_a_classifier_that_returns_nan_is_refused():
    batch = batch_of(images_of(1, 8))
    with pytest.raises(BadInput, match=r"NaN or infinity for one of \['image-0'\]"):
        Deletion(protocol())(classifier(NotANumber()), batch, heatmaps_of(1, 4))


# An additive classifier: the score is linear in the mask, so every curve is known


def contributions(weights, image, res):
    """What each cell adds to the score when it is shown: [r*r], by slow double-precision sums."""
    matrix = bilinear_matrix(image.shape[-1], res)
    amounts = (weights.double() * image.double()).sum(0)  # [H, W]
    return (matrix.T @ amounts @ matrix).flatten()


def additive(size, seed=3):
    source = torch.Generator().manual_seed(seed)
    weights = torch.rand(3, size, size, generator=source) * 0.5 / size**2
    weights[:, : size // 2] *= 0.2
    return weights, classifier(Additive(weights, offset=0.1), pass_batch=256)


@pytest.mark.parametrize("size", [2, 32])
def test_no_order_of_four_cells_deletes_an_additive_score_faster_than_by_contribution(size):
    weights, model = additive(size)
    image = images_of(1, size)
    amounts = contributions(weights, image[0], 2)
    orders = torch.tensor(list(permutations(range(4))))
    batch = batch_of(image.expand(len(orders), -1, -1, -1))
    scores = both(model, batch, ranked(orders), protocol())
    best = amounts.argsort(descending=True)
    winner = int((orders == best).all(1).nonzero())
    assert int(scores["deletion"].values.argmin()) == winner
    assert int(scores["insertion"].values.argmax()) == winner
    worst = int((orders == best.flip(0)).all(1).nonzero())
    assert int(scores["deletion"].values.argmax()) == worst
    assert int(scores["insertion"].values.argmin()) == worst


@pytest.mark.parametrize(("size", "res"), [(2, 2), (32, 2), (32, 5), (32, 32)])
def test_curves_of_an_additive_score_equal_the_closed_form(size, res):
    weights, model = additive(size)
    images = images_of(2, size)
    heatmaps = heatmaps_of(2, res)
    scores = both(model, batch_of(images), heatmaps, protocol(steps=res * res))
    for row in range(2):
        amounts = contributions(weights, images[row], res)
        order = np.argsort(-heatmaps[row].flatten().numpy(), kind="stable")
        gone = torch.cat([torch.zeros(1).double(), amounts[order.copy()].cumsum(0)])
        expected = {"deletion": 0.1 + gone[-1] - gone, "insertion": 0.1 + gone}
        for kind, each in scores.items():
            torch.testing.assert_close(
                each.curves["scores"][row].double(), expected[kind], rtol=0, atol=2e-6
            )
            assert float(each.values[row]) == pytest.approx(
                np.trapezoid(expected[kind].numpy(), dx=1 / res**2), abs=2e-6
            )


@given(st.lists(st.integers(0, 5), min_size=9, max_size=9))
@settings(max_examples=20, deadline=None)
def test_deletion_and_insertion_of_an_additive_score_add_up_to_both_ends(values):
    _, model = additive(6)
    batch = batch_of(images_of(1, 6))
    heatmap = torch.tensor(values, dtype=torch.float32).view(1, 3, 3)
    scores = both(model, batch, heatmap, protocol())
    ends = model.scores(batch.images, batch.targets) + model.scores(
        torch.zeros_like(batch.images), batch.targets
    )
    total = scores["deletion"].values + scores["insertion"].values
    torch.testing.assert_close(total, ends.double(), rtol=0, atol=1e-5)
    summed = scores["deletion"].curves["scores"] + scores["insertion"].curves["scores"]
    torch.testing.assert_close(summed, ends[:, None].expand_as(summed), rtol=0, atol=1e-5)


@given(st.lists(st.integers(-3, 3), min_size=16, max_size=16))
@settings(max_examples=15, deadline=None)
def test_an_area_lies_between_the_lowest_and_the_highest_point_of_its_curve(values):
    model = classifier(Smooth(), classes=4, pass_batch=64)
    heatmap = torch.tensor(values, dtype=torch.float32).view(1, 4, 4)
    for scores in both(model, batch_of(images_of(1, 12)), heatmap, protocol()).values():
        points = scores.curves["scores"][0]
        assert points.min() - 1e-6 <= scores.values[0] <= points.max() + 1e-6


def test_a_heatmap_that_marks_the_one_pixel_that_matters_has_the_best_areas():
    model = classifier(OnePixel(2, 5), pass_batch=256)
    batch = batch_of(torch.ones(1, 3, 8, 8))
    heatmap = torch.zeros(1, 8, 8)
    heatmap[0, 2, 5] = 1.0
    scores = both(model, batch, heatmap, protocol())
    # The score moves from end to end between the first two points and stays there.
    share = 0.8 / 2 / 64
    assert float(scores["deletion"].values[0]) == pytest.approx(0.1 + share, abs=1e-6)
    assert float(scores["insertion"].values[0]) == pytest.approx(0.9 - share, abs=1e-6)
    last = both(model, batch, -heatmap, protocol())
    assert float(last["deletion"].values[0]) == pytest.approx(0.9 - share, abs=1e-6)
    assert float(last["insertion"].values[0]) == pytest.approx(0.1 + share, abs=1e-6)


def test_lower_deletion_and_higher_insertion_are_better():
    assert not Deletion(protocol()).higher_is_better
    assert Insertion(protocol()).higher_is_better


# What the classifier is shown


def recorded(images, heatmaps, rules, insertion, **settings):
    """The inputs of each image's curve, [B, points, 3, H, W], and the classifier."""
    model = classifier(Constant(0.3), kind=Recorder, pass_batch=64, **settings)
    curve(model, batch_of(images), heatmaps, rules.walk(insertion))
    return model.seen.view(len(images), -1, *images.shape[1:]), model


@pytest.mark.parametrize("insertion", [False, True])
@pytest.mark.parametrize(
    ("name", "size", "res"),
    [
        ("igos", 224, 7),
        ("igospp", 224, 14),
        ("igospp", 224, 28),
        ("igospp", 224, 112),
        ("igos", 32, 32),
        ("rise", 32, 32),
        ("rise", 32, 7),
    ],
)
def test_curves_run_from_the_image_to_the_substrate_or_back_bit_for_bit(
    named, name, size, res, insertion
):
    rules, images = named[name], images_of(1, size)
    seen, model = recorded(images, heatmaps_of(1, res), rules, insertion, mean=MEAN, std=STD)
    substrate = rules.insertion_substrate if insertion else rules.deletion_substrate
    hidden = substrate(model, batch_of(images))
    first, last = (hidden, images) if insertion else (images, hidden)
    assert torch.equal(seen[:, 0], first)
    assert torch.equal(seen[:, -1], last)
    assert not torch.equal(seen[:, 1], first)
    assert not torch.equal(seen[:, -2], last)


@pytest.mark.parametrize("insertion", [False, True])
@pytest.mark.parametrize("res", [2, 5, 16, 31])
def test_curves_end_at_the_image_and_the_substrate_at_every_ratio_of_sizes(res, insertion):
    images = images_of(1, 32)
    seen, model = recorded(images, heatmaps_of(1, res), protocol(SMALL_BLUR, SMALL_BLUR), insertion)
    hidden = SMALL_BLUR(model, batch_of(images))
    first, last = (hidden, images) if insertion else (images, hidden)
    torch.testing.assert_close(seen[:, 0], first, rtol=0, atol=0)
    torch.testing.assert_close(seen[:, -1], last, rtol=0, atol=0)


@pytest.mark.parametrize("insertion", [False, True])
def test_every_input_lies_between_the_image_and_the_substrate(insertion):
    images = images_of(2, 32)
    seen, model = recorded(images, heatmaps_of(2, 7), protocol(SMALL_BLUR, SMALL_BLUR), insertion)
    hidden = SMALL_BLUR(model, batch_of(images))
    low, high = torch.minimum(images, hidden)[:, None], torch.maximum(images, hidden)[:, None]
    assert (seen >= low - 1e-6).all()
    assert (seen <= high + 1e-6).all()


@pytest.mark.parametrize("insertion", [False, True])
def test_each_step_moves_every_pixel_further_towards_the_end(insertion):
    images = images_of(1, 32) + 0.1
    seen, _ = recorded(images, heatmaps_of(1, 7), protocol(), insertion)
    steps = seen[0].diff(dim=0)
    assert ((steps if insertion else -steps) >= -1e-6).all()


@pytest.mark.parametrize("insertion", [False, True])
def test_an_input_is_the_bilinear_enlargement_of_the_binary_mask_of_the_cells_left(insertion):
    res, size = 5, 32
    images, heatmaps = torch.ones(1, 3, size, size), heatmaps_of(1, res)
    seen, _ = recorded(images, heatmaps, protocol(steps=8), insertion)
    order = np.argsort(-heatmaps.flatten().numpy(), kind="stable")
    matrix = bilinear_matrix(size, res)
    counts = [0, 3, 6, 9, 12, 15, 18, 21, 24, 25]
    assert seen.shape[1] == len(counts)
    for point, count in enumerate(counts):
        taken = torch.zeros(res * res, dtype=torch.float64)
        taken[order[:count].copy()] = 1
        kept = taken if insertion else 1 - taken
        expected = matrix @ kept.view(res, res) @ matrix.T
        for colour in range(3):
            torch.testing.assert_close(seen[0, point, colour].double(), expected, rtol=0, atol=1e-6)


def test_under_rise_pixels_are_replaced_whole_and_as_many_at_a_time_as_the_side_is_long(named):
    images = images_of(1, 224)
    seen, model = recorded(images, heatmaps_of(1, 7), named["rise"], False, mean=MEAN, std=STD)
    hidden = MeanColour()(model, batch_of(images))
    replaced = (seen[0] == hidden).all(1)
    left = (seen[0] == images).all(1)
    assert (replaced | left).all()
    assert replaced.sum((1, 2)).tolist() == list(range(0, 224 * 224 + 1, 224))


def test_under_rise_pixels_go_in_the_order_of_the_enlarged_heatmap(named):
    heatmap = heatmaps_of(1, 4)
    seen, _ = recorded(images_of(1, 32), heatmap, named["rise"], False)
    gone = (seen[0] == 0).all(1).flatten(1)  # [points, H*W]
    matrix = bilinear_matrix(32, 4)
    value = (matrix @ heatmap[0].double() @ matrix.T).flatten()
    for point in range(1, len(gone) - 1):
        assert value[gone[point]].min() >= value[~gone[point]].max() - 1e-6


# How many points there are, and where


@pytest.mark.parametrize(
    ("res", "steps", "group", "points"),
    [
        (7, 200, 1, 50),
        (14, 200, 1, 197),
        (28, 200, 3, 263),  # 784 = 261 * 3 + 1: the last group is a single cell
        (112, 200, 62, 204),
        (224, 200, 250, 202),
        (7, 50, 1, 50),
        (14, 50, 3, 67),
        (28, 50, 15, 54),
        (112, 50, 250, 52),
        (224, 50, 1003, 52),
        (224, 224, 224, 225),
    ],
)
def test_a_curve_has_a_point_for_every_group_and_both_ends(res, steps, group, points):
    counts = removed_counts(res * res, steps)
    assert len(counts) == points
    assert counts[0] == 0
    assert counts[-1] == res * res
    widths = counts.diff()
    assert (widths[:-1] == group).all()
    assert 0 < widths[-1] <= group


@given(st.integers(1, 3000), st.integers(1, 400))
def test_counts_rise_by_whole_groups_to_all_cells(cells, steps):
    counts = removed_counts(cells, steps)
    widths = counts.diff()
    assert counts[0] == 0
    assert counts[-1] == cells
    assert (widths > 0).all()
    assert (widths[:-1] == max(1, cells // steps)).all()


def test_fractions_are_the_share_of_cells_and_are_kept_with_the_curve():
    model = classifier(Constant(0.3), pass_batch=512)
    batch = batch_of(images_of(2, 28))
    scores, fractions = curve(model, batch, heatmaps_of(2, 28), protocol().walk(insertion=False))
    assert scores.shape == (2, 263)
    expected = torch.tensor([*range(0, 784, 3), 784]) / 784
    assert torch.equal(fractions, expected)
    kept = Deletion(protocol())(model, batch, heatmaps_of(2, 28)).curves
    assert torch.equal(kept["fractions"], expected.expand(2, -1))
    assert torch.equal(kept["scores"], scores)


def test_a_protocol_without_steps_is_refused():
    with pytest.raises(BadInput, match=r"protocol\.steps must be at least 1, got 0"):
        protocol(steps=0)


# Ranking


@given(st.lists(st.integers(0, 3), min_size=9, max_size=9))
def test_equal_cells_are_removed_in_the_order_of_their_index(values):
    ranks = removal_order(torch.tensor(values, dtype=torch.float32).view(1, 3, 3))[0]
    expected = sorted(range(9), key=lambda cell: (-values[cell], cell))
    assert [int(ranks[cell]) for cell in expected] == list(range(9))


def test_many_equal_cells_are_removed_in_the_order_of_their_index():
    ranks = removal_order(torch.zeros(2, 112, 112))
    assert torch.equal(ranks, torch.arange(112 * 112).expand(2, -1))


def test_zeros_of_either_sign_are_equal():
    ranks = removal_order(torch.tensor([[[0.0, -0.0], [-0.0, 0.0]]]))
    assert ranks.tolist() == [[0, 1, 2, 3]]


@given(st.floats(0.1, 1000), st.integers(-5, 5))
@settings(max_examples=20)
def test_only_the_order_of_the_cells_matters(scale, shift):
    heatmaps = torch.randperm(49, generator=torch.Generator().manual_seed(1)).view(1, 7, 7).float()
    assert torch.equal(removal_order(heatmaps), removal_order(heatmaps * scale + shift))


# Independence of how the work is cut up


@pytest.mark.parametrize("insertion", [False, True])
def test_a_curve_does_not_depend_on_the_other_images_or_on_how_many_pass_at_once(insertion):
    images, heatmaps = images_of(5, 32), heatmaps_of(5, 7)
    targets = torch.tensor([0, 1, 2, 1, 0])
    batch, walk = batch_of(images, targets), protocol(SMALL_BLUR, SMALL_BLUR).walk(insertion)
    whole, _ = curve(classifier(Smooth(), classes=4, pass_batch=20), batch, heatmaps, walk)
    for pass_batch in (1, 7, 20, 300):
        model = classifier(Smooth(), classes=4, pass_batch=pass_batch)
        for rows in ([0, 1, 2, 3, 4], [4, 2, 0, 1, 3], [3], [2, 4]):
            part, _ = curve(model, batch.select(rows), heatmaps[rows], walk)
            assert torch.equal(part, whole[rows])


def test_no_call_passes_more_images_than_the_classifier_asks_for():
    model = classifier(Smooth(), classes=4, kind=Recorder, pass_batch=7)
    walk = protocol().walk(insertion=False)
    curve(model, batch_of(images_of(3, 32)), heatmaps_of(3, 7), walk)
    assert max(len(images) for images in model.calls) == 7
    assert sum(len(images) for images in model.calls) == 3 * 50


def test_a_curve_follows_the_target_of_each_image():
    model = classifier(Constant(0.3), pass_batch=64)
    batch = batch_of(images_of(2, 8), targets=torch.tensor([0, 1]))
    values = Deletion(protocol())(model, batch, heatmaps_of(2, 4)).values
    assert values.tolist() == pytest.approx([0.3, 0.7], abs=1e-6)


# Areas


def curves_of():
    """Draw a curve's points in [0, 1] and the widths between them."""
    return st.integers(2, 12).flatmap(
        lambda count: st.tuples(
            st.lists(st.floats(0, 1, width=32), min_size=count, max_size=count),
            st.lists(st.integers(1, 9), min_size=count - 1, max_size=count - 1),
        )
    )


@given(curves_of())
def test_the_trapezoid_area_equals_numpys(drawn):
    scores, widths = drawn
    fractions = torch.tensor([0, *np.cumsum(widths)]) / sum(widths)
    expected = np.trapezoid(np.float64(scores), np.float64(fractions.numpy()))
    assert float(area(torch.tensor([scores]), fractions)) == pytest.approx(expected, abs=1e-12)


@given(curves_of())
def test_the_igospp_area_equals_a_slow_loop_over_groups(drawn):
    scores, widths = drawn
    fractions = torch.tensor([0, *np.cumsum(widths)]) / sum(widths)
    total = 0.0
    for group, width in enumerate(widths):
        is_last = group == len(widths) - 1
        total += (1.0 if is_last else scores[group + 1]) * width / sum(widths)
    result = area(torch.tensor([scores]), fractions, Area.right_last_one)
    assert float(result) == pytest.approx(total, abs=1e-6)


# Substrates


def test_the_blur_equals_a_two_dimensional_one_with_a_mirrored_border():
    images = images_of(2, 64)
    place = np.arange(51) - 25
    line = np.exp(-0.5 * (place / 50.0) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    blurred = BLUR(classifier(Constant(0.5)), batch_of(images))
    for row in range(2):
        for colour in range(3):
            padded = np.pad(images[row, colour].double().numpy(), 25, mode="reflect")
            expected = correlate2d(padded, kernel, mode="valid")
            np.testing.assert_allclose(blurred[row, colour].numpy(), expected, atol=1e-5)


def test_a_blur_whose_kernel_holds_the_whole_gaussian_equals_scipys():
    images = images_of(1, 40)
    blurred = Blur(kernel=25, sigma=2.0)(classifier(Constant(0.5)), batch_of(images))
    for colour in range(3):
        expected = gaussian_filter(
            images[0, colour].double().numpy(), 2.0, mode="mirror", truncate=6.0
        )
        np.testing.assert_allclose(blurred[0, colour].numpy(), expected, atol=1e-5)


def test_a_blur_leaves_a_flat_image_as_it_is():
    flat = torch.full((1, 3, 32, 32), 0.7)
    torch.testing.assert_close(BLUR(classifier(Constant(0.5)), batch_of(flat)), flat)


@pytest.mark.parametrize(("kernel", "sigma"), [(50, 50.0), (0, 1.0), (51, 0.0)])
def test_a_blur_needs_an_odd_kernel_and_a_width(kernel, sigma):
    with pytest.raises(BadInput, match="odd kernel of at least 1 and sigma above 0"):
        Blur(kernel=kernel, sigma=sigma)


def test_a_blur_refuses_images_smaller_than_its_border():
    with pytest.raises(BadInput, match="larger than 25 pixels, got 25 x 25"):
        BLUR(classifier(Constant(0.5)), batch_of(images_of(1, 25)))


def test_rise_deletes_to_what_the_classifier_normalises_to_zero(named):
    shown = []

    class Watching(Constant):
        def score(self, images):
            shown.append(images)
            return super().score(images)

    model = classifier(Watching(0.3), mean=MEAN, std=STD)
    images = named["rise"].deletion_substrate(model, batch_of(images_of(1, 8)))
    assert torch.equal(images, torch.tensor(MEAN).view(1, 3, 1, 1).expand(1, 3, 8, 8))
    model(images)
    assert (shown[-1] == 0).all()


def test_rise_inserts_into_a_blur_by_a_smoothed_delta_over_zeros(named):
    images = images_of(1, 24)
    model = classifier(Constant(0.5), mean=MEAN, std=STD)
    blurred = named["rise"].insertion_substrate(model, batch_of(images))
    delta = np.zeros((11, 11))
    delta[5, 5] = 1
    kernel = gaussian_filter(delta, 5)
    for colour in range(3):
        normalised = (images[0, colour].double().numpy() - MEAN[colour]) / STD[colour]
        expected = correlate2d(normalised, kernel, mode="same")  # zeros beyond the border
        result = (blurred[0, colour].double().numpy() - MEAN[colour]) / STD[colour]
        np.testing.assert_allclose(result, expected, atol=1e-5)


def test_rises_kernel_is_nearly_a_box():
    images = torch.zeros(1, 3, 21, 21)
    images[:, :, 10, 10] = 1
    spread = RiseBlur(kernel=11, sigma=5.0)(classifier(Constant(0.5)), batch_of(images))[0, 0]
    kernel = spread[5:16, 5:16]
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    assert float(spread.sum() - kernel.sum()) == pytest.approx(0, abs=1e-6)
    assert kernel.max() < 1.2 / 121
    assert kernel.min() > 0.8 / 121


def test_a_composite_is_the_image_where_the_mask_is_one_and_the_baseline_where_it_is_zero():
    images, baseline = images_of(1, 8), images_of(1, 8, seed=1)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    mixed = composite(images, baseline, mask)
    assert torch.equal(mixed[..., :4], images[..., :4])
    assert torch.equal(mixed[..., 4:], baseline[..., 4:])
    torch.testing.assert_close(
        composite(images, baseline, 0.25 * torch.ones_like(mask)), 0.25 * images + 0.75 * baseline
    )


@given(st.integers(2, 16), st.integers(16, 40))
@settings(max_examples=20, deadline=None)
def test_enlarging_is_bilinear_with_corners_on_corners(res, size):
    mask = torch.rand(1, 1, res, res, generator=torch.Generator().manual_seed(res))
    matrix = bilinear_matrix(size, res)
    expected = matrix @ mask[0, 0].double() @ matrix.T
    torch.testing.assert_close(upsample(mask, size)[0, 0].double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("res", "size"), [(2, 5), (7, 32), (28, 224)])
def test_the_way_back_of_enlarging_is_the_same_sum_and_each_images_own(res, size):
    source = torch.Generator().manual_seed(res)
    masks = torch.rand(5, 1, res, res, generator=source).requires_grad_()
    weights = torch.randn(5, 1, size, size, generator=source)
    (found,) = torch.autograd.grad((upsample(masks, size) * weights).sum(), masks)
    matrix = bilinear_matrix(size, res)
    expected = matrix.T @ weights.double() @ matrix
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-7)
    with torch.autocast("cpu", torch.bfloat16):
        (lowered,) = torch.autograd.grad((upsample(masks, size) * weights).sum(), masks)
    assert torch.equal(lowered, found)
    for row in range(5):
        one = masks[row : row + 1].detach().requires_grad_()
        (alone,) = torch.autograd.grad((upsample(one, size) * weights[row]).sum(), one)
        assert torch.equal(alone[0], found[row])


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_named_protocols_are_those_of_the_protocol_page(named, name):
    rules = named[name]
    expected = {
        "igos": (Order.native, 200, BLUR, BLUR, Area.trapezoid),
        "igospp": (Order.native, 50, BLUR, BLUR, Area.right_last_one),
        "rise": (Order.pixels, 224, MeanColour(), RiseBlur(11, 5.0), Area.trapezoid),
    }[name]
    assert (
        rules.order,
        rules.steps,
        rules.deletion_substrate,
        rules.insertion_substrate,
        rules.area,
    ) == expected


def test_black_is_the_toys_default_on_both_sides():
    assert protocol().deletion_substrate == protocol().insertion_substrate == BLACK


def test_noise_is_what_each_generator_draws_alone():
    sources = generators(torch.tensor([5, 3, 5]), torch.device("cpu"))
    first, second = (normal(sources, 2, 3, 7) for _ in range(2))
    for row, seed in enumerate((5, 3, 5)):
        source = torch.Generator().manual_seed(seed)
        for noise in (first, second):
            assert torch.equal(noise[row], torch.randn(2, 3, 7, generator=source))
