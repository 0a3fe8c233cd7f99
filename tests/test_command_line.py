import os
import subprocess
import sys
from pathlib import Path

import cells
import pytest
import torchvision
from cells import ROOT, choices, command, environment, make_conf, make_images
from hydra._internal.utils import get_args_parser

from benchmark.__main__ import VALUED, settings_first
from benchmark.config import load
from benchmark.show import Screen
from benchmark.torchvision_configs import TorchvisionConfigs

GROUPS = ("attack", "dataset", "method", "metric", "model", "protocol")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    make_images(folder / "images", 4)
    make_conf(folder / "conf")
    return folder


@pytest.fixture
def tiny(place, tmp_path):
    """Run the tiny cell from the command line, with results of its own."""

    def run(*more, first=()):
        overrides = choices(place, f"results='{tmp_path / 'results'}'", *more)
        return command("--config-dir", str(place / "conf"), *first, *overrides, cwd=tmp_path)

    return run


def folders(tmp_path):
    return {file.parent.name.rpartition("-")[0] for file in tmp_path.rglob("settings.json")}


# Options and settings in any order


@pytest.mark.parametrize(
    ("given", "settings", "options"),
    [
        ("method=sobel --multirun res=7,14", "method=sobel res=7,14", {"multirun": True}),
        ("-m a=1 b=2", "a=1 b=2", {"multirun": True}),
        ("a=1 --config-dir conf b=2 -m", "a=1 b=2", {"multirun": True, "config_dir": "conf"}),
        ("a=1 --config-d conf b=2", "a=1 b=2", {"config_dir": "conf"}),
        ("a=1 -cd x=y b=2", "a=1 b=2", {"config_dir": "x=y"}),
        ("a=1 --config-dir=conf ~b", "a=1 ~b", {"config_dir": "conf"}),
        ("a=1 --cfg job +b=-1 --info", "a=1 +b=-1", {"cfg": "job", "info": "all"}),
        ("--info plugins a=1", "a=1", {"info": "plugins"}),
        ("--info a=1", "a=1", {"info": "all"}),
        ("-m a=1 -- b=2", "a=1 b=2", {"multirun": True}),
        ("", "", {}),
    ],
)
def test_options_may_stand_anywhere(given, settings, options):
    parser = get_args_parser()
    understood = vars(parser.parse_args(settings_first(given.split())))
    expected = vars(parser.parse_args([])) | options | {"overrides": settings.split()}
    assert understood == expected


def test_an_option_without_its_value_takes_no_setting_for_it(capsys):
    with pytest.raises(SystemExit):
        get_args_parser().parse_args(settings_first(["a=1", "--config-dir"]))
    assert "expected one argument" in capsys.readouterr().err


def test_the_options_that_take_a_value_are_hydras():
    actions = [each for each in get_args_parser()._actions if each.option_strings]
    taking = {name for each in actions if each.nargs is None for name in each.option_strings}
    assert taking == VALUED


def test_a_sweep_may_be_asked_for_behind_a_setting(tiny, tmp_path):
    done = tiny("method=centre", "--multirun", "res=4,8")
    assert done.code == 0
    assert folders(tmp_path) == {"centre-4", "centre-8"}


# Help


def test_help_lists_every_choice_of_every_group(tmp_path):
    shown = command("--help", cwd=tmp_path)
    assert shown.code == 0
    assert shown.err == ""
    for group in GROUPS:
        line = next(line for line in shown.out.splitlines() if line.startswith(f"{group}: "))
        listed = line.partition(": ")[2].split(", ")
        assert listed == sorted(file.stem for file in (ROOT / "conf" / group).iterdir())
    for word in ("refuse", "area", "bilinear", "label", "bf16", "tf32", "cuda", "--multirun"):
        assert word in shown.out


def test_help_lists_a_choice_from_another_folder(place, tmp_path):
    shown = command("--config-dir", str(place / "conf"), "--help", cwd=tmp_path)
    lines = shown.out.splitlines()
    assert "toy" in next(line for line in lines if line.startswith("method: "))
    assert "tiny" in next(line for line in lines if line.startswith("model: "))


