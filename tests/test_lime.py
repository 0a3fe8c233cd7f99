"""LIME: which superpixels a weighted ridge regression holds responsible."""

from dataclasses import replace

import pytest
import torch
from toys import Additive, Recorder, Smooth, batch_of, classifier, explain, images_of

from benchmark.interfaces import BadInput
from benchmark.segments import Grid, Quickshift
from methods.lime import LIME, Hide

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
QUICKSHIFT = Quickshift(kernel_size=4.0, max_dist=200.0, ratio=0.2)
METHOD = LIME(segmenter=Grid(4), hide=Hide.mean_colour, samples=100, kernel_width=0.25)


def smooth(**settings):
    return classifier(Smooth(), classes=4, kind=Recorder, mean=MEAN, std=STD, **settings)


def test_on_an_additive_score_the_coefficients_are_what_the_superpixels_add():
    weights = torch.zeros(3, 16, 16)
    gains = torch.linspace(-0.02, 0.04, 16)[torch.randperm(16, generator=torch.manual_seed(0))]
    weights += gains.view(4, 4).repeat_interleave(4, 0).repeat_interleave(4, 1) / 48
    model = classifier(Additive(weights, offset=0.4))  # its mean colour is black
    method = replace(METHOD, samples=1000)
    heatmap = explain(method, model, batch_of(torch.ones(1, 3, 16, 16)))[0]
    cells = heatmap[::4, ::4]
    assert torch.equal(heatmap, cells.repeat_interleave(4, 0).repeat_interleave(4, 1))
    assert cells.flatten().argsort().tolist() == gains.argsort().tolist()
    torch.testing.assert_close(cells.flatten(), gains, rtol=0.03, atol=1e-4)  # ridge shrinks a bit


def test_the_coefficients_are_those_of_the_weighted_normal_equations():
    model, batch = smooth(), batch_of(images_of(2, 80), torch.tensor([0, 1]))
    method = replace(METHOD, segmenter=QUICKSHIFT)
    heatmaps = explain(method, model, batch)
    for row in range(2):
        parts = QUICKSHIFT(batch.images[row])
        count = int(parts.max()) + 1
        assert count >= 3
        shown = model.seen[row * 100 : (row + 1) * 100]
        pixel = [int((parts.flatten() == part).nonzero()[0]) for part in range(count)]
        same = (shown == batch.images[row]).all(1).flatten(1)  # [N, H*W]
        kept = same[:, pixel].double()  # [N, P]
        scores = model.scores(shown, batch.targets[row].expand(100)).double()
        cosine = kept.sum(1) / (kept.norm(dim=1) * count**0.5).clamp(min=1e-12)
        weights = (-((1 - cosine) ** 2) / 0.25**2).exp().sqrt()
        # The intercept is not penalised: centre by the weighted means, then solve.
        centred = kept - (weights @ kept) / weights.sum()
        aim = scores - (weights @ scores) / weights.sum()
        matrix = centred.T @ (weights[:, None] * centred) + torch.eye(count)
        expected = torch.linalg.solve(matrix, centred.T @ (weights * aim))
        torch.testing.assert_close(heatmaps[row], expected.float()[parts], rtol=0, atol=1e-6)


@pytest.mark.parametrize("hide", list(Hide))
def test_superpixels_are_shown_as_they_are_or_hidden_as_asked(hide):
    model, batch = smooth(pass_batch=7), batch_of(images_of(1, 16))
    explain(replace(METHOD, hide=hide), model, batch)
    cells = batch.images[0].view(3, 4, 4, 4, 4)
    hidden = torch.tensor(MEAN).view(3, 1, 1).expand(3, 4, 4)
    if hide is Hide.superpixel_mean:
        hidden = cells.mean((2, 4))
    hidden = hidden.repeat_interleave(4, 1).repeat_interleave(4, 2)
    kept = (model.seen == batch.images[0]).all(1)
    instead = (model.seen - hidden).abs().amax(1) < 1e-6
    assert (kept ^ instead).all()
    assert kept[0].all()
    assert torch.equal(kept, kept[:, ::4, ::4].repeat_interleave(4, 1).repeat_interleave(4, 2))
    assert float(kept[1:].float().mean()) == pytest.approx(0.5, abs=0.03)
    assert model.forward_passes.tolist() == [100]
    assert max(len(call) for call in model.calls) <= 7


def test_nothing_is_printed(capfd):
    explain(METHOD, smooth(), batch_of(images_of(1, 16)))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("change", [{"samples": 1}, {"kernel_width": 0.0}])
def test_a_regression_without_data_is_refused(change):
    ((name, value),) = change.items()
    with pytest.raises(BadInput, match=f"lime needs .* got .*{name}={value}"):
        replace(METHOD, **change)
