"""Substrates made of what is left, of a data set's mean, and how any of them is chosen."""

import itertools

import cells
import cv2
import numpy as np
import pytest
import torch
from cells import start
from toys import (
    BLACK,
    Constant,
    Flat,
    Recorder,
    Smooth,
    batch_of,
    classifier,
    images_of,
    protocol,
)

from benchmark.background import Background
from benchmark.building import build
from benchmark.cell import Cell
from benchmark.config import load
from benchmark.curves import Imputer, Order, curve
from benchmark.imputation import NoisyLinear, Telea, interpolated
from benchmark.interfaces import BadInput
from benchmark.mean_image import MeanImage
from benchmark.substrates import Black, Blur, MeanColour, RiseBlur, UniformNoise
from metrics.deletion_insertion import Deletion
from metrics.least_relevant_first import LeastRelevantFirst

MEAN = (0.4, 0.5, 0.6)
SMOOTH, NOISY = NoisyLinear(noise_sd=0.0), NoisyLinear(noise_sd=0.05)
IMPUTERS = [Telea(radius=3.0), SMOOTH, NOISY]


def drawn(count, height, width, share, seed=0):
    """Masks [B, height, width], true with this probability."""
    source = torch.Generator().manual_seed(seed)
    return torch.rand(count, height, width, generator=source) < share


def slowly_interpolated(image, kept):
    """Solve the same equations written out one by one, [H, W, 3]."""
    height, width = kept.shape
    matrix, right = np.eye(height * width), np.zeros((height * width, 3))
    for row, column in itertools.product(range(height), range(width)):
        place = row * width + column
        if kept[row, column]:
            right[place] = image[row, column]
            continue
        around = {}
        for down, across in itertools.product((-1, 0, 1), repeat=2):
            inside = 0 <= row + down < height and 0 <= column + across < width
            if (down or across) and inside:
                other = (row + down) * width + column + across
                around[other] = 1 / 12 if down and across else 1 / 6
        for other, weight in around.items():
            matrix[place, other] -= weight / sum(around.values())
    return np.linalg.solve(matrix, right).reshape(height, width, 3)


# ROAD's interpolation


@pytest.mark.parametrize(("share", "seed"), [(0.02, 3), (0.3, 1), (0.7, 2), (0.97, 4)])
@pytest.mark.parametrize(("height", "width"), [(7, 9), (8, 8)])
def test_the_sparse_solution_is_that_of_all_equations_written_out(height, width, share, seed):
    kept = drawn(1, height, width, share, seed)[0].numpy()
    kept[0, 0] = True
    image = np.random.default_rng(seed).random((height, width, 3))
    np.testing.assert_allclose(
        interpolated(image, kept), slowly_interpolated(image, kept), atol=1e-10
    )


def test_a_hole_in_a_slope_is_filled_with_the_slope():
    down, across = np.mgrid[:9, :11]
    image = np.stack([0.02 * down, 0.03 * across, 0.01 * down + 0.02 * across], axis=2)
    kept = np.ones((9, 11), bool)
    kept[2:7, 3:9] = False
    damaged = image * kept[..., None]
    np.testing.assert_allclose(interpolated(damaged, kept), image, atol=1e-12)


def test_one_pixel_left_colours_the_whole_image():
    image, kept = np.random.default_rng(0).random((6, 5, 3)), np.zeros((6, 5), bool)
    kept[5, 0] = True
    filled = interpolated(image, kept)
    np.testing.assert_allclose(filled, np.broadcast_to(image[5, 0], image.shape), atol=1e-10)


def test_nothing_removed_is_the_image():
    image = np.random.default_rng(0).random((6, 5, 3))
    assert np.array_equal(interpolated(image, np.ones((6, 5), bool)), image)


# Both imputers


