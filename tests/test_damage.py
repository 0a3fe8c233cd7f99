"""Stored results that are not what was written are noticed, set aside, and computed again."""

import json
import os
import random
import shutil
from types import SimpleNamespace

import pytest
from cells import CALLS, Listener, make_conf, make_images, product, settings, start

from benchmark import making
from benchmark.damage import Damaged
from benchmark.errors import BadInput
from benchmark.run import run
from benchmark.summary import per_image
from benchmark.writers import this_process

COUNT = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run that is done, at a resolution that it was resized to."""
    folder = tmp_path_factory.mktemp("made")
    make_images(folder / "images", COUNT)
    make_conf(folder / "conf")
    outcome, _ = start(folder)
    return SimpleNamespace(
        place=folder, run=outcome.folder.path, files=product(outcome.folder.path)
    )


@pytest.fixture
def place(made, tmp_path):
    """A copy of it to be damaged."""
    shutil.copytree(made.place, tmp_path, dirs_exist_ok=True)
    CALLS.clear()
    return tmp_path


def files_of(made, place):
    folder = place / made.run.relative_to(made.place)
    return folder, [folder / name for name in made.files]


def images(place):
    return (place / "images").iterdir()


def flip(file, position):
    content = bytearray(file.read_bytes())
    content[position] ^= 0x10
    file.write_bytes(content)


def test_any_changed_byte_of_any_file_is_noticed_set_aside_and_computed_anew(made, place):
    """But for the last line, which counts as one that a kill has torn."""
    chance = random.Random(3)
    folder, files = files_of(made, place)
    for file in files:
        lines = file.suffix == ".jsonl"
        last = len(file.read_bytes().splitlines(keepends=True)[-1]) if lines else 0
        for _ in range(3):
            flip(file, chance.randrange(file.stat().st_size - last))
            again, listener = start(place)
            assert product(again.folder.path) == made.files
            [said] = listener.warnings
            assert str(file) in said and "set aside in" in said and "computed anew" in said
            [aside] = folder.glob("damaged-*")
            assert (aside / file.relative_to(folder)).exists()
            shutil.rmtree(aside)


def test_scores_are_made_again_of_the_heatmaps_that_are_there(made, place):
    folder, _ = files_of(made, place)
    [scores] = folder.glob("scores/deletion*.f32")
    flip(scores, 5)
    start(place)
    assert CALLS == []
    [aside] = folder.glob("damaged-*")
    assert sorted(each.name for each in aside.rglob("*.*")) == sorted(
        [scores.name, scores.with_suffix(".jsonl").name]
    )


def test_all_that_is_made_of_damaged_heatmaps_is_set_aside_with_them(made, place):
    folder, files = files_of(made, place)
    flip(folder / "heatmaps.f32", 0)
    start(place)
    assert {each for ids in CALLS for each in ids} == {file.name for file in images(place)}
    [aside] = folder.glob("damaged-*")
    moved = {str(each.relative_to(aside)) for each in aside.rglob("*.*")}
    assert moved == {str(file.relative_to(folder)) for file in files}


def test_files_that_are_not_the_benchmarks_change_nothing(made, place):
    folder, _ = files_of(made, place)
    for name in ("notes.txt", "scores/mine.jsonl", "heatmaps.jsonl.bak", "scores/deletion.f32"):
        (folder / name).write_bytes(os.urandom(100))
    again, listener = start(place)
    kept = product(again.folder.path)
    assert {name: kept[name] for name in made.files} == made.files
    assert CALLS == [] and listener.warnings == []
    assert len(per_image(again.folder, again.outcome)) == COUNT


def test_damage_in_files_of_another_process_is_refused_and_its_folder_named(made, place):
    shutil.rmtree(place / "results")
    run(settings(place, "shards=2", "shard=0"), Listener())
    [writer] = place.glob("results/*/*/*/writers/*")
    flip(writer / "heatmaps.jsonl", 9)
    with pytest.raises(Damaged, match=f"remove {writer}, and give the command that made it again"):
        run(settings(place, "shards=2", "shard=1"), Listener())


@pytest.mark.parametrize("name", ["heatmaps.f32", "heatmaps.jsonl"])
def test_damage_is_noticed_where_nobody_knows_whether_the_writer_lives(made, place, name):
    """As after a reboot, or elsewhere: the one that was killed may be at work still."""
    folder, _ = files_of(made, place)
    owner = folder / ".owner-0"
    owner.write_text(json.dumps(this_process()._replace(machine="another boot")._asdict()))
    flip(folder / name, 5)
    with pytest.raises(Damaged, match=f"given again once no process writes there and {owner} is r"):
        start(place)
    owner.unlink()
    again, listener = start(place)
    assert len(listener.warnings) == 1
    assert product(again.folder.path) == made.files


def test_results_that_are_gone_are_no_damage(made, place, monkeypatch):
    """Moved away in the midst of a run, whose next line makes the folder anew."""
    folder, _ = files_of(made, place)
    score = making.score

    def moved(*given, **more):
        values = score(*given, **more)
        folder.rename(place / "elsewhere")
        return values

    monkeypatch.setattr(making, "score", moved)
    with pytest.raises((BadInput, OSError), match=r"was removed while|No such file"):
        start(place, "metric=[insertion,deletion_normalised]")
    assert not (folder / "settings.json").exists()
