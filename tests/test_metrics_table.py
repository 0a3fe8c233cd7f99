"""The table of metrics in docs says of each what the code says."""

import re

from cells import ROOT

from benchmark.building import build
from benchmark.config import load


def rows():
    """The names and arrows of each line of the table."""
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    section = text.partition("\n## ")[0]
    lines = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    return [(re.findall(r"`(\w+)`", names), arrows.split()) for names, arrows in lines]


def test_every_metric_stands_in_the_table_once_with_its_direction():
    known = sorted(file.stem for file in (ROOT / "conf" / "metric").glob("*.yaml"))
    nodes = load("method=igos", f"metric=[{','.join(known)}]").metric
    better = {name: build(nodes[name], f"metric.{name}").higher_is_better for name in known}
    told = [
        (name, (arrows * len(names))[place] == "↑")
        for names, arrows in rows()
        for place, name in enumerate(names)
        if name != "metric"
    ]
    assert sorted(told) == sorted(better.items())
