"""How many images pass at once: what memory does not hold is halved, the fastest is found once."""

import json
from pathlib import Path
from types import SimpleNamespace

import cells
import pytest
import torch

from benchmark import pass_sizes
from benchmark.cell import Cell
from benchmark.errors import BadInput
from benchmark.models import ImageClassifier
from benchmark.pass_sizes import FILE, TRIED, fastest, load_model
from benchmark.pass_times import PassTime
from benchmark.run import run
from benchmark.summary import per_image


class Watcher:
    def __init__(self):
        self.said = []
        self.begin = self.advance = lambda *_: None
        self.warn = self.said.append


@pytest.fixture
def place(tmp_path):
    cells.make_images(tmp_path / "images")
    cells.make_conf(tmp_path / "conf")
    return tmp_path


@pytest.fixture
def small_memory(monkeypatch):
    """A device that holds four images at once."""
    call = ImageClassifier.__call__

    def limited(self, images):
        if len(images) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return call(self, images)

    monkeypatch.setattr(ImageClassifier, "__call__", limited)


def remembered(settings):
    return json.loads((Path(settings.results) / FILE).read_text())


def test_a_run_goes_on_with_half_as_many_images_until_memory_holds_them(place, small_memory):
    settings = cells.settings(place, "batch_size=2", "metric=[deletion]")
    watcher = Watcher()
    folder, outcome = run(settings, watcher)
    assert watcher.said == [
        "out of memory: 10 images pass at once from here on, not 20",
        "out of memory: 5 images pass at once from here on, not 10",
        "out of memory: 2 images pass at once from here on, not 5",
    ]
    assert len(per_image(folder, outcome)) == len(list((place / "images").iterdir()))
    assert folder.identity()["pass_batch"] == 2
    assert folder.started()["pass_batch"] == 2
    assert list(remembered(settings).values()) == [{"most": 2}]


def test_later_runs_begin_with_what_memory_has_held_and_say_so(place, small_memory):
    settings = cells.settings(place, "batch_size=2", "metric=[deletion]")
    folder, _ = run(settings, Watcher())
    watcher = Watcher()
    again, _ = run(settings, watcher)
    assert again.path == folder.path
    (said,) = watcher.said
    assert said.startswith("memory has not held 20 images at once: 2 pass, as ")


def test_an_attempt_that_memory_did_not_hold_shares_no_result_with_the_next(place, small_memory):
    settings = cells.settings(place, "batch_size=2", "metric=[deletion]")
    run(settings, Watcher())
    folders = [json.loads(each.read_text()) for each in place.glob("**/settings.json")]
    assert sorted(each["pass_batch"] for each in folders) == [2, 5, 10, 20]


def test_memory_that_holds_no_single_image_is_said_in_a_line(place, monkeypatch):
    def full(self, images):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(ImageClassifier, "__call__", full)
    with pytest.raises(BadInput, match="cpu has too little memory for one image at a time"):
        run(cells.settings(place), Watcher())


def test_other_errors_of_a_run_are_not_taken_for_a_lack_of_memory(place, monkeypatch):
    def broken(self, images):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(ImageClassifier, "__call__", broken)
    watcher = Watcher()
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run(cells.settings(place), watcher)
    assert watcher.said == []


@pytest.mark.parametrize(
    ("per_pass", "per_image", "held", "expected"),
    [
        (0.0, 1.0, 999, 4),  # all sizes take as long for an image: the least memory
        (1.0, 0.01, 999, 512),  # the larger the better
        (1.0, 1.0, 999, 64),  # (1 + 1/n) is within 2 % of its least from 64 on
        (1.0, 0.01, 40, 32),  # what memory does not hold is no choice
    ],
)
def test_the_fastest_size_is_the_smallest_that_no_larger_one_beats(
    monkeypatch, per_pass, per_image, held, expected
):
    def timed(_model, images, _repeats):
        if len(images) > held:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return PassTime(forward=0.0, both=per_pass / len(images) + per_image)

    monkeypatch.setattr(pass_sizes, "of_classifier", timed)
    model = SimpleNamespace(input_size=2, device=torch.device("cpu"))
    assert fastest(model) == expected
    assert expected in TRIED


def test_the_fastest_size_is_found_once_and_part_of_the_key(place, monkeypatch):
    found = []
    monkeypatch.setattr(pass_sizes, "fastest", lambda model: found.append(model) or 16)
    settings = cells.settings(place, "model.pass_batch=0")
    said = []
    cell = Cell.open(settings, said.append)
    assert cell.model.pass_batch == load_model(settings).pass_batch == 16
    assert len(found) == 1
    assert cell.identity["pass_batch"] == 16
    assert said[0].startswith("16 images pass at once, the fastest here according to ")
    assert Cell.open(cells.settings(place, "model.pass_batch=16")).folder.path == cell.folder.path


def test_a_damaged_memory_of_sizes_is_refused(place):
    settings = cells.settings(place)
    (Path(settings.results)).mkdir(parents=True, exist_ok=True)
    (Path(settings.results) / FILE).write_text("{")
    with pytest.raises(BadInput, match="is damaged: remove it"):
        load_model(settings)


def test_the_least_that_memory_has_held_is_remembered_whoever_tells_it_last(place):
    settings = cells.settings(place)
    model = load_model(settings)
    model.pass_batch = 8
    assert pass_sizes.halve(settings, model) == 4
    model.pass_batch = 20
    assert pass_sizes.halve(settings, model) == 4
    assert list(remembered(settings).values()) == [{"most": 4}]
