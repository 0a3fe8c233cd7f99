import math

import pandas as pd
import pytest
import torch
from cells import ROOT
from hypothesis import given
from hypothesis import strategies as st
from toys import Constant, Recorder, batch_of, classifier, images_of, no_boxes

from benchmark.building import build
from benchmark.config import load
from benchmark.interfaces import BadInput, Truth
from metrics.pointing import Pointing, Ties

SIZE = 32


def truth(*boxes, classes=None, **place):
    return Truth(
        boxes=torch.tensor(boxes, dtype=torch.float32),
        classes=torch.tensor(classes or [0] * len(boxes)),
        **place,
    )


def peak(column, row, size=SIZE):
    """A heatmap [1, H, W] whose maximum is this pixel."""
    heatmap = torch.zeros(1, size, size)
    heatmap[0, row, column] = 1.0
    return heatmap


def hit(
    heatmap, where, tolerance=0.0, target=0, *,
    difficult=False, label=None, ties=Ties.first, size=SIZE,
):  # fmt: skip
    batch = batch_of(images_of(1, size), targets=target, truths=[where])
    if label is not None:
        batch = batch._replace(labels=torch.tensor([label]))
    scores = Pointing(tolerance, difficult, ties)(classifier(Constant(0.5)), batch, heatmap)
    assert scores.values.dtype == torch.float64
    assert scores.curves == {}
    return float(scores.values[0])


@pytest.mark.parametrize(
    ("column", "row", "expected"),
    [(10, 20, 1), (5, 12, 1), (15, 28, 1), (4, 20, 0), (16, 20, 0), (10, 11, 0), (10, 29, 0)],
)
def test_the_maximum_hits_inside_a_box_and_on_its_border_only(column, row, expected):
    assert hit(peak(column, row), truth((5, 12, 15, 28))) == expected


def test_columns_are_x_and_rows_are_y():
    wide = truth((0, 10, 31, 12))
    assert hit(peak(30, 11), wide) == 1
    assert hit(peak(11, 30), wide) == 0


@pytest.mark.parametrize("target", [0, 1])
def test_only_boxes_of_the_target_class_count(target):
    where = truth((0, 0, 9, 9), (20, 20, 29, 29), classes=[0, 1])
    assert hit(peak(5, 5), where, target=target) == (target == 0)
    assert hit(peak(25, 25), where, target=target) == (target == 1)


def test_any_of_several_boxes_is_enough():
    where = truth((0, 0, 3, 3), (10, 10, 13, 13), (20, 20, 23, 23))
    assert [hit(peak(at, at), where) for at in (2, 5, 12, 16, 22, 30)] == [1, 0, 1, 0, 1, 0]


def test_the_nearest_of_several_boxes_decides_about_the_tolerance():
    where = truth((0, 0, 1, 31), (20, 0, 21, 31))
    assert [hit(peak(at, 5), where, 4.0) for at in (4, 5, 16, 17, 24, 25)] == [1, 0, 0, 1, 1, 0]


@pytest.mark.parametrize("tolerance", [0.0, 15.0])
def test_without_a_box_of_the_target_class_there_is_no_value(tolerance):
    assert math.isnan(hit(peak(5, 5), no_boxes(), tolerance))
    assert math.isnan(hit(peak(5, 5), truth((0, 0, 9, 9), classes=[1]), tolerance))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((20.0, 0, 31, 31), 0),  # exactly 15 pixels to the right of column 5
        ((19.99, 0, 31, 31), 1),
        ((20.01, 0, 31, 31), 0),
        ((14.0, 17.0, 31, 31), 0),  # 9 and 12 pixels: 15 along the diagonal
        ((14.0, 16.99, 31, 31), 1),
        ((5.0, 5.0, 5.0, 5.0), 1),
    ],
)
def test_a_distance_of_exactly_the_tolerance_is_a_miss(box, expected):
    assert hit(peak(5, 5), truth(box), 15.0) == expected


def test_without_tolerance_a_pixel_beside_the_box_is_a_miss():
    assert hit(peak(5, 5), truth((6, 5, 9, 9)), 0.0) == 0
    assert hit(peak(5, 5), truth((6, 5, 9, 9)), 1.0) == 0
    assert hit(peak(5, 5), truth((6, 5, 9, 9)), 1.01) == 1


