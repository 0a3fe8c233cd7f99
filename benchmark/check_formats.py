"""The regression gate's findings as Markdown, JSON and JUnit XML."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from xml.etree import ElementTree

import pandas as pd

from benchmark.measured import Measured
from benchmark.pairing import differences
from benchmark.regression import Finding, Verdict
from benchmark.stats import Mean

NOTE = "differences are candidate minus baseline, image by image, with 95 % bootstrap intervals"


def headline(findings: Sequence[Finding]) -> str:
    """Say in a line what the findings come to."""
    counts = {verdict: sum(each.verdict is verdict for each in findings) for verdict in Verdict}
    named = ", ".join(f"{count} {_word(verdict)}" for verdict, count in counts.items() if count)
    if counts[Verdict.worse]:
        return f"worse: {named}"
    if counts[Verdict.unclear]:
        return f"nothing worse is shown, but not all can be told: {named}"
    return f"no regression: {named}"


def _word(verdict: Verdict) -> str:
    return "cannot tell" if verdict is Verdict.unclear else verdict.name


def notes(found: Sequence[tuple[Measured, Measured]]) -> list[str]:
    """Say in what each candidate and its baseline were made differently; nothing of the same."""
    said: dict[str, list[str]] = {}
    for candidate, base in found:
        ours, theirs = ({"method": each.method} | each.made for each in (candidate, base))
        for line in differences(ours, theirs):
            said.setdefault(line, []).append(base.name)
    return [
        line if len(cells) == len(found) else f"{', '.join(cells)}: {line}"
        for line, cells in said.items()
    ]


def lines(findings: Sequence[Finding]) -> pd.DataFrame:
    """Write findings as texts, a line each."""
    made = []
    for each in findings:
        digits = 0 if each.measure.endswith("passes") else 4
        value, low, high = (round(end, digits) + 0.0 for end in each.difference[:3])  # no -0.0
        interval = "" if pd.isna(low) else f" [{low:+.{digits}f}, {high:+.{digits}f}]"
        made.append(
            {
                "cell": each.cell,
                "measure": f"{each.measure} {'↑' if each.higher_is_better else '↓'}",
                "baseline": f"{each.baseline:.{digits}f}",
                "candidate": f"{each.candidate:.{digits}f}",
                "difference": f"{value:+.{digits}f}{interval}",
                "margin": f"{each.margin:.{digits}f}" if each.margin >= 1 else f"{each.margin:.2g}",
                "n": str(each.difference.n),
                "verdict": _word(each.verdict),
                "note": each.note,
            }
        )
    return pd.DataFrame(made)


def _markdown(findings: Sequence[Finding], told: Sequence[str]) -> str:
    shown = lines(findings)
    text = [f"### {headline(findings)}", "", f"| {' | '.join(shown.columns)} |"]
    text += ["|---|---|" + "---:|" * (shown.shape[1] - 3) + "---|"]
    for line, each in zip(shown.itertuples(index=False), findings, strict=True):
        told_of = each.verdict in (Verdict.worse, Verdict.unclear)
        cells = [_escaped(str(cell)) for cell in line]
        cells = [f"**{cell}**" if told_of and cell else cell for cell in cells]
        text.append(f"| {' | '.join(cells)} |")
    text += ["", f"{NOTE}.", ""]
    text += [f"- {line}" for line in map(_escaped, told)]
    return "\n".join(text).rstrip() + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _json(findings: Sequence[Finding], told: Sequence[str]) -> str:
    frame = _table(findings)
    values = json.loads(frame.to_json(orient="records", double_precision=10))
    whole = {"outcome": headline(findings), "findings": values, "differs": list(told)}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _table(findings: Sequence[Finding]) -> pd.DataFrame:
    """Make a line of each finding, with the verdict's name and the difference's interval."""
    lines = []
    for each in findings:
        line = {field: getattr(each, field) for field in Finding._fields}
        difference: Mean = line.pop("difference")
        lines.append(
            line
            | {
                "difference": difference.value,
                "low": difference.low,
                "high": difference.high,
                "n": difference.n,
                "verdict": each.verdict.name,
            }
        )
    return pd.DataFrame(lines)


def _junit(findings: Sequence[Finding], told: Sequence[str]) -> str:
    """Write each finding as a test case: worse is a failure, what cannot be told is skipped."""
    shown = lines(findings)
    suite = ElementTree.Element(
        "testsuite",
        name="benchmark.check",
        tests=str(len(findings)),
        failures=str(sum(each.verdict is Verdict.worse for each in findings)),
        skipped=str(sum(each.verdict is Verdict.unclear for each in findings)),
        errors="0",
    )
    for each, (_, line) in zip(findings, shown.iterrows(), strict=True):
        case = ElementTree.SubElement(suite, "testcase", classname=each.cell, name=each.measure)
        message = (
            f"{line['candidate']}, was {line['baseline']}: {line['difference']}, margin "
            f"{line['margin']}, n = {line['n']}{'; ' if each.note else ''}{each.note}"
        )
        if each.verdict is Verdict.worse:
            ElementTree.SubElement(case, "failure", message=message)
        elif each.verdict is Verdict.unclear:
            ElementTree.SubElement(case, "skipped", message=message)
    ElementTree.SubElement(suite, "system-out").text = "\n".join(told)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


FORMATS: dict[str, Callable[[Sequence[Finding], Sequence[str]], str]] = {
    ".md": _markdown,
    ".json": _json,
    ".xml": _junit,
}
