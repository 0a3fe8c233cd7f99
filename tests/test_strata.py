"""Tables by what the network made of the images, and adversarial masks."""

import sys

import cells
import numpy as np
import pandas as pd
import pytest
from cells import start

from benchmark import tables
from benchmark.strata import adversarial, excess, strata

IMAGES = pd.DataFrame(
    [
        ("a", 1, True, 0.95, 0.1, 0.9),
        ("b", 1, True, 0.9, 0.1, 0.2),
        ("c", 2, False, 0.5, 0.05, 0.1),
        ("d", 2, False, 0.4, 0.1, 0.1),
        ("e", -1, None, 0.1, np.nan, 0.1),
        ("f", -1, None, 0.0, 0.0, 0.0),
    ],
    columns=["id", "label", "correct", "score_on_image", "deletion", "insertion"],
)


def ids(by, images=IMAGES):
    return {name: list(part["id"]) for name, part in strata(images, by).items()}


def test_images_are_split_by_whether_the_prediction_is_the_label():
    assert ids("correct") == {"correct": ["a", "b"], "wrong": ["c", "d"], "no label": ["e", "f"]}
    assert ids("correct", IMAGES[:2]) == {"correct": ["a", "b"]}


def test_images_are_split_by_the_score_and_a_border_belongs_to_the_surer_side():
    assert ids("confidence") == {
        "score below 0.5": ["d", "e", "f"],
        "score 0.5 to 0.9": ["c"],
        "score from 0.9": ["a", "b"],
    }


def test_the_excess_is_what_two_areas_leave_of_the_images_score():
    expected = [1 - 1 / 0.95, 1 - 0.3 / 0.9, 1 - 0.15 / 0.5, 1 - 0.2 / 0.4, np.nan, np.nan]
    assert excess(IMAGES).tolist() == pytest.approx(expected, nan_ok=True)
    assert adversarial(IMAGES) == ["c", "b", "d"]  # 0.7, 0.67 and 0.5, which is enough
    assert adversarial(IMAGES.drop(columns="deletion")) == []


@pytest.fixture
def place(tmp_path):
    cells.make_images(tmp_path / "images")
    cells.make_conf(tmp_path / "conf")
    return tmp_path


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["tables", *map(str, arguments)])
    return tables.main()


def test_a_stratified_table_has_each_stratums_mean_and_number(place, monkeypatch):
    made, _ = start(place, "metric=[deletion,insertion]")
    images = tables.per_image(made.folder, made.outcome)
    right = images["predicted"] == images["label"]
    assert 0 < right.sum() < 8  # else there is nothing to tell apart
    file = place / "by.csv"
    given = [place / "results", "--by", "correct", "--adversarial", "--write", file]
    assert command(monkeypatch, *given) == 0
    table = pd.read_csv(file)
    assert list(table["images"]) == ["correct", "wrong"]
    assert list(table["n"]) == [right.sum(), (~right).sum()]
    for line, part in zip(table.to_dict("records"), (images[right], images[~right]), strict=True):
        assert line["deletion ↓"].startswith(f"{part['deletion'].mean():.4f}")
        sums = (part["deletion"] + part["insertion"]) / part["score_on_image"]
        assert line["adversarial"] == f"{(sums <= 0.5).sum()} of {len(part)}"


def test_adversarial_masks_are_listed_by_the_names_of_their_images(place, monkeypatch, capsys):
    made, _ = start(place, "metric=[deletion,insertion]")
    images = tables.per_image(made.folder, made.outcome)
    monkeypatch.setattr("benchmark.strata.MUCH", float(excess(images).median()))
    found = adversarial(images)
    assert len(found) == 4
    assert command(monkeypatch, place / "results", "--adversarial") == 0
    shown = capsys.readouterr().out
    assert f"adversarial masks, toy at 7 x 7: {' '.join(found)}" in shown
    assert "4 of 8" in shown
    file = place / "masks.md"
    assert command(monkeypatch, place / "results", "--adversarial", "--write", file) == 0
    assert f"- adversarial masks, toy at 7 x 7: {' '.join(found)}.\n" in file.read_text()


def test_without_both_areas_no_mask_is_called_adversarial(place, monkeypatch, capsys):
    start(place, "metric=[deletion]")
    assert command(monkeypatch, place / "results", "--adversarial") == 0
    assert "adversarial" not in capsys.readouterr().out


def test_an_experiment_has_no_strata(monkeypatch, capsys):
    assert command(monkeypatch, "smoke", "--by", "correct") == 2
    assert "read a folder's runs: give their folder" in capsys.readouterr().err
