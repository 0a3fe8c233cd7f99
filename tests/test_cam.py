"""The family of class activation maps, each against a computation of its own."""

from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from toys import BLACK, Flat, Recorder, batch_of, classifier, explain, images_of

from benchmark.attribution import Score
from benchmark.building import build
from benchmark.cam_layer import averaged_layer, cam_maps
from benchmark.config import load
from benchmark.interfaces import BadInput
from methods.cam import CAM
from methods.gradcam import GradCAM
from methods.gradcam_plus_plus import GradCAMPlusPlus
from methods.hires_cam import HiResCAM
from methods.layer_cam import LayerCAM
from methods.score_cam import ScoreCAM, Weights
from methods.xgrad_cam import XGradCAM

SIZE, CLASSES = 16, 5
TARGETS = torch.tensor([0, 2, 4])
SCORE_CAM = ScoreCAM(baseline=BLACK, score=Score.logit, weights=Weights.softmax)


class Ending(nn.Module):
    """Four maps of 4 x 4 cells, and what makes five logits of them."""

    def __init__(self, end):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.features = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.ReLU(inplace=True))
            self.end = end()


class Averaged(Ending):
    """Its logits are linear in the averages of its maps."""

    def __init__(self):
        super().__init__(lambda: nn.Linear(4, CLASSES))

    def rest(self, maps):
        return self.end(maps.mean((2, 3)))

    def forward(self, images):
        return self.rest(self.features(images))


class Scored(Averaged):
    """It averages maps of class scores, as SqueezeNet does."""

    def __init__(self):
        Ending.__init__(self, lambda: nn.Sequential(nn.Conv2d(4, CLASSES, 1), nn.ReLU(True)))

    def rest(self, maps):
        return functional.adaptive_avg_pool2d(self.end(maps), 1).flatten(1)


class Dense(Averaged):
    """Its logits come from dense layers, so that every cell has a gradient of its own."""

    def __init__(self):
        Ending.__init__(
            self,
            lambda: nn.Sequential(
                nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, CLASSES)
            ),
        )

    def rest(self, maps):
        return self.end(maps)


class Bent(Averaged):
    """Its logits know averages only, but are not linear in them."""

    def __init__(self):
        Ending.__init__(
            self,
            lambda: nn.Sequential(
                nn.Linear(4, 9, bias=False), nn.ReLU(), nn.Linear(9, CLASSES, bias=False)
            ),
        )


class Highest(Averaged):
    """Its logits are linear in the maxima of its maps."""

    def rest(self, maps):
        return self.end(maps.amax((2, 3)))


class Bypassed(Averaged):
    """Its logits also know the image itself."""

    def forward(self, images):
        return super().forward(images) + images.mean((1, 2, 3))[:, None]


def model_of(network, **settings):
    network = network() if isinstance(network, type) else network
    settings = {"input_size": SIZE, "classes": CLASSES} | settings
    return classifier(network, kind=Recorder, **settings)


def batch():
    return batch_of(images_of(3, SIZE), TARGETS)


def slowly(network, kind):
    """Heatmaps ``kind(rest, maps, gradients)`` of maps [C, h, w] in double precision, one by one.

    ``rest`` maps such maps to the target's logit.
    """
    network, heatmaps = network().eval().double(), []
    for image, target in zip(images_of(3, SIZE).double(), TARGETS.tolist(), strict=True):

        def rest(maps, target=target):
            return network.rest(maps[None])[0, target]

        maps = network.features(image[None])[0].detach().requires_grad_()
        (gradients,) = torch.autograd.grad(rest(maps), maps)
        heatmaps.append(kind(rest, maps.detach(), gradients).detach())
    return torch.stack(heatmaps)


def assert_close(found, expected, tolerance=1e-5):
    assert found.shape == expected.shape
    scale = float(expected.abs().max())
    assert scale > 0
    torch.testing.assert_close(found.double() / scale, expected / scale, rtol=0, atol=tolerance)


def explained(method, network):
    return explain(method, model_of(network), batch())


# CAM


def test_cam_sums_the_maps_by_the_weights_of_the_target():
    def kind(_rest, maps, _gradients):
        return sum(weight * each for weight, each in zip(next(weights), maps, strict=True))

    weights = iter(Averaged().end.weight.detach().double()[TARGETS])
    assert_close(explained(CAM(), Averaged), slowly(Averaged, kind))


def test_the_mean_of_a_cam_is_the_logit_less_its_bias():
    model = model_of(Averaged)
    heatmaps = explain(CAM(), model, batch())
    logits = model(batch().images).gather(1, TARGETS[:, None])[:, 0]
    expected = logits - model.network.end.bias[TARGETS]
    torch.testing.assert_close(heatmaps.mean((1, 2)), expected)
    assert model.forward_passes.tolist()[0] == 1 + 1
    assert model.backward_passes.tolist() == [1, 1, 1]


