"""Sanity checks: what must change a heatmap, what must not, and how alike heatmaps are."""

import math
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from captum.metrics import sensitivity_max
from torch import nn
from toys import Tiny, batch_of, classifier, explain, images_of

from benchmark import sanity, sanity_variants
from benchmark.attribution import Channels
from benchmark.redraw import MOST, layers, mixed, redrawn
from benchmark.sanity_checks import check
from benchmark.sanity_variants import CHECKS, RADIUS, fgsm_within_class, other_classes
from benchmark.shift import SHIFT, shifted
from benchmark.similarity import similarity
from methods.controls import Centre, SobelEdges
from methods.gradient import Gradient

GRADIENT = Gradient(channels=Channels.signed, times_input=False)
TIMES_INPUT = Gradient(channels=Channels.signed, times_input=True)
SIDE = 8


def linear(classes=4):
    """Logits that are linear in the image."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, classes))
    return classifier(network, classes=classes, input_size=SIDE)


def tiny():
    return classifier(Tiny(), classes=5)


def found(method, model, batch, *checks):
    table = check(method, model, batch, checks)
    assert set(table["check"]) == set(checks)
    return table


def test_a_module_that_nobody_calls_is_no_layer():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))
    network.forward = lambda images: nn.Sequential.forward(network[:2], images)
    network.append(nn.Conv2d(2, 1, 1))
    assert list(layers(network, torch.zeros(1, 3, 8, 8))) == ["0", "1"]


# Similarity


def test_the_rank_correlation_of_a_swap_is_spearmans_formula():
    first = np.arange(49, dtype=np.float32).reshape(7, 7)
    other = first.copy()
    other[0, 0], other[6, 6] = other[6, 6], other[0, 0]
    assert similarity(first, other).rank == pytest.approx(1 - 6 * 2 * 48**2 / (49 * (49**2 - 1)))
    assert similarity(first, 5 * first + 3)[:3] == (1, 1, pytest.approx(1))
    assert similarity(first, -first)[:2] == (pytest.approx(-1), 1)


def test_the_change_is_relative_to_the_first_heatmap():
    first = np.full((7, 7), 2.0, np.float32)
    assert similarity(first, 1.5 * first).change == 0.5
    assert similarity(0 * first, first).change == 14  # 7 * 2, over 1


def test_heatmaps_of_equal_cells_are_like_each_other_and_like_nothing_else():
    flat, other = np.zeros((7, 7), np.float32), np.eye(7, dtype=np.float32)
    assert similarity(flat, flat + 1)[:3] == (1, 1, 1)
    assert similarity(flat, other)[:2] == similarity(other, flat)[:2] == (0, 0)


def test_a_heatmap_that_is_not_finite_has_no_similarity():
    broken = np.eye(7, dtype=np.float32)
    broken[0, 0] = np.nan
    assert all(map(math.isnan, similarity(np.eye(7, dtype=np.float32), broken)))


# Random weights


def test_layers_go_from_input_to_output_and_take_their_batch_norms_along():
    grouped = layers(Tiny().eval(), torch.zeros(1, 3, 32, 32))
    assert grouped == {
        "features.0": ["features.0", "features.1"],
        "features.3": ["features.3"],
        "features.6": ["features.6"],
        "head": ["head"],
    }


@pytest.mark.parametrize(("name", "count"), [("resnet50", 18), ("squeezenet1_1", 10)])
def test_networks_of_many_layers_are_taken_by_blocks_and_nothing_is_left_out(name, count):
    network = torchvision.models.get_model(name, weights=None).eval()
    grouped = layers(network, torch.zeros(1, 3, 64, 64))
    assert len(grouped) == count <= MOST
    weighted = [n for n, m in network.named_modules() if list(m.parameters(recurse=False))]
    assert sorted(each for names in grouped.values() for each in names) == sorted(weighted)
    names = list(grouped)
    assert names[0] in ("conv1", "features.0")
    assert names[-1] in ("fc", "classifier.1")


def test_a_mixed_network_has_the_named_weights_and_statistics_of_the_other():
    network = Tiny().eval().requires_grad_(False)
    nn.init.uniform_(network.features[1].running_mean, 1, 2)
    random = redrawn(network, 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    made = mixed(network, random, ["features.1", "head"]).state_dict()
    for name, value in made.items():
        own = not name.startswith(("features.1.", "head."))
        assert torch.equal(value, before[name] if own else random.state_dict()[name]), name
        assert torch.equal(network.state_dict()[name], before[name])
    assert not torch.equal(made["features.1.running_mean"], before["features.1.running_mean"])


def test_the_end_of_the_cascade_is_the_random_network_and_its_start_one_random_layer():
    model, batch = tiny(), batch_of(images_of(2), torch.tensor([1, 3]))
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    table = found(GRADIENT, model, batch, "cascading", "independent")
    first = explain(GRADIENT, model, batch).numpy()
    random = explain(GRADIENT, model.with_network(redrawn(model.network, 0)), batch).numpy()
    end = table.query("check == 'cascading' and step == 4")
    assert list(end["layer"]) == ["features.0"] * 2
    for line, one, two in zip(end.to_dict("records"), first, random, strict=True):
        assert [line[name] for name in ("rank", "magnitude", "ssim", "change")] == list(
            similarity(one, two)
        )
    starts = table.query("step == 1")
    assert list(starts.query("check == 'cascading'")["rank"]) == list(
        starts.query("check == 'independent'")["rank"]
    )
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_gradient_of_a_linear_network_depends_on_its_weights_and_not_on_the_image():
    batch = batch_of(images_of(3, SIDE), torch.tensor([0, 1, 2]))
    table = found(GRADIENT, linear(), batch, *CHECKS)
    for kind in ("noise", "shift", "fgsm"):
        lines = table[table["check"] == kind]
        assert set(lines["rank"].dropna()) == {1.0}, kind
        assert set(lines["change"].dropna()) == {0.0}
    for kind in ("cascading", "independent", "logit"):
        assert (table[table["check"] == kind]["magnitude"].abs() < 0.4).all(), kind


@pytest.mark.parametrize("method", [Centre(res=7, sigma=0.25), SobelEdges(res=7)])
def test_what_knows_nothing_of_the_network_stays_the_same_and_fails(method):
    batch = batch_of(images_of(2), torch.tensor([1, 3]))
    table = found(method, tiny(), batch, "cascading", "independent", "logit")
    assert set(table["rank"]) == set(table["magnitude"]) == set(table["ssim"]) == {1.0}
    assert sanity.unmoved(sanity.summarise(table.assign(method="control"))) == ["control"]


def test_the_gradient_of_a_network_does_not_fail():
    table = found(GRADIENT, tiny(), batch_of(images_of(4)), "cascading")
    assert sanity.unmoved(sanity.summarise(table.assign(method="gradient"))) == []


# Other classes


def test_the_other_class_is_any_but_the_explained_one_and_each_images_own():
    batch = batch_of(images_of(1).expand(300, -1, -1, -1), 2, seeds=torch.arange(300))
    drawn = other_classes(batch, 5)
    counts = drawn.bincount(minlength=5).tolist()
    assert counts[2] == 0
    assert all(45 < count < 105 for place, count in enumerate(counts) if place != 2)
    assert torch.equal(other_classes(batch.select([7, 3]), 5), drawn[[7, 3]])


# The input's shift


def test_a_shift_that_the_first_layer_takes_away_changes_no_gradient_but_gradient_times_input():
    batch = batch_of(images_of(3, SIDE), torch.tensor([0, 1, 2]))
    model = linear()
    assert set(found(GRADIENT, model, batch, "shift")["change"]) == {0.0}
    slopes = model.network[1].weight[batch.targets].view(3, 3, SIDE, SIDE)
    products = (slopes * batch.images).sum(1).flatten(1)
    expected = (SHIFT * slopes.sum(1)).flatten(1).norm(dim=1) / products.norm(dim=1)
    lines = found(TIMES_INPUT, model, batch, "shift")
    assert lines["change"].to_numpy() == pytest.approx(expected.numpy(), rel=1e-4)
    assert (lines["rank"] < 0.99).all()


@pytest.mark.parametrize(
    "first",
    [
        nn.Conv2d(3, 6, 3, stride=2, padding=(1, 2)),
        nn.Conv2d(3, 6, 3, bias=False),
        nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 6, 3, groups=3, padding=2, dilation=2),
    ],
    ids=["zeros around", "no bias", "a mirror around", "groups"],
)
def test_after_a_shift_a_network_says_the_same_of_the_border_too(first):
    network = nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))
    network(torch.zeros(1, 3, SIDE, SIDE))
    model = classifier(network, classes=4, input_size=SIDE, mean=(0.5, 0.4, 0.3), std=(0.2,) * 3)
    images = images_of(3, SIDE)
    other, moved = shifted(model, images)
    torch.testing.assert_close(moved, images + 0.2 * SHIFT)
    torch.testing.assert_close(other(moved), model(images), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model(moved), model(images), atol=1e-3)


class Squared(nn.Module):
    """Its first layer sees the squares of what comes in."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 4)

    def forward(self, images):
        return self.head(images.square().mean((2, 3)))


