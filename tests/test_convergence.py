"""How optimisers of masks converge: what is noted of each iteration, and what it comes to."""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from toys import BLACK, Constant, Quadratic, Smooth, batch_of, classifier, explain, images_of

from benchmark import convergence
from benchmark.attribution import Score
from benchmark.building import build
from benchmark.config import load
from benchmark.convergence import needed, summarise, trace
from benchmark.convergence_figures import convergence_figure
from benchmark.mask_descent import LineSearch
from benchmark.masking import Noise
from benchmark.quick import quick
from methods.igos import IGOS

SIDE = 4
CENTRE = 0.6  # where the parabola has its bottom, as a share of the way from black to white
OPTIMISERS = ("igos", "igos_fast", "igos_plus", "igos_plus_plus", "mask")


def parabola(first_share, **changes):
    """I-GOS where F = 0.1 + 0.8 (M - CENTRE)^2 in every cell, with a first step of known length.

    A step of one share would lead from any mask to the bottom.
    """
    whole_way = SIDE * SIDE / 1.6  # the second derivative by one cell is 1.6 / SIDE^2
    settings = {
        "res": SIDE,
        "l1": 0.0,
        "tv": 0.0,
        "baseline": BLACK,
        "iterations": 2,
        "points": 1,
        "first_points": None,
        "noise": Noise.none,
        "noise_sd": 0.0,
        "line_search": LineSearch.clean,
        "step_upper": first_share * whole_way,
        "step_factor": 0.5,
        "step_lower": 1e-5 * whole_way,
        "armijo": 0.1,
        "adaptive_l1": False,
        "score": Score.softmax,
    }
    return IGOS(**(settings | changes)), whole_way


def on_parabola(method, count=2):
    model = classifier(Quadratic(torch.ones(3, SIDE, SIDE), CENTRE), input_size=SIDE)
    return trace(method, model, batch_of(torch.ones(count, 3, SIDE, SIDE)))


def test_a_search_halves_until_the_step_is_less_than_twice_the_way_to_the_bottom():
    """A step of t shares multiplies the distance by 1 - t; armijo = 0.1 accepts t <= 1.8."""
    method, whole_way = parabola(first_share=10)
    table = on_parabola(method)
    start, first, second = (table[table["iteration"] == number] for number in range(3))
    for moved in (first, second):  # 10, 5, 2.5, 1.25
        assert set(moved["tests"]) == {4}
        assert moved["step"].to_numpy() == pytest.approx(1.25 * whole_way)
        assert set(moved["gave_up"]) == {0}
    assert start["tests"].isna().all()
    distances = [1 - CENTRE, 0.25 * (1 - CENTRE), 0.0625 * (1 - CENTRE)]
    for lines, distance in zip((start, first, second), distances, strict=True):
        assert lines["objective"].to_numpy() == pytest.approx(0.1 + 0.8 * distance**2, abs=1e-6)


def test_a_search_that_reaches_its_shortest_step_gives_up_and_takes_it():
    method, whole_way = parabola(first_share=10, iterations=1)
    table = on_parabola(replace(method, step_lower=6 * whole_way))
    moved = table[table["iteration"] == 1]
    assert set(moved["tests"]) == {2}  # 10 and 5 shares, both too long
    assert set(moved["gave_up"]) == {1}
    assert moved["step"].to_numpy() == pytest.approx(5 * whole_way)
    summary = summarise(table)
    assert (summary.tests, summary.gave_up) == (2, 1)


def test_images_search_for_themselves():
    """Half as bright, the same parabola in colours has a fourth of the slope's slope in masks.

    The bottom lies at 0.4, so from a mask of ones a white image's is 0.6 away, and 4 shares of the
    way fail even though the mask stops at 0; 2 reach as low and promise less. For a grey image 4
    shares are 1, straight to its bottom at 0.8.
    """
    model = classifier(Quadratic(torch.ones(3, SIDE, SIDE), 0.4), input_size=SIDE)
    images = torch.stack([torch.full((3, SIDE, SIDE), value) for value in (1.0, 0.5)])
    method, whole_way = parabola(first_share=4, iterations=1)
    table = trace(method, model, batch_of(images))
    moved = table[table["iteration"] == 1]
    assert list(moved["tests"]) == [2, 1]
    assert moved["step"].to_numpy() == pytest.approx([2 * whole_way, 4 * whole_way])
    assert moved["objective"].to_numpy() == pytest.approx([0.1 + 0.8 * 0.4**2, 0.1], abs=1e-6)


def test_costs_are_those_of_the_method_without_what_measuring_takes():
    method, _ = parabola(first_share=10)
    model = classifier(Quadratic(torch.ones(3, SIDE, SIDE), CENTRE), input_size=SIDE)
    batch = batch_of(torch.ones(2, 3, SIDE, SIDE))
    explain(method, model, batch)
    forward, backward = model.forward_passes.tolist(), model.backward_passes.tolist()
    table = trace(method, model, batch)
    assert list(table.query("iteration == 2")["forward_passes"]) == forward
    assert list(table.query("iteration == 2")["backward_passes"]) == backward
    summary = summarise(table)
    assert (summary.forward, summary.backward) == (1 + 4, 1)  # a gradient and four tests


