"""Documents: links lead somewhere, and every command is listed."""

import re

import pytest
from cells import ROOT

PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "results/**/*.md")
    for page in ROOT.glob(pattern)
)


def text_of(page):
    """The page without its blocks of code."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """What GitHub makes of the page's headings."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if "://" in link or link.startswith("mailto:"):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent.joinpath(file).resolve() if file else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.relative_to(ROOT)), link


def test_the_readme_lists_every_command_and_no_other():
    table = text_of("README.md").partition("\n## All commands\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `benchmark")]
    told = {name for row in rows for name in re.findall(r"`([\w.]+)`", row)}
    files = [
        file.relative_to(ROOT)
        for file in (ROOT / "benchmark").rglob("*.py")
        if '\nif __name__ == "__main__":\n' in file.read_text(encoding="utf-8")
    ]
    there = {".".join(file.with_suffix("").parts).removesuffix(".__main__") for file in files}
    assert told == there - {"benchmark.train_scenes"}  # which made what is there, and is for us


def test_every_command_in_a_document_is_there():
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for name in set(re.findall(r"python -m (benchmark(?:\.\w+)?)", text)):
            place = ROOT.joinpath(*name.split("."))
            assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), name