def test_a_first_layer_that_sees_something_else_than_the_input_permits_no_shift():
    model = classifier(Squared(), classes=4, input_size=SIDE)
    batch = batch_of(images_of(2, SIDE))
    assert shifted(model, batch.images) is None
    table = check(SobelEdges(res=7), model, batch, ["shift", "logit"])
    assert set(table["check"]) == {"logit"}
    said = sanity.verdicts(table.assign(method="sobel"), ["shift", "logit"])
    assert said == ["no input shift: the first layer cannot take it away, not at this precision"]


# Noise and FGSM


def test_the_largest_change_under_noise_is_captums_max_sensitivity(monkeypatch):
    monkeypatch.setattr(sanity_variants, "DRAWS", 3)
    model, batch = tiny(), batch_of(0.1 + 0.8 * images_of(2), torch.tensor([1, 3]))
    drawn = list(sanity_variants.noisy(batch, RADIUS, sanity_variants.DRAWS))
    assert all((each - batch.images).abs().max() <= RADIUS + 1e-6 for each in drawn)
    assert all((each - batch.images).abs().max() > 0.95 * RADIUS for each in drawn)
    assert not torch.equal(drawn[0], drawn[1])
    table = found(TIMES_INPUT, model, batch, "noise").assign(method="product")
    ours = table.groupby("id")["change"].max()
    queue = iter(drawn)

    def explained(images):  # the first ones come in a tuple
        images = images if isinstance(images, torch.Tensor) else images[0]
        return (explain(TIMES_INPUT, model, batch._replace(images=images)),)

    expected = sensitivity_max(
        explained,
        batch.images,
        perturb_func=lambda _: next(queue),
        n_perturb_samples=3,
        max_examples_per_batch=2,
    )
    assert ours.to_numpy() == pytest.approx(expected.numpy(), rel=1e-4)
    summary = sanity.summarise(table)["product", "noise"]
    assert summary["change"].value == pytest.approx(float(expected.mean()), rel=1e-4)


