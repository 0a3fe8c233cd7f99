"""What is missing of an experiment, and what it will cost."""

import io

import cells
import pytest
import torch
from rich.console import Console
from toys import Tiny, batch_of, classifier, images_of

from benchmark import plan
from benchmark.config import load
from benchmark.experiment import read

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
    assert cost.scoring == 2 * 17  # both ends of a curve of 16 steps


def test_a_pass_back_costs_what_it_takes_beyond_the_pass_forward(monkeypatch):
    ticks = iter(
        [0, 9, 0, 2, 0, 3, 0, 9, 0, 8, 0, 7]
    )  # three forward, then three with the way back
    monkeypatch.setattr(plan, "clock", lambda _: next(ticks))
    model = classifier(Tiny(), pass_batch=4)
    assert plan.speed(model) == plan.Speed(forward=2 / 4, backward=(7 - 2) / 4)


def test_the_plan_lists_what_is_missing_and_no_more(tmp_path):
    cells.make_images(tmp_path / "images")
    cells.make_conf(tmp_path / "conf")
    (tmp_path / "conf" / "experiment").mkdir()
    (tmp_path / "conf" / "experiment" / "tiny.yaml").write_text(TINY)
    cells.start(tmp_path, "metric=[deletion]", "res=8", "dataset.limit=6", "method=toy")
    places = [f"dataset.root='{tmp_path / 'images'}'", f"results='{tmp_path / 'results'}'"]
    composed = read("tiny", places, str(tmp_path / "conf"))
    out = Console(width=140, file=io.StringIO())
    out.print(plan.plan(composed))
    lines = out.file.getvalue().splitlines()
    (toy,) = [line for line in lines if "Toy, coarse" in line]
    assert [cell.strip() for cell in toy.strip("│").split("│")][1:5] == [
        "missing",
        "6",
        "1 + 1",
        "17",
    ]
    assert not any("Toy, fine" in line for line in lines)
    assert any("Background, coarse" in line and "not known" in line for line in lines)
    assert torch.is_grad_enabled()
