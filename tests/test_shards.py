"""One cell, several processes: shards, files of several writers, claims, kills and stops."""

import json
import os
import random
import shlex
import shutil
import signal
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import cells
import pytest
from cells import CALLS, command, finished, make_conf, make_images, start, started

from benchmark import tables
from benchmark.claims import CLAIMS, Claims, Pace
from benchmark.errors import BadInput
from benchmark.progress import unfinished
from benchmark.records import Part
from benchmark.shards import Shard
from benchmark.stages import Stage
from benchmark.writers import WRITERS, this_process, writing

COUNT = 16
IDS = [f"image-{number:02}" for number in range(COUNT)]
PACE = Pace(seconds=30, beat=10, silent=120, look=1)
WHOLE = Shard(0, 1)
ALL = frozenset({"heatmaps", "scores"})  # what a process computes of an image
TIMES = ["seconds", "warm_up"]  # what no two runs have in common
SLOW = ["method.slow=0.3", "batch_size=1", "claims.seconds=0"]


@pytest.fixture(autouse=True)
def _forgotten_calls():
    CALLS.clear()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    make_images(folder / "images", COUNT)
    make_conf(folder / "conf")
    return folder


@pytest.fixture
def place(source, tmp_path):
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="module")
def alone(source, tmp_path_factory):
    """What one process makes of the whole cell, not to be changed."""
    folder = tmp_path_factory.mktemp("alone")
    shutil.copytree(source, folder, dirs_exist_ok=True)
    return contents(start(folder)[0])


def contents(made):
    """The numbers of a finished run: a line per image as text, and every array's bytes."""
    table = tables.per_image(made.folder, made.outcome)
    arrays = {
        (name, key): b"".join(array.tobytes() for array in stage.arrays_of(made.ids, key))
        for name in (made.heatmaps, *made.stages.values())
        for stage in [made.folder.stage(name)]
        for key in stage.rows[made.ids[0]]["arrays"]
    }
    return table.drop(columns=TIMES).to_csv(index=False), arrays


def explained():
    return sorted(image_id for ids in CALLS for image_id in ids)


def of(shard, shards, *more):
    return [f"shard={shard}", f"shards={shards}", *more]


def written(place):
    """Every line of heatmaps that any process has written."""
    files = list(place.glob("results/**/heatmaps.jsonl"))
    return [json.loads(line)["id"] for file in files for line in file.read_text().splitlines()]


def claims_of(place):
    return list(place.glob(f"results/*/*/*/{CLAIMS}/*"))


def in_background(place, *more):
    arguments = ["--config-dir", str(place / "conf"), *cells.choices(place, *more)]
    return started(*arguments, cwd=place)


def wait_until(true, seconds=300):
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert true()


# Shards


@pytest.mark.parametrize("shards", [2, 3, 5, 20])
def test_the_union_of_shards_in_any_order_is_what_one_process_makes(place, alone, shards):
    order = list(range(shards))
    random.Random(shards).shuffle(order)
    made = [start(place, *of(shard, shards))[0] for shard in order]
    # More shards than images: the cell is complete before the last ones, which find nothing to do.
    assert all(isinstance(each.outcome, Part) for each in made[: min(shards, 5) - 1])
    assert contents(made[-1]) == alone
    assert explained() == IDS


@pytest.mark.parametrize("size", [1, 3, 16])
def test_the_batch_size_of_shards_changes_nothing(place, alone, size):
    for shard in range(3):
        made, _ = start(place, *of(shard, 3, f"batch_size={size}"))
    assert contents(made) == alone


def test_shards_of_several_cuts_and_a_whole_process_put_together_one_cell(place, alone):
    start(place, "dataset.limit=3")
    start(place, *of(1, 2))
    start(place, *of(2, 3))
    assert len(explained()) == len(set(explained())) < COUNT
    made, listener = start(place)
    assert listener.done == len(explained()) - listener.advanced
    assert contents(made) == alone
    assert explained() == IDS