def test_fgsm_takes_the_longest_step_that_keeps_the_class():
    """Class 1 is 255 m, twice the mean m's distance from that of class 0, which is 0.5 + margin."""

    class Brightness(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 2)
            self.layer.weight.copy_(torch.tensor([[255.0], [0.0]]))
            self.layer.bias.copy_(torch.tensor([-127.5, 0.0]))

        def forward(self, images):
            return self.layer(images.mean((1, 2, 3))[:, None])

    with torch.no_grad():
        model = classifier(Brightness(), input_size=SIDE)
    margins = torch.tensor([9.0, 0.6, 0.1])  # 255ths above the middle
    images = (0.5 + margins / 255).view(3, 1, 1, 1).expand(-1, 3, SIDE, SIDE)
    changed, kept = fgsm_within_class(model, images)
    assert kept.tolist() == [True, True, False]
    moved = 255 * (images - changed).mean((1, 2, 3))
    assert moved.tolist() == pytest.approx([2.0, 0.5, 0.0], abs=1e-3)
    table = found(SobelEdges(res=7), model, batch_of(images), "fgsm")
    assert table["rank"].isna().tolist() == [False, False, True]


# The summary and the command


@dataclass
class Line:
    check: str
    step: int
    id: str
    rank: float
    change: float


def test_a_summary_takes_the_cascades_end_and_averages_each_image_over_layers_first():
    lines = [
        Line("cascading", 1, "a", 0.9, 1.0),
        Line("cascading", 2, "a", 0.2, 2.0),
        Line("cascading", 1, "b", 0.8, 1.0),
        Line("cascading", 2, "b", 0.4, 4.0),
        Line("noise", 1, "a", 0.5, 0.1),
        Line("noise", 2, "a", 0.7, 0.3),
        Line("noise", 1, "b", 1.0, 0.2),
        Line("noise", 2, "b", 1.0, 0.5),
    ]
    table = pd.DataFrame(lines).assign(method="mine", layer="")
    table["magnitude"] = table["ssim"] = table["rank"]
    summary = sanity.summarise(table)
    assert summary["mine", "cascading"]["rank"].value == pytest.approx(0.3)
    assert summary["mine", "noise"]["rank"].value == pytest.approx(0.8)
    assert summary["mine", "noise"]["change"].value == pytest.approx(0.4)
    shown = sanity.lines_of(summary).set_index("heatmaps compared")
    assert shown.loc["all weights random", "change"] == "–"
    assert shown.loc["small noise", "change"].startswith("0.40 [")


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["sanity", *map(str, arguments)])
    return sanity.main()