@pytest.mark.parametrize("imputer", IMPUTERS)
def test_what_is_left_stays_bit_for_bit_and_what_is_filled_in_has_no_trace_of_what_was(imputer):
    images, kept = images_of(2, 16), drawn(2, 16, 16, 0.5)[:, None]
    model, other = classifier(Constant(0.5), mean=MEAN), torch.where(kept, images, 1 - images)
    rows = torch.tensor([0, 1])
    filled = imputer.fill(model, batch_of(images), rows, kept)
    assert torch.equal(torch.where(kept, filled, 0.0), torch.where(kept, images, 0.0))
    assert torch.equal(filled, imputer.fill(model, batch_of(other), rows, kept))
    assert filled.min() >= 0
    assert filled.max() <= 1


@pytest.mark.parametrize("imputer", IMPUTERS)
def test_a_flat_image_is_filled_with_its_colour(imputer):
    images, kept = torch.full((1, 3, 16, 16), 0.4), drawn(1, 16, 16, 0.3)[:, None]
    filled = imputer.fill(classifier(Constant(0.5)), batch_of(images), torch.tensor([0]), kept)
    hidden = filled[(~kept).expand_as(filled)]
    assert float(hidden.mean()) == pytest.approx(0.4, abs=0.01)
    assert float(hidden.std()) == pytest.approx(getattr(imputer, "noise_sd", 0.0), abs=0.005)


@pytest.mark.parametrize("imputer", IMPUTERS)
@pytest.mark.parametrize("insertion", [False, True])
def test_a_curve_runs_between_the_image_and_what_says_nothing_of_it(imputer, insertion):
    model = classifier(Constant(0.3), kind=Recorder, mean=MEAN, pass_batch=7, input_size=16)
    images, heatmaps = images_of(2, 16), torch.rand(2, 4, 4)
    rules = protocol(imputer, imputer, steps=8, order="pixels")
    curve(model, batch_of(images), heatmaps, rules.walk(insertion))
    seen = model.seen.view(2, 9, 3, 16, 16)
    whole, empty = (-1, 0) if insertion else (0, -1)
    assert torch.equal(seen[:, whole], images)
    assert torch.equal(seen[:, empty], imputer(model, batch_of(images)))
    flat = torch.tensor(MEAN).view(1, 3, 1, 1).expand(2, 3, 16, 16)
    away = (seen[:, empty] - flat).std()
    assert float(away) == pytest.approx(getattr(imputer, "noise_sd", 0.0), abs=0.005)


@pytest.mark.parametrize("imputer", [Telea(radius=3.0), SMOOTH])
def test_each_input_of_a_curve_is_filled_in_by_itself(imputer):
    model = classifier(Constant(0.3), kind=Recorder, pass_batch=64, input_size=8)
    image, heatmap = images_of(1, 8), torch.rand(1, 8, 8)
    rules = protocol(imputer, imputer, steps=4, order="pixels")
    curve(model, batch_of(image), heatmap, rules.walk(insertion=False))
    order = heatmap.flatten().argsort(descending=True)
    for point in (1, 2, 3):
        kept = torch.ones(64, dtype=torch.bool)
        kept[order[: 16 * point]] = False
        kept = kept.view(8, 8)
        pixels = image[0].permute(1, 2, 0).numpy()
        if isinstance(imputer, Telea):
            levels = np.round(pixels * 255).astype(np.uint8)
            levels[~kept] = np.round(levels[kept].mean(0))
            hole = (~kept).numpy().astype(np.uint8)
            filled = cv2.inpaint(levels, hole, 3.0, cv2.INPAINT_TELEA) / 255
        else:
            filled = slowly_interpolated(pixels.astype(float), kept.numpy())
        expected = torch.from_numpy(filled).float().permute(2, 0, 1)
        torch.testing.assert_close(
            torch.where(kept, image[0], expected), model.seen[point], rtol=0, atol=1e-6
        )


