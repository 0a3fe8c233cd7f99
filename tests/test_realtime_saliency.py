"""Real-time saliency: its masking network, how that is trained, and the two that are committed."""

import json
import math
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional
from toys import BLACK, OnePixel, Recorder, Tiny, batch_of, classifier, explain, images_of

import benchmark
from benchmark import model_sources
from benchmark.config import composed
from benchmark.interfaces import BadInput
from benchmark.masker import FeatureMap, Masker, find_maps, watched
from benchmark.masker_files import COMMAND, load, save
from benchmark.masker_training import Parts, Training, ask, batches
from benchmark.substrates import Blur
from benchmark.train_masker import run
from methods.realtime_saliency import RealtimeSaliency

CLASSES = 5
TINY_MAPS = [FeatureMap("features", 4, 24), FeatureMap("features.4", 8, 16)]
TINY_MAPS += [FeatureMap("features.2", 16, 8)]
WEIGHTS = Path(model_sources.OWN_WEIGHTS)
NETWORKS = ["scenes_vgg", "scenes_resnet"]
SETTINGS = {
    "model": None,
    "dataset": None,
    "out": None,
    "device": "cpu",
    "seed": 0,
    "filter_steps": 2,
    "steps": 2,
    "batch_size": 4,
    "learning_rate": 0.01,
    "weight_decay": 0.0,
    "width": 4,
    "fake": 0.3,
    "smoothness": 10.0,
    "area": 12.5,
    "removal": 5.0,
    "removal_power": 0.3,
    "blurred": 0.5,
    "blur_sigma": 0.05,
    "noise_sd": 0.03,
}


class OnBlack(Training):
    """Hides by black, so that what a toy answers is known."""

    def background(self, images, _source):
        return BLACK(None, batch_of(images))


class Colours(nn.Module):
    """Class 0 where there is more red, class 1 where there is more green."""

    def __init__(self):
        super().__init__()
        self.halves = nn.AvgPool2d(2)
        self.quarters = nn.AvgPool2d(4)

    def forward(self, images):
        return 4 * self.quarters(self.halves(20 * images)).mean((2, 3))[:, :2]


def training(kind=Training, **changes):
    return kind(**(SETTINGS | changes))


def tiny(**settings):
    return classifier(Tiny(CLASSES), classes=CLASSES, kind=Recorder, **settings)


def untrained(model, width=4, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Masker(find_maps(model), len(model.class_names), width).eval()


def saved(model, file, **settings):
    save(untrained(model, **settings), model, file, {})
    return RealtimeSaliency(masker=str(file))


def squares(count, seed=0):
    """Draw images [B, 3, 32, 32] with a square, red in the even ones, else green; and its place."""
    source = torch.Generator().manual_seed(seed)
    images, places = 0.2 * torch.rand(count, 3, 32, 32, generator=source), []
    for number, image in enumerate(images):
        row, column = torch.randint(1, 23, (2,), generator=source)
        place = torch.zeros(32, 32, dtype=torch.bool)
        place[row : row + 8, column : column + 8] = True
        image[number % 2, place] += 0.7
        places.append(place)
    return images, torch.stack(places)


# The masking network


def test_the_last_map_of_each_size_is_found_coarsest_first():
    assert find_maps(tiny()) == TINY_MAPS


@pytest.mark.parametrize(
    ("name", "sizes"), [("scenes_vgg", [7, 14, 28, 56, 112]), ("scenes_resnet", [14, 28, 56, 112])]
)
def test_the_maps_of_the_scenes_networks_are_those_before_each_pooling_or_stride(name, sizes):
    model = benchmark.load(f"model={name}", "method=random").model
    assert [each.size for each in find_maps(model)] == sizes


def test_a_network_with_maps_of_one_size_is_refused():
    network = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.Flatten(), nn.Linear(256, 2))
    with pytest.raises(BadInput, match=r"Sequential has feature maps of 1 sizes: .* two or more"):
        find_maps(classifier(network))


def test_the_watched_maps_are_what_the_modules_return():
    model, images = tiny(), images_of(3)
    maps, logits = watched(model, images, TINY_MAPS)
    expected = model.network.features((torch.cat([images, images[-1:]])).contiguous())
    assert torch.equal(maps[0], expected)  # the classifier pads to four
    assert [tuple(each.shape) for each in maps[1:]] == [(4, 16, 8, 8), (4, 8, 16, 16)]
    assert torch.equal(logits, model(images))


