"""Expected gradients, at the pixels and at a layer."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from toys import (
    BLACK,
    Drawn,
    Quadratic,
    Recorder,
    Smooth,
    Tiny,
    batch_of,
    classifier,
    explain,
    images_of,
    no_boxes,
)

from benchmark.attribution import Channels, Score
from benchmark.background import Background
from benchmark.interfaces import BadInput, Item
from methods.expected_gradients import ExpectedGradients, LayerExpectedGradients
from methods.integrated_gradients import IntegratedGradients

DATA = Drawn(name="drawn", split="test", limit=None, seed=0, manifest=None)
BACKGROUND = Background(dataset=DATA, count=12, seed=0)
PIXELS = ExpectedGradients(
    channels=Channels.signed, background=BACKGROUND, samples=50, noise_sd=0.0, score=Score.softmax
)
LAYER = LayerExpectedGradients(
    layer=None, background=BACKGROUND, samples=50, noise_sd=0.0, score=Score.logit
)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Black(Drawn):
    """A data set of black images."""

    def load(self, image_id, size):
        return Item(image_id, torch.zeros(3, size, size), 0, no_boxes())


def others_of(images, row_id, background=BACKGROUND):
    """The images that one is compared with, [count, 3, H, W]."""
    return background.images(images.shape[-1])[background.others(row_id)]


def draws(method, model, batch, row):
    """All samples of one image at once: images, others, shares."""
    parts = list(method.draws(model, batch, row))
    images = torch.cat([each.images.expand_as(each.others) for each in parts])
    return images, torch.cat([d.others for d in parts]), torch.cat([d.shares for d in parts])


# The samples


@pytest.mark.parametrize("noise_sd", [0.0, 0.3])
def test_samples_are_uniform_on_the_way_and_over_the_background_and_noisy_as_asked(noise_sd):
    model, batch = classifier(Smooth(), std=STD), batch_of(images_of(2, 8))
    method = replace(PIXELS, samples=6000, noise_sd=noise_sd)
    images, others, shares = draws(method, model, batch, 1)
    values = shares.flatten().sort().values
    assert (values - torch.linspace(0, 1, 6000)).abs().max() < 0.03
    known = others_of(batch.images, "image-1")
    places = (others[:, None] == known).all((2, 3, 4)).float()
    assert places.sum(1).eq(1).all()
    assert places.mean(0).sub(1 / 12).abs().max() < 0.02
    spread = (images - batch.images[1]).std((0, 2, 3))
    torch.testing.assert_close(spread, noise_sd * torch.tensor(STD), rtol=0.01, atol=1e-7)


def test_an_image_of_the_background_is_not_compared_with_itself():
    own = images_of(1, 8)
    place = BACKGROUND.others("none")[4]
    own_id = next(
        i for i in DATA.ids() if torch.equal(DATA.load(i, 8).image, BACKGROUND.images(8)[place])
    )
    batch = batch_of(own)._replace(ids=[own_id])
    _, others, _ = draws(replace(PIXELS, samples=300), classifier(Smooth()), batch, 0)
    assert not (others == BACKGROUND.images(8)[place]).all((1, 2, 3)).any()


# At the pixels


@pytest.mark.parametrize("noise_sd", [0.0, 0.3])
def test_it_is_the_mean_over_samples_of_gradient_times_difference(noise_sd):
    weights = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    model, batch = classifier(Quadratic(weights, 0.2), pass_batch=7), batch_of(images_of(2, 8))
    method = replace(PIXELS, noise_sd=noise_sd)
    found = method.attribute(model, batch)
    for row in range(2):
        images, others, shares = draws(method, model, batch, row)
        points = others + shares * (images - others)
        slopes = 1.6 * weights * (points - 0.2) / weights.numel()
        expected = (slopes * (images - others)).mean(0)
        torch.testing.assert_close(found[row], expected, rtol=1e-3, atol=1e-6)


def test_over_many_samples_they_sum_to_the_score_minus_its_mean_over_the_background():
    model, batch = classifier(Smooth(), classes=4, mean=MEAN, std=STD), batch_of(images_of(1, 8))
    found = replace(PIXELS, samples=4000).attribute(model, batch).sum()
    others = others_of(batch.images, "image-0")
    targets = torch.zeros(12, dtype=torch.int64)
    expected = model.scores(batch.images, batch.targets)[0] - model.scores(others, targets).mean()
    assert expected.abs() > 0.02
    assert float(found) == pytest.approx(float(expected), abs=0.03)


def test_with_a_background_of_black_images_they_come_close_to_integrated_gradients():
    model, batch = classifier(Smooth(), classes=4, mean=MEAN, std=STD), batch_of(images_of(1, 8))
    black = Background(dataset=Black(**vars(DATA)), count=3, seed=0)
    found = replace(PIXELS, samples=4000, background=black).attribute(model, batch)
    path = IntegratedGradients(channels=Channels.signed, baseline=BLACK, steps=50)
    expected = path.attribute(model, batch)
    assert (found - expected).norm() < 0.05 * expected.norm()


# At a layer


def test_above_a_linear_head_each_cell_gets_its_features_difference_by_their_weights():
    network = Tiny().eval()
    model = classifier(network, classes=5, mean=MEAN, std=STD, pass_batch=7)
    batch = batch_of(images_of(2), torch.tensor([1, 4]))
    found = explain(LAYER, model, batch)
    assert LAYER.native(model) == found.shape[-1] == 4
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    for row in range(2):
        _, others, _ = draws(LAYER, model, batch, row)
        with torch.no_grad():
            here, there = (
                network.features((images - mean) / std)
                for images in (batch.images[row : row + 1], others)
            )
        weights = network.head.weight[batch.targets[row]].view(-1, 1, 1) / 16
        expected = ((here - there) * weights).sum(1).mean(0).detach()
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", ["features.0", "features.3", None])
def test_at_any_layer_they_sum_to_the_logit_minus_its_mean_over_the_background(layer):
    model, batch = classifier(Tiny(), classes=5, mean=MEAN, std=STD), batch_of(images_of(1))
    found = explain(replace(LAYER, layer=layer, samples=1500), model, batch).sum()
    with torch.no_grad():
        expected = (
            model(batch.images)[0, 0] - model(others_of(batch.images, "image-0"))[:, 0].mean()
        )
    assert float(found) == pytest.approx(float(expected), abs=0.05 * float(expected.abs()) + 0.03)


def test_noise_is_on_the_image_that_the_layer_sees():
    model, batch = classifier(Tiny(), classes=5, kind=Recorder), batch_of(images_of(1))
    noisy = replace(LAYER, noise_sd=0.5, samples=8)
    assert not torch.equal(
        explain(noisy, model, batch), explain(replace(noisy, noise_sd=0.0), model, batch)
    )
    images, others, _ = draws(noisy, model, batch, 0)
    assert torch.equal(model.seen[:16], torch.cat([images, others]))


@pytest.mark.parametrize("pass_batch", [3, 20, 120])
def test_every_sample_is_one_pass_and_the_image_itself_one_more_for_each_chunk(pass_batch):
    model = classifier(Tiny(), classes=5, kind=Recorder, pass_batch=pass_batch)
    batch = batch_of(images_of(2))
    cuts = -(-50 // pass_batch)
    for method, extra in ((PIXELS, 0), (LAYER, cuts), (replace(LAYER, noise_sd=0.1), 50)):
        explain(method, model, batch)
        assert model.forward_passes.tolist() == pytest.approx([50 + extra] * 2)
        assert model.backward_passes.tolist() == pytest.approx([50] * 2)
        assert max(len(call) for call in model.calls) <= pass_batch


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, images):
        return self.convolution(self.convolution(images)).mean((2, 3))


def test_a_layer_that_is_not_there_or_is_no_single_map_is_refused():
    model = classifier(Tiny(), classes=5)
    with pytest.raises(
        BadInput, match=r"Tiny has no layer conv9: use null .* features, features\.0"
    ):
        replace(LAYER, layer="conv9").native(model)
    with pytest.raises(
        BadInput, match=r"layer Linear has 1 outputs, of the shapes \[\[5\]\]: a layer"
    ):
        replace(LAYER, layer="head").native(model)
    with pytest.raises(BadInput, match="layer Conv2d has 2 outputs, of the shapes"):
        replace(LAYER, layer="convolution").native(classifier(Twice(), classes=3))


@pytest.mark.parametrize("changes", [{"samples": 0}, {"noise_sd": -0.1}], ids=str)
@pytest.mark.parametrize("method", [PIXELS, LAYER], ids=["pixels", "layer"])
def test_no_samples_and_negative_noise_are_refused(method, changes):
    with pytest.raises(BadInput, match="samples of at least 1 and noise_sd of at least 0, got"):
        replace(method, **changes)