def test_where_averages_decide_hires_cam_is_cam_and_gradcam_its_positive_part():
    cam = explained(CAM(), Averaged)
    assert (cam < 0).any()
    torch.testing.assert_close(explained(HiResCAM(), Averaged) * 16, cam)
    torch.testing.assert_close(explained(GradCAM(), Averaged) * 16, cam.clamp(min=0))


def test_where_maps_of_class_scores_are_averaged_cam_is_the_targets():
    network = Scored().eval()
    maps = network.end(network.features(batch().images)).detach()
    expected = torch.stack([each[target] for each, target in zip(maps, TARGETS, strict=True)])
    found = explained(CAM(), Scored)
    assert (expected > 0).any()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("network", [Dense, Bent, Highest, Bypassed])
def test_cam_refuses_a_network_whose_logits_are_not_linear_in_averages(network):
    with pytest.raises(BadInput, match=f"logits of {network.__name__} are not linear .* hires_cam"):
        explained(CAM(), network)
    with pytest.raises(BadInput, match="not linear"):
        CAM().native(model_of(network))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4"),
        ("mobilenet_v2", "features"),
        ("squeezenet1_1", "classifier.2"),
        ("shufflenet_v2_x0_5", "conv5"),
        ("densenet121", None),  # whose last activation is a function
    ],
)
def test_the_averaged_layer_of_known_networks(name, layer):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torchvision.models.get_model(name, weights=None).eval()
    model = model_of(network, input_size=64, classes=1000)
    if layer is None:
        with pytest.raises(BadInput, match="not linear in the averages"):
            averaged_layer(model)
    else:
        assert averaged_layer(model) is network.get_submodule(layer)
    assert model.calls == []  # trying the network out is no pass of an image
    assert not any(module._forward_hooks for module in network.modules())


def test_a_refusal_names_the_kind_of_an_embedded_network_as_torchvision_does():
    settings = load("method=cam", "res=14")
    model = build(settings.model, "model").load(torch.device("cpu"))
    with pytest.raises(BadInput, match="the logits of VGG are not linear in the averages"):
        build(settings.method, "method").native(model)


# By gradients


def test_the_recorded_maps_and_gradients_leave_out_what_the_classifier_padded():
    model = model_of(Dense)
    maps, gradients, logits = cam_maps(model, batch())
    assert maps.shape == gradients.shape == (3, 4, 4, 4)
    torch.testing.assert_close(logits, model(batch().images).gather(1, TARGETS[:, None])[:, 0])


def test_gradcam_of_dense_layers_weights_by_the_mean_gradient():
    def kind(_rest, maps, gradients):
        return (gradients.mean((1, 2), keepdim=True) * maps).sum(0).clamp(min=0)

    assert_close(explained(GradCAM(), Dense), slowly(Dense, kind))


def test_hires_cam_multiplies_cell_by_cell_and_keeps_the_sign():
    def kind(_rest, maps, gradients):
        total = torch.zeros(4, 4).double()
        for row in range(4):
            for column in range(4):
                total[row, column] = maps[:, row, column] @ gradients[:, row, column]
        return total

    found = explained(HiResCAM(), Dense)
    assert (found < 0).any()
    assert_close(found, slowly(Dense, kind))


def test_layer_cam_multiplies_by_positive_gradients():
    def kind(_rest, maps, gradients):
        return torch.where(gradients > 0, gradients * maps, 0).sum(0)

    assert_close(explained(LayerCAM(), Dense), slowly(Dense, kind))
    assert not torch.allclose(explained(LayerCAM(), Dense), explained(HiResCAM(), Dense))


def test_xgrad_cam_weights_by_the_gradients_mean_under_the_map():
    def kind(_rest, maps, gradients):
        total = torch.zeros(4, 4).double()
        for each, gradient in zip(maps, gradients, strict=True):
            if each.sum() > 0:
                total += (each / each.sum() * gradient).sum() * each
        return total.clamp(min=0)

    assert_close(explained(XGradCAM(), Dense), slowly(Dense, kind))


def derivatives(score, maps, place):
    """First three derivatives of a score by one value of the maps, by automatic differentiation."""

    def along(value):
        changed = maps.clone()
        changed[place] = value
        return score(changed)

    value, found = maps[place].clone().requires_grad_(), []
    current = along(value)
    for _ in range(3):
        (current,) = torch.autograd.grad(current, value, create_graph=True)
        found.append(current)
    return found