def test_a_mask_has_the_size_of_the_finest_map_and_lies_in_0_to_1():
    model = tiny()
    maps, _ = watched(model, images_of(4), TINY_MAPS)
    masks = untrained(model)([100 * each for each in maps], torch.arange(4))
    assert masks.shape == (4, 1, 16, 16)
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert masks.std() > 0


def test_a_mask_is_the_share_of_the_first_of_two_magnitudes():
    masker, seen = untrained(tiny()), []
    masker.head.register_forward_hook(lambda *call: seen.append(call[2]))
    maps, _ = watched(tiny(), images_of(4), TINY_MAPS)
    masks = masker(maps, torch.arange(4))
    first, second = seen[0][:, :1].double().abs(), seen[0][:, 1:].double().abs()
    torch.testing.assert_close(masks.double(), first / (first + second), rtol=0, atol=1e-5)


def test_the_filter_scales_each_place_by_the_sigmoid_of_its_product_with_the_targets_embedding():
    masker, seen = untrained(tiny()), []
    masker.blocks[0].register_forward_hook(lambda *call: seen.append(call[1][0]))
    maps, _ = watched(tiny(), images_of(4), TINY_MAPS)
    masker(maps, torch.tensor([3, 0, 0, 1]))
    embedding = masker.filter.weight[3].detach()
    for row in range(4):
        for column in range(4):
            features = maps[0][0, :, row, column]
            expected = features / (1 + math.exp(-float(features @ embedding)))
            torch.testing.assert_close(seen[0][0, :, row, column], expected)


# The loss


