"""The gradient, plain and times the input."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from toys import Recorder, Smooth, batch_of, classifier, explain, images_of

from benchmark.attribution import Channels
from methods.gradient import Gradient

PLAIN = Gradient(channels=Channels.signed, times_input=False)
TIMES_INPUT = replace(PLAIN, times_input=True)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Linear(nn.Module):
    """Logits = weights [K, 3, H, W] times what the network sees, plus 0.5."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, images):
        return images.flatten(1) @ self.weights.flatten(1).T + 0.5


@pytest.fixture(scope="module")
def linear():
    weights = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return weights, classifier(Linear(weights), classes=4, mean=MEAN, std=STD)


def test_on_a_linear_logit_the_gradient_is_the_targets_weights_in_units_of_the_image(linear):
    weights, model = linear
    batch = batch_of(images_of(3, 8), torch.tensor([2, 0, 2]))
    expected = weights[batch.targets] / torch.tensor(STD).view(3, 1, 1)
    for channels, over in (
        (Channels.signed, expected.sum(1)),
        (Channels.absolute, expected.abs().sum(1)),
        (Channels.maximum, expected.abs().amax(1)),
    ):
        heatmaps = explain(replace(PLAIN, channels=channels), model, batch)
        torch.testing.assert_close(heatmaps, over, rtol=1e-5, atol=1e-6)


def test_times_the_input_the_pixels_share_a_linear_logit_among_them(linear):
    weights, model = linear
    batch = batch_of(images_of(3, 8), torch.tensor([2, 0, 1]))
    seen = (batch.images - model.mean.view(3, 1, 1)) / model.std.view(3, 1, 1)
    heatmaps = explain(TIMES_INPUT, model, batch)
    shares = (weights[batch.targets] * seen).sum(1)
    torch.testing.assert_close(heatmaps, shares, rtol=1e-4, atol=1e-5)
    logits = model(batch.images).gather(1, batch.targets[:, None])[:, 0]
    torch.testing.assert_close(heatmaps.sum((1, 2)) + 0.5, logits, rtol=1e-4, atol=1e-4)


def test_the_gradient_is_the_limit_of_differences():
    model = classifier(Smooth().double(), classes=4)
    image = images_of(1, 8).double()
    heatmap = explain(PLAIN, model, batch_of(image, 1))[0]
    step = 1e-2
    for row, column in ((0, 0), (3, 5), (7, 2)):
        moved = torch.zeros_like(image)
        moved[..., row, column] = step
        above, below = model(image + moved)[0, 1], model(image - moved)[0, 1]
        difference = float((above - below) / (2 * step))
        assert float(heatmap[row, column]) == pytest.approx(difference, rel=0.01, abs=1e-3)


@pytest.mark.parametrize("method", [PLAIN, TIMES_INPUT])
def test_an_image_takes_one_pass_forward_and_one_back(method):
    model = classifier(Smooth(), classes=4, kind=Recorder, pass_batch=2)
    explain(method, model, batch_of(images_of(5, 16)))
    assert model.forward_passes.tolist() == model.backward_passes.tolist() == [1] * 5
    assert [len(call) for call in model.calls] == [2, 2, 1]
