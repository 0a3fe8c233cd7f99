"""What a command leaves behind where it is ended while it shows, or cannot write."""

import pytest

from benchmark.files import write_then_show


def ended():
    """Stand in for showing to a reader that has gone: rich ends the command."""
    raise SystemExit(1)


def test_files_are_there_although_the_reader_of_what_is_shown_has_gone(tmp_path):
    files = [tmp_path / "a.md", tmp_path / "a.csv"]
    with pytest.raises(SystemExit):
        write_then_show(files, lambda file: file.write_text("found"), ended)
    assert [file.read_text() for file in files] == ["found", "found"]


def test_what_was_found_is_shown_although_a_file_cannot_be_written(tmp_path, capsys):
    file = tmp_path / "no folder" / "a.md"
    with pytest.raises(FileNotFoundError):
        write_then_show([file], lambda file: file.write_text("found"), lambda: print("found"))
    assert capsys.readouterr().out == "found\n"


def test_what_is_written_is_said_last(tmp_path, capsys):
    file = tmp_path / "a.md"
    write_then_show([file], lambda file: file.write_text("found"), lambda: print("found"))
    assert capsys.readouterr().out == f"found\nwritten to {file}\n"
    write_then_show([], ended, lambda: print("found"))
    assert capsys.readouterr().out == "found\n"