def test_gradcam_plus_plus_follows_from_three_derivatives_of_the_exponential_of_the_logit():
    def kind(rest, maps, _gradients):
        total = torch.zeros(4, 4).double()
        for channel, each in enumerate(maps):
            weight = 0.0
            for row in range(4):
                for column in range(4):
                    slope, second, third = derivatives(
                        lambda changed: rest(changed).exp(), maps, (channel, row, column)
                    )
                    share = second / (2 * second + each.sum() * third)
                    weight += share * slope.clamp(min=0)
            total += weight * each
        return total.clamp(min=0) / rest(maps).exp()

    assert_close(explained(GradCAMPlusPlus(), Dense), slowly(Dense, kind))


def test_gradcam_plus_plus_of_a_map_without_gradient_is_flat_and_finite():
    network = Dense()
    network.end[-1].weight.data.zero_()
    assert explained(GradCAMPlusPlus(), network).abs().max() == 0


def test_xgrad_cam_of_dark_maps_is_flat_and_finite():
    network = Dense()
    network.features[0].bias.data.fill_(-100.0)
    assert explained(XGradCAM(), network).abs().max() == 0


@pytest.mark.parametrize("method", [CAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM])
def test_one_pass_forward_and_one_back_is_enough(method):
    model = model_of(Averaged)
    method().native(model)
    model.forget()
    explain(method(), model, batch())
    assert model.forward_passes.tolist() == model.backward_passes.tolist() == [1, 1, 1]
    assert torch.equal(model.seen, batch().images)


# Score-CAM


def masks_of(maps):
    """Enlarge maps [C, 4, 4] to [C, 16, 16] and stretch each from 0 to 1, without torch's code."""
    weights = torch.zeros(SIZE, 4).double()
    for place in range(SIZE):
        at = min(max((place + 0.5) / 4 - 0.5, 0.0), 3.0)
        low = int(at)
        weights[place, low] += 1 - (at - low)
        weights[place, min(low + 1, 3)] += at - low
    large = weights @ maps.double() @ weights.T
    low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    return torch.where(high > low, (large - low) / (high - low).clamp(min=1e-12), 0)


@pytest.mark.parametrize("weights", Weights)
@pytest.mark.parametrize("score", Score)
def test_score_cam_weights_channels_by_the_score_of_what_they_show(score, weights):
    network, grey = Dense().eval().double(), 0.3

    def scored(image, target):
        logits = network(image[None])[0]
        return (logits.softmax(0) if score is Score.softmax else logits)[target]

    expected = []
    for image, target in zip(images_of(3, SIZE).double(), TARGETS, strict=True):
        maps = network.features(image[None])[0].detach()
        shown = [mask * image + (1 - mask) * grey for mask in masks_of(maps)]
        values = torch.stack([scored(each, target) for each in shown])
        values = values - scored(torch.full_like(image, grey), target)
        if weights is Weights.softmax:
            values = values.exp() / values.exp().sum()
        total = sum(value * each for value, each in zip(values, maps, strict=True))
        expected.append(total.clamp(min=0).detach())
    method = replace(SCORE_CAM, baseline=Flat(grey), score=score, weights=weights)
    assert_close(explained(method, Dense), torch.stack(expected), tolerance=1e-4)


@pytest.mark.parametrize("weights", Weights)
@pytest.mark.parametrize("pass_batch", [3, 20])
def test_score_cam_costs_a_pass_for_each_channel_and_none_back(weights, pass_batch):
    model = model_of(Dense, pass_batch=pass_batch)
    explain(replace(SCORE_CAM, weights=weights), model, batch())
    expected = 1 + 4 + (weights is Weights.increase)
    assert model.forward_passes.tolist() == [expected] * 3
    assert model.backward_passes.tolist() == [0] * 3
    assert max(len(call) for call in model.calls) <= pass_batch


def test_score_cam_shows_the_baseline_for_a_flat_map():
    network = Dense()
    network.features[0].weight.data[1] = 0
    model = model_of(network)
    explain(replace(SCORE_CAM, baseline=Flat(0.7)), model, batch().select([0]))
    image, *shown = model.seen
    assert (shown[1] == 0.7).all()
    assert torch.equal(image, batch().images[0])
    assert not any(torch.equal(shown[place], shown[1]) for place in (0, 2))


# All


@pytest.mark.parametrize(
    "method",
    [CAM(), GradCAMPlusPlus(), HiResCAM(), LayerCAM(), XGradCAM(), SCORE_CAM],
    ids=lambda method: type(method).__name__,
)
def test_a_network_without_maps_is_refused(method):
    dense = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, CLASSES))
    with pytest.raises(BadInput, match="Sequential has no convolutional map before its output"):
        explained(method, dense)
