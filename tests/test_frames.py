"""The composites of stored curves, and the strips and films of them."""

import itertools

import cells
import cv2
import numpy as np
import pytest
import torch
from cells import start
from matplotlib.colors import to_rgb
from PIL import Image, ImageSequence
from toys import Recorder

from benchmark.cell import Cell
from benchmark.composites import composites
from benchmark.errors import BadInput
from benchmark.figure_parts import COLOUR_OF, CURVES, Wanted, shared
from benchmark.films import write_film
from benchmark.frame_figures import chosen_points, film, frame_strip
from benchmark.lines import line_of, read_lines

BOTH = "metric=[deletion,insertion]"


@pytest.fixture
def place(tmp_path):
    cells.make_images(tmp_path / "images", 2)
    cells.make_conf(tmp_path / "conf")
    return tmp_path


def found(place, **wanted):
    paths = [path.parent for path in (place / "results").glob("**/settings.json")]
    return shared(paths, Wanted(metrics=CURVES, **wanted))


@pytest.mark.parametrize("protocol", ["igos", "rise"])
@pytest.mark.parametrize("metric", CURVES)
def test_the_composites_are_the_images_that_the_metric_gave_to_the_model(place, protocol, metric):
    given = (BOTH, f"protocol={protocol}", "seed=3")
    start(place, *given)
    cell = Cell.open(cells.settings(place, *given))
    common = found(place)
    (run,) = common.runs
    for image_id in common.ids:
        recorder = Recorder(
            cell.model.network,
            mean=cell.model.mean.tolist(),
            std=cell.model.std.tolist(),
            input_size=cell.model.input_size,
            class_names=cell.model.class_names,
            weights="",
            device=cell.model.device,
            pass_batch=cell.model.pass_batch,
        )
        heatmap = torch.from_numpy(run.folder.stage("heatmaps").array(image_id, "heatmap"))
        scored = cell.metrics[metric](recorder, cell.batch([image_id]), heatmap[None])
        made = composites(common, run, metric, image_id)
        assert torch.equal(made.images, recorder.seen)
        assert made.scores == pytest.approx(scored.curves["scores"][0].numpy(), abs=1e-6)
        assert len(made.images) == len(made.scores) == len(made.fractions)


def test_deletion_goes_from_the_image_to_what_insertion_starts_from(place):
    start(place, BOTH)
    common = found(place)
    (run,), image_id = common.runs, common.ids[0]
    deletion, insertion = (composites(common, run, metric, image_id) for metric in CURVES)
    picture = common.picture(run, image_id)
    assert np.array_equal(deletion.picture(0), picture)
    assert np.array_equal(insertion.picture(-1), picture)
    assert torch.equal(deletion.images[-1], insertion.images[0])
    assert not np.array_equal(deletion.picture(-1), picture)


def test_composites_follow_the_settings_of_the_start_that_scored_them(place):
    start(place, BOTH, "protocol.steps=4")
    start(place, BOTH, "protocol.steps=12")
    for steps in (4, 12):
        common = found(place, protocol=f"igos protocol.steps=10 protocol.steps={steps}")
        made = composites(common, common.runs[0], "deletion", common.ids[0])
        points = 1 + -(-49 // (49 // steps))
        assert len(made.images) == len(made.fractions) == points


def test_composites_at_other_points_than_were_scored_are_refused(place):
    made, _ = start(place, BOTH)
    log = made.folder.path / "log.jsonl"
    entries = read_lines(log)
    entries[0]["settings"]["metric"]["deletion"]["protocol"]["steps"] = 7
    log.write_bytes(b"".join(map(line_of, entries)))
    common = found(place)
    with pytest.raises(BadInput, match="deletion was scored at other points"):
        composites(common, common.runs[0], "deletion", common.ids[0])


def test_composites_of_a_start_that_the_log_has_lost_are_refused(place):
    made, _ = start(place, BOTH)
    log = made.folder.path / "log.jsonl"
    entries = read_lines(log)
    entries[0]["stages"] = {}
    log.write_bytes(b"".join(map(line_of, entries)))
    common = found(place)
    with pytest.raises(BadInput, match="does not say how scores/deletion"):
        composites(common, common.runs[0], "deletion", common.ids[0])


@pytest.mark.parametrize(("points", "frames"), [(197, 6), (197, 40), (8, 7), (5, 9), (201, 2)])
def test_chosen_points_rise_from_one_end_of_a_curve_to_the_other(points, frames):
    fractions = np.linspace(0, 1, points, dtype=np.float32)
    chosen = chosen_points(fractions, frames)
    assert len(chosen) == min(points, frames)
    assert (chosen[0], chosen[-1]) == (0, points - 1)
    assert all(np.diff(chosen) > 0)
    if points > 4 * frames > 8:
        assert fractions[chosen[len(chosen) // 2]] < 0.45


def test_a_strip_shows_composites_with_the_stored_scores_below_them(place):
    start(place, BOTH)
    common = found(place)
    (run,), image_id = common.runs, common.ids[1]
    figure = frame_strip(common, image_id, frames=3)
    panels = [panel for panel in figure.axes if panel.images]
    assert len(panels) == 2 * (1 + 3)
    for line, metric in ((panels[1:4], "deletion"), (panels[5:], "insertion")):
        made = composites(common, run, metric, image_id)
        for panel, point in zip(line, chosen_points(made.fractions, 3), strict=True):
            assert np.array_equal(panel.images[0].get_array(), made.picture(point))
            assert panel.get_xlabel() == f"{made.scores[point]:.3f}"
            assert panel.get_title().startswith(f"{made.fractions[point]:.1%} ")
    assert image_id in figure.get_suptitle()
    assert "n = 1 image" in figure.get_suptitle()


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_film_has_a_frame_for_every_stored_step_and_can_be_read_back(place, suffix):
    start(place, BOTH, "protocol.steps=5")
    common = found(place)
    shown = list(film(common, common.ids[0]))
    _, fractions = common.runs[0].curve("deletion", common.ids[:1])
    file = place / f"film{suffix}"
    write_film(shown, file)
    read = read_back(file)
    assert len(read) == len(shown) == len(fractions)
    for frame, picture in zip(read, shown, strict=True):
        assert frame.shape == picture.shape
        assert np.abs(frame.astype(float) - picture).mean() < 8
    for earlier, later in itertools.pairwise(shown):
        assert not np.array_equal(earlier, later)


def test_a_gif_keeps_the_colours_of_the_curves(place):
    start(place, BOTH, "protocol.steps=2")
    common = found(place)
    write_film(film(common, common.ids[0]), place / "film.gif")
    last = read_back(place / "film.gif")[-1].astype(float)
    for colour in COLOUR_OF.values():
        away = np.abs(last - 255 * np.array(to_rgb(colour))).sum(-1)
        assert (away < 40).sum() > 100


def read_back(file):
    if file.suffix == ".gif":
        with Image.open(file) as opened:
            return [np.asarray(each.convert("RGB")) for each in ImageSequence.Iterator(opened)]
    video, frames = cv2.VideoCapture(str(file)), []
    while True:
        whole, frame = video.read()
        if not whole:
            return frames
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


def test_a_film_of_nothing_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no picture to write"):
        write_film([], tmp_path / "film.gif")