def test_a_shard_that_was_lost_is_made_again_and_nothing_else(place, alone):
    for shard in range(3):
        made, _ = start(place, *of(shard, 3))
    lost = sorted((made.folder.path / WRITERS).iterdir())[1]
    ids = [json.loads(line)["id"] for line in (lost / "heatmaps.jsonl").open()]
    shutil.rmtree(lost)
    CALLS.clear()
    for shard in range(3):
        made, _ = start(place, *of(shard, 3))
    assert explained() == sorted(ids)
    assert contents(made) == alone


def test_a_single_process_writes_as_it_always_did(place):
    made, _ = start(place)
    assert (made.folder.path / "heatmaps.jsonl").exists()
    assert not (made.folder.path / WRITERS).exists()
    assert claims_of(place) == []


def test_other_metrics_of_a_sharded_cell_take_its_heatmaps(place):
    for shard in range(2):
        made, _ = start(place, *of(shard, 2))
    CALLS.clear()
    made, _ = start(place, "metric=[insertion]", *of(0, 2))
    assert isinstance(made.outcome, Part)
    made, _ = start(place, "metric=[insertion]")
    assert CALLS == []
    rows = made.folder.stage(made.stages["insertion"]).rows
    assert sorted(rows) == IDS


def test_an_image_that_no_shard_can_read_is_skipped_whoever_ends_last(place):
    (place / "images" / IDS[3]).write_bytes(b"torn")
    whole, _ = start(place, f"results='{place / 'elsewhere'}'")
    for shard in (1, 3, 0, 2):
        made, _ = start(place, *of(shard, 4))
    assert made.warnings == whole.warnings
    assert made.warnings == ["1 of the chosen images could not be read: skipped"]
    assert contents(made) == contents(whole)


def test_an_image_that_can_be_read_again_is_waited_for(place, source):
    (place / "images" / IDS[3]).write_bytes(b"torn")
    start(place, *of(0, 2))
    start(place, *of(1, 2))
    shutil.copy(source / "images" / IDS[3], place / "images" / IDS[3])
    for shard in (0, 1):
        made, _ = start(place, *of(shard, 2))
    assert sorted(made.ids) == IDS


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["shards=0"], "shards must be at least 1"),
        (["shards=4"], "shards=4 needs shard=, a number from 0 to 3"),
        (["shards=4", "shard=4"], "shard=4 must be from 0 to 3 for shards=4"),
        (["shard=-1"], "shard=-1 must be from 0 to 0 for shards=1"),
    ],
    ids=" ".join,
)
def test_a_shard_that_there_is_not_is_refused(place, given, message):
    with pytest.raises(BadInput, match=message):
        start(place, *given)


def test_a_part_says_how_complete_the_cell_is(place):
    given = ["--config-dir", str(place / "conf"), *cells.choices(place, *of(1, 4))]
    said = command(*given, cwd=place)
    assert said.code == 0
    assert "shard 1 of 4 is done, 4 of 16 images are" in said.out
    assert not list(place.glob("results/**/per_image.csv"))


@pytest.mark.parametrize("option", ["", ".md"])
def test_a_table_says_which_runs_are_not_complete_and_how_far(place, monkeypatch, capsys, option):
    start(place, "method=random")
    start(place, *of(1, 4))
    write = ["--write", str(place / f"table{option}")] if option else []
    monkeypatch.setattr(sys, "argv", ["tables", str(place / "results"), *write])
    assert tables.main() == 0
    shown = (place / f"table{option}").read_text() if option else capsys.readouterr().out
    assert "not complete, 4 of 16 images" in shown
    assert "random at 7 x 7" in shown and "toy at 7 x 7" not in shown
    again = shown.partition("to go on: python -m benchmark ")[2].splitlines()[0]
    option, folder, *settings = shlex.split(again)
    assert (option, folder) == ("--config-dir", str(place / "conf"))
    start(place, *settings)
    assert "not complete" not in "".join(unfinished(place / "results"))