def test_the_noise_of_an_image_is_one_draw_whatever_is_removed():
    model, batch = classifier(Constant(0.3), mean=MEAN), batch_of(0.2 + 0.6 * images_of(2, 16))
    kept = torch.cat([drawn(4, 16, 16, 0.5), torch.zeros(2, 16, 16, dtype=torch.bool)])[:, None]
    rows = torch.tensor([0, 1, 1, 0, 0, 1])
    noise = NOISY.fill(model, batch, rows, kept) - SMOOTH.fill(model, batch, rows, kept)
    for row, (one, other) in itertools.product((0, 1), itertools.combinations(range(6), 2)):
        hidden = (~kept[one] & ~kept[other]).expand(3, -1, -1)
        if rows[one] == rows[other] == row:
            torch.testing.assert_close(noise[one][hidden], noise[other][hidden], atol=1e-6, rtol=0)
    hidden = (~kept[0] & ~kept[1]).expand(3, -1, -1)
    assert not torch.allclose(noise[0][hidden], noise[1][hidden], atol=0.01)


@pytest.mark.parametrize("imputer", IMPUTERS)
def test_a_curve_does_not_depend_on_the_other_images_or_on_how_many_pass_at_once(imputer):
    images, heatmaps = images_of(3, 16), torch.rand(3, 4, 4)
    batch, walk = batch_of(images), protocol(imputer, steps=8, order="pixels").walk(insertion=False)
    whole, _ = curve(classifier(Smooth(), classes=4, pass_batch=20), batch, heatmaps, walk)
    for pass_batch, rows in ((1, [2]), (5, [2, 0]), (64, [1, 2, 0])):
        model = classifier(Smooth(), classes=4, pass_batch=pass_batch)
        part, _ = curve(model, batch.select(rows), heatmaps[rows], walk)
        assert torch.equal(part, whole[rows])


def test_least_relevant_first_takes_an_imputer_too():
    model, batch = classifier(Smooth(), classes=4), batch_of(images_of(1, 16))
    rules, heatmaps = protocol(SMOOTH, BLACK, steps=8, order="pixels"), torch.rand(1, 16, 16)
    reverse = Deletion(rules)(model, batch, -heatmaps)  # no two cells are equal
    assert torch.allclose(LeastRelevantFirst(rules)(model, batch, heatmaps).values, reverse.values)


def test_imputers_and_only_they_are_known_as_such():
    assert all(isinstance(each, Imputer) for each in IMPUTERS)
    assert not any(isinstance(each, Imputer) for each in (Flat(0.5), Black(), Blur(3, 1.0)))


# The mean image


def test_the_mean_image_is_the_mean_of_the_background(tmp_path):
    cells.make_images(tmp_path, 6)
    data = cells.TinyDataset("tiny", str(tmp_path), None, 0, None)
    background = Background(dataset=data, count=4, seed=0)
    batch = batch_of(images_of(2, 32))
    made = MeanImage(background)(classifier(Constant(0.5)), batch)
    chosen = [data.load(each, 32).image for each in data.ids()]
    means = [torch.stack(five).mean(0) for five in itertools.combinations(chosen, 5)]
    assert sum(torch.allclose(made[0], each, atol=1e-6) for each in means) == 1
    assert torch.equal(made[0], made[1])


def test_the_images_of_a_mean_are_part_of_a_scores_key_and_of_nothing_else(tmp_path):
    chosen = ("substrate@protocol.deletion_substrate=mean_image",)
    count = "protocol.deletion_substrate.background.count=5"
    found = []
    for name, reverse in (("one", False), ("copy", False), ("other", True)):
        cells.make_conf(tmp_path / name / "conf")
        cells.make_images(tmp_path / name / "images")
        for file in (tmp_path / name / "images").iterdir():
            file.write_bytes(file.read_bytes()[:: -1 if reverse else 1])
        found.append(Cell.open(cells.settings(tmp_path / name, *chosen, count)))
    one, copy, other = found
    assert one.stages == copy.stages
    assert one.stages["pointing"] == other.stages["pointing"]
    assert one.stages["deletion"] != other.stages["deletion"]
    assert one.identity == other.identity
    on_mean = ("substrate@baseline=mean_image", "baseline.background.count=5")
    keys = [Cell.open(cells.settings(tmp_path / name, *on_mean)) for name in ("one", "other")]
    assert keys[0].identity["method_data"] != keys[1].identity["method_data"]


