"""Methods made of methods: products, and the controls that blur or take the weights away."""

from dataclasses import dataclass

import pytest
import torch
import torchvision
from torch import nn
from toys import Recorder, Smooth, Tiny, batch_of, classifier, explain, images_of

from benchmark.attribution import Channels
from benchmark.building import build
from benchmark.config import load
from benchmark.interfaces import BadInput
from benchmark.quick import quick
from benchmark.redraw import redrawn
from benchmark.resolution import native_resolution
from methods.controls import Centre, RandomHeatmap
from methods.gradcam import GradCAM
from methods.gradient import Gradient
from methods.guided_backprop import GuidedBackprop, Rule
from methods.product import Product
from methods.wrappers import Blurred, RandomNetwork

GRADIENT = Gradient(channels=Channels.maximum, times_input=False)
GUIDED = GuidedBackprop(channels=Channels.maximum, rule=Rule.guided_backprop)


@dataclass(frozen=True)
class Given:
    """A method with a known answer, and nothing to say of its resolution."""

    heatmaps: torch.Tensor

    def __call__(self, _model, _batch):
        return self.heatmaps


def tiny(**settings):
    return classifier(Tiny(), classes=5, kind=Recorder, **settings)


# Products


def test_guided_gradcam_is_guided_backprop_times_enlarged_gradcam():
    model, batch = tiny(), batch_of(images_of(2), torch.tensor([1, 3]))
    guided, coarse = explain(GUIDED, model, batch), explain(GradCAM(), model, batch)
    assert coarse.shape[-1] == 4
    # Bilinear between the middles of cells: weights by hand.
    middles = ((torch.arange(32) + 0.5) / 8 - 0.5).clamp(0, 3)
    weights = (1 - (middles[:, None] - torch.arange(4)).abs()).clamp(min=0)
    fine = weights @ coarse @ weights.T
    made = explain(build(load("method=guided_gradcam").method, "method"), model, batch)
    torch.testing.assert_close(made, guided * fine, rtol=1e-4, atol=1e-6)
    assert model.forward_passes.tolist() == model.backward_passes.tolist() == [2, 2]


def test_a_product_at_one_resolution_is_the_plain_product_in_either_order():
    one, two = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    for first, second in ((one, two), (two, one)):
        made = Product(first=Given(first), second=Given(second))(None, None)
        assert torch.equal(made, one * two)


def test_a_product_has_the_finer_resolution():
    model = tiny()
    for first, second in ((GUIDED, GradCAM()), (GradCAM(), GUIDED)):
        assert native_resolution(Product(first=first, second=second), model) == 32
    product = Product(first=GradCAM(), second=RandomHeatmap(res=7))
    assert native_resolution(product, model) == 7
    unknown = Product(first=GradCAM(), second=Given(torch.ones(1, 5, 5)))
    assert native_resolution(unknown, model) is None


# Blurred


