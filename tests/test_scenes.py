import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from benchmark import scenes_networks
from benchmark.datasets import scene_rendering
from benchmark.datasets.scene_rendering import Split, digit_pool, digits, render, source_of
from benchmark.datasets.scenes import Scenes
from benchmark.datasets.selection import choose
from benchmark.interfaces import BadInput

NETWORKS = ["scenes_vgg", "scenes_resnet"]
WEIGHTS = Path(scenes_networks.__file__).parent / "weights"
IDS = [f"image-{number}" for number in range(50)]


def scenes(split=Split.test, limit=None, seed=0, manifest=None):
    return Scenes(name="scenes", split=split, limit=limit, seed=seed, manifest=manifest)


@pytest.fixture(scope="module")
def items():
    data = scenes()
    return [data.load(image_id, 224) for image_id in data.ids()[:200]]


# The subset


def test_smaller_subsets_are_the_start_of_larger_ones():
    orders = [choose(IDS, limit, 7, None) for limit in (10, 20, None)]
    assert orders[0] == orders[1][:10]
    assert orders[1] == orders[2][:20]
    assert sorted(orders[2]) == sorted(IDS)


def test_the_subset_depends_on_the_seed_and_not_on_the_order_of_the_folder():
    assert choose(IDS, 20, 7, None) == choose(IDS[::-1], 20, 7, None)
    assert choose(IDS, 20, 7, None) != choose(IDS, 20, 8, None)


def test_a_manifest_is_followed_in_its_own_order_up_to_the_limit(tmp_path):
    path = tmp_path / "ids.txt"
    path.write_text("image-9\n\n  image-3\r\nimage-5\n")
    assert choose(IDS, None, 0, str(path)) == ["image-9", "image-3", "image-5"]
    assert choose(IDS, 2, 0, str(path)) == ["image-9", "image-3"]


