"""What cuts an image into parts."""

import pytest
import torch
from toys import images_of

from benchmark.interfaces import BadInput
from benchmark.segments import Grid, Quickshift, Slic

SEGMENTERS = [
    Grid(cells=1),
    Grid(cells=7),
    Grid(cells=48),
    Slic(count=12, compactness=10.0, sigma=0.0),
    Slic(count=50, compactness=30.0, sigma=0.0),
    Quickshift(kernel_size=4.0, max_dist=200.0, ratio=0.2),
    Quickshift(kernel_size=2.0, max_dist=6.0, ratio=0.2),
]


@pytest.mark.parametrize("segmenter", SEGMENTERS, ids=repr)
@pytest.mark.parametrize("image", [*images_of(2, 48), torch.full((3, 48, 48), 0.5)])
def test_every_pixel_has_a_part_and_every_number_from_0_on_is_used(segmenter, image):
    parts = segmenter(image)
    assert parts.shape == (48, 48)
    assert parts.dtype == torch.int64
    assert parts.unique().tolist() == list(range(int(parts.max()) + 1))


@pytest.mark.parametrize("segmenter", SEGMENTERS, ids=repr)
def test_the_same_image_is_cut_in_the_same_way_and_left_as_it_was(segmenter):
    image = images_of(1, 48)[0]
    before = image.clone()
    first = segmenter(image)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        assert torch.equal(segmenter(image.clone()), first)
    assert torch.equal(image, before)


def test_a_grid_is_numbered_row_by_row_in_equal_squares():
    parts = Grid(cells=3)(torch.zeros(3, 6, 6))
    assert torch.equal(
        parts, torch.arange(9).view(3, 3).repeat_interleave(2, 0).repeat_interleave(2, 1)
    )


def test_squares_that_cannot_be_equal_differ_by_one_pixel():
    sizes = Grid(cells=7)(torch.zeros(3, 32, 32))[0].bincount()
    assert sizes.tolist() == [5, 5, 4, 5, 4, 5, 4]


@pytest.mark.parametrize(
    "segmenter",
    [Slic(count=16, compactness=10.0, sigma=0.0), Quickshift(2.0, max_dist=10.0, ratio=0.5)],
)
def test_superpixels_follow_the_edge_of_a_colour(segmenter):
    image = torch.full((3, 48, 48), 0.1)
    image[0, :, 19:] = 0.9
    parts = segmenter(image)
    assert not set(parts[:, :19].unique().tolist()) & set(parts[:, 19:].unique().tolist())


def test_about_as_many_superpixels_are_made_as_are_asked_for():
    image = images_of(1, 64)[0]
    made = [int(Slic(count, compactness=30.0, sigma=0.0)(image).max()) + 1 for count in (4, 16, 50)]
    assert made == sorted(made)
    assert all(
        count / 2 <= each <= 2 * count for count, each in zip((4, 16, 50), made, strict=True)
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Grid(cells=0), "cells of at least 1, got 0"),
        (lambda: Grid(cells=9)(torch.zeros(3, 8, 8)), "9 cells is finer than the image: 8"),
        (lambda: Slic(0, 1.0, sigma=0.0), "count of at least 1, .* count=0"),
        (
            lambda: Slic(count=5, compactness=0.0, sigma=0.0),
            r"compactness above 0 .* compactness=0\.0",
        ),
        (lambda: Quickshift(0.5, 10.0, 0.5), r"kernel_size of at least 1, .* kernel_size=0\.5"),
        (lambda: Quickshift(2.0, 0.0, 0.5), r"max_dist above 0 .* max_dist=0\.0"),
        (lambda: Quickshift(2.0, 10.0, 1.5), r"ratio in 0 to 1, got .* ratio=1\.5"),
    ],
)
def test_what_cannot_be_cut_is_refused(make, message):
    with pytest.raises(BadInput, match=message):
        make()