def test_the_loss_is_the_papers_sum():
    parts = Parts(*(torch.tensor([value]) for value in (0.02, 0.1, math.log(0.7), math.log(0.2))))
    expected = 10 * 0.02 + 12.5 * 0.1 - math.log(0.7) + 5 * 0.2**0.3
    assert float(training().loss(parts)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("fake", [False, True])
def test_the_parts_of_the_loss_are_those_computed_by_hand(fake):
    model = classifier(OnePixel(row=31, column=31))
    images = torch.full((1, 3, 32, 32), 0.5)
    mask = torch.tensor([[0.0, 0.5], [0.0, 0.25]])[None, None]
    parts = training(OnBlack).parts(
        model,
        images,
        torch.tensor([0]),
        mask,
        fake=torch.tensor([fake]),
        source=torch.Generator(),
    )
    assert float(parts.variation) == pytest.approx((0 + 0.25**2) / 2 + (0.5**2 + 0.25**2) / 2)
    assert float(parts.area) == pytest.approx(0.75 / 4)
    # The classifier sees the corner alone, where the mask is 0.25: on black the rest is dark.
    shown, removed = (0.1 + 0.8 * 0.5 * share for share in (0.25, 0.75))
    if fake:
        shown, removed = removed, shown
    assert float(parts.log_shown.exp()) == pytest.approx(shown, rel=1e-5)
    assert float(parts.log_removed.exp()) == pytest.approx(removed, rel=1e-5)


def test_a_probability_of_nothing_has_a_finite_gradient():
    log_removed = torch.tensor([-80.0], requires_grad=True)
    zero = torch.zeros(1)
    training().loss(Parts(zero, zero, zero, log_removed)).sum().backward()
    assert log_removed.grad.isfinite().all()


def test_half_of_the_images_are_hidden_by_their_blur_and_half_by_one_colour_with_noise():
    images, source = images_of(2, 224), torch.Generator().manual_seed(0)
    blurred = training(blurred=1.0).background(images, source)
    exact = Blur(kernel=67, sigma=11.2)(None, batch_of(images))
    assert (blurred - exact).abs().mean() < 0.1 * (images - exact).abs().mean()
    flat = training(blurred=0.0, noise_sd=0.0).background(images_of(20), source)
    assert flat.flatten(2).std(2).max() < 1e-6
    assert flat[:, :, 0, 0].std() > 0.2
    noisy = training(blurred=0.0).background(images_of(20), source)
    assert 0.02 < noisy.flatten(2).std(2).mean() < 0.04
    mixed = training(noise_sd=0.0).background(images_of(40), source)
    assert 10 < (mixed.flatten(2).std(2).mean(1) > 1e-6).sum() < 30


# The training


def test_each_image_comes_once_before_any_comes_again():
    images = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(-1, 3, 2, 2)
    stream = batches(images, 2, torch.Generator().manual_seed(0))
    first, second = (
        [int(value) for _ in range(3) for value in next(stream)[:, 0, 0, 0] * 255 + 0.5]
        for _ in range(2)
    )
    assert sorted(first) == sorted(second) == list(range(6))
    assert first != second


def test_a_share_of_the_questions_is_about_a_class_that_was_not_predicted():
    logits = functional.one_hot(torch.arange(2000) % CLASSES).float()
    targets, fake = ask(logits, 0.3, torch.Generator().manual_seed(0))
    assert torch.equal(targets != logits.argmax(1), fake)
    assert 0.25 < fake.double().mean() < 0.35
    assert targets[fake].unique().tolist() == list(range(CLASSES))


def test_a_step_of_training_lowers_the_loss():
    model, (images, _) = classifier(Colours()), squares(4)
    bytes_of = (images * 255).byte()
    losses = []
    for steps in (1, 4):  # the first step's loss is that of the untrained masker
        _, reached = training(steps=steps, fake=0.0, blurred=0.0).fit(model, bytes_of)
        losses.append(reached["loss"])
    assert losses[1] < losses[0]


def test_a_trained_masker_finds_what_the_classifier_looks_at_and_only_for_its_class():
    model, (images, _) = classifier(Colours()), squares(64)
    made = training(
        OnBlack,
        steps=60,
        filter_steps=60,
        batch_size=16,
        learning_rate=0.02,
        smoothness=1.0,
        area=4.0,
    )
    masker, reached = made.fit(model, (images * 255).byte())
    assert reached["removed"] < 0.65
    assert reached["shown"] > 0.85
    unseen, places = squares(8, seed=1)
    colours = torch.arange(8) % 2
    maps, logits = watched(model, unseen, masker.maps)
    assert torch.equal(logits.argmax(1), colours)
    asked = [
        functional.interpolate(masker(maps, each), 32)[:, 0] for each in (colours, 1 - colours)
    ]
    inside, outside = (
        torch.stack([mask[which].mean() for mask, which in zip(asked[0], chosen, strict=True)])
        for chosen in (places, ~places)
    )
    assert (inside > 3 * outside).all()
    assert asked[1].mean() < 0.5 * asked[0].mean()


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path):
    short = ["dataset.limit=4", "batch_size=4", "steps=2", "filter_steps=1", "width=2"]
    files = [
        run([*short, f"seed={seed}", f"out={tmp_path / 'masker.safetensors'}"]).read_bytes()
        for seed in (0, 0, 1)
    ]
    assert files[0] == files[1]
    heads = [safetensors.torch.load(each)["head.weight"] for each in files]
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset.split=test", "dataset.split=test is what maskers are measured on"),
        ("step=3", "step"),
        ("steps=many", "steps: .*many"),
        ("steps=0", "steps must be above 0, got 0"),
        ("fake=1.5", r"fake must lie in \[0, 1\], got 1.5"),
        ("noise_sd=-1", "noise_sd must be at least 0"),
    ],
)
def test_a_training_that_cannot_be_is_refused_in_one_line(override, message):
    with pytest.raises(BadInput, match=message) as refusal:
        run(override.split())
    assert "\n" not in str(refusal.value)


# The method


def test_a_heatmap_is_the_mask_for_the_images_target_and_costs_one_pass(tmp_path):
    model, batch = tiny(), batch_of(images_of(5), torch.tensor([0, 1, 2, 3, 4]))
    method = saved(model, tmp_path / "masker.safetensors")
    assert method.native(model) == 16
    heatmaps = explain(method, model, batch)
    maps, _ = watched(model, batch.images[:4], TINY_MAPS)
    expected = untrained(model)(maps, batch.targets[:4])[:, 0]
    torch.testing.assert_close(heatmaps[:4], expected)
    model = tiny()
    explain(method, model, batch)
    assert model.forward_passes.tolist() == [1] * 5
    assert model.backward_passes.tolist() == [0] * 5
    assert [len(call) for call in model.calls] == [5]


def test_another_target_has_another_heatmap(tmp_path):
    model, batch = tiny(), batch_of(images_of(2), torch.tensor([0, 1]))
    method = saved(model, tmp_path / "masker.safetensors")
    first = explain(method, model, batch)
    other = explain(method, model, batch._replace(targets=torch.tensor([0, 2])))
    assert torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])


