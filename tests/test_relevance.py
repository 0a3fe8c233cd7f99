"""LRP and excitation backpropagation, against rules written out as matrices."""

from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from toys import Constant, Recorder, Tiny, batch_of, classifier, explain, images_of

from benchmark.attribution import Channels
from benchmark.interfaces import BadInput
from benchmark.models import Precision
from benchmark.unfold import cuts, unfold, until, watch
from methods.excitation_backprop import ExcitationBackprop
from methods.lrp import LRP, Rules

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE, CLASSES = 12, 4
TARGETS = torch.tensor([0, 2, 3])
EPSILON = LRP(channels=Channels.signed, rules=Rules.epsilon, epsilon=1e-9, relative=False)
COMPOSITE = replace(EPSILON, rules=Rules.composite)
PLAIN = ExcitationBackprop(contrastive=False, finer=0)
CONTRASTIVE = replace(PLAIN, contrastive=True)


class Layers(nn.Module):
    """A convolution that sees the image, another, and a dense layer over all places."""

    def __init__(self, bias=True):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first = nn.Conv2d(3, 5, 3, stride=3, bias=bias)
            self.second = nn.Conv2d(5, 6, 3, padding=1, bias=bias)
            self.dense = nn.Linear(6 * 16, CLASSES, bias=bias)

    def forward(self, images):
        maps = functional.relu(self.second(functional.relu(self.first(images))))
        return self.dense(maps.flatten(1))


