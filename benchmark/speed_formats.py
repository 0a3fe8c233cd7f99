"""What ``benchmark.speed`` found, for a terminal, as Markdown, CSV or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import torch
from rich.table import Table
from rich.text import Text

from benchmark.alternation import Ratio
from benchmark.captions import caption
from benchmark.devices import device_name
from benchmark.identity import environment
from benchmark.pass_times import best
from benchmark.speed_run import Line, Speeds

Document = dict[str, Any]  # as in the JSON file: every number, and what it was measured with

LIMIT = (
    "seconds per image of a pass as methods ask for it, with normalisation, padding and counting, "
    "and of the network alone, its weights in the pass's precision; backward: to the image"
)
EFFICIENCY = (
    "passes: forward + backward, per image; limit: these, each as long as the network's alone in "
    "series of passes right before and after, of its best size; efficiency: limit / seconds, where "
    "it is the middle one of the calls, above 1 where passes do not lead back to the image, or by "
    "the scatter of the timings; memory: at most in use in the call that warms up; on a CPU that "
    "is not under Linux by the process so far"
)
PASSES_APART = "passes are left out: the checkouts time them in different ways"
RATIOS = (
    "seconds per image, of the fastest call, medians over rounds; below 1 is faster here than there"
)


class Shown(NamedTuple):
    """A table of texts, the first column naming its lines, and what is to be known of it."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]


def document(speeds: Speeds) -> Document:
    """Gather every number, with the machine, the code and the settings that it came from."""
    cell = speeds.cell
    return {
        **environment(),
        "threads": torch.get_num_threads(),
        "device": str(cell.model.device),
        "device_name": device_name(cell.model.device),
        "precision": speeds.precision,
        "pass_batch": cell.model.pass_batch,
        "settings": list(cell.settings.overrides),
        "timing": {name: getattr(speeds.timing, name) for name in ("repeats", "series", "timed")},
        "caption": {key: value for key, value in caption(cell).items() if key != "device"},
        "calibrated_layers": speeds.calibrated,
        "passes": [
            {
                "precision": precision,
                "batch": size.batch,
                "forward": size.classifier.forward,
                "both": size.classifier.both,
                "forward_alone": size.bare.forward,
                "both_alone": size.bare.both,
            }
            for precision, sizes in speeds.sizes.items()
            for size in sizes
        ],
        "limits": {
            precision: {
                "forward": limit.time.forward,
                "forward_batch": limit.forward_batch,
                "both": limit.time.both,
                "both_batch": limit.both_batch,
            }
            for precision, limit in ((name, best(sizes)) for name, sizes in speeds.sizes.items())
        },
        "lines": [_line(line) for line in speeds.lines],
    }


def _line(line: Line) -> Document:
    middle = line.middle
    return {
        "what": line.what,
        "images": line.images,
        "forward_passes": middle.call.forward_passes,
        "backward_passes": middle.call.backward_passes,
        "limit": middle.limit,
        "seconds": middle.call.seconds,
        "efficiency": middle.efficiency,
        "images_per_second": 1 / middle.call.seconds,
        "fastest": line.fastest,
        "memory": line.memory,
        "calls": [
            {
                "seconds": each.call.seconds,
                "forward_alone": each.alone.forward,
                "both_alone": each.alone.both,
            }
            for each in line.calls
        ],
    }


def timed_alike(one: Document, other: Document) -> bool:
    """Whether passes were timed in the same way: before there were series, single ones were."""
    kept = [
        {name: found.get("timing", {}).get(name) for name in ("repeats", "series")}
        for found in (one, other)
    ]
    return bool(kept[0] == kept[1])


def seconds_of(found: Document, *, passes: bool = True) -> dict[str, float]:
    """Name what can be compared with another checkout's, seconds per image: passes, and lines.

    Of a line the fastest call, which is all that earlier checkouts wrote.
    """
    lines = {line["what"]: line.get("fastest", line["seconds"]) for line in found["lines"]}
    if not passes:
        return lines
    own = [each for each in found["passes"] if each["precision"] == found["precision"]]
    seconds = {
        f"{named}, {kind}": min(each[key + which] for each in own)
        for kind, which in (("as methods ask for it", ""), ("alone", "_alone"))
        for named, key in (("forward pass", "forward"), ("forward + backward", "both"))
    }
    return seconds | lines


