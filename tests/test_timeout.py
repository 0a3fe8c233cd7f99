"""Images for which a method takes too long: left out, said, and tried again by the next run."""

import json

import cells
import pytest
from cells import CALLS, Toy, start

from benchmark.bounded import TookTooLong, is_late
from benchmark.errors import BadInput
from benchmark.records import Part
from benchmark.stages import Stage

COUNT = 8
IDS = [f"image-{number:02}" for number in range(COUNT)]
REASON = "took longer than timeout=30 seconds"
SAID = (
    "1 of the chosen images are left out, for which the method takes longer than timeout=30: "
    "the numbers are of the others"
)


@pytest.fixture
def place(tmp_path):
    cells.make_images(tmp_path / "images", COUNT)
    cells.make_conf(tmp_path / "conf")
    CALLS.clear()
    return tmp_path


@pytest.fixture
def late(monkeypatch):
    """Images on which the toy method hangs, and is interrupted while it has changed the network."""
    ids = set()
    explain = Toy.__call__

    def hang(self, model, batch):
        heatmaps = explain(self, model, batch)
        if ids & set(batch.ids):
            model.network[0].weight.fill_(0)
            raise TookTooLong
        return heatmaps

    monkeypatch.setattr(Toy, "__call__", hang)
    return ids


def values(made, name="deletion"):
    return {each: row["value"] for each, row in made.folder.stage(made.stages[name]).rows.items()}


def test_an_image_that_takes_too_long_is_left_out_and_the_others_are_what_they_were(place, late):
    whole, _ = start(place, f"results='{place / 'elsewhere'}'", "batch_size=4")
    late.add("image-03")
    made, listener = start(place, "timeout=30", "batch_size=4")
    assert made.ids == [each for each in whole.ids if each != "image-03"]
    assert made.skipped == {"image-03": REASON}
    assert made.warnings == [SAID]
    assert listener.warnings == [f"skipped image-03: {REASON}"]
    assert (listener.done, listener.total) == (COUNT - 1, COUNT - 1)
    assert values(made) == {each: values(whole)[each] for each in made.ids}
    assert "image-03" not in Stage(made.folder.path, "heatmaps", "").rows


def test_only_a_batch_that_took_too_long_is_taken_apart(place, late):
    late.add("image-03")
    made, _ = start(place, "timeout=30", "batch_size=4")
    late_batch = next(call for call in CALLS if "image-03" in call)
    others = [call for call in CALLS if not set(call) & set(late_batch)]
    assert [len(call) for call in others] == [4]
    assert [call for call in CALLS if len(call) == 1] == [[each] for each in late_batch]
    ends = [json.loads(line) for line in (made.folder.path / "log.jsonl").open()]
    assert ends[-1]["skipped"] == {"image-03": REASON}


def test_the_next_run_tries_again_and_completes_the_cell_of_the_same_key(place, late):
    late.add("image-03")
    made, _ = start(place, "timeout=30")
    late.clear()
    CALLS.clear()
    again, _ = start(place)
    assert CALLS == [["image-03"]]
    assert again.folder.path == made.folder.path
    assert sorted(again.ids) == IDS and not again.warnings


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_whichever_shard_ends_last_the_cell_is_complete_without_the_image(place, late, order):
    late.add("image-03")
    first, last = (start(place, "timeout=30", "shards=2", f"shard={each}")[0] for each in order)
    assert isinstance(first.outcome, Part)
    assert sorted(last.ids) == [each for each in IDS if each != "image-03"]
    assert last.skipped == {"image-03": REASON} and last.warnings == [SAID]


def test_where_no_image_is_left_the_reason_is_named(place, late):
    late.update(IDS)
    with pytest.raises(BadInput, match=f"none of the 8 chosen images is left: image-.. {REASON}"):
        start(place, "timeout=30")


def test_without_a_limit_nothing_is_cut_short(place):
    made, _ = start(place)
    assert sorted(made.ids) == IDS and not made.skipped


def test_the_limit_is_real(place):
    with pytest.raises(BadInput, match=r"took longer than timeout=0\.05 seconds"):
        start(place, "timeout=0.05", "method.slow=60", "dataset.limit=1")


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "86401", "soon", "true"])
def test_a_limit_that_is_none_is_refused(place, given):
    with pytest.raises(BadInput, match="timeout"):
        cells.settings(place, f"timeout={given}")


def test_a_reason_is_late_only_where_the_limit_was_it():
    assert is_late(REASON) and not is_late("image-03 has 4 bytes") and not is_late("")