class Branching(nn.Module):
    """Residual sums, joined branches, both kinds of pooling, and normalisation of the batch."""

    def __init__(self, bias=True):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.first = nn.Conv2d(3, 6, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(6) if bias else nn.Identity()
            self.relu = nn.ReLU(inplace=True)
            self.side = nn.Conv2d(6, 6, 3, padding=1, bias=bias)
            self.head = nn.Linear(12, CLASSES, bias=bias)
            for value in self.norm.parameters():
                nn.init.uniform_(value, 0.5, 1.5)

    def forward(self, images):
        maps = self.relu(self.norm(self.first(images)))
        maps = functional.max_pool2d(self.relu(maps + self.side(maps)), 2)
        return self.head(torch.cat([maps, functional.relu6(self.side(maps))], 1).mean((2, 3)))


class Tinted(nn.Module):
    """Scales and shifts each colour itself, as Inception does."""

    def __init__(self, network, scale, shift):
        super().__init__()
        self.network, self.scale, self.shift = network, scale, shift

    def forward(self, images):
        colours = [
            torch.unsqueeze(images[:, place], 1) * scale + shift
            for place, (scale, shift) in enumerate(zip(self.scale, self.shift, strict=True))
        ]
        return self.network(torch.cat(colours, 1))


def model_of(network, **settings):
    settings = {"mean": MEAN, "std": STD, "input_size": SIZE, "classes": CLASSES} | settings
    return classifier(network, kind=Recorder, **settings)


def batch():
    return batch_of(images_of(3, SIZE), TARGETS)


def normalised(images=None):
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    return ((batch().images if images is None else images) - mean) / std


def logits_of(model):
    return model(batch().images).gather(1, TARGETS[:, None])[:, 0].detach()


def assert_close(found, expected, tolerance=1e-4):
    assert found.shape == expected.shape
    scale = float(expected.abs().max())
    assert scale > 0
    torch.testing.assert_close(
        found.double() / scale, expected.double() / scale, rtol=0, atol=tolerance
    )


# LRP


@pytest.mark.parametrize("network", [Layers, Branching])
@pytest.mark.parametrize("method", [EPSILON, COMPOSITE], ids=["epsilon", "composite"])
def test_without_biases_relevance_sums_to_the_logit(network, method):
    model = model_of(network(bias=False).eval())
    heatmaps = explain(method, model, batch())
    assert heatmaps.shape == (3, SIZE, SIZE)
    expected = logits_of(model)
    assert_close(heatmaps.sum((1, 2)), expected)
    assert (expected < 0).any()
    assert (expected > 0).any()


@pytest.mark.parametrize("network", [Layers, Branching, Tiny])
def test_a_small_epsilon_gives_the_gradient_times_the_normalised_image(network):
    network = network().eval()
    inputs = normalised().requires_grad_()
    logits = network(inputs).gather(1, TARGETS[:, None])
    (gradient,) = torch.autograd.grad(logits.sum(), inputs)
    settings = {"classes": logits.shape[1]}
    found = EPSILON.attribute(model_of(network, **settings), batch())
    assert_close(found, (gradient * inputs).detach(), 1e-3)
    heatmaps = explain(EPSILON, model_of(network, **settings), batch())
    torch.testing.assert_close(heatmaps, found.sum(1))


def matrix_of(layer, shape):
    """A layer as a matrix [outputs, inputs] and a bias [outputs], in double precision."""
    zero = torch.zeros(1, *shape).double()
    bias = layer(zero).flatten()
    matrix = torch.autograd.functional.jacobian(lambda given: layer(given).flatten(), zero)
    return matrix.flatten(1), bias


def handed(inputs, contributions, relevance, total):
    """Hand relevance [outputs] to inputs by contributions [outputs, inputs] over a total."""
    return (contributions * (relevance / total)[:, None]).sum(0).view(inputs.shape)


def by_hand(image, target, rule, low=None, high=None):
    """Relevance of every value of one normalised image, ``rule(matrix, bias, inputs, place)``."""
    network = Layers().double().requires_grad_(False)
    shapes = [(3, SIZE, SIZE), (5, 4, 4), (6 * 16,)]
    layers, inputs = [network.first, network.second, network.dense], [image.double()]
    for layer in layers:
        inputs.append(layer(inputs[-1].view(1, *shapes[len(inputs) - 1]))[0].relu().flatten())
    relevance = torch.zeros(CLASSES).double()
    relevance[target] = layers[-1](inputs[-2].view(1, -1))[0, target]
    for place in (2, 1, 0):
        given = inputs[place].flatten()
        matrix, bias = matrix_of(layers[place], shapes[place])
        shares, total = rule(matrix, bias, given, place)
        relevance = handed(given, shares, relevance, total)
    return relevance.view(3, SIZE, SIZE)


@pytest.mark.parametrize("relative", [False, True])
def test_the_epsilon_rule_pushes_every_output_away_from_zero(relative):
    def rule(matrix, bias, given, _place):
        output = matrix @ given + bias
        size = output.square().mean().sqrt() if relative else 1.0
        return matrix * given, output + 0.3 * size * torch.where(output < 0, -1.0, 1.0)

    expected = [
        by_hand(image, target, rule) for image, target in zip(normalised(), TARGETS, strict=True)
    ]
    found = replace(EPSILON, epsilon=0.3, relative=relative).attribute(model_of(Layers()), batch())
    assert_close(found, torch.stack(expected))


def test_the_composite_is_epsilon_then_positive_contributions_then_bounds_of_colours():
    low = normalised(torch.zeros(3, SIZE, SIZE)).flatten().double()
    high = normalised(torch.ones(3, SIZE, SIZE)).flatten().double()

    def rule(matrix, bias, given, place):
        if place == 2:
            output = matrix @ given + bias
            return matrix * given, output + 0.1 * output.sign()
        if place == 1:
            shares = (matrix * given).clamp(min=0)
            return shares, shares.sum(1) + bias.clamp(min=0)
        shares = matrix * given - matrix.clamp(min=0) * low - matrix.clamp(max=0) * high
        return shares, shares.sum(1)

    expected = [
        by_hand(image, target, rule) for image, target in zip(normalised(), TARGETS, strict=True)
    ]
    found = replace(COMPOSITE, epsilon=0.1).attribute(model_of(Layers()), batch())
    assert_close(found, torch.stack(expected))


def test_a_last_convolution_counts_as_dense():
    class Scored(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 4, 2, stride=2), nn.Conv2d(4, 2, 1, bias=False)

        def forward(self, images):
            return functional.adaptive_avg_pool2d(self.last(self.first(images).relu()), 1)[:, :, 0]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(Scored(), nn.Flatten()).eval()
    model = model_of(network, classes=2)
    heatmaps = explain(COMPOSITE, model, batch_of(batch().images[:1], 1))
    cells = heatmaps.view(6, 2, 6, 2).sum((1, 3))  # what each output of the first layer handed on
    maps = network[0].first(normalised()[:1]).relu()
    expected = network[0].last(maps)[0, 1] / 36
    assert (expected < 0).any()
    assert_close(cells, expected.detach())


def test_colours_scaled_by_the_network_itself_are_part_of_its_normalisation():
    scale, shift = (0.5, 2.0, 1.5), (0.1, -0.3, 0.2)
    tinted = model_of(Tinted(Layers(), scale, shift))
    mean = [m - s * b / a for m, s, a, b in zip(MEAN, STD, scale, shift, strict=True)]
    std = [s / a for s, a in zip(STD, scale, strict=True)]
    plain = model_of(Layers(), mean=mean, std=std)
    for method in (replace(EPSILON, epsilon=0.1), COMPOSITE):
        assert_close(explain(method, tinted, batch()), explain(method, plain, batch()))


@pytest.mark.parametrize("method", [EPSILON, COMPOSITE, PLAIN], ids=["epsilon", "composite", "ebp"])
def test_relevance_is_computed_in_full_precision_whatever_the_models(method):
    half = explain(method, model_of(Layers(), precision=Precision.bf16), batch())
    assert torch.equal(half, explain(method, model_of(Layers()), batch()))


# Excitation backpropagation


def mwp(network, image, target, sign=1.0):
    """Winners at the first maps [5, 4, 4] of one normalised image, layer by layer."""
    network = network.double().requires_grad_(False)
    lower = network.first(image.double()[None]).relu()
    upper = network.second(lower).relu().flatten()
    shares = sign * network.dense.weight[target] * upper
    won = shares.clamp(min=0) / shares.clamp(min=0).sum()
    matrix, _ = matrix_of(network.second, (5, 4, 4))
    shares = (matrix * lower.flatten()).clamp(min=0)
    return handed(lower, shares, won, shares.sum(1))[0].detach()


def test_excitation_backprop_equals_winners_drawn_layer_by_layer():
    expected = [
        mwp(Layers(), image, target).sum(0)
        for image, target in zip(normalised(), TARGETS, strict=True)
    ]
    found = explain(PLAIN, model_of(Layers()), batch())
    assert found.shape == (3, 4, 4)
    assert_close(found, torch.stack(expected))


def test_the_contrastive_variant_takes_off_the_winners_of_the_negated_target():
    expected = [
        (mwp(Layers(), image, target) - mwp(Layers(), image, target, sign=-1.0)).sum(0)
        for image, target in zip(normalised(), TARGETS, strict=True)
    ]
    found = explain(CONTRASTIVE, model_of(Layers()), batch())
    assert_close(found, torch.stack(expected).clamp(min=0))


@pytest.mark.parametrize(
    ("network", "finer"), [(Layers, 0), (Branching, 0), (Branching, 1), (Tiny, 0), (Tiny, 1)]
)
def test_winners_are_a_probability_over_the_cells(network, finer):
    model = model_of(network().eval(), classes=5 if network is Tiny else CLASSES)
    heatmaps = explain(replace(PLAIN, finer=finer), model, batch())
    assert (heatmaps >= 0).all()
    torch.testing.assert_close(heatmaps.sum((1, 2)), torch.ones(3), rtol=1e-4, atol=0)


def test_of_two_opposite_classes_each_gets_what_the_other_lacks():
    network = Layers()
    network.dense.weight.data[1] = -network.dense.weight.data[0]
    model, image = model_of(network), images_of(1, SIZE)
    plain = [explain(PLAIN, model, batch_of(image, target)) for target in (0, 1)]
    contrasts = [explain(CONTRASTIVE, model, batch_of(image, target)) for target in (0, 1)]
    assert all((contrast > 0).any() for contrast in contrasts)
    assert_close(contrasts[0], (plain[0] - plain[1]).clamp(min=0))
    assert_close(contrasts[1], (plain[1] - plain[0]).clamp(min=0))


@pytest.mark.parametrize(
    ("name", "sides"),
    [("resnet18", [3, 6, 12]), ("squeezenet1_1", [5, 11, 23])],
)
def test_relevance_goes_to_the_cam_layers_resolution_or_to_finer_ones(name, sides):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torchvision.models.get_model(name, weights=None).eval()
    model = model_of(network, input_size=96, classes=1000)
    assert [replace(PLAIN, finer=finer).native(model) for finer in range(3)] == sides
    assert model.calls == []
    with pytest.raises(BadInput, match=rf"finer=9 steps: .* sides {sides[0]}, {sides[1]}"):
        replace(PLAIN, finer=9).native(model)


def test_pooling_alone_makes_no_resolution():
    stack = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3)]
    pooled = nn.Sequential(*stack, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(20, CLASSES))
    model = model_of(pooled.eval())
    assert [replace(PLAIN, finer=finer).native(model) for finer in (0, 1)] == [4, 12]
    with pytest.raises(BadInput, match="of Sequential have sides 4, 12"):
        replace(PLAIN, finer=2).native(model)


