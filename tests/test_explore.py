"""The explorer: what its page shows is what the command line computes."""

import shlex

import numpy as np
import pytest
from cells import Listener
from PIL import Image

from benchmark.config import load
from benchmark.errors import BadInput
from benchmark.exploring import Explorer, models, side_by_side
from benchmark.run import run


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    """An image of the scenes, explained by three methods at 14 x 14."""
    folder = tmp_path_factory.mktemp("explore")
    explorer = Explorer(["protocol.steps=10", f"results='{folder}'"], folder / "images")
    picture = explorer.example("scenes_vgg", explorer.examples("scenes_vgg")[0])
    (target, *_), *_ = explorer.classes("scenes_vgg", picture)
    methods = ["gradcam", "gradient", "random"]
    results = explorer.explain("scenes_vgg", picture, methods, res=14, target=target)
    return explorer, picture, list(results)


def test_the_command_that_is_shown_gives_the_scores_that_are_shown(explored):
    _, _, results = explored
    for result in results:
        assert not result.error
        words = shlex.split(result.command)
        assert words[:3] == ["python", "-m", "benchmark"]
        folder, outcome = run(load(*words[3:]), Listener())
        for metric, value in result.values.items():
            (row,) = folder.stage(outcome.stages[metric]).rows.values()
            assert row["value"] == pytest.approx(value, abs=1e-9)
        assert (row["id"],) == tuple(folder.ids(outcome.manifest))


def test_heatmaps_of_all_methods_have_the_resolution_that_was_asked_for(explored):
    _, _, results = explored
    assert {result.heatmap.shape for result in results} == {(14, 14)}
    assert [result.passes for result in results] == [(1, 1), (1, 1), (0, 0)]
    assert "resize=area" in results[1].command
    assert "resize" not in results[0].command


def test_classes_are_the_most_probable_first(explored):
    explorer, picture, _ = explored
    chances = [chance for _, _, chance in explorer.classes("scenes_vgg", picture)]
    assert len(chances) == 5
    assert chances == sorted(chances, reverse=True)
    assert sum(chances) <= 1


def test_an_upload_is_kept_and_shown_as_the_model_sees_it(explored):
    explorer, _, _ = explored
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    picture = explorer.upload(Image.fromarray(pixels))
    shown = explorer.pixels("scenes_vgg", picture)
    assert np.array_equal((shown * 255).round().astype(np.uint8), pixels)
    (result,) = explorer.explain("scenes_vgg", picture, ["gradcam"], res=7, target=3)
    assert not result.error
    assert "dataset=folder" in result.command


def test_what_is_shown_is_what_is_explained_under_a_users_own_settings(tmp_path):
    given = ["dataset.preprocess=center_crop", "dataset=folder", f"dataset.root='{tmp_path}'"]
    explorer = Explorer(["protocol.steps=10", *given], tmp_path / "images")
    pixels = np.zeros((224, 448, 3), np.uint8)
    pixels[:, 112:336] = 255  # the middle, which is all that a crop leaves
    picture = explorer.upload(Image.fromarray(pixels))
    assert explorer.pixels("scenes_vgg", picture).min() == 1
    (number, _, chance), *_ = explorer.classes("scenes_vgg", picture)
    (result,) = explorer.explain("scenes_vgg", picture, ["random"], res=7, target=number)
    assert result.curves["deletion"][1][0] == pytest.approx(chance, abs=1e-5)


def test_images_of_one_content_and_other_shapes_are_other_images(tmp_path):
    explorer = Explorer([], tmp_path)
    flat, tall = (explorer.upload(Image.new("RGB", size)).id for size in ((20, 10), (10, 20)))
    assert flat != tall


def test_attacked_images_are_refused(tmp_path):
    with pytest.raises(BadInput, match="leave out attack"):
        Explorer(["attack=mi_fgsm"], tmp_path)


def test_a_method_of_ones_own_is_shown_with_a_command_that_finds_it(tmp_path):
    folder = tmp_path / "conf"
    for kind in ("method", "model"):
        (folder / kind).mkdir(parents=True)
    (folder / "method" / "mine.yaml").write_text(
        "_target_: methods.controls.Centre\nres: ${res}\nsigma: 0.1\n"
    )
    (folder / "model" / "theirs.yaml").write_text("_target_: none\n")
    explorer = Explorer([f"results='{tmp_path}'"], tmp_path / "images", str(folder))
    (folder / "model" / "alexnet.yaml").write_text("_target_: none\n")
    (tmp_path / "alexnet.pth").touch()  # torchvision's, whose place theirs takes
    assert models(str(tmp_path), explorer.own) == [
        "scenes_vgg",
        "scenes_resnet",
        "alexnet",
        "theirs",
    ]
    picture = explorer.example("scenes_vgg", explorer.examples("scenes_vgg")[0])
    (result,) = explorer.explain("scenes_vgg", picture, ["mine"], res=7, target=3)
    assert not result.error
    words = shlex.split(result.command)
    assert words[3:5] == ["--config-dir", str(folder)]
    assert load(*words[5:], folder=words[4]).method.sigma == 0.1


def test_the_page_offers_methods_and_models_of_ones_own(tmp_path):
    pytest.importorskip("gradio")
    from benchmark.explore import page  # noqa: PLC0415 - needs Gradio only when it is called

    for kind in ("method", "model"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / f"my_{kind}.yaml").write_text("_target_: none\n")
    blocks = page(Explorer([], tmp_path / "images", str(tmp_path)), None)
    offered = [
        value
        for each in blocks.config["components"]
        for value in each["props"].get("choices") or []
    ]
    assert {("my_method", "my_method"), ("my_model", "my_model")} <= set(map(tuple, offered))


def test_what_a_method_cannot_do_stands_beside_the_others_results(explored):
    explorer, picture, _ = explored
    bad, good = explorer.explain("scenes_vgg", picture, ["igos", "centre"], res=9, target=3)
    assert "no value for res=9" in bad.error
    assert good.values


def test_the_figure_has_the_image_and_two_panels_for_each_method(explored):
    explorer, picture, results = explored
    figure = side_by_side(explorer.pixels("scenes_vgg", picture), results)
    assert len(figure.axes) == 2 * (1 + len(results))
    assert [len(panel.lines) for panel in figure.axes[5:]] == [2, 2, 2]


def test_models_that_would_have_to_be_downloaded_are_not_offered(tmp_path):
    for name in ("squeezenet1_1.safetensors", "vgg19.pth", "mine.pth", "notes.txt"):
        (tmp_path / name).touch()
    assert models(str(tmp_path)) == ["scenes_vgg", "scenes_resnet", "squeezenet1_1", "vgg19"]
    assert models(None) == models(str(tmp_path / "nowhere")) == ["scenes_vgg", "scenes_resnet"]


def test_the_page_is_laid_out_and_sends_nothing(explored):
    pytest.importorskip("gradio")
    from benchmark.explore import page  # noqa: PLC0415 - needs Gradio only when it is called

    explorer, _, _ = explored
    blocks = page(explorer, None)
    assert not blocks.analytics_enabled
    labels = {block.label for block in blocks.blocks.values() if getattr(block, "label", None)}
    assert {"model", "methods", "class to explain (the five most probable)"} <= labels
