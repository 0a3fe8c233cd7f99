"""What every method promises, checked for each YAML file in conf/method."""

import functools
import random
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from toys import Recorder, Tiny, batch_of, classifier, explain, images_of

import benchmark.resolvers
from benchmark.building import build
from benchmark.config import load
from benchmark.interfaces import BadInput
from benchmark.masker import Masker, find_maps
from benchmark.masker_files import save as save_masker
from benchmark.quick import quick
from benchmark.resolution import native_resolution
from benchmark.resolvers import about_methods

METHODS = sorted(file.stem for file in (Path(benchmark.resolvers.CONF) / "method").glob("*.yaml"))
WITHOUT_IMAGE = {"random", "centre"}  # they can do any resolution
SEEDED = {
    "expected_gradients",
    "expected_gradients_layer",
    "gradient_shap",
    "guided_backprop_smoothgrad",
    "hsic",
    "igos",
    "igos_fast",
    "igos_plus",
    "igos_plus_plus",
    "integrated_gradients_noise",
    "integrated_gradients_smoothgrad",
    "kernel_shap",
    "lime",
    "mask",
    "random",
    "rise",
    "rise_8000",
    "smoothgrad",
    "smoothgrad_squared",
    "sobol",
    "vargrad",
}
SIZE, CLASSES, RES = 32, 5, 28
KEPT = tempfile.TemporaryDirectory()  # files that methods read
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@functools.cache
def method_of(name):
    # A data set of images as small as the toy classifier's, for methods that compare with others.
    settings = load(f"method={name}", f"res={RES}", "dataset._target_=toys.Drawn")
    if "masker" in settings.method:
        settings.method.masker = str(untrained_masker())
    return settings, build(quick(settings.method), "method")


def model_of(pass_batch=20, kind=Recorder):
    return classifier(
        Tiny(CLASSES),
        classes=CLASSES,
        kind=kind,
        input_size=SIZE,
        mean=MEAN,
        std=STD,
        pass_batch=pass_batch,
    )


@functools.cache
def untrained_masker():
    """Write a masking network for the tiny one; what it draws shall not move other tests."""
    file = Path(KEPT.name) / "masker.safetensors"
    model = model_of()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_masker(Masker(find_maps(model), CLASSES, width=4), model, file, {})
    return file


@pytest.fixture(scope="module")
def batch():
    return batch_of(images_of(5, SIZE), targets=torch.tensor([0, 1, 2, 3, 4]))


@pytest.fixture(scope="module")
def explained(batch):
    """Each method's heatmaps of the whole batch and its passes, made once."""
    kept = {}

    def of(name):
        if name not in kept:
            model = model_of()
            heatmaps = explain(method_of(name)[1], model, batch)
            kept[name] = heatmaps, model
        return kept[name]

    return of


def test_there_are_methods_and_each_is_found():
    assert {"igos", "gradcam", "integrated_gradients", *WITHOUT_IMAGE, "sobel"} <= set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is_called_and_who_published_it(name):
    about = about_methods()[name]
    assert about.keys() == {"name", "paper", "line"}
    assert about["paper"] == "control" or re.search(r" (19|20)\d\d$", about["paper"])
    assert not about["line"].endswith(".")


@pytest.mark.parametrize("name", METHODS)
def test_heatmaps_are_finite_squares_one_for_each_image(name, explained):
    heatmaps, _ = explained(name)
    res = native_resolution(method_of(name)[1], model_of())
    assert heatmaps.shape == (5, res, res)
    assert 1 < res <= SIZE
    assert heatmaps.dtype == torch.float32
    assert heatmaps.isfinite().all()
    assert not heatmaps.requires_grad


@pytest.mark.parametrize("name", METHODS)
def test_heatmaps_are_not_flat_and_differ_where_the_method_looks_at_the_image(name, explained):
    heatmaps, _ = explained(name)
    assert heatmaps.flatten(1).std(1).max() > 0
    if name != "centre":
        assert not torch.equal(heatmaps[0], heatmaps[1])


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_heatmap(name, batch, explained):
    _, method = method_of(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)  # what others drew before does not matter
        again = explain(method, model_of(), batch)
    assert torch.equal(again, explained(name)[0])


@pytest.mark.parametrize("name", METHODS)
def test_another_seed_matters_to_methods_that_draw_and_to_no_other(name, batch, explained):
    _, method = method_of(name)
    other = explain(method, model_of(), batch._replace(seeds=batch.seeds + 1000))
    assert torch.equal(other, explained(name)[0]) == (name not in SEEDED)