def test_every_example_of_the_help_composes():
    text = (ROOT / "conf" / "config.yaml").read_text()
    examples = [line.split()[3:] for line in text.splitlines() if "python -m benchmark " in line]
    lines = [words for words in examples if words and not words[0].startswith("[")]
    assert len(lines) >= 3
    for words in lines:
        single = [word.partition(",")[0] for word in words if not word.startswith("--")]
        if all("=" in word for word in single):
            load(*single)


# Bad input


def says_one_line(shown, *parts):
    assert shown.code == 2, shown.err
    lines = shown.err.splitlines()
    assert len(lines) == 1, shown.err
    assert lines[0].startswith("benchmark: ")
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["method=nope"], ["method=nope", "igos", "gradcam"]),
        (["model=nope"], ["model=nope", "scenes_vgg"]),
        (["res=13"], ["res=13", "28", "method.l1"]),
        (["res=abc"], ["res", "abc"]),
        (["iteration=3"], ["no setting iteration: did you mean method.iterations"]),
        (["+iteration=3"], ["iteration is not a setting"]),
        (["method.iteration=3"], ["method.iteration: did you mean method.iterations?"]),
        (["seed=-1"], ["seed must be at least 0, got -1"]),
        (["method.res=1"], ["res of at least 2"]),
        (["dataset=imagenet", "dataset.root=no/such/folder"], ["no/such/folder", "dataset.root"]),
        (["dataset=imagenet"], ["dataset.root", "IMAGENET_ROOT"]),
        (["dataset.limit=0"], ["limit=0"]),
        (["dataset.manifest=missing.txt"], ["missing.txt"]),
        (["method._target_=methods.nope.Nope"], ["methods.nope.Nope cannot be imported"]),
        (["res=("], ["res=("]),
        (["model=torchvision"], ["model.architecture is missing"]),
        (["baseline=blur"], ["baseline", "_target_", "blur"]),
        (["method.baseline=blur"], ["method.baseline", "_target_", "blur"]),
        (["metric.deletion=5"], ["metric.deletion", "_target_", "5"]),
        (["experiment=smoke"], ["experiment=smoke: type", "--multirun +experiment=smoke"]),
        (["--multirun", "experiment=smoke", "n=2"], ["type", "--multirun +experiment=smoke"]),
        (["method=igos,random"], ["type python -m benchmark --multirun method=igos,random"]),
        (["+experiment=smoke,table1"], ["type", "--multirun +experiment=smoke,table1"]),
        (["metric=deletion,insertion"], ["a list, metric=[deletion,insertion]"]),
    ],
    ids=" ".join,
)
def test_bad_input_gets_one_line_and_code_2(tmp_path, overrides, parts):
    says_one_line(command(*overrides, cwd=tmp_path), *parts)
    assert not list(tmp_path.rglob("settings.json"))


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["device=cuda:99"], ["device=cuda:99"]),
        (["device=gpu"], ["device=gpu is unknown", "auto, cpu, cuda"]),
        (["device=mps"], ["device=mps", "auto, cpu, cuda"]),
        (["device=meta"], ["device=meta", "auto, cpu, cuda"]),
        (["model.precision=tf32", "device=cpu"], ["precision=tf32 needs a CUDA device"]),
        (["method=centre", "method.sigma=nan"], ["sigma"]),
        (["results=/dev/null/results"], ["cannot write to /dev/null/results"]),
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_here_gets_its_line_and_code_2(tiny, overrides, parts):
    says_one_line(tiny(*overrides), *parts)


def test_what_only_the_run_can_tell_gets_its_line_after_the_bar_and_code_2(tiny):
    shown = tiny("method=gradcam")
    assert shown.code == 2
    assert "Traceback" not in shown.err
    last = shown.err.splitlines()[-1]
    assert last.startswith("benchmark: method=gradcam makes 8 x 8 heatmaps")
    assert "use res=8" in last
    assert [line for line in shown.err.splitlines()[:-1] if line and "gradcam-7-" not in line] == []