def test_the_command_prints_a_table_and_writes_figure_and_numbers(tmp_path, monkeypatch, capsys):
    files = tmp_path / "new" / "layers.png", tmp_path / "lines.csv", tmp_path / "table.md"
    given = ["method=gradcam", "method=sobel", "res=14", "dataset.limit=2", "device=cpu"]
    writes = [each for file in files for each in ("--write", file)]
    assert command(monkeypatch, *given, "--check", "cascading,shift", *writes) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "fails: sobel at 14 x 14" in shown
    assert "fails: gradcam" not in shown
    assert files[0].read_bytes().startswith(b"\x89PNG")
    table = pd.read_csv(files[1])
    assert set(table["method"]) == {"gradcam at 14 x 14", "sobel at 14 x 14"}
    assert set(table.query("check == 'shift'")["step"]) == {1}
    assert table["layer"].iloc[0] == "head"
    assert "| sobel at 14 x 14 | all weights random | 1.00 [1.00, 1.00] |" in files[2].read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["res=14"], "name the methods to check"),
        (["method=sobel,gradcam", "method=sobel"], "method=sobel is named twice"),
        (["method=gradcam", "--check", "casc"], "--check=casc is unknown: there are cascading, in"),
        (
            ["method=gradcam", "--write", "a.txt"],
            "end in .png, .jpg, .pdf, .svg, .csv, .md",
        ),
        (["method=gradcam", "--check", "noise", "--write", "a.png"], "a picture shows layers"),
        (["method=gradcam", "res=28", "dataset.limit=1"], "makes 14 x 14 heatmaps"),
    ],
)
def test_what_cannot_be_checked_is_refused_in_one_line(monkeypatch, capsys, arguments, message):
    assert command(monkeypatch, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
