"""DeepLIFT's rescale rule."""

import pytest
import torch
import torchvision
from captum.attr import DeepLift
from torch import nn
from torch.nn import functional
from toys import Flat, Recorder, Tiny, batch_of, classifier, explain, images_of

from benchmark import scenes_networks
from benchmark.attribution import Channels
from benchmark.interfaces import BadInput
from benchmark.substrates import MeanColour
from benchmark.unfold import unfold
from methods.deeplift import DeepLIFT, rescale

METHOD = DeepLIFT(channels=Channels.signed, baseline=Flat(0.3))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ACTIVATIONS = [nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU]
ACTIVATIONS += [nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardswish, nn.Hardsigmoid, nn.Mish]


def network_of(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name.startswith("scenes"):
            network = getattr(scenes_networks, name)()
        else:
            extra = {"init_weights": False, "transform_input": True} if "inception" in name else {}
            network = torchvision.models.get_model(name, weights=None, **extra)
        for module in network.modules():  # else whole networks of them lose the signal
            if isinstance(module, nn.BatchNorm2d):
                module.running_var.fill_(0.1)
                module.running_mean.normal_(std=0.1)
    return network.eval()


def difference_of_logits(method, model, batch):
    with torch.no_grad():
        logits = model(batch.images) - model(method.baseline(model, batch))
    return logits.gather(1, batch.targets[:, None])[:, 0]


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("scenes_vgg", 64),
        ("scenes_resnet", 64),
        ("alexnet", 96),
        ("resnet18", 64),
        ("squeezenet1_1", 64),
        ("mobilenet_v2", 64),
        ("shufflenet_v2_x0_5", 64),
        ("inception_v3", 96),
    ],
)
def test_attributions_sum_to_the_difference_of_logits(name, size):
    model = classifier(network_of(name), classes=10, input_size=size, mean=MEAN, std=STD)
    batch = batch_of(images_of(2, size), torch.tensor([3, 7]))
    method = DeepLIFT(channels=Channels.signed, baseline=MeanColour())
    found = method.attribute(model, batch)
    expected = difference_of_logits(method, model, batch)
    assert (expected != 0).all()
    rounding = 1e-5 * found.abs().sum((1, 2, 3))
    assert ((found.sum((1, 2, 3)) - expected).abs() <= rounding).all()


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda kind: kind.__name__)
def test_sums_hold_for_every_activation(activation):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 6, 3), activation(), nn.MaxPool2d(3, 2), nn.Conv2d(6, 6, 2)]
        network = nn.Sequential(*layers, activation(), nn.Flatten(), nn.Linear(6, 2)).eval()
        for weight in network.parameters():
            weight.data *= 3
    model, batch = classifier(network), batch_of(images_of(2, 8))
    found = METHOD.attribute(model, batch).sum((1, 2, 3))
    torch.testing.assert_close(found, difference_of_logits(METHOD, model, batch))


def test_it_is_the_quotient_of_differences_of_an_activation():
    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(48, 1)
            self.second = nn.Linear(1, 2)

        def forward(self, images):
            return self.second(functional.relu(self.first(images.flatten(1))))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = Linear().eval()
    batch = batch_of(images_of(3, 4))
    reference = torch.full((48,), 0.3)
    for image, found in zip(
        batch.images, METHOD.attribute(classifier(network), batch), strict=True
    ):
        inner, other = network.first(image.flatten()), network.first(reference)
        assert abs(inner - other) > 1e-3
        quotient = (inner.relu() - other.relu()) / (inner - other)
        differences = network.first.weight[0] * (image.flatten() - reference)
        expected = network.second.weight[0, 0] * quotient * differences
        torch.testing.assert_close(found.flatten(), expected.detach())


