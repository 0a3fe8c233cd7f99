import pytest
import torch
import torchvision
from torch import nn
from toys import Recorder, Tiny, batch_of, classifier, explain, images_of

from benchmark import scenes_networks
from benchmark.cam_layer import find_cam_layer
from benchmark.interfaces import BadInput
from benchmark.models import MemoryFormat
from methods.gradcam import GradCAM

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def by_hand(network, images, targets):
    """Grad-CAM of the tiny network in double precision: gradients averaged over the map."""
    network = network.double()
    mean, std = (torch.tensor(each).double().view(1, 3, 1, 1) for each in (MEAN, STD))
    heatmaps = []
    for image, target in zip(images, targets, strict=True):
        maps = network.features((image.double()[None] - mean) / std).detach().requires_grad_()
        logits = network.head(maps.mean((2, 3)))
        (gradient,) = torch.autograd.grad(logits[0, target], maps)
        weights = gradient.mean((2, 3))[0]  # [C]
        total = sum(weight * each for weight, each in zip(weights, maps[0], strict=True))
        heatmaps.append(total.clamp(min=0).detach())
    return torch.stack(heatmaps)


@pytest.mark.parametrize("memory_format", MemoryFormat)
def test_gradcam_equals_a_computation_by_hand(memory_format):
    images, targets = images_of(3, 64), torch.tensor([0, 2, 4])
    model = classifier(
        Tiny(), classes=5, mean=MEAN, std=STD, input_size=64, memory_format=memory_format
    )
    heatmaps = explain(GradCAM(), model, batch_of(images, targets))
    expected = by_hand(Tiny().eval(), images, targets)
    assert heatmaps.shape == (3, 8, 8)
    assert (expected > 0).flatten(1).any(dim=1).sum() >= 2
    assert (expected == 0).any()
    torch.testing.assert_close(heatmaps.double(), expected, rtol=1e-4, atol=1e-6)


def test_gradcam_costs_one_pass_forward_and_one_back():
    model = classifier(Tiny(), classes=5, kind=Recorder, input_size=64)
    batch = batch_of(images_of(3, 64))
    explain(GradCAM(), model, batch)
    assert model.forward_passes.tolist() == [1, 1, 1]
    assert model.backward_passes.tolist() == [1, 1, 1]
    assert torch.equal(model.seen, batch.images)


def test_gradcam_follows_the_target():
    model = classifier(Tiny(), classes=5, input_size=64)
    image = images_of(1, 64)
    first, second = (explain(GradCAM(), model, batch_of(image, target)) for target in (0, 2))
    assert not torch.equal(first, second)


# The layer


def on_paper(name):
    """A network of torchvision without memory: shapes alone."""
    with torch.device("meta"):
        return torchvision.models.get_model(name, weights=None).eval()


def blank(size=224):
    return torch.zeros(4, 3, size, size, device="meta")


@pytest.mark.parametrize(
    ("name", "layer", "channels", "side"),
    [
        ("vgg19", "features.35", 512, 14),  # before the last pooling
        ("resnet50", "layer4", 2048, 7),
        ("squeezenet1_1", "features", 512, 13),  # before the map of class scores
        ("densenet121", "features", 1024, 7),
        ("mobilenet_v2", "features", 1280, 7),
        ("convnext_tiny", "features", 768, 7),
        ("efficientnet_b0", "features", 1280, 7),
        ("swin_t", "permute", 768, 7),  # whose own maps have their channels last
    ],
)
def test_the_cam_layer_is_the_last_with_a_map_of_features(name, layer, channels, side):
    network, shapes = on_paper(name), []
    found = find_cam_layer(network, blank(), 1000)
    assert found is network.get_submodule(layer)
    found.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape)))
    network(blank())
    assert shapes == [(4, channels, side, side)]


@pytest.mark.parametrize("name", ["scenes_vgg", "scenes_resnet"])
def test_the_scenes_networks_have_a_map_of_fourteen_cells(name):
    with torch.device("meta"):
        network = getattr(scenes_networks, name)().eval()
    shapes = []
    found = find_cam_layer(network, blank(), 10)
    found.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape)))
    network(blank())
    assert shapes == [(4, 64, 14, 14)]


def test_a_vision_transformer_is_refused():
    with pytest.raises(BadInput, match="VisionTransformer has no convolutional map"):
        find_cam_layer(on_paper("vit_b_16"), blank(), 1000)


def test_a_network_without_a_map_is_refused():
    flat = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    found = find_cam_layer(flat.eval(), torch.zeros(1, 3, 16, 16), 2)
    assert found is flat[0]
    dense = nn.Sequential(nn.Flatten(), nn.Linear(768, 2)).eval()
    model = classifier(dense, input_size=16)
    with pytest.raises(BadInput, match="Sequential has no convolutional map before its output"):
        explain(GradCAM(), model, batch_of(images_of(1, 16)))


@pytest.mark.parametrize("name", ["squeezenet1_1", "vit_b_16"])
def test_the_search_for_the_layer_leaves_no_hooks(name):
    network = on_paper(name)
    try:
        find_cam_layer(network, blank(), 1000)
    except BadInput:
        assert name == "vit_b_16"
    for module in network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks


def test_the_search_for_the_layer_is_not_counted():
    model = classifier(Tiny(), classes=5, input_size=64)
    model.begin_count(1)
    assert model.cam_layer is model.network.features
    assert model.forward_passes.tolist() == [0]