def test_a_folder_without_a_complete_run_says_how_far_it_is(place, monkeypatch, capsys):
    start(place, *of(1, 4))
    monkeypatch.setattr(sys, "argv", ["tables", str(place / "results")])
    assert tables.main() == 2
    assert "not complete, 4 of 16 images" in capsys.readouterr().err


# Files of several writers


def stage_of(folder, writer, numbers, value=0.0):
    rows = [{"id": f"image-{n}", "value": n / 7 + value} for n in numbers]
    arrays = [{"curve": cells.np.full(3, n + value, cells.np.float32)} for n in numbers]
    Stage(folder, "s", writer).append(rows, arrays)


def test_a_reader_sees_what_all_have_written_and_each_its_own_arrays(tmp_path):
    for writer, numbers in (("", [0, 1]), ("b", [4]), ("a", [2, 3])):
        stage_of(tmp_path, writer, numbers)
    stage = Stage(tmp_path, "s")
    assert list(stage.rows) == [f"image-{n}" for n in (0, 1, 2, 3, 4)]
    read = list(stage.arrays_of([f"image-{n}" for n in (4, 0, 2)], "curve"))
    assert [array.tolist() for array in read] == [[4] * 3, [0] * 3, [2] * 3]


def test_a_reader_takes_in_what_others_write_meanwhile(tmp_path):
    stage = Stage(tmp_path, "s", "mine")
    stage_of(tmp_path, "b", [0])
    assert stage.rows == {}
    stage.refresh()
    stage_of(tmp_path, "b", [1])
    stage_of(tmp_path, "", [2])
    stage.refresh()
    assert list(stage.rows) == ["image-0", "image-2", "image-1"]


def test_what_two_have_computed_alike_is_there_once(tmp_path):
    stage_of(tmp_path, "a", [5, 0, 1])
    stage_of(tmp_path, "b", [1, 2])
    assert sorted(Stage(tmp_path, "s").rows) == ["image-0", "image-1", "image-2", "image-5"]


def test_what_two_have_computed_differently_is_refused_and_both_are_named(tmp_path):
    stage_of(tmp_path, "a", [0, 1])
    for _ in range(2):  # whoever writes the second, and whoever reads both
        named = r"image-1 was computed twice .*/[ab]/s\.jsonl and in .*/[ab]/s\.jsonl"
        with pytest.raises(BadInput, match=named):
            stage_of(tmp_path, "b", [1, 2], value=1e-6)


@pytest.mark.parametrize("suffix", ["jsonl", "f32"])
def test_a_writer_that_was_killed_anywhere_hides_nothing_of_the_others(tmp_path, suffix):
    stage_of(tmp_path / "whole", "a", [0, 1])
    stage_of(tmp_path / "whole", "b", [2, 3])
    size = (tmp_path / "whole" / WRITERS / "a" / f"s.{suffix}").stat().st_size
    for cut in range(size):
        copy = tmp_path / f"cut-{cut}"
        shutil.copytree(tmp_path / "whole", copy)
        os.truncate(copy / WRITERS / "a" / f"s.{suffix}", cut)
        rows = Stage(copy, "s").rows
        assert {"image-2", "image-3"} <= rows.keys()
        assert "image-1" not in rows


# Who appends to the folder's own files


def test_one_process_has_the_folders_own_files_and_any_other_its_own(tmp_path):
    with writing(tmp_path, shared=False) as first:
        with writing(tmp_path, shared=False) as second, writing(tmp_path, shared=False) as third:
            assert first == ""
            assert len({first, second, third}) == 3
        with writing(tmp_path, shared=True) as fourth:
            assert fourth
    with writing(tmp_path, shared=False) as again:
        assert again == ""
    assert list(tmp_path.iterdir()) == []


def owner(folder, number, process):
    (folder / f".owner-{number}").write_text(json.dumps(process._asdict()))