@pytest.mark.parametrize(
    ("limit", "lines", "message"),
    [
        (0, None, "limit=0 chooses no image"),
        (51, None, "limit=51 is more than the 50 images of the data set"),
        (3, "image-1\nimage-2", "limit=3 is more than the 2 images of manifest"),
        (None, " \n", "names no image"),
        (None, "image-1\nimage-2\nimage-1", r"repeats 1 id \(image-1\)"),
        (None, "a\nimage-1\nb\nc\nd", r"names 4 ids \(a, b, c, \.\.\.\) that the data set lacks"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(tmp_path, limit, lines, message):
    path = tmp_path / "ids.txt"
    path.write_text(lines or "")
    with pytest.raises(BadInput, match=message):
        choose(IDS, limit, 0, None if lines is None else str(path))


def test_a_missing_manifest_is_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        choose(IDS, None, 0, str(tmp_path / "nowhere.txt"))


# The scenes


def test_the_test_split_has_a_thousand_scenes_and_the_seed_orders_them():
    assert len(scenes().ids()) == 1000
    assert scenes(limit=5).ids() == scenes().ids()[:5]
    assert scenes(seed=1).ids() != scenes().ids()
    assert set(scenes(split=Split.train).ids()).isdisjoint(scenes().ids())


def test_every_process_renders_the_same_bytes(items):
    program = (
        "from benchmark.datasets.scenes import Scenes; from hashlib import sha256;"
        "from benchmark.datasets.scene_rendering import Split; import json;"
        "data = Scenes('scenes', Split.train, None, 3, None);"
        f"ids = {[item.id for item in items[:4]]};"
        "print(json.dumps([[sha256(data.load(i, 224).image.numpy().tobytes()).hexdigest(),"
        " data.digest(i)] for i in reversed(ids)]))"
    )
    root = Path(scenes_networks.__file__).parent.parent
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, check=True, text=True
    )
    here = [
        [sha256(item.image.numpy().tobytes()).hexdigest(), scenes().digest(item.id)]
        for item in items[:4]
    ]
    assert json.loads(answer.stdout) == here[::-1]


def test_images_are_8_bit_colours_in_0_to_1_and_no_two_are_alike(items):
    for item in items:
        assert item.image.shape == (3, 224, 224)
        assert item.image.dtype == torch.float32
        assert torch.equal((item.image * 255).round() / 255, item.image)
    assert len({item.image.numpy().tobytes() for item in items}) == len(items)
    assert len({scenes().digest(item.id) for item in items}) == len(items)


def test_the_box_is_the_tightest_around_the_mask_and_64_to_112_pixels_long(items):
    for item in items:
        (left, top, right, bottom) = item.truth.boxes[0].int().tolist()
        rows, columns = item.truth.mask.nonzero(as_tuple=True)
        assert (left, right) == (columns.min(), columns.max())
        assert (top, bottom) == (rows.min(), rows.max())
        assert 64 <= max(right - left, bottom - top) + 1 <= 112
        assert item.truth.classes.tolist() == [item.label]
        assert item.truth.to_original(5.0, 6.0) == (5.0, 6.0)


def test_every_class_is_shown(items):
    assert {item.label for item in items} == set(range(10)) == set(range(len(scenes().class_names)))


def test_train_and_test_scenes_share_no_digit_and_no_part_of_a_photograph():
    assert not set(digit_pool(Split.train)) & set(digit_pool(Split.test))
    columns = [scene_rendering._COLUMNS[split] for split in (Split.test, Split.train)]
    for (_, end), (start, _) in zip(*columns, strict=True):
        assert end <= start


@pytest.mark.parametrize("index", range(20))
def test_another_digit_changes_the_scene_inside_its_ink_and_nowhere_else(index):
    # So neither the pieces nor the photograph can tell the class, and no piece touches the ink.
    empty, nothing = render(Split.test, index, None)
    assert not nothing.any()
    labels = digits()[1]
    for label in (0, 1, 8):
        source = next(row for row in digit_pool(Split.test) if labels[row] == label)
        pixels, mask = render(Split.test, index, source)
        assert np.array_equal(pixels[~mask], empty[~mask])
        changed = (pixels != empty).any(2)
        assert changed[mask].mean() > 0.98  # the rest has the ink's colour by chance


def test_no_piece_comes_within_four_pixels_of_the_ink(monkeypatch):
    painted = []
    paint = scene_rendering._paint
    monkeypatch.setattr(
        scene_rendering,
        "_paint",
        lambda canvas, ink, top, left, color: (
            painted.append((top, left, *ink.shape)),
            paint(canvas, ink, top, left, color),
        ),
    )
    for index in range(50):
        painted.clear()
        _, mask = render(Split.test, index, source_of(Split.test, index))
        assert len(painted) >= 3  # pieces, and the digit last
        for top, left, height, width in painted[:-1]:
            around = np.s_[max(0, top - 4) : top + height + 4, max(0, left - 4) : left + width + 4]
            assert not mask[around].any()


@pytest.mark.parametrize("name", ["scene-test-01000", "scene-test-1", "scene-dev-00001"])
def test_an_unknown_scene_is_refused(name):
    with pytest.raises(BadInput, match=f"no scene {name}; ids run from scene-test-00000"):
        scenes().load(name, 224)


def test_another_size_is_refused():
    with pytest.raises(BadInput, match="224 x 224 pixels, not 299"):
        scenes().load("scene-test-00000", 299)


# The networks


def committed(name):
    network = getattr(scenes_networks, name)()
    network.load_state_dict(load_file(WEIGHTS / f"{name}.safetensors"))
    return network.eval()


def normalised(images):
    mean, std = torch.tensor(scenes_networks.MEAN), torch.tensor(scenes_networks.STD)
    return (images - mean[:, None, None]) / std[:, None, None]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_committed_weights_classify_scenes_and_are_unsure_without_the_digit(name, items):
    images, labels = (
        torch.stack([item.image for item in items]),
        torch.tensor([item.label for item in items]),
    )
    empty = np.stack([render(Split.test, index, None)[0] for index in range(50)])
    empty = torch.from_numpy(empty).permute(0, 3, 1, 2) / 255
    network = committed(name)
    with torch.inference_mode():
        scores = network(normalised(images)).softmax(1)
        unsure = network(normalised(empty)).softmax(1).amax(1)
    assert (scores.argmax(1) == labels).double().mean() >= 0.97
    assert scores.gather(1, labels[:, None]).median() > 0.9
    assert unsure.mean() < 0.4


@pytest.mark.parametrize("name", NETWORKS)
def test_every_unit_of_the_committed_networks_responds_to_some_scene(name, items):
    network, peaks = committed(name), {}
    for path, module in network.named_modules():
        if isinstance(module, torch.nn.ReLU):
            module.register_forward_hook(
                lambda *seen, path=path: peaks.update(
                    {path: seen[-1].transpose(0, 1).flatten(1).amax(1)}
                )
            )
    with torch.inference_mode():
        network(normalised(torch.stack([item.image for item in items[:100]])))
    assert peaks
    for path, peak in peaks.items():
        assert (peak > 0).all(), path


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_and_their_files_are_small_and_say_how_they_were_made(name):
    assert sum(parameter.numel() for parameter in committed(name).parameters()) <= 500_000
    path = WEIGHTS / f"{name}.safetensors"
    assert path.stat().st_size <= 2_000_000
    with safe_open(path, "pt") as file:
        made = file.metadata()
    assert made["architecture"] == f"benchmark.scenes_networks.{name}"
    assert float(made["test_accuracy"]) >= 0.97
    assert f"--network {name}" in made["command"]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_relu_is_used_once_and_leaves_its_input_as_it_was(name):
    network, calls = getattr(scenes_networks, name)().eval(), []
    relus = [module for module in network.modules() if isinstance(module, torch.nn.ReLU)]
    for relu in relus:
        assert not relu.inplace
        relu.register_forward_hook(lambda module, *_: calls.append(module))
    network(torch.zeros(1, 3, 224, 224))
    assert calls == relus