def test_distances_are_measured_in_pixels_of_the_original_image_on_each_axis():
    # A photograph of 128 x 48 pixels, stretched to 32 x 32: 4 and 1.5 of its pixels for each one.
    # The centre of network pixel (5, 5) is at x = 5.5 * 4 - 0.5 = 21.5, y = 5.5 * 1.5 - 0.5 = 7.75.
    place = {"scale": (4.0, 1.5)}
    right = 22 + 15  # the nearest whole pixel to 21.5, halves upwards, and the tolerance
    assert hit(peak(5, 5), truth((right, 0, 127, 47), **place), 15.0) == 0
    assert hit(peak(5, 5), truth((right - 0.01, 0, 127, 47), **place), 15.0) == 1
    below = 8 + 15
    assert hit(peak(5, 5), truth((0, below, 127, 47), **place), 15.0) == 0
    assert hit(peak(5, 5), truth((0, below - 0.01, 127, 47), **place), 15.0) == 1


def test_a_crop_moves_the_point_by_its_offset():
    # 32 x 32 pixels cut out of the original at x = 100, y = 50, not resized.
    where = truth((105, 60, 105, 60), offset=(100.0, 50.0))
    assert hit(peak(5, 10), where) == 1
    assert hit(peak(10, 5), where) == 0


@given(
    st.integers(0, SIZE - 1),
    st.integers(0, SIZE - 1),
    st.integers(20, 300),
    st.integers(20, 300),
)
def test_a_stretched_image_is_hit_where_its_own_pixels_are(column, row, width, height):
    scale = (width / SIZE, height / SIZE)
    x = math.floor((column + 0.5) * scale[0])
    y = math.floor((row + 0.5) * scale[1])
    assert hit(peak(column, row), truth((x, y, x, y), scale=scale)) == 1
    far = truth((x + 1, y, x + 1, y), scale=scale)
    assert hit(peak(column, row), far) == 0


def test_of_equal_maxima_the_first_in_row_major_order_is_the_point():
    heatmap = peak(20, 10) + peak(3, 12) + peak(25, 10)
    assert hit(heatmap, truth((20, 10, 20, 10))) == 1
    assert hit(heatmap, truth((3, 12, 3, 12))) == 0
    assert hit(heatmap, truth((25, 10, 25, 10))) == 0
    assert hit(torch.zeros(1, SIZE, SIZE), truth((0, 0, 0, 0))) == 1


def test_a_coarse_heatmap_is_enlarged_bilinearly_with_corners_on_corners():
    # Cell (1, 2) of 4 x 4 lies at row 1/3 and column 2/3 of the way: 31/3 and 62/3 pixels.
    heatmap = torch.zeros(1, 4, 4)
    heatmap[0, 1, 2] = 1.0
    assert hit(heatmap, truth((21, 10, 21, 10))) == 1
    corner = torch.zeros(1, 4, 4)
    corner[0, 3, 3] = 1.0
    assert hit(corner, truth((31, 31, 31, 31))) == 1


def test_each_image_is_scored_by_its_own_boxes_and_target():
    images = images_of(3, SIZE)
    truths = [truth((0, 0, 9, 9)), no_boxes(), truth((0, 0, 9, 9), classes=[1])]
    batch = batch_of(images, targets=torch.tensor([0, 0, 1]), truths=truths)
    heatmaps = torch.cat([peak(20, 20), peak(5, 5), peak(5, 5)])
    values = Pointing(0.0, False)(classifier(Constant(0.5)), batch, heatmaps).values
    assert values[0] == 0
    assert values[1].isnan()
    assert values[2] == 1


def test_the_classifier_is_not_asked():
    model = classifier(Constant(0.5), kind=Recorder)
    Pointing(0.0, False)(model, batch_of(images_of(1), truths=[truth((0, 0, 9, 9))]), peak(5, 5))
    assert model.calls == []


def test_of_equal_maxima_all_count_where_that_is_asked_for():
    heatmap = peak(3, 3) + peak(20, 20) + peak(21, 20) + peak(30, 30)
    assert hit(heatmap, truth((20, 20, 25, 25)), ties=Ties.first) == 0
    assert hit(heatmap, truth((20, 20, 25, 25)), ties=Ties.mean) == 0.5
    assert hit(heatmap, truth((20, 20, 25, 25)), 2.0, ties=Ties.mean) == 0.5
    assert hit(heatmap, truth((0, 0, 3, 3)), ties=Ties.first) == 1
    assert hit(heatmap, truth((0, 0, 3, 3)), ties=Ties.mean) == 0.25
    assert hit(heatmap * 0.5, truth((0, 0, 3, 3), (20, 20, 20, 20)), ties=Ties.mean) == 0.5