def test_files_of_a_process_that_has_ended_are_continued(tmp_path):
    here = this_process()
    owner(tmp_path, 0, here._replace(began="1"))  # its number is used again
    with writing(tmp_path, shared=False) as first, writing(tmp_path, shared=False) as second:
        assert first == "" and second


def test_files_of_a_process_elsewhere_are_left_alone(tmp_path):
    owner(tmp_path, 0, this_process()._replace(host="elsewhere", pid=1))
    with writing(tmp_path, shared=False) as writer:
        assert writer


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_files_whose_owner_cannot_be_read_are_left_alone(tmp_path, text):
    """As after a power cut, if the system has kept the name and lost the content."""
    (tmp_path / ".owner-3").write_text(text)
    with writing(tmp_path, shared=False) as writer:
        assert writer


def test_a_process_is_told_from_another_of_its_number():
    here = this_process()
    assert here.has_ended() is False
    assert here._replace(began="1").has_ended() is True
    assert here._replace(pid=2**22 + 1).has_ended() is True
    assert here._replace(host="elsewhere").has_ended() is None
    assert here._replace(machine="an earlier boot").has_ended() is None


# Claims


def claim(folder, process, ids, stages=ALL, *, shard="0of1", age=0.0):
    """Leave the claim of another process, which has last shown life so many seconds ago."""
    file = folder / CLAIMS / f"{shard}-other-{process.pid}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({**process._asdict(), "ids": ids, "stages": sorted(stages)}))
    os.utime(file, (time.time() - age, time.time() - age))
    return file


def claims_in(folder, shard=WHOLE, pace=PACE):
    return Claims(folder, shard, pace, ALL)


def lacking(ids, stages=ALL):
    return {each: set(stages) for each in ids}


def test_what_a_living_process_has_claimed_is_left_to_it(tmp_path):
    claim(tmp_path, this_process(), ["a", "b"])
    mine = claims_in(tmp_path)
    assert mine.take(lacking("abcde"), 2) == ["c", "d"]
    assert not mine.leave(lacking("abc"))
    assert mine.take(lacking("ab"), 2) == []
    assert mine.leave(lacking("ab"))
    assert len(list((tmp_path / CLAIMS).iterdir())) == 1


def test_what_a_dead_process_has_claimed_is_taken_over_at_once(tmp_path):
    claim(tmp_path, this_process()._replace(began="1"), ["a", "b"])
    assert claims_in(tmp_path).take(lacking("abc"), 2) == ["a", "b"]


@pytest.mark.parametrize(("age", "left"), [(60, ["c"]), (180, ["a", "b"])])
def test_what_a_process_elsewhere_has_claimed_is_taken_over_when_it_is_silent(tmp_path, age, left):
    claim(tmp_path, this_process()._replace(host="elsewhere"), ["a", "b"], age=age)
    assert claims_in(tmp_path).take(lacking("abc"), 2) == left


def test_claims_of_other_shards_of_the_same_cut_are_not_looked_at(tmp_path):
    claim(tmp_path, this_process(), ["a"], shard="1of4")
    assert claims_in(tmp_path, Shard(0, 4)).take(lacking("a"), 1) == ["a"]


@pytest.mark.parametrize(
    "text", ["", '{"pid": 1', "[]", '{"ids": ["a"]}', '{"ids": 3, "stages": 4}']
)
@pytest.mark.parametrize(("age", "left"), [(60, 1), (180, 0)])
def test_what_cannot_be_read_claims_nothing_and_goes_when_it_is_silent(tmp_path, text, age, left):
    file = claim(tmp_path, this_process(), ["a"], age=age)
    file.write_text(text)
    os.utime(file, (time.time() - age, time.time() - age))
    assert claims_in(tmp_path).take(lacking("a"), 1) == ["a"]
    assert len(list(file.parent.glob("*-other-*"))) == left


