"""Scenes of two objects, and whether a heatmap tells one class from the other."""

import math

import numpy as np
import pytest
import torch
from toys import Constant, batch_of, classifier, images_of

import benchmark
from benchmark.datasets.pair_rendering import DIGIT, render_pair, sources_of
from benchmark.datasets.pairs import Pairs
from benchmark.datasets.scene_rendering import Split, digit_pool, digits
from benchmark.interfaces import BadInput, Truth
from metrics.discrimination import Discrimination, PointingDiscrimination

LABELS = digits()[1]


def data(limit=None, manifest=None, split=Split.test):
    return Pairs(name="pairs", split=split, limit=limit, seed=0, manifest=manifest)


@pytest.mark.parametrize("index", range(8))
def test_the_two_digits_are_of_different_classes_and_share_no_pixel_nor_box(index):
    sources = sources_of(Split.test, index)
    assert LABELS[sources[0]] != LABELS[sources[1]]
    scene = render_pair(Split.test, index, sources)
    first, second = scene.masks
    assert not (first & second).any()
    boxes = [[(axis.min(), axis.max()) for axis in np.nonzero(mask)] for mask in scene.masks]
    apart = [max(a[0] - b[1], b[0] - a[1]) for a, b in zip(*boxes, strict=True)]
    assert max(apart) >= 5
    for box in boxes:
        assert DIGIT[0] - 2 <= max(high - low + 1 for low, high in box) <= DIGIT[1]


def test_a_digit_is_its_mask_and_everything_else_is_the_same_without_it():
    sources = sources_of(Split.test, 3)
    whole, bare = render_pair(Split.test, 3, sources), render_pair(Split.test, 3, (None, None))
    changed = (whole.pixels != bare.pixels).any(2)
    inked = whole.masks[0] | whole.masks[1]
    assert not (changed & ~inked).any()
    assert changed[inked].mean() > 0.95
    one = render_pair(Split.test, 3, (sources[0], None))
    assert np.array_equal(one.pixels[whole.masks[0]], whole.pixels[whole.masks[0]])
    assert not one.masks[1].any()


def test_splits_share_no_digit_and_which_comes_first_is_chance():
    shown = {
        split: {source for index in range(200) for source in sources_of(split, index)}
        for split in Split
    }
    assert not shown[Split.train] & shown[Split.test]
    assert shown[Split.test] <= set(digit_pool(Split.test))
    lower = [LABELS[a] < LABELS[b] for a, b in (sources_of(Split.test, i) for i in range(400))]
    assert 0.4 < np.mean(lower) < 0.6


def test_each_class_of_a_scene_is_an_item_with_its_own_mask_and_the_boxes_of_both():
    pairs = data(limit=3)
    ids = pairs.ids()
    assert len(ids) == len(set(ids)) == 6
    for one, other in zip(ids[::2], ids[1::2], strict=True):
        assert one.partition(":")[0] == other.partition(":")[0]
        first, second = pairs.load(one, 224), pairs.load(other, 224)
        assert torch.equal(first.image, second.image)
        assert (f":{first.label}", f":{second.label}") == (one[-2:], other[-2:])
        assert torch.equal(pairs.decoy(one), second.truth.mask)
        assert torch.equal(pairs.decoy(other), first.truth.mask)
        assert first.truth.classes.tolist() == [first.label, second.label]
        assert torch.equal(first.truth.boxes, second.truth.boxes)
        for item, box in zip((first, second), first.truth.boxes.tolist(), strict=True):
            rows, columns = item.truth.mask.nonzero(as_tuple=True)
            assert box == [columns.min(), rows.min(), columns.max(), rows.max()]
        assert pairs.digest(one) != pairs.digest(other)


def test_a_manifest_names_items_and_a_limit_counts_scenes(tmp_path):
    ids = data(limit=4).ids()
    assert ids[:4] == data(limit=2).ids()
    file = tmp_path / "some.txt"
    file.write_text(f"{ids[5]}\n{ids[0]}\n")
    assert data(manifest=str(file)).ids() == [ids[5], ids[0]]
    assert len(data().ids()) == 1_000


@pytest.mark.parametrize(
    "name", ["pair-test-00500:1", "pair-test-00000", "scene-test-00001:1", "pair-test-00000:x"]
)
def test_an_unknown_item_is_refused(name):
    with pytest.raises(BadInput, match=f"no item {name}; scenes run from pair-test-00000"):
        data().load(name, 224)


def test_a_class_that_the_scene_does_not_show_is_refused_and_so_is_another_size():
    shown = {each[-1] for each in data(limit=1).ids()}
    missing = next(digit for digit in "0123456789" if digit not in shown)
    scene = data(limit=1).ids()[0][:-1]
    with pytest.raises(BadInput, match=f"no item {scene}{missing}"):
        data().load(f"{scene}{missing}", 224)
    with pytest.raises(BadInput, match="224 x 224 pixels, not 299"):
        data().load(data(limit=1).ids()[0], 299)