def test_a_heatmap_that_says_nothing_has_the_share_of_the_image_that_the_object_fills():
    flat = torch.zeros(1, SIZE, SIZE)
    assert hit(flat, truth((8, 0, 15, 31)), ties=Ties.mean) == 0.25
    masked = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    masked[4:8] = True
    where = truth(mask=masked)
    assert hit(flat, where, label=0, ties=Ties.mean) == 0.125
    # Closer than two pixels: one row more on each side.
    assert hit(flat, where, 2.0, label=0, ties=Ties.mean) == 6 / SIZE


@pytest.mark.parametrize("cells", [2, 5, 7, 28])
@pytest.mark.parametrize("value", [0.3, -0.7, 1.0])
def test_equal_cells_are_equal_maxima_though_enlarging_rounds(cells, value):
    size = 224
    flat = torch.full((1, cells, cells), value)
    assert hit(flat, truth((0, 0, 55, 223)), ties=Ties.mean, size=size) == 0.25
    half = flat.clone()
    half[:, :, cells // 2 :] -= 0.1
    edge = (cells // 2 - 1) * (size - 1) // (cells - 1)  # the last column that is as high
    assert hit(half, truth((0, 0, edge, 111)), ties=Ties.mean, size=size) == 0.5


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_what_rounding_does_not_explain_is_lower_whatever_a_heatmaps_scale(scale):
    heatmap = scale * (peak(3, 3) + (1 - 5e-7) * peak(20, 20) + (1 - 5e-6) * peak(30, 30))
    assert hit(heatmap, truth((20, 20, 20, 20)), ties=Ties.mean) == 0.5
    assert hit(heatmap, truth((30, 30, 30, 30)), ties=Ties.mean) == 0


@pytest.mark.parametrize("ties", Ties)
def test_heatmaps_that_are_not_finite_are_refused(ties):
    with pytest.raises(BadInput, match="without NaN and infinity"):
        hit(torch.full((1, 7, 7), math.nan), truth((0, 0, 5, 5)), ties=ties)


@given(st.lists(st.integers(0, SIZE * SIZE - 1), min_size=1, max_size=20, unique=True))
def test_the_mean_is_that_of_the_maxima_one_by_one(places):
    where = truth((4, 8, 20, 16), (25, 25, 30, 31))
    heatmap = torch.zeros(1, SIZE, SIZE)
    heatmap.view(-1)[places] = 1.0
    alone = [hit(peak(place % SIZE, place // SIZE), where, 3.0) for place in places]
    assert hit(heatmap, where, 3.0, ties=Ties.mean) == pytest.approx(sum(alone) / len(alone))
    assert hit(heatmap, where, 3.0) == alone[places.index(min(places))]


def test_a_tolerance_below_zero_is_refused():
    with pytest.raises(BadInput, match=r"tolerance of at least 0, got -1\.0"):
        Pointing(-1.0, False)


@pytest.mark.parametrize("difficult", [False, True])
def test_the_columns_have_no_tolerance_and_one_of_fifteen_pixels(difficult):
    names = (
        ("pointing_difficult", "pointing_15_difficult")
        if difficult
        else ("pointing", "pointing_15")
    )
    settings = load(f"metric=[{','.join(names)}]")
    built = [build(settings.metric[name], name) for name in names]
    assert built == [Pointing(0.0, difficult), Pointing(15.0, difficult)]
    assert all(metric.higher_is_better for metric in built)


# Masks


def masked(*pixels, size=(SIZE, SIZE), **place):
    """A truth of single pixels (x, y) of an original of (width, height), without boxes."""
    mask = torch.zeros(size[1], size[0], dtype=torch.bool)
    for x, y in pixels:
        mask[y, x] = True
    return no_boxes()._replace(mask=mask, **place)


def test_without_boxes_the_mask_is_hit_on_its_own_pixels_only():
    where = masked((5, 12), (20, 3))
    assert hit(peak(5, 12), where) == 1
    assert hit(peak(20, 3), where) == 1
    assert hit(peak(12, 5), where) == 0
    assert hit(peak(6, 12), where) == 0
    assert hit(peak(6, 12), where, 1.0) == 0
    assert hit(peak(6, 12), where, 1.01) == 1


def test_a_mask_exactly_fifteen_pixels_away_is_missed_as_in_torchray():
    assert hit(peak(5, 5), masked((20, 5)), 15.0) == 0
    assert hit(peak(5, 5), masked((14, 17)), 15.0) == 0  # 9 and 12 pixels: 15 along the diagonal
    assert hit(peak(5, 5), masked((19, 5)), 15.0) == 1
    assert hit(peak(5, 5), masked((14, 16)), 15.0) == 1


def test_the_mask_is_measured_in_pixels_of_the_original_image():
    # 128 x 48 stretched to 32 x 32: the centre of network pixel (5, 5) falls into (22, 8).
    place = {"size": (128, 48), "scale": (4.0, 1.5)}
    assert hit(peak(5, 5), masked((22, 8), **place)) == 1
    assert hit(peak(5, 5), masked((5, 5), **place)) == 0
    assert hit(peak(5, 5), masked((36, 8), **place), 15.0) == 1
    assert hit(peak(5, 5), masked((37, 8), **place), 15.0) == 0
    assert hit(peak(5, 5), masked((22, 22), **place), 15.0) == 1
    assert hit(peak(5, 5), masked((22, 23), **place), 15.0) == 0


@given(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1), st.integers(0, 2**32 - 1))
def test_a_mask_is_hit_where_a_disc_around_the_point_meets_it(column, row, seed):
    """TorchRay's formula: any pixel of the mask within less than the tolerance of the point."""
    mask = torch.rand(40, 60, generator=torch.Generator().manual_seed(seed)) > 0.995
    where = no_boxes()._replace(mask=mask, scale=(60 / SIZE, 40 / SIZE))
    x, y = math.floor((column + 0.5) * 60 / SIZE), math.floor((row + 0.5) * 40 / SIZE)
    near = (torch.arange(40)[:, None] - y) ** 2 + (torch.arange(60) - x) ** 2 < 15**2
    assert hit(peak(column, row), where, 15.0) == float((near & mask).any())


@pytest.mark.parametrize(("column", "expected"), [(3, 0), (15, 1)])
def test_a_point_outside_a_masks_image_is_as_far_as_it_is(column, expected):
    """Original columns -5 + 3 = -2, 29 pixels away, and 10: of a heatmap that is larger."""
    where = masked((27, 27), size=(28, 28), offset=(-5.0, 10.0))
    assert hit(peak(column, 3), where, 23.0) == expected
    twice = peak(column, 3) + peak(3, 4)
    assert hit(twice, where, 23.0, ties=Ties.mean) == expected / 2


def test_an_empty_mask_cannot_be_hit_and_no_mask_has_no_value():
    assert hit(peak(5, 5), masked(), 15.0) == 0
    assert math.isnan(hit(peak(5, 5), no_boxes(), 15.0))


def test_the_mask_is_of_the_label_so_another_target_has_no_value():
    where = masked((5, 5))
    assert hit(peak(5, 5), where, target=1, label=1) == 1
    assert math.isnan(hit(peak(5, 5), where, target=1, label=0))


def test_where_there_are_boxes_these_count_and_not_the_mask():
    where = truth((10, 10, 20, 20))._replace(mask=masked((15, 15)).mask)
    assert hit(peak(11, 11), where) == 1
    assert hit(peak(5, 5), where._replace(mask=masked((5, 5)).mask)) == 0
    assert math.isnan(hit(peak(15, 15), where, target=1))


# The difficult subset


def test_the_difficult_columns_have_values_of_difficult_targets_only():
    easy = truth((5, 5, 9, 9))
    hard = easy._replace(difficult=True)
    for where, point in ((easy, 6), (easy, 20), (hard, 6), (hard, 20)):
        plain = hit(peak(point, point), where)
        value = hit(peak(point, point), where, difficult=True)
        assert plain == (point == 6)
        assert value == plain if where is hard else math.isnan(value)
    assert hit(peak(5, 5), masked((5, 5), difficult=True), difficult=True) == 1


# Published numbers


def test_torchrays_table_names_methods_that_are_here_and_is_whole():
    table = pd.read_csv(ROOT / "results/published/torchray.csv")
    assert list(table.columns) == [
        "table",
        "model",
        "dataset",
        "method",
        "res",
        "metric",
        "value",
        "note",
    ]
    assert {f"{method}.yaml" for method in table["method"]} <= {
        file.name for file in (ROOT / "conf/method").iterdir()
    }
    cells = table.pivot(index="method", columns=["dataset", "model", "metric"], values="value")
    assert cells.shape == (9, 8)
    assert cells.notna().all(axis=None)
    for (dataset, model, metric), column in cells.items():
        if metric == "pointing_game_percent":
            harder = cells[dataset, model, "pointing_game_difficult_percent"]
            assert (harder < column).all()
