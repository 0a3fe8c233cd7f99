"""Every command that takes settings finds configuration files in a folder of one's own."""

from __future__ import annotations

import importlib
import sys

import pytest
from toys import Tiny, classifier

from benchmark.applicability import tried
from benchmark.config import places
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
    (tmp_path / "method").mkdir()
    text = "_target_: methods.controls.RandomHeatmap\nres: 0\n"
    (tmp_path / "method" / "mine.yaml").write_text(text)
    return tmp_path


def ended(monkeypatch, command, *given):
    monkeypatch.setattr(sys, "argv", [command, *given])
    return importlib.import_module(f"benchmark.{command}").main()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_reads_the_method_that_lies_there(command, folder, monkeypatch, capsys):
    given = [*COMMANDS[command], "--config-dir", str(folder)]
    assert ended(monkeypatch, command, *given) == 2
    # What the file says is wrong, so it was read, and at no cost.
    assert "method.res must be at least 1, got 0" in capsys.readouterr().err


@pytest.mark.parametrize("command", [*COMMANDS, "applicability", "explore"])
def test_a_folder_that_is_not_there_is_refused(command, monkeypatch, capsys):
    given = [*COMMANDS.get(command, []), "--config-dir", "nowhere"]
    assert ended(monkeypatch, command, *given) == 2
    assert "there is no folder nowhere with configuration files" in capsys.readouterr().err


def test_a_method_of_ones_own_is_tried_on_networks(folder):
    text = "_target_: methods.controls.RandomHeatmap\nres: ${res}\n"
    (folder / "method" / "mine.yaml").write_text(text)
    assert list(about_methods(str(folder)))[-1] == "mine"
    assert tried("mine", classifier(Tiny(), classes=5), places(folder)) == ("any", "")