# Discrimination

SIZE = 8
BOXES = {0: (0, 0, 3, 7), 1: (5, 0, 7, 7)}  # left half but for a column, and the right


def score(kind, heatmap, target, boxes=BOXES):
    truth = Truth(torch.tensor(list(boxes.values())).float(), torch.tensor(list(boxes)))
    batch = batch_of(images_of(1, SIZE), targets=target, truths=[truth])
    return float(kind()(classifier(Constant(0.5)), batch, heatmap[None]).values)


@pytest.mark.parametrize("kind", [Discrimination, PointingDiscrimination])
def test_a_heatmap_on_its_own_object_has_1_on_the_other_0_and_elsewhere_half(kind):
    heatmap = torch.zeros(SIZE, SIZE)
    assert score(kind, heatmap, 0) == 0.5
    heatmap[:, 4] = 9
    assert score(kind, heatmap, 0) == 0.5
    heatmap[2, 1] = 1
    assert (score(kind, heatmap, 0), score(kind, heatmap, 1)) == (1, 0)


def test_discrimination_is_the_share_of_the_relevance_on_both_and_negative_counts_as_none():
    heatmap = torch.zeros(SIZE, SIZE)
    heatmap[0, 0], heatmap[1, 1], heatmap[3, 6], heatmap[4, 6] = 2, 1, 1, -5
    assert score(Discrimination, heatmap, 0) == pytest.approx(3 / 4)
    assert score(PointingDiscrimination, heatmap, 0) == 1
    assert score(Discrimination, 1e-9 * heatmap, 0) == pytest.approx(3 / 4)


@pytest.mark.parametrize("target", [0, 1, 2])
@pytest.mark.parametrize("kind", [Discrimination, PointingDiscrimination])
def test_the_objects_of_all_other_classes_count_against_the_own(kind, target):
    boxes = {0: (0, 0, 1, 7), 1: (3, 0, 4, 7), 2: (6, 0, 7, 7)}
    for marked in boxes:
        heatmap = torch.zeros(SIZE, SIZE)
        heatmap[2, boxes[marked][0]] = 1
        assert score(kind, heatmap, target, boxes) == (marked == target)


@pytest.mark.parametrize("kind", [Discrimination, PointingDiscrimination])
def test_what_boxes_share_counts_for_neither_and_one_class_alone_has_no_value(kind):
    shared = {0: (0, 0, 5, 7), 1: (4, 0, 7, 7)}
    heatmap = torch.zeros(SIZE, SIZE)
    heatmap[0, 4] = 5
    assert score(kind, heatmap, 0, shared) == 0.5
    heatmap[0, 7] = 1
    assert score(kind, heatmap, 0, shared) == 0
    assert math.isnan(score(kind, heatmap, 0, {0: (0, 0, 3, 7)}))
    assert math.isnan(score(kind, heatmap, 0, {1: (0, 0, 3, 7)}))
    assert math.isnan(score(kind, heatmap, 0, {0: (0, 0, 7, 7), 1: (4, 0, 7, 7)}))


@pytest.mark.parametrize("kind", [Discrimination, PointingDiscrimination])
def test_a_heatmap_that_is_blind_to_the_class_has_one_half_over_the_two(kind):
    source = torch.Generator().manual_seed(0)
    for _ in range(20):
        heatmap = torch.rand(SIZE, SIZE, generator=source)
        assert score(kind, heatmap, 0) + score(kind, heatmap, 1) == pytest.approx(1)


def test_controls_that_know_no_class_are_at_chance_by_construction_and_grad_cam_is_not():
    given = ["model=scenes_vgg", "dataset=pairs", "dataset.limit=4", "target=label", "res=14"]
    metrics = "metric=[discrimination,pointing_discrimination]"
    found = {}
    for method in ("centre", "sobel", "gradcam"):
        cell = benchmark.load(*given, f"method={method}", metrics)
        batch = cell.batch(cell.dataset.ids())
        heatmaps = cell.method(cell.model, batch)
        found[method] = [
            float(metric(cell.model, batch, heatmaps).values.mean())
            for metric in cell.metrics.values()
        ]
    for method in ("centre", "sobel"):
        assert found[method] == pytest.approx([0.5, 0.5])
    assert min(found["gradcam"]) > 0.7


@pytest.mark.parametrize("network", ["scenes_vgg", "scenes_resnet"])
def test_the_networks_of_single_digits_see_both_on_four_scenes_in_five(network):
    cell = benchmark.load(f"model={network}", "dataset=pairs", "dataset.limit=30", "method=centre")
    ids = cell.dataset.ids()
    items = [cell.dataset.load(each, 224) for each in ids[::2]]
    logits = cell.model(torch.stack([item.image for item in items]))
    likeliest = logits.topk(2, dim=1).indices.tolist()
    both = [
        set(two) == set(item.truth.classes.tolist())
        for two, item in zip(likeliest, items, strict=True)
    ]
    assert np.mean(both) >= 0.8
