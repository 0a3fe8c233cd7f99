"""What is shown of a stage under way, on a terminal and off it."""

import io

import pytest
from rich.console import Console

from benchmark.stage_bars import stage


def test_off_a_terminal_a_stage_is_a_line_when_it_begins_and_one_for_whatever_is_said(capsys):
    with stage("scoring 3 images", 3) as shown:
        assert capsys.readouterr().err == "scoring 3 images\n"
        shown.move(1)
        shown.say("row 1 of 2: [a]")
        assert capsys.readouterr().err == "row 1 of 2: [a]\n"
        shown.move(2)
    assert capsys.readouterr() == ("", "")


def test_nothing_is_said_of_a_stage_in_which_nothing_is_to_be_done(capsys):
    out = Console(file=io.StringIO(), force_terminal=True)
    for console in (None, out):
        with stage("scoring 0 images", 0, console):
            pass
    assert capsys.readouterr() == ("", "")
    assert out.file.getvalue() == ""


def test_on_a_terminal_a_bar_is_there_from_the_start_and_moves_by_what_it_is_told(capsys):
    out = Console(file=io.StringIO(), force_terminal=True, width=120)
    with stage("scoring 3 images", 3, out) as shown:
        (task,) = shown.bar.tasks
        assert (task.description, task.percentage) == ("scoring 3 images", 0)
        shown.move(1.5)
        assert task.percentage == pytest.approx(50)
        shown.say("row [a]")
    assert "scoring 3 images" in out.file.getvalue()
    assert "row [a]" in out.file.getvalue()
    assert capsys.readouterr() == ("", "")