def test_other_results_of_a_claimed_image_are_free(tmp_path):
    claim(tmp_path, this_process(), ["a", "b"], {"scores", "more scores"})
    mine = claims_in(tmp_path)
    assert mine.take(lacking("a", {"heatmaps"}) | lacking("b", {"heatmaps", "scores"}), 2) == ["a"]


def test_what_a_claim_covers_in_part_is_waited_for_and_all_of_it_is_left(tmp_path):
    claim(tmp_path, this_process(), ["a"], {"heatmaps", "more scores"})
    mine = claims_in(tmp_path)
    for stages, all_of_it in ((ALL, False), ({"heatmaps"}, True)):
        assert mine.take(lacking("a", stages), 2) == []
        assert mine.leave(lacking("a", stages)) is all_of_it


def test_two_claims_of_the_same_moment_are_told_apart(tmp_path, monkeypatch):
    """Each sees the other's only after it has written its own."""
    first, second = sorted((claims_in(tmp_path) for _ in range(2)), key=str_of)
    blind = SimpleNamespace(left=1)
    look = Claims._others

    def late(self, before=""):
        if self is second and not before and blind.left:
            blind.left = 0
            assert first.take(lacking("abcd"), 2) == ["a", "b"]
            return {}
        return look(self, before)

    monkeypatch.setattr(Claims, "_others", late)
    assert second.take(lacking("abcd"), 2) == ["c", "d"]


def str_of(claims):
    return claims._file.name


def test_a_claim_grows_while_it_is_done_sooner_than_it_is_meant_to_last(tmp_path):
    ids = lacking(str(number) for number in range(40))
    claims = claims_in(tmp_path)
    sizes = [len(claims.take(ids, 2)) for _ in range(4)]
    assert sizes == [2, 4, 8, 16]
    slow = claims_in(tmp_path / "slow", pace=replace(PACE, seconds=0))
    assert [len(slow.take(ids, 2)) for _ in range(3)] == [2, 2, 2]


def test_a_claim_does_not_grow_while_a_process_waits_for_others(tmp_path):
    file = claim(tmp_path, this_process(), ["a"])
    mine = claims_in(tmp_path)
    for _ in range(20):
        assert mine.take(lacking("a"), 2) == []
    file.unlink()
    assert len(mine.take(lacking("abcdefgh"), 2)) == 2


def test_a_process_of_this_machine_that_hangs_is_taken_over_too(tmp_path):
    claim(tmp_path, this_process(), ["a"], age=PACE.silent + 1)
    assert claims_in(tmp_path).take(lacking("a"), 1) == ["a"]


def test_a_living_process_shows_it_and_leaves_no_claim(tmp_path):
    claims = claims_in(tmp_path, pace=replace(PACE, beat=0.01))
    with claims.alive():
        claims.take(lacking("a"), 1)
        (file,) = (tmp_path / CLAIMS).iterdir()
        os.utime(file, (1, 1))
        wait_until(lambda: file.stat().st_mtime > 1)
    assert list((tmp_path / CLAIMS).iterdir()) == []


@pytest.mark.parametrize("given", [{"beat": 0}, {"beat": 120}, {"seconds": -1}, {"look": 0}])
def test_a_pace_that_makes_no_sense_is_refused(given):
    with pytest.raises(BadInput, match="claims need 0 < beat < silent"):
        replace(PACE, **given)


# Processes


def made_by_one_process(place, *more):
    return contents(start(place, *more, f"results='{place / 'by one'}'")[0])


def test_two_processes_share_a_cell_explain_each_image_once_and_make_what_one_does(
    place, monkeypatch
):
    both = [in_background(place, *SLOW) for _ in range(2)]
    ended = [finished(each) for each in both]
    assert [each.code for each in ended] == [0, 0]
    monkeypatch.setattr(cells, "time", SimpleNamespace(sleep=lambda _: None))
    made, listener = start(place, *SLOW)
    assert sorted(made.ids) == IDS
    assert listener.advanced == 0 and listener.done == COUNT
    assert sorted(set(written(place))) == IDS
    assert len(written(place)) <= COUNT + 1  # the first claims may have been made in one moment
    assert claims_of(place) == []
    assert contents(made) == made_by_one_process(place, *SLOW)


