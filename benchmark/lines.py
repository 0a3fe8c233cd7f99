"""Lines of JSON in files that are only ever added to, each with a checksum of itself."""

from __future__ import annotations

import json
import math
import os
import zlib
from pathlib import Path
from typing import Any

import orjson

from benchmark.files import append

Row = dict[str, Any]
_MARK = b', "check": '  # and a number, which ends the line


def line_of(row: Row) -> bytes:
    """Write a row as one line, its last key a checksum of all before it."""
    body = json.dumps(row, allow_nan=False)
    return f"{body[:-1]}{_MARK.decode()}{zlib.crc32(body.encode())}}}\n".encode()


def parsed(line: bytes) -> Row | None:
    """Read a line back, or None where it is torn or garbled."""
    body, mark, check = line.rpartition(_MARK)
    if not mark or not check.endswith(b"}\n") or not check[:-2].isdigit():
        return None
    if zlib.crc32(body + b"}") != int(check[:-2]):
        return None
    row: Row = orjson.loads(body + b"}")
    return row


def finite(row: Row) -> Row:
    """Put None, which JSON has, in the place of NaN and infinity."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def append_line(path: Path, entry: Row) -> None:
    """Add a line to a log, on a line of its own also where the last one was torn."""
    append(path, (b"\n" if _is_torn(path) else b"") + line_of(entry))


def read_lines(path: Path) -> list[Row]:
    """Read a log, leaving out what a kill has torn, or whatever has garbled."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        return [row for line in file if (row := parsed(line) or _older(line)) is not None]


def _older(line: bytes) -> Row | None:
    """Read a line of a log that was written without checksums."""
    try:
        row: Row | None = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return row if isinstance(row, dict) and "check" not in row else None


def _is_torn(path: Path) -> bool:
    if not path.exists() or path.stat().st_size == 0:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"