def test_a_blurred_point_is_a_gaussian_of_the_width_asked_for():
    point = torch.zeros(1, 41, 41)
    point[0, 20, 14] = 3.0
    made = Blurred(of=Given(point), sigma=2.5 / 41)(None, None)[0]
    place = torch.arange(41.0)
    down, across = (torch.exp(-0.5 * ((place - at) / 2.5) ** 2) for at in (20, 14))
    expected = 3.0 * torch.outer(down / down.sum(), across / across.sum())
    torch.testing.assert_close(made, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("sigma", [0.01, 0.2, 3.0])
def test_a_blur_keeps_each_heatmaps_sum_and_no_other_images_cells(sigma):
    heatmaps = torch.randn(3, 14, 14, generator=torch.Generator().manual_seed(0))
    heatmaps[1] = 0
    made = Blurred(of=Given(heatmaps), sigma=sigma)(None, None)
    torch.testing.assert_close(made.sum((1, 2)), heatmaps.sum((1, 2)), rtol=0, atol=1e-3)
    assert (made[1] == 0).all()
    assert (made[0].std() < heatmaps[0].std()) == (sigma > 0.01)


def test_a_blur_without_width_is_refused():
    with pytest.raises(BadInput, match=r"blurred needs sigma above 0, got 0\.0"):
        Blurred(of=GRADIENT, sigma=0.0)


def test_a_wrapper_works_at_the_resolution_of_the_method_inside():
    for name in ("blurred", "random_network"):
        for inside, res in (("random", 7), ("gradcam", 4), ("gradient", 32)):
            settings = load(f"method={name}", f"method@method.of={inside}", "res=7")
            method, model = build(settings.method, "method"), tiny()
            assert native_resolution(method, model) == res
            assert explain(method, model, batch_of(images_of(2))).shape == (2, res, res)


def test_a_wrapped_mask_method_is_built_with_the_values_of_its_resolution():
    settings = load("method=blurred", "method@method.of=igos", "res=14")
    assert (settings.method.of.res, settings.method.of.tv) == (14, 10.0)
    method, model = build(quick(settings.method), "method"), tiny()
    heatmaps = explain(method, model, batch_of(images_of(1)))
    assert heatmaps.shape == (1, 14, 14)
    assert torch.equal(
        heatmaps,
        Blurred(of=Given(explain(method.of, model, batch_of(images_of(1)))), sigma=0.05)(
            None, None
        ),
    )


# Random networks


def test_the_method_is_shown_a_network_with_other_weights_and_the_same_targets():
    model, batch = tiny(), batch_of(images_of(2), torch.tensor([1, 3]))
    made = explain(RandomNetwork(of=GRADIENT, weights_seed=5), model, batch)
    assert model.forward_passes.tolist() == model.backward_passes.tolist() == [1, 1]
    assert not torch.equal(made, explain(GRADIENT, model, batch))
    other = tiny()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for module in other.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
            elif isinstance(module, nn.Conv2d | nn.Linear):
                fan_in = module.weight[0].numel()
                module.weight.copy_(torch.empty_like(module.weight).normal_(0, (2 / fan_in) ** 0.5))
                module.bias.zero_()
    assert torch.equal(made, explain(GRADIENT, other, batch))


def test_weights_come_from_their_seed_and_nothing_else():
    network = Tiny(seed=1).eval().requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        first = redrawn(network, 0)
        torch.manual_seed(8)
        again, other = redrawn(network, 0), redrawn(network, 1)
    for name, value in first.named_parameters():
        assert torch.equal(value, again.get_parameter(name))
        if value.ndim > 1:  # a batch norm or a bias draws nothing
            assert not torch.equal(value, other.get_parameter(name))
            assert not torch.equal(value, network.get_parameter(name))
        assert not value.requires_grad
    assert not any(module.training for module in first.modules())


def test_redrawn_weights_keep_the_size_of_what_goes_through_relus_and_biases_are_0():
    layers = [nn.Linear(512, 512) for _ in range(20)]
    network = nn.Sequential(*(each for layer in layers for each in (layer, nn.ReLU())))
    network.requires_grad_(False)
    nn.init.constant_(layers[0].weight, 100.0)
    made = redrawn(network, 0)
    assert (layers[0].weight == 100.0).all()
    assert all((layer.bias == 0).all() for layer in made[::2])
    inputs = torch.randn(50, 512, generator=torch.Generator().manual_seed(0))
    assert 0.3 < float(made(inputs).square().mean() / inputs.square().mean()) < 3
    assert (made(-3 * inputs) - 3 * made(-inputs)).abs().max() < 1e-3


def test_other_layers_are_drawn_as_new_ones_are():
    layer = nn.Bilinear(3, 4, 5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        new = nn.Bilinear(3, 4, 5)
    made = redrawn(layer, 4)
    assert torch.equal(made.weight, new.weight)
    assert torch.equal(made.bias, new.bias)


def test_batch_norm_forgets_what_it_measured():
    norm = nn.BatchNorm2d(4).eval()
    for values in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        nn.init.uniform_(values, 2.0, 3.0)
    images = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(redrawn(norm, 0)(images), images, rtol=1e-4, atol=1e-4)


def test_parameters_that_no_module_draws_are_shuffled():
    network = Smooth()
    made = redrawn(network, 0)
    for name, value in network.named_parameters():
        other = made.get_parameter(name)
        assert not torch.equal(value, other)
        assert torch.equal(value.flatten().sort().values, other.flatten().sort().values)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "swin_t", "vision_transformer"])
def test_nothing_of_a_networks_weights_survives(name):
    if name == "vision_transformer":
        network = torchvision.models.VisionTransformer(32, 16, 1, 2, 16, 16)
    else:
        network = torchvision.models.get_model(name, weights=None)
    source = torch.Generator().manual_seed(0)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=source) + 0.5)
    made = redrawn(network, 0)
    for key, value in network.named_parameters():
        assert not (made.get_parameter(key) == value).float().mean() > 0.5, key
    for key, value in network.named_buffers():
        if key.endswith(("running_mean", "running_var")):
            assert not torch.equal(made.get_buffer(key), value), key


def test_a_seed_below_0_is_refused():
    with pytest.raises(BadInput, match="weights_seed of at least 0, got -1"):
        RandomNetwork(of=Centre(res=7, sigma=0.25), weights_seed=-1)
