"""The public multi-label networks are read from their files as Caffe would compute them."""

from dataclasses import replace

import pytest
import torch
from cells import Listener
from test_voc import TWO, devkit
from torch.nn import functional as f
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.models.vgg import VGG, make_layers

from benchmark import multi_label, summary
from benchmark.attribution import Score, gradients, target_scores
from benchmark.building import build
from benchmark.config import load
from benchmark.interfaces import BadInput
from benchmark.model_sources import RANDOM, weights_hash
from benchmark.models import Activation, MemoryFormat, Precision
from benchmark.multi_label import Classes, MultiLabelModel, Network
from benchmark.run import run

CPU = torch.device("cpu")
BGR_MEAN = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
SOURCE = MultiLabelModel(
    network=Network.vgg16,
    classes=Classes.voc,
    weights="auto",
    pretrained="usual.pth.tar",
    weights_root=None,
    precision=Precision.fp32,
    memory_format=MemoryFormat.contiguous,
    pass_batch={"cpu": 20},
)
WIDTHS = [4, 4, "M", 6, 6, "M", 8, 8, 8, "M", 8, 8, 8, "M", 8, 8, 8, "M"]


def narrow_vgg16(num_classes):
    with torch.device("meta"):  # its own dense layers are as wide as the real one's
        network = VGG(torch.nn.Sequential(), num_classes=num_classes, init_weights=False)
    network.features = make_layers(WIDTHS)
    dense = [torch.nn.Linear(8 * 49, 16), torch.nn.Linear(16, 16), torch.nn.Linear(16, num_classes)]
    for place, layer in zip((0, 3, 6), dense, strict=True):
        network.classifier[place] = layer
    return network


def narrow_resnet50(num_classes):
    return ResNet(Bottleneck, [2, 1, 1, 1], num_classes=num_classes, width_per_group=4)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """The real ones have 138 and 26 million numbers; these have their layers' names and kinds."""
    monkeypatch.setattr(multi_label, "vgg16", narrow_vgg16)
    monkeypatch.setattr(multi_label, "resnet50", narrow_resnet50)


def drawn(*shape):
    return torch.randn(shape) / max(1, torch.Size(shape[1:]).numel()) ** 0.5


