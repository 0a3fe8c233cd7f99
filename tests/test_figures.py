"""Figures out of stored records: what each shows, and what it refuses."""

import re
import sys

import cells
import numpy as np
import pytest
from cells import start
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from benchmark import figures
from benchmark.cost_figures import cost_figure, cost_lines, grouped
from benchmark.curve_figures import curve_figure
from benchmark.errors import BadInput
from benchmark.failure_figures import failure_figure, worst_first
from benchmark.figure_parts import ALIKE, CURVES, Wanted, shared
from benchmark.frame_figures import frame_strip
from benchmark.heatmap_figures import contact_sheet, heatmap_grid
from benchmark.print_layout import POINTS, Width, broken
from benchmark.stats import mean_interval
from benchmark.tables import per_image

BOTH = "metric=[deletion,insertion]"


@pytest.fixture
def place(tmp_path):
    return filled(tmp_path)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three runs with curves on eight images; the last was made on five of them only."""
    folder = filled(tmp_path_factory.mktemp("three"))
    for more in (["method=toy"], ["method=toy", "method.gain=-1.0"]):
        start(folder, BOTH, *more)
    start(folder, BOTH, "method=random", "dataset.limit=5")
    return folder


def filled(folder):
    cells.make_images(folder / "images")
    cells.make_conf(folder / "conf")
    return folder


def runs(place):
    return sorted(path.parent for path in (place / "results").glob("**/settings.json"))


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["figures", *map(str, arguments)])
    return figures.main()


# Which results


def test_a_figure_shows_the_newest_of_a_runs_own_heatmaps_unless_told_the_resolution(place):
    start(place, "method=gradcam", "res=8", "dataset.limit=3")
    start(place, "method=gradcam", "res=8")
    start(place, "method=gradcam", "res=16", "resize=bilinear")
    common = shared(runs(place), Wanted())
    assert (len(common.ids), common.runs[0].outcome.res) == (8, 8)
    assert shared(runs(place), Wanted(res=16)).runs[0].outcome.res == 16
    with pytest.raises(BadInput, match=r"no heatmaps at res 5, only gradcam at 16 x 16"):
        shared(runs(place), Wanted(res=5))


def test_results_are_found_by_their_protocol_and_their_metrics(place):
    start(place, "metric=[insertion]", "protocol.steps=5")
    start(place, "metric=[pointing]", "protocol=rise")
    assert "rise" in shared(runs(place), Wanted()).facts
    ours = "igos protocol.steps=10 protocol.steps=5"
    wants = [Wanted(protocol="igos"), Wanted(protocol=ours), Wanted(metrics=["insertion"])]
    assert all(f"protocol {ours}" in shared(runs(place), each).facts for each in wants)
    with pytest.raises(BadInput, match="no deletion under protocol rise"):
        shared(runs(place), Wanted(None, "rise", ["deletion"]))


def test_what_differs_between_runs_stands_in_their_labels_and_not_above_them(place):
    start(place)
    start(place, "target=1")
    common = shared(runs(place), Wanted(), ["data"])
    assert "target" not in common.facts
    assert "tiny" in common.facts
    labels = sorted(run.label for run in common.runs)
    assert labels == ["toy at 7 x 7 · class 1, square", "toy at 7 x 7 · predicted class"]
    below = [panel.get_xlabel() for panel in heatmap_grid(common, 1).axes]
    assert below[0] == ""
    assert any(each.startswith("square 0.") for each in below[1:])


def test_runs_without_a_common_image_have_no_figure(place):
    start(place, "dataset.limit=1")
    start(place, "method=random", "dataset.limit=1", "dataset.seed=1")
    with pytest.raises(BadInput, match="no image in common"):
        shared(runs(place), Wanted())


def test_an_image_that_has_changed_is_not_drawn_under_its_old_heatmap(place):
    start(place)
    common = shared(runs(place), Wanted())
    file = place / "images" / common.ids[0]
    file.write_bytes(bytes(len(file.read_bytes())))
    with pytest.raises(BadInput, match=f"{common.ids[0]} has changed since"):
        heatmap_grid(common, 1)


# Heatmaps


def test_a_grid_of_heatmaps_has_a_column_per_run_and_names_data_and_model(three):
    common = shared(runs(three), Wanted(), ["data"])
    figure = heatmap_grid(common, images=2)
    assert len(figure.axes) == 2 * 4
    assert "tiny" in figure.get_suptitle()
    assert "2 of 5 images" in figure.get_suptitle()
    titles = {" ".join(panel.get_title().split()) for panel in figure.axes[:4]}
    assert titles == {"image", "toy 7 x 7", "toy 7 x 7 method.gain=-1.0", "random 7 x 7"}


def test_below_a_heatmap_stands_the_image_without_its_first_cells_and_the_score_that_is_left(three):
    common = shared([runs(three)[-1]], Wanted(metrics=CURVES))
    (run,) = common.runs
    figure = heatmap_grid(common, 1, deleted=100)
    scores, _ = run.curve("deletion", common.ids[:1])
    assert figure.axes[3].get_xlabel() == f"100.0% removed: {scores[0, -1]:.3f}"
    nothing = heatmap_grid(common, 1, deleted=0).axes[3]
    assert nothing.get_xlabel() == f"0.0% removed: {scores[0, 0]:.3f}"
    assert np.array_equal(nothing.images[0].get_array(), common.picture(run, common.ids[0]))


def test_a_contact_sheet_has_a_row_per_run_under_the_images_in_blocks(three):
    figure = contact_sheet(shared(runs(three), Wanted()), images=2, blocks=2)
    assert len(figure.axes) == 2 * 2 * (1 + 2)
    labels = [axes.get_ylabel().partition("\n")[0] for axes in figure.axes]
    assert sorted(each for each in labels if each) == ["random", "toy", "toy"]


# Curves


def test_the_curves_are_means_over_the_shared_images_with_their_areas(three):
    common = shared(runs(three), Wanted(metrics=CURVES), ALIKE)
    figure = curve_figure(common)
    assert "n = 5 images" in figure.get_suptitle()
    told = {run.label: run.label for run in common.runs}
    for panel, metric in zip(figure.axes, CURVES, strict=True):
        assert panel.get_title().startswith(metric)
        for run, line in zip(common.runs, panel.lines, strict=True):
            scores, fractions = run.curve(metric, common.ids)
            assert scores.shape == (5, len(fractions))
            assert np.allclose(line.get_ydata(), scores.mean(0))
            assert np.array_equal(line.get_xdata(), fractions)
            values = [run.rows(metric)[each]["value"] for each in common.ids]
            area = mean_interval(values)
            told[run.label] += f" · {metric} {area.value:.3f} [{area.low:.3f}, {area.high:.3f}]"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(told.values())


def test_each_curve_of_many_is_drawn_in_a_way_of_its_own(three):
    common = shared([*runs(three)] * 4, Wanted(metrics=CURVES))
    lines = curve_figure(common).axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(lines) == 12


@pytest.mark.parametrize(
    ("other", "which"), [("protocol.steps=5", "protocol"), ("target=1", "target")]
)
def test_curves_of_another_protocol_or_target_are_refused(place, other, which):
    start(place, BOTH)
    start(place, BOTH, "method=random", other)
    with pytest.raises(BadInput, match=f"the runs differ in {which} "):
        shared(runs(place), Wanted(), ALIKE)


# Failures


def test_failures_are_the_images_with_the_least_insertion_over_deletion_worst_first(three):
    common = shared([runs(three)[-1]], Wanted(metrics=CURVES))
    (run,) = common.runs
    insertion, deletion = (run.rows(metric) for metric in ("insertion", "deletion"))
    known = {each: insertion[each]["value"] - deletion[each]["value"] for each in common.ids}
    order = sorted(known, key=known.__getitem__)
    assert list(worst_first(run)["id"]) == order
    figure = failure_figure(common, images=3)
    titles = [panel.get_title() for panel in figure.axes[:3]]
    assert titles == [
        f"{place + 1}. ins − del {known[each]:.3f}" for place, each in enumerate(order[:3])
    ]
    for panel, image_id in zip(figure.axes[:3], order, strict=False):
        assert np.array_equal(panel.images[0].get_array(), common.picture(run, image_id))


def test_a_failure_says_what_was_predicted_how_surely_and_whether_that_is_right(three):
    common = shared([runs(three)[-1]], Wanted(metrics=CURVES))
    known, count = common.runs[0].rows(), len(common.ids)
    figure = failure_figure(common, images=count)
    images = [panel for panel in figure.axes if panel.get_title()]
    verdicts = set()
    for panel, image_id in zip(images, worst_first(common.runs[0])["id"], strict=True):
        row = known[image_id]
        verdict = "correct" if row["predicted"] == cells.label_of(image_id) else "wrong"
        assert panel.get_xlabel().split("\n") == [
            f"predicted {cells.CLASSES[row['predicted']]} {row['score_on_image']:.2f}",
            f"label {cells.CLASSES[cells.label_of(image_id)]}",
            verdict,
        ]
        verdicts.add(verdict)
    assert verdicts == {"correct", "wrong"}
    sure = np.mean([row["score_on_image"] for row in known.values()])
    right = sum(row["correct"] for row in known.values())
    told = f"all n = {count}: mean score on the image {sure:.2f}, {right} of {count} correct"
    assert told in " ".join(figure.get_suptitle().split())


def test_more_failures_than_fit_side_by_side_go_below(three):
    common = shared([runs(three)[-1]], Wanted(metrics=CURVES))
    figure = failure_figure(common, images=8)
    assert len([panel for panel in figure.axes if panel.get_title()]) == len(common.ids) > 6


# Cost


class Titled:
    """Only what ``grouped`` asks of a run."""

    def __init__(self, title):
        self.outcome = type("Outcome", (), {"title": title})


def test_runs_of_one_method_are_joined_along_the_setting_that_takes_the_most_values():
    titles = {
        "igos at 28 x 28": ("igos at 28 x 28", "method.iterations"),
        "igos at 28 x 28 method.iterations=2": ("igos at 28 x 28", "method.iterations"),
        "igos at 28 x 28 method.noise=none method.iterations=4": (
            "igos at 28 x 28 method.noise=none",
            "method.iterations",
        ),
        "igos at 28 x 28 method.iterations=4 method.noise=none": (
            "igos at 28 x 28 method.noise=none",
            "method.iterations",
        ),
        "rise at 14 x 14 (resize=area) method.masks=9": (
            "rise at 14 x 14 (resize=area) method.masks=9",
            "",
        ),
        "igos at 7 x 7": ("igos at 7 x 7", ""),
    }
    assert grouped([Titled(title) for title in titles]) == list(titles.values())


def test_a_cost_is_passes_and_seconds_per_image_of_the_shared_images(place):
    for gain in ("1.0", "2.0", "4.0"):
        start(place, "metric=[deletion]", f"method.gain={gain}")
    start(place, "metric=[deletion]", "method=random", "dataset.limit=5")
    common = shared(runs(place), Wanted(metrics=["deletion"]), ALIKE)
    lines = {line.label: line for line in cost_lines(common, "deletion")}
    assert set(lines) == {"toy at 7 x 7, by method.gain", "random at 7 x 7"}
    names = [each.name for each in lines["toy at 7 x 7, by method.gain"].points]
    assert sorted(names) == ["1.0", "2.0", "4.0"]
    (point,) = lines["random at 7 x 7"].points
    assert (point.passes, point.mean.n) == (0, 5)
    for run in common.runs:
        table = per_image(run.folder, run.outcome).set_index("id").loc[common.ids]
        points = [each for line in lines.values() for each in line.points]
        assert any(
            each.mean == mean_interval(table["deletion"])
            and each.passes == (table["forward_passes"] + table["backward_passes"]).mean()
            for each in points
        )
    figure = cost_figure(common, "deletion")
    assert "n = 5 images" in figure.get_suptitle()
    drawn = {str(each.get_label()): each.lines[0] for each in figure.axes[0].containers}
    assert {label: len(line.get_xdata()) for label, line in drawn.items()} == {
        label: len(line.points) for label, line in lines.items()
    }


def test_costs_at_several_resolutions_are_said_to_be_and_under_several_protocols_refused(place):
    start(place, "metric=[deletion]")
    start(place, "metric=[deletion]", "res=4")
    start(place, "metric=[deletion]", "method=random", "protocol=rise")
    low, high, other = sorted(runs(place), key=lambda run: run.name.replace("random", "z"))
    figure = cost_figure(shared([low, high], Wanted(metrics=["deletion"]), ALIKE), "deletion")
    assert "resolutions differ" in " ".join(figure.get_suptitle().split())
    alone = cost_figure(shared([low], Wanted(metrics=["deletion"]), ALIKE), "deletion")
    assert "resolutions differ" not in " ".join(alone.get_suptitle().split())
    with pytest.raises(BadInput, match="the runs differ in protocol"):
        shared([low, other], Wanted(metrics=["deletion"]), ALIKE)


# The command


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("heatmaps", ["--images", "1"]),
        ("heatmaps", ["--images", "1", "--sheet", "2"]),
        ("curves", []),
        ("failures", ["--images", "1"]),
        ("frames", ["--frames", "3"]),
        ("cost", ["--metric", "insertion"]),
    ],
)
def test_every_kind_is_a_command_that_writes_a_picture(three, tmp_path, monkeypatch, kind, more):
    target = tmp_path / "new" / "figure.png"
    given = runs(three) if kind in ("heatmaps", "curves", "cost") else runs(three)[:1]
    assert command(monkeypatch, kind, *given, *more, "--write", target) == 0
    assert target.read_bytes().startswith(b"\x89PNG")


DRAWN = {
    "grid": lambda common, width: heatmap_grid(common, 2, width=width),
    "deleted": lambda common, width: heatmap_grid(common, 1, deleted=10, width=width),
    "sheet": lambda common, width: contact_sheet(common, 2, 2, width),
    "curves": curve_figure,
    "cost": lambda common, width: cost_figure(common, "deletion", width),
}
DRAWN_OF_ONE = {
    "grid with curves": lambda common, width: heatmap_grid(common, 1, curves=True, width=width),
    "sheet of one image": lambda common, width: contact_sheet(common, 1, 1, width),
    "failures": lambda common, width: failure_figure(common, 5, width),
    "frames": lambda common, width: frame_strip(common, common.ids[0], 3, width),
}


@pytest.mark.parametrize("width", Width)
@pytest.mark.parametrize("kind", [*DRAWN, *DRAWN_OF_ONE])
def test_in_print_a_figure_has_its_width_letters_of_one_size_and_nothing_cut_off(
    three, kind, width
):
    chosen = runs(three) if kind in DRAWN else runs(three)[:1]
    common = shared(chosen, Wanted(metrics=CURVES))
    figure = (DRAWN | DRAWN_OF_ONE)[kind](common, width)
    assert figure.get_figwidth() == width.value
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    written = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert {text.get_fontsize() for text in written} == {POINTS}
    around = figure.get_tightbbox(canvas.get_renderer())
    assert around.x0 >= 0 and around.x1 <= figure.get_figwidth()
    assert around.y0 >= 0 and around.y1 <= figure.get_figheight()


def test_letters_of_a_printed_figure_are_letters_in_the_file(three, tmp_path, monkeypatch):
    target = tmp_path / "figure.pdf"
    assert command(monkeypatch, "curves", *runs(three), "--width", "one", "--write", target) == 0
    assert b"/MediaBox [ 0 0 237.6 " in target.read_bytes(), "3.3 inches of 72 points"
    assert b"/CIDFontType2" in target.read_bytes(), "TrueType, which can be searched and edited"


def test_a_text_is_broken_between_its_parts_then_at_spaces_and_at_last_in_settings():
    assert broken("short · one", 1.0) == "short · one"
    assert broken("del 0.123  ins 0.456", 1.0) == "del 0.123\nins 0.456"
    assert broken("a · several words more", 0.6) == "a\nseveral\nwords more"
    assert broken("method.gain=-1.0", 0.8) == "method.gain=\n-1.0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["curves", "RUN", "--write", "a.gif"], r"ends in one of \.png, .*\.svg, got a\.gif"),
        (["curves", "RUN", "--write", "a.mp4"], r"ends in one of \.png, .*\.svg, got a\.mp4"),
        (["curves", "nowhere", "--write", "a.png"], "nowhere is not the folder of a finished run"),
        (["cost", "RUN", "--metric", "beauty", "--write", "a.png"], "holds no beauty, only"),
        (["frames", "RUN", "--image", "cat", "--write", "a.png"], "has no image cat: it has image"),
        (["frames", "RUN", "--width", "two", "--write", "a.gif"], "--width is for print; a film"),
        (["frames", "RUN", "--width", "one", "--write", "a.png"], r"one \(3.3 .*: give --frames 3"),
        (["heatmaps", *["RUN"] * 5, "--width", "one", "--write", "a.png"], "fewer runs than 5"),
        (["heatmaps", "RUN", "--sheet", "2", "--width", "one", "--write", "a.png"], "--images or"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(three, monkeypatch, capsys, arguments, message):
    given = [runs(three)[0] if each == "RUN" else each for each in arguments]
    assert command(monkeypatch, *given) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)
