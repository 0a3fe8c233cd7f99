"""How much has to be inserted until a class is back: closed forms, and whose passes it takes."""

import cells
import numpy as np
import pytest
import torch
from cells import start
from hypothesis import given
from hypothesis import strategies as st
from toys import Additive, batch_of, classifier, protocol

from benchmark import curves, plan
from benchmark.cell import Cell
from benchmark.curves import Curve
from benchmark.interfaces import BadInput
from benchmark.known_curves import in_order, keepers_of
from metrics.deletion_insertion import Insertion
from metrics.insertion_needed import InsertionNeeded

NEEDED = "metric=[insertion_needed,insertion]"


@pytest.fixture
def place(tmp_path):
    cells.make_images(tmp_path / "images", 4)
    cells.make_conf(tmp_path / "conf")
    return tmp_path


def needed(scores, fractions=None, share=0.5):
    """The fraction needed by one curve, of evenly spaced points unless told otherwise."""
    scores = torch.tensor([scores])
    even = torch.linspace(0, 1, scores.shape[1])
    fractions = even if fractions is None else torch.tensor(fractions)
    return float(InsertionNeeded(protocol(), share).from_curves(Curve(scores, fractions)).values)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.0, 0.25, 0.5, 0.75, 1.0], 0.5),  # on a point
        ([0.0, 0.0, 0.0, 0.0, 0.8], 0.875),  # half-way between the last two
        ([0.0, 0.8, 0.1, 0.1, 0.8], 0.125),  # the first time, though it falls again
        ([0.4, 0.0, 0.0, 0.0, 0.8], 0.0),  # the substrate has it
        ([0.9, 0.9, 0.9, 0.9, 0.3], 0.0),
        ([0.0, 0.0, 0.0, 0.0, 0.0], 0.0),
    ],
)
def test_it_is_where_the_curve_first_has_half_of_its_last_score(scores, expected):
    assert needed(scores) == pytest.approx(expected, abs=1e-6)


def test_another_share_and_uneven_points_are_followed():
    curve, fractions = [0.0, 0.2, 1.0], [0.0, 0.1, 1.0]
    assert needed(curve, fractions, share=0.1) == pytest.approx(0.05, abs=1e-6)
    assert needed(curve, fractions, share=0.6) == pytest.approx(0.55, abs=1e-6)
    assert needed(curve, fractions, share=1.0) == pytest.approx(1.0, abs=1e-6)


@given(st.lists(st.integers(0, 100), min_size=2, max_size=9), st.integers(1, 100))
def test_it_is_what_a_search_along_a_fine_drawing_of_the_curve_finds(percents, share):
    scores = np.array(percents, dtype=np.float32) / 100
    fine = np.linspace(0, 1, 20 * (len(scores) - 1) + 1)
    drawn = np.interp(fine, np.linspace(0, 1, len(scores)), scores.astype(float))
    first = fine[np.argmax(drawn >= share / 100 * drawn[-1] - 1e-7)]
    step = fine[1]
    assert first - step - 1e-5 <= needed(scores.tolist(), share=share / 100) <= first + 1e-5


@pytest.mark.parametrize(("ascending", "expected"), [(False, 0.25), (True, 0.75)])
def test_a_class_in_the_left_half_needs_half_of_it_or_the_right_and_half_of_it(ascending, expected):
    weights = torch.zeros(3, 8, 8)
    weights[:, :, :4] = 0.02
    model = classifier(Additive(weights, offset=1e-6), input_size=8)
    columns = torch.arange(8.0).expand(8, 8)
    heatmap = columns if ascending else -columns
    metric = InsertionNeeded(protocol(order="pixels", steps=64), 0.5)
    scores = metric(model, batch_of(torch.full((1, 3, 8, 8), 0.5)), heatmap[None])
    assert float(scores.values) == pytest.approx(expected, abs=1e-3)
    assert not metric.higher_is_better


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_a_share_of_nothing_or_of_more_than_the_whole_is_refused(share):
    with pytest.raises(BadInput, match="a share above 0 and up to 1"):
        InsertionNeeded(protocol(), share)


# In a run


def counted(monkeypatch):
    """Note which curves are scored."""
    walks, own = [], curves.curve

    def call(*arguments):
        walks.append(arguments[-1])
        return own(*arguments)

    monkeypatch.setattr(curves, "curve", call)
    return walks


def test_a_run_reads_it_off_the_stored_curves_of_insertion(place, monkeypatch):
    walks = counted(monkeypatch)
    made, _ = start(place, NEEDED)
    cell = Cell.open(cells.settings(place, NEEDED))
    assert set(walks) == {*cell.metrics["insertion"].walks}
    assert len(walks) == 1
    batch = cell.batch(made.ids)
    stored = [made.folder.stage("heatmaps").array(each, "heatmap") for each in made.ids]
    asked = cell.metrics["insertion_needed"](cell.model, batch, torch.from_numpy(np.stack(stored)))
    rows = made.folder.stage(made.stages["insertion_needed"]).rows
    assert [rows[each]["value"] for each in made.ids] == asked.values.tolist()
    assert len(set(asked.values.tolist())) > 1


def test_without_these_curves_it_makes_its_own_and_comes_to_the_same(place, monkeypatch):
    beside, _ = start(place, NEEDED)
    rows = beside.folder.stage(beside.stages["insertion_needed"]).rows
    walks = counted(monkeypatch)
    elsewhere = f"results='{place / 'other'}'"
    alone, _ = start(place, "metric=[insertion_needed]", elsewhere)
    own = alone.folder.stage(alone.stages["insertion_needed"]).rows
    assert len(walks) == 1
    assert {each: row["value"] for each, row in own.items()} == {
        each: row["value"] for each, row in rows.items()
    }


@pytest.mark.parametrize(("steps", "keepers"), [(9, ["insertion"]), (3, [])])
def test_curves_of_another_protocol_are_not_taken(steps, keepers):
    metrics = {
        "insertion_needed": InsertionNeeded(protocol(steps=9), 0.5),
        "insertion": Insertion(protocol(steps=steps)),
    }
    assert list(keepers_of("insertion_needed", metrics).values()) == [keepers]
    assert list(keepers_of("insertion", metrics).values()) == [[]]
    assert in_order(metrics) == ["insertion", "insertion_needed"]


def test_the_plan_counts_the_passes_of_the_curve_once(place):
    model, batch = classifier(Additive(torch.zeros(3, 32, 32))), batch_of(torch.zeros(1, 3, 32, 32))
    costs = [
        plan.count_passes(cells.settings(place, f"metric=[{names}]"), model, batch).scoring
        for names in ("insertion", "insertion_needed", "insertion,insertion_needed")
    ]
    assert costs[0] == {"insertion": costs[1]["insertion_needed"]}
    assert costs[2] == costs[0] | {"insertion_needed": 0}
    assert costs[0]["insertion"] > 0