def caffe_vgg16(classes):
    """A file as TorchRay's: BGR first, no dropout among the names, dense layers as convolutions."""
    state, before = {}, 3
    for place, width in zip(
        (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
        [w for w in WIDTHS if w != "M"],
        strict=True,
    ):
        state[f"features.{place}.weight"] = 1.4 * drawn(width, before, 3, 3)
        state[f"features.{place}.bias"] = drawn(width)
        before = width
    state |= {"classifier.0.weight": drawn(16, 8, 7, 7), "classifier.0.bias": drawn(16)}
    state |= {"classifier.2.weight": drawn(16, 16, 1, 1), "classifier.2.bias": drawn(16)}
    return state | {
        "classifier.4.weight": drawn(classes, 16, 1, 1),
        "classifier.4.bias": drawn(classes),
    }


def run_vgg16(state, images):
    """Compute logits as Caffe does, from a file's own entries."""
    maps = 255 * images.flip(1) - BGR_MEAN
    place = 0
    for width in WIDTHS:
        if width == "M":
            maps, place = f.max_pool2d(maps, 2, 2, ceil_mode=True), place + 1
        else:
            weight, bias = (state[f"features.{place}.{kind}"] for kind in ("weight", "bias"))
            maps, place = f.conv2d(maps, weight, bias, padding=1).relu(), place + 2
    for layer in (0, 2, 4):
        maps = f.conv2d(
            maps, state[f"classifier.{layer}.weight"], state[f"classifier.{layer}.bias"]
        )
        maps = maps.relu() if layer < 4 else maps
    return maps.flatten(1)


def caffe_norm(name, width):
    """Batch normalisation as Caffe has it: statistics in one layer, scaling in the next."""
    return {
        f"{name}.0.running_mean": drawn(width),
        f"{name}.0.running_var": torch.rand(width) + 0.5,
        f"{name}.1.weight": torch.rand(width) + 0.5,
        f"{name}.1.bias": drawn(width),
    }


BLOCKS = [("layer1.0", 1), ("layer1.1", 1), ("layer2.0", 2), ("layer3.0", 2), ("layer4.0", 2)]


def caffe_resnet50(classes):
    state = {"conv1.weight": drawn(64, 3, 7, 7) / 60, "conv1.bias": drawn(64)}
    state |= caffe_norm("bn1", 64)
    before = 64
    for name, _ in BLOCKS:
        inner = 4 * 2 ** (int(name[5]) - 1)
        outer = 64 * inner
        for number, shape in enumerate(
            [(inner, before, 1, 1), (inner, inner, 3, 3), (outer, inner, 1, 1)], 1
        ):
            state[f"{name}.conv{number}.weight"] = drawn(*shape)
            state |= caffe_norm(f"{name}.bn{number}", shape[0])
        if name.endswith(".0"):
            state[f"{name}.downsample.0.weight"] = drawn(outer, before, 1, 1)
            state |= caffe_norm(f"{name}.downsample.1", outer)
        before = outer
    return state | {"fc.weight": drawn(classes, before), "fc.bias": drawn(classes)}


def run_resnet50(state, images):
    """Compute logits as Caffe does: the first convolution of a block strides, pooling rounds up."""

    def normalised(maps, name):
        mean, variance = (
            state[f"{name}.0.running_{kind}"].view(-1, 1, 1) for kind in ("mean", "var")
        )
        scale, shift = (state[f"{name}.1.{kind}"].view(-1, 1, 1) for kind in ("weight", "bias"))
        return (maps - mean) / (variance + 1e-5).sqrt() * scale + shift

    maps = 255 * images.flip(1) - BGR_MEAN
    maps = f.conv2d(maps, state["conv1.weight"], state["conv1.bias"], stride=2, padding=3)
    maps = f.max_pool2d(normalised(maps, "bn1").relu(), 3, 2, ceil_mode=True)
    for name, stride in BLOCKS:
        inner = f.conv2d(maps, state[f"{name}.conv1.weight"], stride=stride)
        inner = normalised(inner, f"{name}.bn1").relu()
        inner = f.conv2d(inner, state[f"{name}.conv2.weight"], padding=1)
        inner = normalised(inner, f"{name}.bn2").relu()
        inner = normalised(f.conv2d(inner, state[f"{name}.conv3.weight"]), f"{name}.bn3")
        if name.endswith(".0"):
            maps = f.conv2d(maps, state[f"{name}.downsample.0.weight"], stride=stride)
            maps = normalised(maps, f"{name}.downsample.1")
        maps = (maps + inner).relu()
    return maps.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]


CASES = {
    Network.vgg16: (caffe_vgg16, run_vgg16),
    Network.resnet50: (caffe_resnet50, run_resnet50),
}


def saved(folder, network, classes=20, name="usual.pth.tar"):
    torch.manual_seed(5)
    state = CASES[network][0](classes)
    torch.save(state, folder / name, _use_new_zipfile_serialization=False)  # as they are
    return state


@pytest.mark.parametrize(("classes", "count"), [(Classes.voc, 20), (Classes.coco, 80)])
@pytest.mark.parametrize("network", Network)
def test_a_file_gives_the_logits_that_caffe_would(tmp_path, network, classes, count):
    state = saved(tmp_path, network, count)
    source = replace(SOURCE, network=network, classes=classes, weights_root=str(tmp_path))
    model = source.load(CPU)
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits, expected = model(images), CASES[network][1](state, images)
    assert logits.shape == (2, count) == (2, len(model.class_names))
    assert float(expected.std()) > 0.05
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert (model.weights, model.activation) == ("usual.pth.tar", Activation.sigmoid)
    again = replace(source, weights="usual.pth.tar").load(CPU)
    assert weights_hash(again.network) == weights_hash(model.network)