# Choosing one


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("blur", Blur(51, 50.0)),
        ("rise_blur", RiseBlur(11, 5.0)),
        ("mean_colour", MeanColour()),
        ("black", Black()),
        ("noise", UniformNoise()),
    ],
)
@pytest.mark.parametrize("rules", ["igos", "igospp", "rise", "road"])
@pytest.mark.parametrize("side", ["deletion", "insertion"])
def test_a_protocols_substrate_is_chosen_by_name(name, expected, rules, side):
    plain = build(load(f"protocol={rules}").protocol, "protocol")
    given = (f"protocol={rules}", f"substrate@protocol.{side}_substrate={name}")
    changed = build(load(*given).protocol, "protocol")
    assert getattr(changed, f"{side}_substrate") == expected
    other = "insertion_substrate" if side == "deletion" else "deletion_substrate"
    assert getattr(changed, other) == getattr(plain, other)
    assert (changed.order, changed.steps, changed.area) == (plain.order, plain.steps, plain.area)


def test_the_protocols_of_the_papers_follow_the_baseline_and_others_do_not():
    changed = ("substrate@baseline=black",)
    found = {
        rules: build(load(f"protocol={rules}", *changed).protocol, "protocol")
        for rules in ("igos", "igospp", "rise", "road")
    }
    for rules in ("igos", "igospp"):
        assert found[rules].deletion_substrate == found[rules].insertion_substrate == Black()
    assert found["rise"].deletion_substrate == MeanColour()
    road = found["road"]
    assert road.deletion_substrate == road.insertion_substrate == NoisyLinear(0.01)
    assert (road.order, road.steps) == (Order.pixels, 16)
    settings = load("baseline.sigma=3.5")
    blur = Blur(51, 3.5)
    assert build(settings.baseline, "baseline") == blur
    assert build(settings.protocol, "protocol").deletion_substrate == blur
    assert build(settings.method, "method").baseline == blur


def test_a_chosen_substrate_stands_in_the_caption_and_in_the_key(tmp_path):
    cells.make_images(tmp_path / "images", 3)
    cells.make_conf(tmp_path / "conf")
    plain, _ = start(tmp_path, "metric=[deletion,insertion]")
    chosen = "substrate@protocol.deletion_substrate=black"
    made, _ = start(tmp_path, "metric=[deletion,insertion]", chosen)
    assert made.outcome.caption["protocol"] == f"{plain.outcome.caption['protocol']} {chosen}"
    assert made.stages["deletion"] != plain.stages["deletion"]
    assert made.folder.path == plain.folder.path


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["substrate@protocol.deletion_substrate=nope"], "no substrate=nope: choose one of black"),
        (["substrate@baseline=telea"], "baseline=Telea is another image for each mask"),
        (
            ["metric=[irof]", "substrate@metric.irof.substrate=noisy_linear"],
            r"metric\.irof\.substrate=NoisyLinear is another image for each mask",
        ),
        (
            ["substrate@protocol.insertion_substrate=telea"],
            "Telea fills in whole ones: use protocol=road, or add protocol.order=pixels",
        ),
        (
            ["protocol=road", "protocol.order=native"],
            "protocol.order=native removes pixels by halves",
        ),
    ],
)
def test_what_cannot_be_chosen_is_refused_in_one_line(tmp_path, given, message):
    cells.make_images(tmp_path / "images", 3)
    cells.make_conf(tmp_path / "conf")
    with pytest.raises(BadInput, match=message) as refusal:
        Cell.open(cells.settings(tmp_path, *given))
    assert "\n" not in str(refusal.value)


def test_a_radius_or_a_noise_of_less_than_none_is_refused():
    with pytest.raises(BadInput, match=r"radius of at least 1 pixel, got 0\.5"):
        Telea(radius=0.5)
    with pytest.raises(BadInput, match=r"noise_sd must be at least 0, got -0\.1"):
        NoisyLinear(noise_sd=-0.1)