def test_a_masker_of_other_weights_is_refused_and_the_command_is_named(tmp_path):
    file = tmp_path / "masker.safetensors"
    method = saved(tiny(), file)
    other = classifier(Tiny(CLASSES, seed=1), classes=CLASSES)
    message = r"is for \w{8}, not for a classifier with the weights .*-m benchmark.train_masker"
    with pytest.raises(BadInput, match=message):
        method(other, batch_of(images_of(1)))
    changed = tiny()
    method(changed, batch_of(images_of(1)))
    with torch.no_grad():
        changed.network.head.weight[0, 0] += 1
    with pytest.raises(BadInput, match=message):
        method(changed, batch_of(images_of(1)))


def test_a_classifier_without_a_masker_is_refused_and_the_command_is_named():
    with pytest.raises(BadInput, match=r"no masker .* with python -m benchmark.train_masker model"):
        RealtimeSaliency(masker=None).native(tiny())


def test_a_file_that_is_no_masker_is_refused(tmp_path):
    model, file = tiny(), tmp_path / "masker.safetensors"
    method = RealtimeSaliency(masker=str(file))
    with pytest.raises(BadInput, match=r"masker\.safetensors is not a masker"):
        method.native(model)
    shutil.copy(WEIGHTS / "scenes_vgg.safetensors", file)
    with pytest.raises(BadInput, match=r"masker\.safetensors is not a masker"):
        method.native(model)
    masker = untrained(model)
    del masker.head
    save(masker, model, file, {})
    with pytest.raises(BadInput, match="does not hold a masker's weights"):
        method.native(model)


def test_a_masker_that_was_trained_anew_is_used_at_once(tmp_path):
    model, batch, file = tiny(), batch_of(images_of(1)), tmp_path / "masker.safetensors"
    first = saved(model, file)(model, batch)
    assert not torch.equal(saved(model, file, seed=1)(model, batch), first)


def test_a_results_key_depends_on_what_is_in_the_maskers_file_and_not_on_where_it_lies(tmp_path):
    (own,) = WEIGHTS.glob("masker-scenes_vgg-*.safetensors")
    shutil.copy(own, tmp_path / "copy.safetensors")
    masker = load(benchmark.load("method=random").model, own)
    with torch.no_grad():
        other = Masker(masker.maps, masker.classes, masker.width)
        other.load_state_dict(masker.state_dict())
        other.head.bias[0] += 1
    save(other, benchmark.load("method=random").model, tmp_path / "other.safetensors", {})
    files = ["null", tmp_path / "copy.safetensors", tmp_path / "other.safetensors"]
    keys = [
        benchmark.load("method=realtime_saliency", f"method.masker={each}").folder.path.name
        for each in files
    ]
    assert keys[0] == keys[1] != keys[2]


# The committed maskers


@pytest.mark.parametrize("name", NETWORKS)
def test_the_committed_maskers_are_small_and_say_how_they_were_made(name):
    (file,) = WEIGHTS.glob(f"masker-{name}-*.safetensors")
    assert file.stat().st_size <= 2_000_000
    model = benchmark.load("method=random", f"model={name}").model
    assert sum(each.numel() for each in load(model, file).parameters()) <= 400_000
    with safe_open(file, "pt") as opened:
        made = json.loads(opened.metadata()["masker"])
    assert made["classifier_sha256"] == model_sources.weights_hash(model.network)
    assert made["command"] == f"{COMMAND} model={name} dataset=scenes"
    assert made["images"] == "2000 of scenes"
    settings = composed("train_masker", [])[0]
    assert made["settings"].items() <= settings.items()
    assert made["settings"]["steps"] == 800


@pytest.mark.parametrize("name", NETWORKS)
def test_the_committed_maskers_beat_the_centre_in_deletion_and_see_only_what_is_there(name):
    settings = [f"model={name}", "protocol.steps=20", "metric=[deletion]", "dataset.limit=8"]
    cell = benchmark.load("method=realtime_saliency", *settings)
    batch = cell.batch(cell.dataset.ids())
    heatmaps = cell.method(cell.model, batch)
    centre = benchmark.load("method=centre", "res=112", *settings).method(cell.model, batch)
    deletion = cell.metrics["deletion"]
    scores = [deletion(cell.model, batch, maps).values.mean() for maps in (heatmaps, centre)]
    assert scores[0] < 0.7 * scores[1]
    other = cell.method(cell.model, batch._replace(targets=(batch.targets + 1) % 10))
    assert other.mean() < 0.5 * heatmaps.mean()