@pytest.mark.parametrize("name", OPTIMISERS)
def test_looking_at_the_way_changes_no_heatmap(name):
    method = build(quick(load(f"method={name}", "res=7").method), "method")
    model = classifier(Smooth(), classes=4)
    batch = batch_of(images_of(2))
    expected = explain(method, model, batch)
    iterates = list(method.descend(model, batch))
    assert len(iterates) == 1 + method.iterations
    for iterate in iterates:
        iterate.value(iterates[0].objective.l1)
    assert torch.equal(1 - iterates[-1].masks.prod(1), expected)
    assert torch.equal(iterates[0].masks, torch.ones_like(iterates[0].masks))


def test_the_objective_is_measured_with_one_weight_though_an_optimiser_changes_it():
    method = build(quick(load("method=igos", "res=7").method), "method")
    *_, end = method.descend(classifier(Smooth(), classes=4), batch_of(images_of(2)))
    end = end._replace(masks=end.masks / 2)
    l1 = end.objective.l1
    before = end.value(l1)
    end.objective.l1 = l1 / 10
    assert torch.equal(end.value(l1), before)
    assert (end.value(l1 / 10) < before).all()


@pytest.mark.parametrize("line_search", ["fixed", "path"])
def test_the_objective_is_measured_without_noise_whatever_the_search_looks_at(line_search):
    more = [f"method.line_search={line_search}", "method.step_upper=5.0", "res=7"]
    method = build(quick(load("method=igos", *more).method), "method")
    model = classifier(Smooth(), classes=4)
    batch = batch_of(images_of(2))
    table = trace(method, model, batch)
    assert (
        torch.tensor(table.query("iteration == 0")["objective"].to_numpy())
        .float()
        .equal(model.scores(batch.images, batch.targets))
    )
    assert table["tests"].isna().all() == (line_search == "fixed")


@pytest.mark.parametrize(
    ("objective", "count"),
    [
        ([5.0, 5.0, 5.0], 0),
        ([5.0, 2.0, 1.009, 1.005, 1.0], 2),
        ([5.0, 1.0, 2.0, 1.0], 3),  # near once, but not for good
        ([-1.0, -2.1, -2.01, -2.0], 2),
        ([4.0, 3.0, 2.0, 1.0], 3),
    ],
)
def test_an_objective_is_there_once_it_stays_within_a_hundredth_of_its_end(objective, count):
    assert needed(objective) == count


def test_a_summary_has_the_median_and_two_images_as_its_interval():
    """Of ten images whose objectives arrive after 1, 2, ..., 10 iterations, the last at the end."""
    lines = [
        {
            "id": f"image-{image}",
            "iteration": number,
            "objective": 1.0 if number >= image else 2.0,
            "tests": np.nan if number == 0 else 2.0 + number % 2,
            "gave_up": float(number == 10),
            "forward_passes": 7.0 * number + 1,
            "backward_passes": 3.0 * number,
            "seconds": 0.5 if number else 99.0,
        }
        for image in range(1, 11)
        for number in range(11)
    ]
    summary = summarise(pd.DataFrame(lines))
    assert summary.images == 10
    assert summary.needed == (5.5, 2, 9)  # the 2nd and the 9th: 97.9 % by the binomial distribution
    assert (summary.unmoved, summary.unsettled) == (0, pytest.approx(0.1))
    assert summary.objective == (2.0, 1.0)
    assert (summary.seconds, summary.forward, summary.backward) == (0.5, 7.0, 3.0)
    assert (summary.tests, summary.gave_up) == (2.5, pytest.approx(0.1))


def test_images_whose_mask_never_moves_are_counted():
    method, _ = parabola(first_share=10)
    model = classifier(Constant(0.5), input_size=SIDE)
    summary = summarise(trace(method, model, batch_of(torch.ones(6, 3, SIDE, SIDE))))
    assert (summary.needed, summary.unmoved, summary.unsettled) == ((0, 0, 0), 1, 0)


def test_the_figure_has_a_point_for_each_iteration_over_work_that_was_done():
    method, _ = parabola(first_share=10)
    table = on_parabola(method)
    curves = convergence.curves_of(table)
    figure = convergence_figure(table, curves, "a parabola")
    left, right = (panel.lines[0] for panel in figure.axes)
    assert list(left.get_xdata()) == [0, 1, 2]
    assert list(right.get_xdata()) == [1, 7, 13]  # the start's pass, then five forward and one back
    assert np.array_equal(left.get_ydata(), curves.mean().to_numpy())
    assert "n = 2 images" in figure.get_suptitle()


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["convergence", *map(str, arguments)])
    return convergence.main()


def test_the_command_prints_a_table_and_writes_figure_and_numbers(tmp_path, monkeypatch, capsys):
    files = tmp_path / "new" / "way.png", tmp_path / "way.csv"
    given = ["method=igos", "res=7", "dataset.limit=2", "method.iterations=2", "method.points=2"]
    assert command(monkeypatch, *given, "--write", files[0], "--write", files[1]) == 0
    shown = capsys.readouterr().out
    assert "igos at 7 x 7 method.iterations=2 method.points=2" in shown
    assert "line searches that gave up" in shown
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_csv(files[1])) == 2 * 3
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["method=gradcam", "res=14", "dataset.limit=1"], "method=gradcam shows no iterations"),
        (["method=igoss"], "there is no method=igoss: did you mean igos"),
        (["method=IGOS"], "there is no method=IGOS: did you mean igos"),
        (["model=mobilnet_v2"], "there is no model=mobilnet_v2: did you mean mobilenet_v2"),
        (["method=igos", "--write", "way.txt"], r"end in .png, .jpg, .pdf, .svg, .csv"),
    ],
)
def test_what_has_no_convergence_is_refused_in_one_line(monkeypatch, capsys, arguments, message):
    assert command(monkeypatch, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
