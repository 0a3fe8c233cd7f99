"""Every command that takes settings finds configuration files in a folder of one's own."""

from __future__ import annotations

import importlib
import shutil
import sys

import pytest
from cells import ROOT
from omegaconf import OmegaConf
from toys import Tiny, classifier

from benchmark.applicability import table, tried
from benchmark.building import build
from benchmark.config import load, places
from benchmark.errors import BadInput
from benchmark.resolvers import about_methods

COMMANDS = {
    "sanity": ["method=mine"],
    "convergence": ["method=mine"],
    "metaeval": ["method=mine,random"],
    "trust": ["method=mine"],
    "speed": ["speed.methods=[mine]"],
    "precision": ["precision.methods=[mine]"],
}


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "my_conf"
    (place / "method").mkdir(parents=True)
    text = "_target_: methods.controls.RandomHeatmap\nres: 0\n"
    (place / "method" / "mine.yaml").write_text(text)
    return place


def ended(monkeypatch, command, *given):
    monkeypatch.setattr(sys, "argv", [command, *given])
    for of_the_process in ("set_flush_denormal", "set_num_threads", "use_deterministic_algorithms"):
        monkeypatch.setattr(f"torch.{of_the_process}", lambda *_, **__: True)
    return importlib.import_module(f"benchmark.{command}").main()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_reads_the_method_that_lies_there(command, folder, monkeypatch, capsys):
    given = [*COMMANDS[command], "--config-dir", str(folder)]
    assert ended(monkeypatch, command, *given) == 2
    # What the file says is wrong, so it was read, and at no cost.
    assert "method.res must be at least 1, got 0" in capsys.readouterr().err


@pytest.mark.parametrize("command", [*COMMANDS, "applicability", "explore", "train_masker"])
def test_a_folder_that_is_not_there_is_refused(command, monkeypatch, capsys):
    given = [*COMMANDS.get(command, []), "--config-dir", "nowhere"]
    assert ended(monkeypatch, command, *given) == 2
    assert "there is no folder nowhere with configuration files" in capsys.readouterr().err


def test_a_run_names_the_folder_in_the_command_that_goes_on_with_it(folder):
    (folder / "method" / "mine.yaml").write_text("_target_: methods.controls.Sobel\nres: 7\n")
    settings = load("method=mine", folder=folder)
    assert settings.again == ["--config-dir", str(folder), "method=mine"]


@pytest.mark.parametrize("place", ["torchvision://models", "file://conf"])
def test_a_place_that_the_user_lets_hydra_search_is_no_folder_of_that_option(place):
    settings = load("method=random", f"hydra.searchpath=['{place}']")
    assert settings.again == ["method=random"]


def test_a_file_that_lies_nearby_is_named_where_the_option_was_forgotten(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    with pytest.raises(BadInput) as refusal:
        load("method=mine")
    place = f"{folder.name}/method/mine.yaml"
    assert str(refusal.value) == (
        f"there is no method=mine, but {place}: add --config-dir {folder.name}"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", r"invalid syntax .*line 1"),
        ("from torch import Tensro\n", r"Tensro.*broken_mine\.py, line 1\)$"),
        ("\nnothing_here\n", r"nothing_here.*broken_mine\.py, line 2\)$"),
    ],
)
def test_a_module_of_ones_own_that_cannot_be_read_is_named_with_its_line(
    tmp_path, monkeypatch, text, said
):
    (tmp_path / "broken_mine.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BadInput, match=said) as refusal:
        build(OmegaConf.create({"_target_": "broken_mine.Mine"}), "method")
    assert "\n" not in str(refusal.value)


def test_folders_named_twice_are_refused(folder):
    with pytest.raises(BadInput, match=r"--config-dir and hydra.searchpath=.* give one of them"):
        load("method=mine", f"hydra.searchpath=['file://{folder}']", folder=folder)


@pytest.mark.parametrize("text", ["a: [", "_about_: mine", "- a"])
def test_a_file_of_ones_own_that_says_nothing_readable_is_named(folder, text):
    (folder / "method" / "broken.yaml").write_text(text)
    with pytest.raises(BadInput, match=r"broken\.yaml.* (read|mapping)") as refusal:
        about_methods(str(folder))
    assert "\n" not in str(refusal.value)


def test_the_table_of_networks_has_a_line_for_a_method_of_ones_own(folder, monkeypatch):
    text = "_target_: methods.controls.RandomHeatmap\nres: ${res}\n"
    (folder / "method" / "mine.yaml").write_text(text)
    monkeypatch.setattr("benchmark.resolvers.CONF", folder / "none")  # none but it
    (folder / "model").mkdir()
    shutil.copy(ROOT / "conf" / "model" / "squeezenet1_1.yaml", folder / "model" / "net.yaml")
    assert "| `mine` | any |" in table(["net"], "random", str(folder))


def test_a_method_of_ones_own_is_tried_on_networks(folder):
    text = "_target_: methods.controls.RandomHeatmap\nres: ${res}\n"
    (folder / "method" / "mine.yaml").write_text(text)
    assert list(about_methods(str(folder)))[-1] == "mine"
    assert tried("mine", classifier(Tiny(), classes=5), places(folder)) == ("any", "")
