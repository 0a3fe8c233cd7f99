import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as rounds
from hypothesis import strategies as st

from benchmark import records
from benchmark.errors import BadInput
from benchmark.files import write_whole
from benchmark.lines import append_line, read_lines
from benchmark.records import RunFolder
from benchmark.stages import Stage

# No test fails because the machine is busy.
ROUNDS = rounds(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NUMBERS = np.random.default_rng(0).normal(size=(6, 3, 3)).astype(np.float32)


def row_of(number):
    return {"id": f"image-{number}", "value": number / 7, "correct": number % 2 == 0, "label": -1}


def arrays_of(number):
    return {"heatmap": NUMBERS[number], "curve": NUMBERS[number, 0, : number + 1]}


def write(folder, numbers, name="heatmaps"):
    """Append these images in a fresh object, as a new process would."""
    Stage(folder, name).append([row_of(n) for n in numbers], [arrays_of(n) for n in numbers])


def complete(folder):
    """Append whatever a reader finds missing of four images, as a resumed run does."""
    rows = Stage(folder, "heatmaps").rows
    write(folder, [n for n in range(4) if f"image-{n}" not in rows])


def files_of(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture
def whole(tmp_path):
    """A stage of four images, written in two appends."""
    folder = tmp_path / "whole"
    write(folder, [0, 1])
    write(folder, [2, 3])
    return folder


def test_rows_and_arrays_are_read_back_as_they_were_written(whole):
    stage = Stage(whole, "heatmaps")
    assert list(stage.rows) == [f"image-{n}" for n in range(4)]
    for number in range(4):
        stored = stage.rows[f"image-{number}"]
        assert {name: stored[name] for name in row_of(number)} == row_of(number)
        for name, array in arrays_of(number).items():
            read = stage.array(f"image-{number}", name)
            assert read.dtype == np.float32
            np.testing.assert_array_equal(read, array)


@ROUNDS
@given(
    st.lists(
        st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=False),
        min_size=1,
        max_size=20,
    ),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
    st.floats(),
)
def test_any_number_and_any_name_survives_the_disk(tmp_path_factory, numbers, image_id, value):
    folder = tmp_path_factory.mktemp("stage")
    array = np.array(numbers, dtype=np.float32)
    Stage(folder, "s").append([{"id": image_id, "value": value}], [{"curve": array}])
    stage = Stage(folder, "s")
    assert stage.array(image_id, "curve").tobytes() == array.tobytes()
    expected = value if np.isfinite(value) else None
    assert stage.rows[image_id]["value"] == expected


def test_a_stage_knows_what_it_has_just_written(tmp_path):
    stage = Stage(tmp_path / "new", "heatmaps")
    assert stage.rows == {}
    stage.append([row_of(0)], [arrays_of(0)])
    stage.append([row_of(1)], [arrays_of(1)])
    assert stage.rows == Stage(tmp_path / "new", "heatmaps").rows
    np.testing.assert_array_equal(stage.array("image-1", "heatmap"), NUMBERS[1])


def test_the_files_do_not_depend_on_how_the_rows_were_grouped(whole, tmp_path):
    write(tmp_path / "at_once", range(4))
    assert files_of(whole) == files_of(tmp_path / "at_once")


def test_a_missing_number_is_written_as_null(tmp_path):
    row = {"id": "a", "value": float("nan"), "score": float("inf")}
    Stage(tmp_path, "scores").append([row], [{}])
    line = json.loads((tmp_path / "scores.jsonl").read_text())
    assert line["value"] is None
    assert line["score"] is None
    assert Stage(tmp_path, "scores").rows["a"]["value"] is None


def test_looking_at_results_changes_no_file(whole):
    with (whole / "heatmaps.jsonl").open("ab") as file:
        file.write(b'{"id": "half a li')
    before = files_of(whole)
    Stage(whole, "heatmaps").array("image-0", "heatmap")
    assert files_of(whole) == before


@pytest.mark.parametrize("suffix", ["jsonl", "f32"])
def test_a_file_that_ends_anywhere_is_completed_to_the_same_bytes(whole, tmp_path, suffix):
    expected = files_of(whole)
    size = len(expected[f"heatmaps.{suffix}"])
    last = size - (2 * size // 5)  # past the start of the last record, whichever file
    for position in range(last, size):
        folder = tmp_path / f"cut-{position}"
        shutil.copytree(whole, folder)
        os.truncate(folder / f"heatmaps.{suffix}", position)
        rows = Stage(folder, "heatmaps").rows
        assert list(rows) == [f"image-{n}" for n in range(len(rows))]
        assert len(rows) < 4
        complete(folder)
        assert files_of(folder) == expected, f"cut at byte {position} of {size}"


@ROUNDS
@given(st.data())
def test_both_files_may_end_anywhere(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cut")
    write(folder, range(4))
    expected = files_of(folder)
    for name, content in expected.items():
        os.truncate(folder / name, data.draw(st.integers(0, len(content))))
    complete(folder)
    assert files_of(folder) == expected


@ROUNDS
@given(st.integers(0, 3), st.data())
def test_a_garbled_last_line_is_written_again_and_one_before_intact_ones_is_refused(
    tmp_path_factory, which, data
):
    folder = tmp_path_factory.mktemp("garbled")
    write(folder, range(4))
    expected = files_of(folder)
    lines = expected["heatmaps.jsonl"].splitlines(keepends=True)
    place = data.draw(st.integers(0, len(lines[which]) - 1))
    wrong = data.draw(st.integers(0, 255).filter(lambda byte: byte != lines[which][place]))
    lines[which] = lines[which][:place] + bytes([wrong]) + lines[which][place + 1 :]
    (folder / "heatmaps.jsonl").write_bytes(b"".join(lines))
    joined = place == len(lines[which]) - 1  # without its end a line takes the next one with it
    if which + joined < 3:
        with pytest.raises(BadInput, match=rf"damage in line {which + 1} of "):
            Stage(folder, "heatmaps")
        return
    stage = Stage(folder, "heatmaps")
    assert list(stage.rows) == [f"image-{n}" for n in range(which)]
    for number in range(which):
        np.testing.assert_array_equal(stage.array(f"image-{number}", "heatmap"), NUMBERS[number])
    complete(folder)
    assert files_of(folder) == expected


def test_arrays_that_no_line_vouches_for_are_overwritten(whole):
    expected = files_of(whole)
    with (whole / "heatmaps.f32").open("ab") as file:
        file.write(b"arrays of a line that was never written")
    write(whole, [4])
    np.testing.assert_array_equal(Stage(whole, "heatmaps").array("image-4", "heatmap"), NUMBERS[4])
    longer = files_of(whole)
    assert len(longer["heatmaps.f32"]) == len(expected["heatmaps.f32"]) + 4 * (9 + 3)


def test_a_single_changed_bit_of_an_array_is_noticed(whole):
    file = whole / "heatmaps.f32"
    content = bytearray(file.read_bytes())
    stage = Stage(whole, "heatmaps")
    start = stage.rows["image-2"]["arrays"]["curve"][0]
    content[start + 1] ^= 1
    file.write_bytes(content)
    with pytest.raises(BadInput, match="does not hold what was written for image-2"):
        stage.array("image-2", "heatmap")
    np.testing.assert_array_equal(stage.array("image-3", "heatmap"), NUMBERS[3])


def test_an_array_file_cut_after_it_was_read_is_noticed(whole):
    stage = Stage(whole, "heatmaps")
    os.truncate(whole / "heatmaps.f32", stage.rows["image-3"]["arrays"]["heatmap"][0] + 4)
    with pytest.raises(BadInput, match="does not hold what was written for image-3"):
        stage.array("image-3", "heatmap")


# The folder


def test_a_folder_of_other_settings_is_refused(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.claim({"res": 28})
    folder.claim({"res": 28})
    with pytest.raises(BadInput, match="holds results of other settings"):
        folder.claim({"res": 14})
    assert json.loads((tmp_path / "run" / "settings.json").read_text()) == {"res": 28}


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BadInput, match="cannot write to"):
        RunFolder(tmp_path / "file" / "run").claim({})


def test_the_same_images_have_the_same_manifest(tmp_path):
    folder = RunFolder(tmp_path)
    name = folder.write_manifest(["b", "a"])
    assert (tmp_path / name).read_text() == "b\na\n"
    assert folder.write_manifest(["b", "a"]) == name
    assert folder.write_manifest(["a", "b"]) != name


def test_times_are_read_back(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.timings() == []
    folder.time(["a", "b"], 3.0, 100, first=True)
    folder.time(["c"], 1.0, 200, first=False)
    assert [line["seconds_per_image"] for line in folder.timings()] == [1.5, 1.0]
    assert [line["warm_up"] for line in folder.timings()] == [True, False]


def test_times_written_after_a_torn_line_are_read_and_the_torn_one_is_not(tmp_path):
    RunFolder(tmp_path).time(["a"], 3.0, 100, first=True)
    whole = (tmp_path / "timing.jsonl").read_bytes()
    for position in range(1, len(whole)):
        (tmp_path / "timing.jsonl").write_bytes(whole[:position])
        folder = RunFolder(tmp_path)
        folder.time(["b"], 1.0, 200, first=False)
        assert [line["ids"] for line in folder.timings()][-1] == ["b"], f"cut at {position}"


# One file, whole


class PowerCutError(Exception):
    pass


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_an_interrupted_write_leaves_the_old_content(tmp_path, monkeypatch, moment):
    def cut(*arguments):
        raise PowerCutError

    file = tmp_path / "settings.json"
    write_whole(file, "old")
    with monkeypatch.context() as patch:
        patch.setattr(
            *{"fsync": (records.os, "fsync"), "replace": (type(file), "replace")}[moment], cut
        )
        with pytest.raises(PowerCutError):
            write_whole(file, "new" * 1000)
    assert file.read_text() == "old"
    write_whole(file, "new")
    assert file.read_text() == "new"


def test_results_are_forced_onto_the_disk_arrays_before_their_lines(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(records.os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
    write(tmp_path, [0])
    order = [(tmp_path / f"heatmaps.{suffix}").stat().st_ino for suffix in ("f32", "jsonl")]
    assert synced == order


def test_an_end_belongs_to_its_own_start_where_two_ran_at_once(tmp_path):
    folder = RunFolder(tmp_path)
    first, second = folder.begin({"who": "first"}), folder.begin({"who": "second"})
    folder.log({"event": "timed", "start": second})
    folder.log({"event": "end", "start": first})
    killed = folder.begin({"who": "third"})
    ends = {start["who"]: end and end["event"] for start, end in folder.starts()}
    assert ends == {"first": "end", "second": "timed", "third": None}
    assert len({first, second, killed}) == 3


def test_an_end_without_a_name_is_that_of_the_last_start(tmp_path):
    folder = RunFolder(tmp_path)
    for entry in ({"event": "start", "who": 1}, {"event": "start", "who": 2}, {"event": "end"}):
        folder.log(entry)
    assert [end is not None for _, end in folder.starts()] == [False, True]


def test_two_processes_do_not_time_in_one_folder_at_once(tmp_path):
    held, other = RunFolder(tmp_path).lock(), RunFolder(tmp_path).lock()
    with held, pytest.raises(BadInput, match="another process is timing"), other:
        pass
    with RunFolder(tmp_path).lock():
        pass


def test_a_row_that_is_being_written_is_not_taken_for_a_damaged_one(tmp_path):
    stage = Stage(tmp_path, "heatmaps")
    stage.append([{"id": "a"}], [{}])
    whole = stage.folder.joinpath("heatmaps.jsonl").read_bytes()
    with (tmp_path / "heatmaps.jsonl").open("ab") as file:
        file.write(whole[:10])
    assert list(Stage(tmp_path, "heatmaps").rows) == ["a"]


def test_a_manifest_that_was_changed_is_refused(tmp_path):
    folder = RunFolder(tmp_path)
    name = folder.write_manifest(["b", "a", "c\u2028d"])
    assert folder.ids(name) == ["b", "a", "c\u2028d"]
    for text in ("b\na\n", "a\nb\nc\u2028d\n", ""):
        (tmp_path / name).write_text(text)
        with pytest.raises(BadInput, match=f"{name} was changed"):
            folder.ids(name)


def test_a_log_line_whose_numbers_were_changed_is_left_out_like_a_torn_one(tmp_path):
    log = tmp_path / "log.jsonl"
    for number in range(3):
        append_line(log, {"event": "end", "images": number})
    assert [line["images"] for line in read_lines(log)] == [0, 1, 2]
    log.write_text(log.read_text().replace('"images": 1', '"images": 7'))
    assert [line["images"] for line in read_lines(log)] == [0, 2]


def test_logs_that_were_written_without_checksums_are_still_read(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"event": "start"}\n{"event": "en')
    append_line(log, {"event": "start"})
    assert read_lines(log) == [{"event": "start"}, {"event": "start"}]
