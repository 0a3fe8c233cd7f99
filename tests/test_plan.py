"""What is missing of an experiment, and what it will cost."""

import io

import cells
import pytest
import torch
from rich.console import Console
from toys import Tiny, batch_of, classifier, images_of

from benchmark import pass_times, plan
from benchmark.config import load
from benchmark.experiment import read
from benchmark.pass_times import PassTime

TINY = """# @package _global_
defaults:
  - override /dataset: tiny
  - override /model: tiny
  - override /metric: [deletion]
  - override /hydra/sweeper: cells
n: 6
device: cpu
protocol: {steps: 10}
dataset: {limit: "${n}"}
experiment:
  title: Tiny
  rows:
    Toy: {set: [method=toy]}
    Background: {set: [method=expected_gradients], columns: [coarse]}
  columns:
    coarse: {set: [res=4]}
    fine: {set: [res=8]}
  metrics: {deletion: {}}
"""


@pytest.mark.parametrize(
    ("method", "forward", "backward"),
    [("rise", 4000, 0), ("gradient", 1, 1), ("integrated_gradients", 50, 50), ("centre", 0, 0)],
)
def test_passes_are_those_that_the_settings_ask_for(method, forward, backward):
    settings = load(f"method={method}", "res=8", "protocol.steps=16", "metric=[deletion,insertion]")
    cost = plan.count_passes(settings, classifier(Tiny()), batch_of(images_of(1)))
    assert (cost.forward, cost.backward) == (forward, backward)
    both_ends = 17  # of a curve of 16 steps
    assert cost.scoring == {"deletion": both_ends, "insertion": both_ends}


def test_a_pass_back_costs_what_it_takes_beyond_the_pass_forward(monkeypatch):
    ticks = iter(
        [0, 9, 0, 2, 0, 3, 0, 9, 0, 8, 0, 7]
    )  # three forward, then three with the way back
    monkeypatch.setattr(pass_times, "clock", lambda _: next(ticks))
    model = classifier(Tiny(), pass_batch=4)
    found = plan.speed(model)
    assert (found.forward, found.backward) == (2 / 4, (7 - 2) / 4)


@pytest.fixture
def planned(tmp_path):
    """Plan the tiny experiment after some starts: the cells of each line by the cell's name."""
    cells.make_images(tmp_path / "images")
    cells.make_conf(tmp_path / "conf")
    (tmp_path / "conf" / "experiment").mkdir()
    (tmp_path / "conf" / "experiment" / "tiny.yaml").write_text(TINY)

    def plan_after(*starts, only=""):
        for start in starts:
            cells.start(tmp_path, *start)
        places = [f"dataset.root='{tmp_path / 'images'}'", f"results='{tmp_path / 'results'}'"]
        places += [f"+experiment.only=[{only}]"] if only else []
        out = Console(width=140, file=io.StringIO())
        out.print(plan.plan(read("tiny", places, str(tmp_path / "conf"))))
        lines = [line.strip("│").split("│") for line in out.file.getvalue().splitlines()]
        return {line[0].strip(): [each.strip() for each in line[1:]] for line in lines}

    return plan_after


def test_the_plan_lists_what_is_missing_and_no_more(planned, capsys):
    lines = planned(["metric=[deletion]", "res=8", "dataset.limit=6", "method=toy"])
    assert lines["Toy, coarse"][:4] == ["missing", "6", "1 + 1", "17"]
    assert "Toy, fine" not in lines
    assert "not known" in lines["Background, coarse"][2]
    assert torch.is_grad_enabled()
    assert capsys.readouterr().err.splitlines() == [
        "counting the passes of 2 cells",
        "row 1 of 2: Toy",
        "row 2 of 2: Background",
    ]


def test_of_an_experiment_that_is_done_the_plan_says_so(planned, capsys):
    done = [["metric=[deletion]", f"res={res}", "dataset.limit=6", "method=toy"] for res in (4, 8)]
    lines = planned(*done, only="Toy")
    assert lines["all"][1] == "0"
    assert any("nothing is left to do: 2 cells done" in each for each in lines)
    assert capsys.readouterr().err == ""


def test_the_plan_charges_images_that_are_not_done_and_metrics_that_are_not_scored(
    planned, monkeypatch
):
    monkeypatch.setattr(plan, "speed", lambda _: PassTime(forward=3600.0, both=10800.0))
    other_metric = ["metric=[pointing]", "res=8", "dataset.limit=6", "method=toy"]
    part_of_it = ["metric=[deletion]", "res=4", "dataset.limit=2", "method=toy"]
    lines = planned(other_metric, part_of_it)
    explain = 1 + 2  # hours an image: a pass forward takes one, a pass back two
    assert lines["Toy, fine"][1:] == ["6", "1 + 1", "12", f"{6 * 12:.2f}"]
    assert lines["Toy, coarse"][1:] == ["4", "1 + 1", "17", f"{4 * (explain + 17):.2f}"]
    assert lines["all"][1] == str(6 + 4)