@pytest.mark.parametrize("rows", [[0], [3], [1, 4], [4, 2, 0, 1, 3], [0, 1, 2, 3]], ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_an_images_heatmap_does_not_depend_on_the_rest_of_its_batch(name, rows, batch, explained):
    _, method = method_of(name)
    part = explain(method, model_of(), batch.select(rows))
    assert torch.equal(part, explained(name)[0][rows])


@pytest.mark.parametrize("pass_batch", [8, 120])
@pytest.mark.parametrize("name", METHODS)
def test_the_batch_does_not_matter_either_where_more_or_fewer_images_pass_at_once(
    name, pass_batch, batch
):
    _, method = method_of(name)
    whole = explain(method, model_of(pass_batch), batch)
    for rows in ([3], [4, 2]):
        assert torch.equal(explain(method, model_of(pass_batch), batch.select(rows)), whole[rows])


@pytest.mark.parametrize("name", METHODS)
def test_no_more_images_pass_at_once_than_the_model_allows(name, batch):
    model = model_of(pass_batch=4)
    explain(method_of(name)[1], model, batch)
    assert max([0, *map(len, model.calls)]) <= 4


@pytest.mark.parametrize("name", METHODS)
def test_an_image_costs_the_same_passes_alone_as_in_a_batch_and_all_are_counted(
    name, batch, explained
):
    _, method = method_of(name)
    _, model = explained(name)
    assert float(model.forward_passes.sum()) == pytest.approx(sum(map(len, model.calls)))
    alone = model_of()
    explain(method, alone, batch.select([3]))
    assert float(alone.forward_passes[0]) == pytest.approx(float(model.forward_passes[3]))
    assert float(alone.backward_passes[0]) == pytest.approx(float(model.backward_passes[3]))


def traces(model, batch):
    """Everything a method has to leave as it was."""
    modules = dict(model.network.named_modules())
    return {
        "ids": list(batch.ids),
        **{name: getattr(batch, name).clone() for name in ("images", "targets", "labels", "seeds")},
        "images ask for a gradient": batch.images.requires_grad,
        "gradient of images": batch.images.grad,
        "state": {key: value.clone() for key, value in model.network.state_dict().items()},
        "parameters": {
            key: (value.requires_grad, value.grad, id(value))
            for key, value in model.network.named_parameters()
        },
        "modules": {key: id(value) for key, value in modules.items()},
        "training": {key: value.training for key, value in modules.items()},
        "hooks": {
            key: {
                attribute: list(getattr(value, attribute))
                for attribute in vars(value)
                if attribute.endswith("_hooks")
            }
            for key, value in modules.items()
        },
        "mean and std": (model.mean.clone(), model.std.clone()),
        "pass_batch": model.pass_batch,
        "random state": (torch.get_rng_state(), random.getstate(), str(np.random.get_state())),  # noqa: NPY002 - the global state is meant
        "gradients on": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "denormals": float(torch.tensor([1e-39]) * 1.0),
    }


def assert_same(before, after, where="traces"):
    assert type(before) is type(after), where
    if isinstance(before, dict):
        assert before.keys() == after.keys(), where
        for key, value in before.items():
            assert_same(value, after[key], f"{where}: {key}")
    elif isinstance(before, tuple):
        for first, second in zip(before, after, strict=True):
            assert_same(first, second, where)
    elif isinstance(before, torch.Tensor):
        assert torch.equal(before, after), where
    else:
        assert before == after, where


@pytest.mark.parametrize("name", METHODS)
def test_a_method_leaves_no_trace(name):
    model, batch = model_of(), batch_of(images_of(2, SIZE))
    before = traces(model, batch)
    assert any(key.endswith("_forward_hooks") for key in before["hooks"]["features"])
    explain(method_of(name)[1], model, batch)
    assert_same(before, traces(model, batch))


def test_the_search_for_traces_sees_each_kind_of_trace():
    def hook(model, batch):
        model.network.head.register_forward_hook(lambda *_: None)

    def flag(model, batch):
        model.network.dropout.train()

    def gradient(model, batch):
        model.network.head.weight.requires_grad_()

    def weight(model, batch):
        model.network.head.weight[0, 0] += 1

    def statistics(model, batch):
        model.network.features[1].running_mean += 1

    def pixel(model, batch):
        batch.images[0, 0, 0, 0] += 0.1

    def asks(model, batch):
        batch.images.requires_grad_()

    def draw(model, batch):
        torch.rand(1)

    for change in (hook, flag, gradient, weight, statistics, pixel, asks, draw):
        model, batch = model_of(), batch_of(images_of(2, SIZE))
        before = traces(model, batch)
        change(model, batch)
        with pytest.raises(AssertionError, match="traces: "):
            assert_same(before, traces(model, batch))


@pytest.mark.parametrize("name", METHODS)
def test_an_unsupported_resolution_is_refused_with_those_that_are_supported(name, batch):
    settings, method = method_of(name)
    if "res" not in settings.method:
        native = native_resolution(method, model_of())
        assert native != RES
        with pytest.raises(
            BadInput, match=f"method={name} makes .* for res={RES} add .*, or use res={native}"
        ):
            settings.check_resolution(native)
    elif name not in WITHOUT_IMAGE:
        with pytest.raises(BadInput, match=r"res=33\b.*\b(32|res=224, 112, 28, 14, 7)\b"):
            settings = load(f"method={name}", "res=33")
            explain(build(settings.method, "method"), model_of(), batch)
    else:
        for res in (1, 7, 33):
            settings = load(f"method={name}", f"res={res}")
            made = explain(build(settings.method, "method"), model_of(), batch)
            assert made.shape == (5, res, res)
