"""The leaderboard: who leads, who is on the front, what is said of it and what is refused."""

import sys

import cells
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark import leaderboard
from benchmark.contenders import Contender, below, of_experiment
from benchmark.errors import BadInput
from benchmark.experiment import Average, read
from benchmark.label_places import _overlap
from benchmark.standing_figures import standing_figure
from benchmark.standings import boards, front
from benchmark.stats import class_mean_interval, mean_interval

NOISE = np.random.default_rng(0).normal(0, 0.01, size=20)


def contender(name, passes=0.0, group="g", *, targets=0, control=False, **metrics):
    """Make a run of one forward and otherwise backward passes, unless it has none."""
    ids = [f"image-{number}" for number in range(20)]
    known = {"forward_passes": min(passes, 1), "backward_passes": max(passes - 1, 0)}
    known |= {"seconds": 0.5, "warm_up": False, "target": targets}
    images = pd.DataFrame({**metrics, **known}, index=ids)
    better = {metric: metric != "deletion" for metric in metrics}
    return Contender(group, name, images, better, name, 0, group, {"data": group}, control)


# The front


def test_the_front_of_a_staircase_is_its_steps():
    costs = [0, 0, 1, 2, 2, 100, 1000]
    scores = [0.3, 0.2, 0.5, 0.5, 0.7, 0.6, 0.9]
    on_it = [True, False, True, False, True, False, True]
    assert front(costs, scores, higher_is_better=True) == on_it
    assert front(costs, np.negative(scores), higher_is_better=False) == on_it


def test_equal_ones_share_their_place_on_the_front_or_off_it():
    assert (
        front([1, 1, 2, 2], [0.5, 0.5, 0.4, 0.4], higher_is_better=True) == [True] * 2 + [False] * 2
    )


def test_values_that_differ_by_rounding_alone_are_equal():
    assert front([1, 2], [0.3, 0.1 + 0.2], higher_is_better=True) == [True, False]
    assert front([0.1 + 0.2, 0.3], [0.5, 0.5], higher_is_better=True) == [True, True]


def test_one_alone_is_the_front_and_one_without_a_score_is_never_on_it():
    assert front([7], [0.1], higher_is_better=True) == [True]
    assert front([0, 7], [np.nan, 0.1], higher_is_better=True) == [False, True]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_front_is_what_a_walk_from_the_cheapest_on_finds(points):
    """A second computation: going up in cost, the best of each cost that beats all before it."""
    expected, best = set(), -1
    for cost in sorted({cost for cost, _ in points}):
        top = max(score for each, score in points if each == cost)
        if top > best:
            expected.add((cost, top))
            best = top
    found = front(*zip(*points, strict=True), higher_is_better=True)
    assert [point in expected for point in points] == found


# The boards


def test_a_board_is_ordered_by_the_mean_of_the_ranks_over_the_metrics_shown():
    three = [
        contender("a", deletion=NOISE + 0.1, insertion=NOISE + 0.5),  # ranks 1 and 3
        contender("b", deletion=NOISE + 0.2, insertion=NOISE + 0.7),  # 2 and 1
        contender("c", deletion=NOISE + 0.3, insertion=NOISE + 0.6),  # 3 and 2
    ]
    (board,) = boards(three)
    assert [(each.name, each.mean_rank) for each in board.standings] == [
        ("b", 1.5),
        ("a", 2),
        ("c", 2.5),
    ]
    assert board.metrics == {"deletion": False, "insertion": True}
    (board,) = boards(three, ["deletion"])
    assert [each.name for each in board.standings] == ["a", "b", "c"]
    assert list(board.metrics) == ["deletion"]


def test_a_standing_has_the_means_with_intervals_and_what_they_cost():
    (board,) = boards([contender("a", 7, deletion=NOISE)])
    (only,) = board.standings
    assert only.means == {"deletion": mean_interval(NOISE)}
    assert (only.forward, only.backward, only.passes, only.seconds, only.images) == (
        1,
        6,
        7,
        0.5,
        20,
    )
    assert only.ranks["deletion"][:3] == (1, 1, 1)


def test_the_front_is_of_each_metric_by_itself():
    pair = [
        contender("cheap", 1, deletion=NOISE + 0.2, insertion=NOISE + 0.6),
        contender("dear", 9, deletion=NOISE + 0.1, insertion=NOISE + 0.5),
    ]
    (board,) = boards(pair)
    assert {each.name: set(each.front) for each in board.standings} == {
        "cheap": {"deletion", "insertion"},
        "dear": {"deletion"},
    }