def test_the_command_itself_refuses_a_misspelt_method_without_importing_torch(tmp_path):
    """The real command, in a process that prints every module it imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "benchmark", "method=igoss"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    imported = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    modules = {line.rpartition("|")[2].strip() for line in imported}
    assert "hydra.main" in modules
    assert not {name for name in modules if name.partition(".")[0] in {"torch", "torchvision"}}
    own = [line for line in done.stderr.splitlines() if line not in imported]
    assert len(own) == 1
    assert "igoss" in own[0]
    assert done.returncode == 2


# Rows


def test_the_row_names_data_model_weights_and_protocol(tiny, tmp_path):
    shown = tiny("protocol=rise", "protocol.steps=8", "method=random")
    assert shown.code == 0, shown.err
    for fact in (
        "random at 7 x 7",
        "data tiny",
        "model tiny (seed 0",
        "protocol rise",
        "cpu fp32",
    ):
        assert fact in shown.out
    assert "RANDOM" not in shown.out
    assert "per_image.csv" in shown.out
    file = Path(tmp_path, shown.out.split("written to ")[1].strip())
    assert len(file.read_text().splitlines()) == 1 + 4


def test_a_run_leaves_nothing_but_its_results(tiny, tmp_path):
    assert tiny("method=random").code == 0
    assert os.listdir(tmp_path) == ["results"]  # noqa: PTH208 - names are compared


def test_a_classifier_of_torchvision_without_a_file_in_conf_is_composed_and_made(tiny):
    """ImageNet's 1000 classes do not fit the tiny data: the refusal comes after composing."""
    assert not (ROOT / "conf/model/mobilenet_v3_small.yaml").exists()
    shown = tiny("model=mobilenet_v3_small", "model.weights=random")
    says_one_line(shown, "model=mobilenet_v3_small knows 1000 classes and dataset=tiny has 4")


def test_every_classifier_of_torchvision_is_a_model_and_nothing_else_of_it_is():
    source = TorchvisionConfigs("hydra", "torchvision://models")
    names = torchvision.models.list_models(module=torchvision.models)
    assert len(names) > 70
    assert all(source.is_config(f"model/{name}") for name in names)
    detectors = torchvision.models.list_models(module=torchvision.models.detection)
    assert not any(source.is_config(f"model/{name}") for name in detectors)
    assert not source.is_config("method/vgg19")


def test_random_weights_are_said_in_the_row_and_in_the_folder(place, tmp_path, monkeypatch, capsys):
    names = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.meta["categories"]
    monkeypatch.setattr(cells.TinyDataset, "class_names", names)
    monkeypatch.setattr(cells.TinyDataset, "load", enlarged(cells.TinyDataset.load))
    settings = cells.settings(
        place,
        "model=squeezenet1_1",
        "model.weights=random",
        "method=centre",
        "metric=[pointing]",
        "dataset.limit=1",
        f"results='{tmp_path}'",
    )
    Screen().run(settings)
    shown = capsys.readouterr().out
    assert shown.count("RANDOM WEIGHTS") == 2
    assert "its numbers mean nothing" in shown
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["squeezenet1_1-random"]


def enlarged(load):
    """Load at the tiny size and blow the image up to what the network takes."""

    def load_large(self, image_id, size):
        item = load(self, image_id, cells.SIDE)
        factor = size // cells.SIDE
        image = item.image.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        return item._replace(image=image)

    return load_large


# Several cells


def test_a_multirun_completes_every_cell(tiny, tmp_path):
    shown = tiny("method=random,centre", first=["--multirun"])
    assert shown.code == 0, shown.err
    assert folders(tmp_path) == {"random-7", "centre-7"}
    assert "random at 7 x 7" in shown.out
    assert "centre at 7 x 7" in shown.out


def test_a_failing_cell_of_a_multirun_is_said_and_the_others_are_still_done(tiny, tmp_path):
    shown = tiny("method=random,gradcam,centre", first=["--multirun"])
    assert shown.code == 2
    assert "random at 7 x 7" in shown.out
    assert "centre at 7 x 7" in shown.out
    assert {"random-7", "centre-7"} <= folders(tmp_path)
    assert "use res=8" in shown.err
    assert "Traceback" not in shown.err


def test_each_failing_cell_of_a_multirun_is_said(tiny):
    shown = tiny("method=gradcam,integrated_gradients,centre", first=["--multirun"])
    assert shown.code == 2
    assert "use res=8" in shown.err
    assert "use res=32" in shown.err
