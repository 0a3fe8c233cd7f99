"""SmoothGrad and its squares and variances, around methods whose answers are known."""

from dataclasses import dataclass, replace

import cells
import pytest
import torch
from torch import nn
from toys import Recorder, Smooth, Tiny, batch_of, classifier, explain, images_of

from benchmark.attribution import Channels, PixelAttribution
from benchmark.building import build
from benchmark.captions import about, title
from benchmark.cell import Cell
from benchmark.config import load
from benchmark.interfaces import BadInput
from benchmark.substrates import MeanColour
from methods.gradcam import GradCAM
from methods.gradient import Gradient
from methods.guided_backprop import GuidedBackprop, Rule
from methods.integrated_gradients import IntegratedGradients
from methods.smoothgrad import SmoothGrad, Statistic

GRADIENT = Gradient(channels=Channels.signed, times_input=False)
GUIDED = GuidedBackprop(channels=Channels.signed, rule=Rule.guided_backprop)
INTEGRATED = IntegratedGradients(channels=Channels.signed, baseline=MeanColour(), steps=3)
METHOD = SmoothGrad(
    channels=Channels.signed, of=GRADIENT, samples=50, noise=0.2, statistic=Statistic.mean
)


class Square(nn.Module):
    """Logit of class 0 = the sum of weights [3, H, W] times squared pixels; its slope is 2 w x."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, images):
        score = (self.weights * images.square()).sum((1, 2, 3))
        return torch.stack([score, torch.zeros_like(score)], 1)


@dataclass(frozen=True)
class Drawn(PixelAttribution):
    """Remembers the seeds it was given; every attribution is the seed of its row."""

    seen: list

    def attribute(self, _model, batch):
        self.seen.append(batch.seeds)
        return batch.seeds.float().view(-1, 1, 1, 1).expand_as(batch.images)


@pytest.mark.parametrize("inside", [GRADIENT, GUIDED, INTEGRATED], ids=lambda m: type(m).__name__)
def test_without_noise_the_mean_is_the_method_itself_bit_for_bit(inside):
    model, batch = classifier(Tiny(), classes=5), batch_of(images_of(3), torch.tensor([0, 1, 2]))
    plain = explain(inside, model, batch)
    method = replace(METHOD, of=inside, samples=7, noise=0.0)
    assert torch.equal(explain(method, model, batch), plain)
    squares = replace(method, channels=Channels.maximum, statistic=Statistic.square)
    magnitudes = explain(replace(inside, channels=Channels.maximum), model, batch)
    torch.testing.assert_close(explain(squares, model, batch), magnitudes.square())
    assert explain(replace(method, statistic=Statistic.variance), model, batch).max() < 1e-12


def test_on_a_quadratic_score_the_three_statistics_are_what_the_noise_makes_of_its_slope():
    weights = torch.linspace(-1, 1, 48).view(3, 4, 4)
    model, images = classifier(Square(weights)), images_of(2, 4)
    spread = 0.2 * (images.amax((1, 2, 3)) - images.amin((1, 2, 3))).view(-1, 1, 1, 1)
    slope, variance = 2 * weights * images, (2 * weights * spread).square()
    for statistic, expected, tolerance in (
        (Statistic.mean, slope, 4 * variance.sqrt() / 4000**0.5),
        (Statistic.square, slope.square() + variance, 0.15 * (slope.square() + variance)),
        (Statistic.variance, variance, 0.1 * variance),
    ):
        method = replace(METHOD, samples=4000, statistic=statistic)
        got = method.attribute(classifier(Square(weights), pass_batch=4000), batch_of(images))
        assert ((got - expected).abs() <= tolerance).all()
    assert explain(METHOD, model, batch_of(images)).shape == (2, 4, 4)


@pytest.mark.parametrize("pass_batch", [3, 20, 120])
def test_a_statistic_is_that_of_the_gradients_of_the_images_the_network_saw(pass_batch):
    for statistic in Statistic:
        model = classifier(Smooth(), classes=4, kind=Recorder, pass_batch=pass_batch)
        method = replace(METHOD, samples=25, statistic=statistic)
        made = method.attribute(model, batch_of(images_of(1, 16), 1))[0]
        slopes = GRADIENT.attribute(model, batch_of(model.seen, 1)).double()
        expected = {
            Statistic.mean: slopes.mean(0),
            Statistic.square: slopes.square().mean(0),
            Statistic.variance: slopes.var(0, correction=0),
        }[statistic]
        torch.testing.assert_close(made, expected.float(), rtol=1e-4, atol=1e-7)


def test_the_noise_is_normal_new_in_every_sample_and_measured_by_the_images_range():
    model = classifier(Smooth(), classes=4, kind=Recorder, pass_batch=120)
    images = torch.stack([images_of(1, 16)[0], 0.3 + 0.1 * images_of(1, 16)[0]])
    explain(replace(METHOD, samples=50), model, batch_of(images, 1))
    noise = model.seen.view(2, 50, -1) - images.flatten(1)[:, None]
    ranges = images.flatten(1).amax(1) - images.flatten(1).amin(1)
    assert noise.std((1, 2)).tolist() == pytest.approx((0.2 * ranges).tolist(), rel=0.02)
    assert (noise.mean((1, 2)) / ranges).abs().max() < 0.01
    assert torch.corrcoef(noise.flatten(0, 1)).fill_diagonal_(0).abs().max() < 0.2


def test_a_flat_image_has_no_range_and_gets_no_noise():
    model = classifier(Smooth(), classes=4, kind=Recorder)
    explain(METHOD, model, batch_of(torch.full((1, 3, 16, 16), 0.4)))
    assert (model.seen == 0.4).all()


@pytest.mark.parametrize("pass_batch", [2, 20, 120])
def test_passes_count_for_the_image_whose_noise_they_see(pass_batch):
    for inside, each in ((GRADIENT, 1), (INTEGRATED, 3), (replace(METHOD, samples=2), 2)):
        model = classifier(Smooth(), classes=4, kind=Recorder, pass_batch=pass_batch)
        explain(replace(METHOD, of=inside, samples=7), model, batch_of(images_of(3, 16)))
        assert model.forward_passes.tolist() == pytest.approx([7 * each] * 3)
        assert model.backward_passes.tolist() == pytest.approx([7 * each] * 3)
        assert len(model.seen) == 3 * 7 * each
        assert max(len(call) for call in model.calls) <= pass_batch


def test_every_sample_has_a_seed_of_its_own_that_comes_from_its_images():
    model, batch = classifier(Smooth(), classes=4), batch_of(images_of(3, 16))
    method = replace(METHOD, of=Drawn(Channels.signed, []), samples=30)
    whole = explain(method, model, batch)
    seeds = torch.cat(method.of.seen)
    assert len(seeds.unique()) == 90
    alone = replace(METHOD, of=Drawn(Channels.signed, []), samples=30)
    assert torch.equal(explain(alone, model, batch.select([2]))[0], whole[2])
    assert torch.equal(torch.cat(alone.of.seen), seeds[-30:])


# Settings


def test_the_method_inside_is_chosen_by_name_and_says_how_colours_are_put_together():
    made = build(load("method=smoothgrad").method, "method")
    assert made.of == Gradient(channels=Channels.maximum, times_input=False)
    assert made.channels is Channels.maximum
    inside = "method@method.of"
    made = build(load("method=smoothgrad", f"{inside}=integrated_gradients").method, "method")
    assert isinstance(made.of, IntegratedGradients)
    assert made.channels is Channels.signed
    nested = load("method=vargrad", f"{inside}=smoothgrad", f"{inside}.of=guided_backprop")
    made = build(nested.method, "method")
    assert (made.of.of.rule, made.channels) == (Rule.guided_backprop, Channels.maximum)
    own = load("method=smoothgrad", "method.channels=absolute")
    assert build(own.method, "method").channels is Channels.absolute


def test_each_choice_is_its_papers_statistic():
    names = ("smoothgrad", "smoothgrad_squared", "vargrad")
    made = [build(load(f"method={name}").method, "method").statistic for name in names]
    assert made == [Statistic.mean, Statistic.square, Statistic.variance]


def test_a_row_shows_which_method_was_wrapped(tmp_path):
    cells.make_images(tmp_path / "images", 2)
    cells.make_conf(tmp_path / "conf")
    changes = ("method@method.of=deconvnet", "method.samples=2")
    cell = Cell.open(cells.settings(tmp_path, "res=32", "method=smoothgrad", *changes))
    assert title(cell) == "smoothgrad of deconvnet at 32 x 32 method.samples=2"
    assert "; of DeconvNet (" in about(cell.settings)
    assert cell.identity["method"]["of"]["rule"] == "deconvnet"
    assert "zennit" in cell.identity["packages"]


def test_a_row_names_methods_within_methods_from_the_outside_in(tmp_path):
    cells.make_images(tmp_path / "images", 2)
    cells.make_conf(tmp_path / "conf")
    inside = "method@method.of"
    within = (f"{inside}.of=guided_backprop", f"{inside}=vargrad", "method.of.samples=2")
    cell = Cell.open(cells.settings(tmp_path, "res=32", "method=blurred", *within))
    assert title(cell) == "blurred of vargrad of guided_backprop at 32 x 32 method.of.samples=2"
    assert [part.partition(" (")[0] for part in about(cell.settings).split("; of ")] == [
        "blurred: Blurred",
        "VarGrad",
        "Guided Backprop",
    ]


def test_a_wrapper_that_was_told_no_method_still_says_which_it_wraps(tmp_path):
    cells.make_images(tmp_path / "images", 2)
    cells.make_conf(tmp_path / "conf")
    cell = Cell.open(cells.settings(tmp_path, "res=32", "method=random_network"))
    assert title(cell) == "random_network at 32 x 32"
    assert "; of Gradient (" in about(cell.settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"of": GradCAM()}, r"such as method@method\.of=gradient, got GradCAM"),
        ({"samples": 0}, "samples of at least 1 .*samples=0"),
        ({"noise": -0.1}, r"noise of at least 0, got .*noise=-0\.1"),
    ],
)
def test_what_cannot_be_smoothed_is_refused(changes, message):
    with pytest.raises(BadInput, match=message):
        replace(METHOD, **changes)


def test_a_heatmap_of_layers_is_refused_by_name_from_the_settings():
    settings = load("method=smoothgrad", "method@method.of=gradcam")
    with pytest.raises(BadInput, match="smoothgrad needs a method that attributes to the colours"):
        build(settings.method, "method")