# Both


@pytest.mark.parametrize(
    ("method", "passes"),
    [(EPSILON, 1), (COMPOSITE, 1), (PLAIN, 1), (CONTRASTIVE, 2)],
    ids=["epsilon", "composite", "plain", "contrastive"],
)
def test_a_pass_forward_and_one_back_hand_relevance_down_once(method, passes):
    model = model_of(Branching().eval(), pass_batch=2)
    explain(method, model, batch())
    assert model.forward_passes.tolist() == model.backward_passes.tolist() == [passes] * 3
    assert [len(call) for call in model.calls] == [2, 1] * passes


class With(nn.Module):
    """One operation between two convolutions."""

    def __init__(self, between):
        super().__init__()
        self.first, self.between = nn.Conv2d(3, 4, 3, padding=1), between
        self.second = nn.Conv2d(4, CLASSES, 3, padding=1)

    def forward(self, images):
        maps = self.second(functional.relu(self.first(self.between(self.first(images)[:, :3]))))
        return maps.mean((2, 3))


class Product(nn.Module):
    def forward(self, maps):
        return maps * maps


BLOCK = torchvision.models.convnext.CNBlockConfig


@pytest.mark.parametrize(
    ("network", "kind"),
    [
        (With(nn.GELU()), "GELU"),
        (With(nn.SiLU()), "SiLU"),
        (With(nn.LayerNorm(SIZE)), "LayerNorm"),
        (With(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3))), "BatchNorm2d"),
        (With(Product()), "mul"),
        (
            torchvision.models.ConvNeXt([BLOCK(4, 8, 1), BLOCK(8, None, 1)], num_classes=CLASSES),
            "GELU, LayerNorm",
        ),
        (
            torchvision.models.VisionTransformer(SIZE, 4, 1, 1, 8, 8, num_classes=CLASSES),
            "GELU, LayerNorm, MultiheadAttention",
        ),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, nn.Module) else str(each),
)
@pytest.mark.parametrize("method", [EPSILON, COMPOSITE, replace(PLAIN, finer=0)])
def test_a_layer_without_a_rule_is_refused_by_name(method, network, kind):
    model = model_of(network.eval())
    with pytest.raises(BadInput, match=f"has no rule for {kind} in {type(network).__name__};"):
        explain(method, model, batch())