def test_a_saturated_unit_still_says_who_saturated_it():
    class Saturated(nn.Module):
        """1 - relu(1 - (a + b)): flat from a + b = 1 on, the paper's Figure 1."""

        def forward(self, images):
            both = images[:, 0, 0, 0:1] + images[:, 0, 0, 1:2]
            return torch.cat([1 - functional.relu(1 - both), both], 1)

    images = torch.zeros(1, 3, 2, 2)
    images[0, 0, 0] = 1
    method = DeepLIFT(channels=Channels.signed, baseline=Flat(0.0))
    found = method.attribute(classifier(Saturated()), batch_of(images))
    expected = torch.zeros(1, 3, 2, 2)
    expected[0, 0, 0] = 0.5
    torch.testing.assert_close(found, expected)


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")
def test_without_max_pooling_it_equals_captums():
    network = Tiny().eval().requires_grad_(False)
    network.features[5] = nn.AvgPool2d(2)
    model = classifier(network, classes=5, mean=MEAN, std=STD)
    batch = batch_of(images_of(2), torch.tensor([1, 4]))
    unfolded = unfold(network)
    normal = classifier(unfolded, classes=5, mean=MEAN, std=STD)

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = unfolded

        def forward(self, images):
            return normal(images)

    expected = DeepLift(Wrapped()).attribute(
        batch.images.clone().requires_grad_(), METHOD.baseline(model, batch), target=batch.targets
    )
    torch.testing.assert_close(METHOD.attribute(model, batch), expected, rtol=1e-4, atol=1e-6)


def test_a_window_passes_its_whole_difference_to_the_larger_maximum():
    pooling = rescale(nn.Sequential(nn.MaxPool2d(3, stride=2)))
    image = torch.tensor([[0.0, 5, 1, 0, 2], [3, 1, 9, 1, 0], [0, 0, 2, 0, 0]])
    other = torch.tensor([[0.0, 1, 1, 0, 0], [7, 1, 2, 1, 0], [0, 0, 2, 0, 6]])
    pairs = torch.stack([image, other]).view(2, 1, 3, 5).requires_grad_()
    outputs = pooling(pairs)
    assert outputs.flatten().tolist() == [9, 9, 7, 6]
    (passed,) = torch.autograd.grad(outputs[0].sum(), pairs)
    # Both windows' maximum is the 9, above their 7 and 6: 2 and 3 of the difference there, 7.
    expected = torch.zeros(2, 1, 3, 5)
    expected[0, 0, 1, 2] = (2 + 3) / 7
    torch.testing.assert_close(passed, expected)
    # The other way round the smaller is explained, still at the larger's place.
    (passed,) = torch.autograd.grad(pooling(pairs.flip(0))[0].sum(), pairs)
    torch.testing.assert_close(passed, expected.flip(0))


def test_an_image_that_is_its_own_reference_gets_nothing_and_no_nan():
    found = METHOD.attribute(
        classifier(Tiny(), classes=5), batch_of(torch.full((1, 3, 32, 32), 0.3))
    )
    assert (found == 0).all()


@pytest.mark.parametrize("pass_batch", [1, 3, 20])
def test_image_and_reference_are_one_pass_each(pass_batch):
    model = classifier(Tiny(), classes=5, kind=Recorder, pass_batch=pass_batch)
    batch = batch_of(images_of(5))
    explain(METHOD, model, batch)
    assert model.forward_passes.tolist() == [2] * 5
    assert model.backward_passes.tolist() == [2] * 5
    assert max(len(call) for call in model.calls) <= max(2, pass_batch)
    expected = torch.stack([batch.images, torch.full_like(batch.images, 0.3)], 1).flatten(0, 1)
    assert torch.equal(model.seen, expected)


class Gate(nn.Module):
    def forward(self, images):
        means = images.mean((2, 3))
        return torch.sigmoid(means) * means


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(3)

    def forward(self, images):
        return self.norm(images.mean((2, 3)))


class Softmaxed(nn.Module):
    def forward(self, images):
        return images.mean((2, 3)).softmax(1)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Gate(), "deeplift cannot explain Gate, which uses mul"),
        (Normed(), "deeplift cannot explain Normed, which uses LayerNorm"),
        (
            Softmaxed(),
            "deeplift cannot explain Softmaxed, which uses softmax: it needs a",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_network_with_an_operation_that_the_rule_does_not_know_is_refused(network, message):
    with pytest.raises(BadInput, match=message):
        METHOD.attribute(classifier(network), batch_of(images_of(1, 8)))


def test_constants_may_be_added_and_multiplied():
    class Scaled(nn.Module):
        def forward(self, images):
            return 3 * (images.mean((2, 3)) + 1) - 2

    model, batch = classifier(Scaled()), batch_of(images_of(2, 8))
    found = METHOD.attribute(model, batch)
    expected = torch.zeros_like(found)
    expected[:, 0] = 3 * (batch.images[:, 0] - 0.3) / 64
    torch.testing.assert_close(found, expected)