def test_one_that_lacks_a_metric_comes_last_and_is_ranked_in_those_it_has():
    some = [contender("half", deletion=NOISE), contender("a", deletion=NOISE + 1, pointing=1.0)]
    (board,) = boards(some)
    assert [each.name for each in board.standings] == ["a", "half"]
    assert board.standings[1].ranks.keys() == {"deletion"}
    assert board.standings[1].mean_rank == 1
    assert leaderboard.grid(board, leaderboard.TERMINAL)["pointing ↑"].tolist()[1] == "–"


def test_groups_are_boards_of_their_own_the_largest_first():
    small, large = contender("a", group="small", deletion=NOISE), []
    large = [contender(name, group="large", deletion=NOISE) for name in "abc"]
    found = boards([small, *large])
    assert [(each.title, len(each.standings)) for each in found] == [("large", 3), ("small", 1)]
    assert found[0].facts == ["data large"]
    assert found[1].standings[0].ranks["deletion"].value == 1


def test_a_group_without_the_metric_that_is_asked_for_is_left_out():
    both = [contender("a", deletion=NOISE), contender("b", group="h", pointing=NOISE)]
    assert [each.title for each in boards(both, ["pointing"])] == ["h"]
    with pytest.raises(BadInput, match="--metric area: the runs have deletion, pointing"):
        boards(both, ["area"])


def test_means_over_classes_are_ranked_as_such():
    targets = [0] * 19 + [1]
    a = contender("a", targets=targets, pointing=np.r_[np.zeros(19), 1.0])  # 1/20, or 1/2
    b = contender("b", targets=targets, pointing=np.r_[np.ones(8), np.zeros(12)])  # 8/20, or 4/19
    assert [each.name for each in boards([a, b])[0].standings] == ["b", "a"]
    (board,) = boards([a, b], average=Average.classes)
    assert [each.name for each in board.standings] == ["a", "b"]
    assert board.standings[0].means["pointing"] == class_mean_interval(
        a.images["pointing"], targets
    )


