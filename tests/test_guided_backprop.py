"""DeconvNet and guided backpropagation: what each kind of ReLU lets back."""

import copy

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from toys import Tiny, batch_of, classifier, explain, images_of

from benchmark.attribution import Channels
from benchmark.interfaces import BadInput
from methods.guided_backprop import GuidedBackprop, Rule

METHODS = [GuidedBackprop(channels=Channels.signed, rule=rule) for rule in Rule]
DECONVNET, GUIDED = METHODS
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class TwoLayers(nn.Module):
    """Logit = sum of weights times the activations of inputs times gains; one unit per colour."""

    def __init__(self, activation, gains, weights):
        super().__init__()
        self.activation = activation
        self.gains = nn.Parameter(torch.tensor(gains))
        self.hidden = nn.Linear(3, 3, bias=False)
        self.head = nn.Linear(3, 2, bias=False)
        self.hidden.weight.data = torch.tensor(gains).diag()
        self.head.weight.data = torch.tensor([weights, [0.0, 0, 0]])

    def forward(self, images):
        return self.head(self.activation(self.hidden(images.flatten(1))))


@pytest.mark.parametrize(
    ("activation", "gains", "weights", "deconvnet", "guided"),
    [
        # A unit that was on and wanted passes both ways, and one that was on and unwanted neither.
        (nn.ReLU(), [2.0, 3, 1], [1.0, -1, -2], [2.0, 0, 0], [2.0, 0, 0]),
        # A unit that was off passes what comes back positive in DeconvNet alone.
        (nn.ReLU(), [2.0, -3, -1], [1.0, 2, -2], [2.0, -6, 0], [2.0, 0, 0]),
        # So does a unit of ReLU6 beyond its six.
        (nn.ReLU6(), [2.0, 20, -1], [1.0, 2, 1], [2.0, 40, -1], [2.0, 0, 0]),
    ],
)
def test_a_relu_passes_what_its_rule_says(activation, gains, weights, deconvnet, guided):
    model = classifier(TwoLayers(activation, gains, weights))
    batch = batch_of(torch.full((1, 3, 1, 1), 0.5))
    assert DECONVNET.attribute(model, batch).flatten().tolist() == deconvnet
    assert GUIDED.attribute(model, batch).flatten().tolist() == guided


class Bent(torch.autograd.Function):
    """A rectifier between 0 and a ceiling whose way back is a rule's, written by hand."""

    @staticmethod
    def forward(context, maps, ceiling, rule):
        context.save_for_backward((maps > 0) & (maps < ceiling))
        context.rule = rule
        return maps.clamp(0, ceiling)

    @staticmethod
    def backward(context, upper):
        (passed,) = context.saved_tensors
        lower = upper.clamp(min=0)
        return (lower if context.rule is Rule.deconvnet else lower * passed), None, None


class BentModule(nn.Module):
    def __init__(self, ceiling, rule):
        super().__init__()
        self.ceiling, self.rule = ceiling, rule

    def forward(self, maps):
        return Bent.apply(maps, self.ceiling, self.rule)


def bent(network, rule):
    """Copy a network with every module of ReLU replaced by its bent one."""
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU | nn.ReLU6):
                ceiling = 6.0 if isinstance(child, nn.ReLU6) else float("inf")
                setattr(parent, name, BentModule(ceiling, rule))
    return network


class Awkward(nn.Module):
    """ReLUs as functions, in place, and used twice; a sum, and a batch norm."""

    def __init__(self, rectify=lambda maps: functional.relu(maps, inplace=True)):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first = nn.Conv2d(3, 8, 3, padding=1)
            self.again = nn.Conv2d(8, 8, 3, padding=1)
            self.norm = nn.BatchNorm2d(8)
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2.0)
            self.head = nn.Linear(8, 4)
        self.rectify = rectify

    def forward(self, images):
        maps = self.rectify(self.norm(self.first(images)))
        maps = functional.max_pool2d(maps + self.rectify(self.again(maps)), 2)
        maps = self.rectify(self.again(maps))
        return self.head(maps.mean((2, 3)))


def pairs(rule):
    """Yield networks, each with the same made by hand of bent rectifiers."""
    yield Tiny(5), bent(Tiny(5), rule)
    yield Awkward(), Awkward(BentModule(float("inf"), rule))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name in ("resnet18", "mobilenet_v2"):
            network = torchvision.models.get_model(name, weights=None).eval()
            yield network, bent(network, rule)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.rule.name)
def test_attributions_equal_those_of_rectifiers_written_by_hand(method):
    batch = batch_of(images_of(2, 32), torch.tensor([3, 1]))
    for network, by_hand in pairs(method.rule):
        model, other = (
            classifier(each, classes=5, mean=MEAN, std=STD) for each in (network, by_hand)
        )
        free = batch.images.clone().requires_grad_()
        targets = other(free).gather(1, batch.targets[:, None])
        (expected,) = torch.autograd.grad(targets.sum(), free)
        scale = expected.abs().max()
        attributions = method.attribute(model, batch)
        torch.testing.assert_close(attributions / scale, expected / scale, rtol=0, atol=1e-4)
        free = batch.images.clone().requires_grad_()
        (plain,) = torch.autograd.grad(model(free).gather(1, batch.targets[:, None]).sum(), free)
        assert (attributions - plain).abs().max() > 0.01 * scale


def test_without_pooling_deconvnet_knows_of_the_image_only_its_target():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 3))
    model = classifier(network, classes=3)
    batch = batch_of(images_of(3, 8), torch.tensor([1, 1, 2]))
    same, other = explain(DECONVNET, model, batch)[:2], explain(DECONVNET, model, batch)[2]
    assert torch.equal(same[0], same[1])
    assert not torch.equal(same[0], other)
    guided = explain(GUIDED, model, batch)
    assert not torch.equal(guided[0], guided[1])


ATTENTION = nn.TransformerEncoderLayer(16, 2, batch_first=True)


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, images):
        return functional.relu(self.function(images)).mean((2, 3))


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), "Sequential are none"),
        (nn.Sequential(nn.Conv2d(3, 2, 4), nn.GELU(), nn.ReLU(), nn.Flatten()), "are GELU, ReLU"),
        (nn.Sequential(nn.Conv2d(3, 2, 4), nn.Hardswish(), nn.Flatten()), "are Hardswish"),
        (Calls(functional.silu), "Calls are ReLU, SiLU"),
        (Calls(functional.leaky_relu), r"Calls are ReLU, leaky_relu\(\)"),
        (Calls(lambda maps: maps.clamp(min=0)), r"Calls are ReLU, clamp\(\)"),
        (Calls(lambda maps: maps * (maps > 0)), r"Calls are ReLU, gt\(\)"),
        (nn.Sequential(nn.Flatten(2), ATTENTION, nn.Flatten()), "MultiheadAttention"),
    ],
)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.rule.name)
def test_a_network_with_other_activations_or_none_is_refused(method, network, named):
    message = f"{method.rule.name} needs a network whose activations are ReLU or ReLU6; .*{named}"
    with pytest.raises(BadInput, match=message):
        explain(method, classifier(network), batch_of(images_of(1, 4)))


def test_an_image_takes_one_pass_forward_and_one_back():
    model = classifier(Tiny(), classes=5, pass_batch=2)
    explain(GUIDED, model, batch_of(images_of(3)))
    assert model.forward_passes.tolist() == model.backward_passes.tolist() == [1, 1, 1]