def passes_shown(found: Document) -> Shown:
    """Lay out what passes take, by precision and size."""
    headings = (
        *("precision", "batch", "forward, s/image", "forward + backward"),
        *("alone: forward", "alone: forward + backward"),
    )
    keys = ("forward", "both", "forward_alone", "both_alone")
    rows = [
        [each["precision"], str(each["batch"]), *(f"{each[key]:.3g}" for key in keys)]
        for each in found["passes"]
    ]
    fastest = [
        f"{precision}: alone fastest at batch {limit['forward_batch']} forward "
        f"({limit['forward']:.3g} s/image), at {limit['both_batch']} with the way back "
        f"({limit['both']:.3g})"
        for precision, limit in found["limits"].items()
    ]
    if count := found["calibrated_layers"]:
        fastest.append(
            f"random weights: {count} layers of batch norm were given the statistics of the "
            "images, for timing alone"
        )
    return Shown(headings, rows, [*fastest, LIMIT])


def lines_shown(found: Document) -> Shown:
    """Lay out what methods and metrics take beside their passes."""
    headings = (
        *("what", "batch", "passes", "limit, s/image", "s/image", "efficiency", "images/s"),
        "memory, MiB",
    )
    rows = [
        [
            line["what"],
            str(line["images"]),
            f"{line['forward_passes']:.1f} + {line['backward_passes']:.1f}",
            f"{line['limit']:.3g}",
            f"{line['seconds']:.3g}",
            f"{line['efficiency']:.2f}",
            f"{line['images_per_second']:.3g}",
            f"{line['memory'] / 2**20:.0f}",
        ]
        for line in found["lines"]
    ]
    facts = [*found["caption"].values(), f"{found['device_name']} {found['precision']}"]
    place = f"{found['processor']}, {found['threads']} threads"
    versions = f"torch {found['packages']['torch']}, commit {commit_of(found)}"
    return Shown(headings, rows, [" · ".join([*facts, place, versions]), EFFICIENCY])


def ratios_shown(ratios: Mapping[str, Ratio], *, passes: bool = True) -> Shown:
    """Lay out how many times as long each thing takes here as in another checkout.

    ``passes`` says whether theirs are among them.
    """
    headings = ("what", "before, s/image", "here, s/image", "ratio", "least", "most")
    rows = [
        [
            what,
            f"{each.before:.3g}",
            f"{each.here:.3g}",
            *(f"{number:.2f}" for number in (each.ratio, each.least, each.most)),
        ]
        for what, each in ratios.items()
    ]
    return Shown(headings, rows, [RATIOS] if passes else [RATIOS, PASSES_APART])


def commit_of(found: Document) -> str:
    """Name the commit, with a mark where files differ from it."""
    git = found["git"]
    return f"{git['commit'][:10]}{' and changes' * git['changed']}" if git["commit"] else "unknown"


def screen(shown: Shown) -> list[Table | Text]:
    """Show a table and its notes in a terminal."""
    table = Table(*shown.headings)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in shown.rows:
        table.add_row(*map(Text, row))
    return [table, *(Text(note, "dim") for note in shown.notes)]


def markdown(tables: Sequence[Shown]) -> str:
    """Write tables and their notes as Markdown."""
    lines = []
    for shown in tables:
        lines += [_row(shown.headings), "|---" + "|---:" * (len(shown.headings) - 1) + "|"]
        lines += [*map(_row, shown.rows), "", *(f"- {note}." for note in shown.notes), ""]
    return "\n".join(lines)


def csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write lines with their numbers as CSV."""
    return pd.DataFrame(list(rows)).to_csv(index=False)


def as_json(content: Document) -> str:
    """Write everything as JSON."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in texts)} |"