def test_a_network_without_weights_is_refused():
    for method in (EPSILON, PLAIN):
        with pytest.raises(BadInput, match="Constant has neither convolution nor dense layer"):
            explain(method, model_of(Constant(0.5), classes=2), batch())


def test_senseless_settings_are_refused():
    with pytest.raises(BadInput, match="lrp needs epsilon above 0, got 0"):
        replace(EPSILON, epsilon=0.0)
    with pytest.raises(BadInput, match="finer of at least 0, got -1"):
        replace(PLAIN, finer=-1)


# The places of a rewritten network


def test_there_is_no_place_for_all_relevance_inside_a_residual_block():
    network = unfold(Branching().eval())
    kinds = []
    for node in cuts(network):
        module = network.get_submodule(node.target) if node.op == "call_module" else None
        kinds.append(type(module).__name__ if module else node.name)
    assert kinds == [
        *["images", "Conv2d", "ReLU", "stack", "Sum", "ReLU", "MaxPool2d"],
        *["cat", "SpatialMean", "Linear"],
    ]


def test_a_watched_place_can_be_replaced_and_the_part_before_it_run_alone():
    network, images = unfold(Layers()), normalised()
    expected = network(images)
    place = cuts(network)[2]
    before = until(network, place)
    watched = network.get_submodule(watch(network, place).target)
    assert torch.equal(network(images), expected)
    seen = []
    handle = watched.register_forward_hook(lambda _, __, output: seen.append(output))
    network(images)
    handle.remove()
    assert torch.equal(seen[0], before(images))
    watched.register_forward_hook(lambda _, __, output: 0 * output)
    torch.testing.assert_close(network(images), network(torch.zeros_like(images)))