# The command


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with two methods and two controls at 8 x 8, and one at 4 x 4."""
    folder = tmp_path_factory.mktemp("leaderboard")
    cells.make_images(folder / "images", count=4)
    cells.make_conf(folder / "conf")
    both = "metric=[deletion,insertion]"
    for more in (["method=toy"], ["method=gradcam"], ["method=centre"], ["method=sobel"]):
        cells.start(folder, both, *more, "res=8")
    cells.start(folder, both, "method=toy", "res=4")
    return folder / "results"


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["leaderboard", *map(str, arguments)])
    return leaderboard.main()


def test_a_folder_is_ranked_with_its_controls_marked(runs, monkeypatch, capsys):
    assert command(monkeypatch, runs) == 0
    said = capsys.readouterr().out
    assert said.index("8 x 8") < said.index("4 x 4")
    for control in ("centre at 8 x 8 (control)", "sobel at 8 x 8 (control)"):
        assert control in said
    assert "toy at 8 x 8 (control)" not in said
    for fact in ("data tiny", "protocol igos protocol.steps=10", "images manifest-4-", "code "):
        assert fact in said


def test_what_is_written_has_every_number(runs, tmp_path, monkeypatch, capsys):
    files = {ending: tmp_path / f"board{ending}" for ending in (".csv", ".md", ".html")}
    assert command(monkeypatch, runs, *(f"--write={file}" for file in files.values())) == 0
    shown = capsys.readouterr().out  # on the screen, too
    assert "toy at 8 x 8" in shown
    assert shown.splitlines()[-3:] == [f"written to {file}" for file in files.values()]
    table = pd.read_csv(files[".csv"])
    assert table["board"].tolist() == ["8 x 8"] * 4 + ["4 x 4"]
    assert table["place"].tolist() == [1, 2, 3, 4, 1]
    assert table["mean_rank"].tolist()[:4] == sorted(table["mean_rank"][:4])
    by_run = table.set_index("run")
    assert by_run["control"].to_dict()["centre at 8 x 8"]
    for each in below(runs):
        line = by_run.loc[each.name]
        expected = mean_interval(each.images["deletion"])
        shown = line[["deletion", "deletion_low", "deletion_high", "deletion_n"]]
        assert shown.tolist() == pytest.approx(list(expected))
        assert line["forward_passes"] == each.images["forward_passes"].mean()
    text, page = files[".md"].read_text(), files[".html"].read_text()
    for line in table.itertuples():
        assert f"| {line.place} | {line.run}" in text
        assert f"{line.deletion:.4f}" in text
        assert f"{line.deletion:.4f}" in page
        assert f"[{line.insertion_low:.4f}, {line.insertion_high:.4f}]" in page
    assert page.startswith("<!doctype html>")


def test_the_columns_of_an_experiment_are_boards(runs, tmp_path):
    (tmp_path / "experiment").mkdir()
    cells.make_conf(tmp_path)
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\n"
        "defaults: [{override /hydra/sweeper: cells}]\n"
        "experiment:\n"
        "  title: Two and a control\n"
        "  rows:\n"
        "    Toy: {set: [method=toy]}\n"
        "    The middle: {set: [method=centre]}\n"
        "  columns: {coarse: {set: [res=8]}}\n"
        "  metrics: {insertion: {}}\n"
    )
    both = "metric=[deletion,insertion]"
    given = [each for each in cells.choices(runs.parent, both) if each[:4] not in ("res=", "meth")]
    composed = read("mine", given, tmp_path)
    (board,) = boards(of_experiment(composed), average=composed.experiment.mean)
    assert board.title == "coarse"
    assert {each.name: each.control for each in board.standings} == {
        "Toy": False,
        "The middle": True,
    }
    assert list(board.metrics) == ["insertion"]
    (facts,) = board.facts
    assert facts.startswith("data tiny")
    assert "images manifest-4-" in facts


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--metric", "area"], "--metric area: the runs have deletion, insertion"),
        (["--write", "x.tex"], "--write takes files that end in .md, .csv, .html, .png"),
        (["n=3"], "n=3 is no folder of results"),
    ],
)
def test_what_cannot_be_ranked_is_refused_in_a_line(runs, more, said, monkeypatch, capsys):
    assert command(monkeypatch, runs, *more) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


# The figure


@pytest.fixture(scope="module")
def drawn():
    crowd = [
        contender(f"method {number}", 2, deletion=NOISE + 0.1 + 0.001 * number)
        for number in range(12)
    ]
    nothing = contender("nothing", 0, control=True, deletion=NOISE + 0.5)
    dear = contender("dear", 1000, deletion=NOISE + 0.05)
    return boards([*crowd, nothing, dear])


def texts(panel):
    return {text.get_text(): text for text in panel.texts if text.get_text()}


def test_every_run_is_named_once_within_the_panel_and_no_name_covers_another(drawn):
    figure = standing_figure(drawn)
    figure.draw_without_rendering()
    (panel,) = figure.axes
    named = texts(panel)
    assert named.keys() == {each.name for each in drawn[0].standings}
    boxes = np.array([text.get_window_extent().extents for text in named.values()])
    inside = panel.get_window_extent().extents
    assert (boxes[:, :2] >= inside[:2] - 1).all()
    assert (boxes[:, 2:] <= inside[2:] + 1).all()
    shared = _overlap(boxes, boxes)
    assert shared[~np.eye(len(boxes), dtype=bool)].max() == 0


def test_what_needs_no_pass_is_shown_at_0_and_the_front_goes_by_the_best_of_each_cost(drawn):
    figure = standing_figure(drawn)
    (panel,) = figure.axes
    (line,) = [line for line in panel.lines if line.get_label() == "the front"]
    across, up = line.get_data()
    means = {each.name: each.means["deletion"].value for each in drawn[0].standings}
    best, far = means["method 0"], means["dear"]
    assert across[:-1].tolist() == [0, 2, 2, 1000, 1000]
    assert up.tolist() == pytest.approx([means["nothing"]] * 2 + [best] * 2 + [far] * 2)
    left, right = panel.get_xlim()
    assert left < 0
    assert across[-1] == right > 1000


def test_overlaps_are_the_areas_that_boxes_share():
    box = np.array([[0.0, 0, 2, 1]])
    others = np.array([[1.0, 0, 3, 1], [2, 0, 3, 1], [0.5, 0.25, 1, 0.5], [-9, -9, 9, 9]])
    assert _overlap(box, others)[0].tolist() == [1, 0, 0.125, 2]


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_a_figure_is_written_as_its_name_ends(runs, ending, tmp_path, monkeypatch):
    file = tmp_path / "new" / f"board.{ending}"
    assert command(monkeypatch, runs, "--metric", "deletion", "--write", file) == 0
    begin = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[ending]
    assert file.read_bytes().startswith(begin)