def test_probabilities_are_sigmoids_and_the_prediction_is_the_largest_logit(tmp_path):
    saved(tmp_path, Network.vgg16)
    model = replace(SOURCE, weights=str(tmp_path / "usual.pth.tar")).load(CPU)
    images, targets = torch.rand(3, 3, 224, 224), torch.tensor([4, 0, 19])
    with torch.no_grad():
        logits = model(images).gather(1, targets[:, None])[:, 0]
        expected = 1 / (1 + (-logits).exp())
        torch.testing.assert_close(model.scores(images, targets), expected)
        torch.testing.assert_close(target_scores(model, images, targets, Score.softmax), expected)
        assert torch.equal(target_scores(model, images, targets, Score.logit), logits)
        logs = model.log_probabilities(model(images)).gather(1, targets[:, None])[:, 0]
        torch.testing.assert_close(logs, expected.log())
    slopes, _ = gradients(model, images, targets, Score.softmax)
    of_logits, _ = gradients(model, images, targets, Score.logit)
    factor = (expected * (1 - expected)).view(-1, 1, 1, 1)
    torch.testing.assert_close(slopes, of_logits * factor, rtol=1e-3, atol=1e-6)


def test_random_weights_need_no_file_and_are_said_loudly():
    model = replace(SOURCE, weights="random").load(CPU)
    assert model.weights == RANDOM


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {},
            r"no usual\.pth\.tar in WEIGHTS_ROOT, which is not set; download it from https://dl\.fbaipublicfiles\.com/torchray/usual\.pth\.tar",
        ),
        ({"weights_root": "."}, r"there is no usual\.pth\.tar in \.; download it from"),
        ({"weights": "mine.pth.tar"}, r"there is no file mine\.pth\.tar"),
        (
            {"weights": "IMAGENET1K_V1"},
            r"model\.weights=IMAGENET1K_V1: there is no usual\.pth\.tar",
        ),
    ],
)
def test_without_a_file_it_is_said_where_there_is_one(changes, message):
    with pytest.raises(BadInput, match=message):
        replace(SOURCE, **changes).load(CPU)


def test_a_file_of_another_network_is_refused(tmp_path):
    saved(tmp_path, Network.resnet50)
    source = replace(SOURCE, weights_root=str(tmp_path))
    with pytest.raises(BadInput, match=r"usual\.pth\.tar does not fit the network: .*Missing"):
        source.load(CPU)
    with pytest.raises(BadInput, match=r"usual\.pth\.tar does not fit the network: .*fc\.weight"):
        replace(source, network=Network.resnet50, classes=Classes.coco).load(CPU)


@pytest.mark.parametrize("network", ["vgg16", "resnet50"])
@pytest.mark.parametrize("classes", ["voc", "coco"])
def test_the_four_are_there_by_name(network, classes):
    source = build(load(f"model={network}_{classes}").model, "model")
    assert (source.network.name, source.classes.name) == (network, classes)
    assert source.pretrained.startswith(f"{network}_{classes}-")
    assert source.pretrained.endswith(".pth.tar")


def test_the_pointing_game_runs_on_units_with_their_class_as_the_target(tmp_path):
    devkit(tmp_path / "VOC2007", TWO)
    settings = load(
        "method=centre",
        "res=7",
        "dataset=voc2007",
        f"dataset.root='{tmp_path}'",
        "model=vgg16_voc",
        "model.weights=random",
        "target=label",
        "metric=[pointing_15,pointing_15_difficult]",
        "device=cpu",
        f"results='{tmp_path / 'results'}'",
    )
    folder, outcome = run(settings, Listener())
    table = summary.per_image(folder, outcome).set_index("id")
    assert sorted(table.index) == ["000001:dog", "000001:person", "000002:train"]
    assert (table["target"] == table["label"]).all()
    assert table.loc["000001:person", "pointing_15"] == 1
    assert table["pointing_15_difficult"].notna().to_dict() == {
        "000001:dog": True,
        "000001:person": False,
        "000002:train": False,
    }
    means = summary.class_means(table, ["pointing_15", "pointing_15_difficult"])
    assert means["pointing_15"].n == 3
    assert means["pointing_15"].value == table["pointing_15"].mean()
    assert means["pointing_15_difficult"].n == 1
