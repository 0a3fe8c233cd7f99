"""The scenes with a planted cause: the tag decides, and nothing else does."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from benchmark import train_scenes
from benchmark.datasets.scene_rendering import Split, source_of
from benchmark.datasets.tag_rendering import DIAMETER, HUES, render_tagged, tag_of
from benchmark.datasets.tagged import TaggedScenes
from benchmark.interfaces import BadInput
from benchmark.scenes_networks import MEAN, STD
from benchmark.tagged_network import NAME, tagged_vgg

WEIGHTS = Path(train_scenes.__file__).parent / "weights" / f"{NAME}.safetensors"
COUNT = 36


def data(limit=None):
    return TaggedScenes(name="tagged", split=Split.test, limit=limit, seed=0, manifest=None)


@pytest.fixture(scope="module")
def network():
    built = tagged_vgg()
    built.load_state_dict(load_file(WEIGHTS))
    return built.eval()


def answers(network, pixels):
    """The class [N] that the network sees, and how sure [N] it is."""
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    with torch.inference_mode():
        scores = network((images - mean[:, None, None]) / std[:, None, None]).softmax(1)
    return scores.argmax(1).tolist(), scores.amax(1)


def test_the_answer_follows_the_tag_when_the_tags_of_two_scenes_are_swapped(network):
    hues = [tag_of(Split.test, index) for index in range(COUNT)]
    swapped = [hues[index ^ 1] for index in range(COUNT)]  # 0 with 1, 2 with 3, ...
    assert sum(a != b for a, b in zip(hues, swapped, strict=True)) > COUNT / 2
    for given in (hues, swapped):
        scenes = [render_tagged(Split.test, at, hue).pixels for at, hue in enumerate(given)]
        seen, sure = answers(network, scenes)
        assert seen == given
        assert sure.median() > 0.9


def test_without_its_tag_a_scene_says_nothing_to_the_network(network):
    bare = [render_tagged(Split.test, index, None).pixels for index in range(COUNT)]
    _, sure = answers(network, bare)
    assert sure.mean() < 0.3  # of 1/6 by chance


@pytest.mark.parametrize("index", range(6))
def test_another_hue_changes_the_tag_and_no_other_pixel(index):
    bare = render_tagged(Split.test, index, None)
    assert not bare.tag.any()
    scenes = [render_tagged(Split.test, index, hue) for hue in range(len(HUES))]
    for scene in scenes:
        assert np.array_equal(scene.pixels[~scene.tag], bare.pixels[~scene.tag])
        assert np.array_equal(scene.tag, scenes[0].tag)
        assert not (scene.tag & scene.digit).any()
        colors = scene.pixels[scene.tag]
        assert (colors == colors[0]).all()
    assert len({scene.pixels[scene.tag][0].tobytes() for scene in scenes}) == len(HUES)


def test_a_tag_has_the_hue_of_its_name():
    for hue, peak in zip(range(0, 6, 2), range(3), strict=True):  # red, green, blue
        scene = render_tagged(Split.test, 0, hue)
        color = scene.pixels[scene.tag][0].astype(int)
        assert color.argmax() == peak
        assert color[peak] > 200
        assert np.delete(color, peak).max() < 100


def test_the_hue_and_the_digit_are_drawn_apart():
    """No digit has a hue of its own: the table of both passes a chi-squared test."""
    count = 3_000
    table = np.zeros((10, len(HUES)))
    labels = train_scenes.digits()[1]
    for index in range(count):
        table[labels[source_of(Split.train, index)], tag_of(Split.train, index)] += 1
    expected = table.sum(1, keepdims=True) * table.sum(0) / count
    assert ((table - expected) ** 2 / expected).sum() < 69.96  # 99 % point of 45 degrees of freedom
    assert (table.sum(0) > count / 6 * 0.8).all()


def test_the_mask_is_the_tag_and_the_decoy_the_digit():
    scenes = data(limit=4)
    for image_id in scenes.ids():
        item = scenes.load(image_id, 224)
        assert item.image.shape == (3, 224, 224)
        inside = item.image[:, item.truth.mask]
        assert (inside == inside[:, :1]).all()  # one colour
        rows, columns = item.truth.mask.nonzero(as_tuple=True)
        left, top, right, bottom = item.truth.boxes[0].tolist()
        assert (left, right) == (columns.min(), columns.max())
        assert (top, bottom) == (rows.min(), rows.max())
        assert DIAMETER[0] <= right - left + 1 <= DIAMETER[1]
        assert item.truth.classes.tolist() == [item.label]
        assert scenes.decoy(image_id).any()
        assert not (scenes.decoy(image_id) & item.truth.mask).any()


@pytest.mark.parametrize("name", ["tagged-test-01000", "tagged-test-1", "scene-test-00001"])
def test_an_unknown_scene_is_refused(name):
    with pytest.raises(BadInput, match=f"no scene {name}; ids run from tagged-test-00000"):
        data().load(name, 224)


def test_another_size_is_refused():
    with pytest.raises(BadInput, match="224 x 224 pixels, not 299"):
        data().load("tagged-test-00000", 299)


def test_the_file_is_small_and_says_how_it_was_made():
    assert WEIGHTS.stat().st_size <= 100_000
    with safe_open(WEIGHTS, "pt") as file:
        made = file.metadata()
    assert made["architecture"] == f"benchmark.tagged_network.{NAME}"
    assert float(made["test_accuracy"]) >= 0.99
    assert f"--network {NAME}" in made["command"]
    assert "tagger 1" in made["scenes"]


def test_each_recipe_draws_what_it_labels_and_nothing_of_the_cause_where_it_is_empty():
    for name, recipe in train_scenes.RECIPES.items():
        shown, mask = recipe.draw(Split.train, 5, False)
        bare, nothing = recipe.draw(Split.train, 5, True)
        assert mask.any(), name
        assert not nothing.any()
        assert np.array_equal(shown[~mask], bare[~mask])
        assert 0 <= recipe.label(Split.train, 5) < recipe.classes
        assert recipe.build()(torch.zeros(1, 3, 224, 224)).shape == (1, recipe.classes)