def test_processes_of_other_metrics_share_the_heatmaps_and_make_what_one_does(place, monkeypatch):
    given = [*SLOW, "claims.look=0.05"]
    metrics = ("deletion", "insertion", "pointing")
    each_own = [in_background(place, *given, f"metric=[{each}]") for each in metrics]
    ended = [finished(each) for each in each_own]
    assert [each.code for each in ended] == [0, 0, 0]
    assert not [each.out for each in ended if "of 16 images are" in each.out]
    monkeypatch.setattr(cells, "time", SimpleNamespace(sleep=lambda _: None))
    together = f"metric=[{','.join(metrics)}]"
    made, listener = start(place, *given, together)
    assert listener.advanced == 0 and sorted(made.ids) == IDS
    assert sorted(set(written(place))) == IDS
    assert len(written(place)) <= COUNT + 2  # the first claims may have been made in one moment
    assert contents(made) == made_by_one_process(place, *given, together)


def test_scores_by_another_metric_are_not_left_to_who_makes_those_of_one(place):
    start(place, "metric=[deletion]")
    made, _ = start(place, "metric=[insertion,pointing]", "dataset.limit=1")
    claim(made.folder.path, this_process(), IDS, {made.stages["insertion"]})
    outcome = start(place, "metric=[pointing]")[0].outcome
    assert not isinstance(outcome, Part)
    assert isinstance(start(place, "metric=[insertion]")[0].outcome, Part)


@pytest.mark.parametrize("company", [False, True])
def test_what_others_write_is_looked_at_where_there_are_others(place, monkeypatch, company):
    looks = []
    refresh = Stage.refresh
    monkeypatch.setattr(Stage, "refresh", lambda self: (looks.append(self.name), refresh(self)))
    (folder,) = {start(place, "dataset.limit=1")[0].folder.path}
    looks.clear()
    if company:
        claim(folder, this_process(), ["another image"])
    start(place, "batch_size=1", "claims.seconds=0")
    assert len(CALLS) == COUNT
    # When it opens the cell, before its first claim and after its last, and before every other.
    assert looks.count("heatmaps") == 3 + (COUNT - 2 if company else 0)


def test_a_shard_that_was_killed_costs_its_batch_and_is_taken_over_at_once(place, monkeypatch):
    killed = in_background(place, *SLOW, *of(0, 2))
    wait_until(lambda: len(written(place)) >= 2)
    os.kill(killed, signal.SIGKILL)
    assert finished(killed).code == -signal.SIGKILL
    before = len(written(place))
    assert len(claims_of(place)) == 1
    monkeypatch.setattr(cells, "time", SimpleNamespace(sleep=lambda _: None))
    for shard in (0, 1):
        made, _ = start(place, *SLOW, *of(shard, 2))
    assert len(explained()) == COUNT - before
    assert sorted(made.ids) == IDS
    assert claims_of(place) == []


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2"])
def test_a_process_that_is_told_to_stop_says_so_by_its_code_and_leaves_no_claim(
    place, monkeypatch, name
):
    process = in_background(place, *SLOW)
    wait_until(lambda: len(written(place)) >= 2)
    os.kill(process, getattr(signal, name))
    ended = finished(process)
    assert ended.code == 75
    assert f"stopped by {name}; the same command continues here" in ended.err
    assert "Traceback" not in ended.err
    assert claims_of(place) == [] and not list(place.glob("results/*/*/*/.owner-*"))
    before = len(written(place))
    monkeypatch.setattr(cells, "time", SimpleNamespace(sleep=lambda _: None))
    made, listener = start(place, *SLOW)
    assert listener.done >= before - 1  # the last may not have been scored
    assert len(explained()) == COUNT - before
    assert sorted(made.ids) == IDS
