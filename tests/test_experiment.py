"""Experiments: the cells of a table as one sweep, and the table beside the published values."""

import dataclasses
import io
import json
import re
import shutil
import subprocess
from types import SimpleNamespace as Some

import cells
import pandas as pd
import pytest
from cells import ROOT, command
from rich.console import Console

from benchmark import published, sweep
from benchmark.collect import Collected, State, collect
from benchmark.config import composed as composed_of
from benchmark.config import load
from benchmark.datasets.selection import choose
from benchmark.errors import BadInput
from benchmark.experiment import read
from benchmark.experiment_table import caption, print_table, write_table
from benchmark.formats import LATEX, latex
from benchmark.layout import entries, order
from benchmark.records import RunFolder
from benchmark.report import sources
from benchmark.summary import per_image

NAMES = sorted(file.stem for file in (ROOT / "conf" / "experiment").glob("*.yaml"))
PAPER = [name for name in NAMES if re.fullmatch(r"table\d", name)]
EXPERIMENT = """
    # @package _global_
    defaults:
      - override /dataset: tiny
      - override /model: tiny
      - override /metric: [deletion, pointing]
      - override /hydra/sweeper: cells
    n: 8
    device: cpu
    protocol: {steps: 10}
    dataset: {limit: "${n}"}
    experiment:
      title: A & B
      reference: theirs
      reference_about: nobody
      published: {table: "9"}
      rows:
        Toy: {set: [method=toy], published: {method: toy}}
        Broken_toy: {set: [method=toy, method.fault=shape]}
        Centre: {set: [method=centre], columns: [fine]}
        Theirs: {published: {method: theirs}}
      columns:
        fine: {set: [res=8], published: {res: "8"}}
        coarse: {set: [res=4], published: {res: "4"}}
      metrics:
        deletion: {published: deletion}
        pointing: {digits: 1, scale: 100}
"""
THEIRS = """table,method,res,metric,value
9,toy,8,deletion,0.25
9,toy,4,deletion,<1
9,theirs,8,deletion,0.1
8,toy,8,deletion,0.9
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny experiment that has been run once, with what the run said."""
    folder = tmp_path_factory.mktemp("experiment")
    cells.make_images(folder / "images")
    cells.make_conf(folder / "conf")
    (folder / "conf" / "experiment").mkdir()
    text = "\n".join(line[4:] for line in EXPERIMENT.strip("\n").splitlines())
    (folder / "conf" / "experiment" / "two.yaml").write_text(text)
    (folder / "published").mkdir()
    (folder / "published" / "theirs.csv").write_text(THEIRS)
    return folder


def given(place, *more):
    return [f"dataset.root='{place / 'images'}'", f"results='{place / 'results'}'", *more]


def swept(place, *more):
    """Run the experiment from the command line."""
    arguments = ["--config-dir", str(place / "conf"), "--multirun", "+experiment=two"]
    return command(*arguments, *given(place, *more), cwd=place)


@pytest.fixture(scope="module")
def ran(place):
    return swept(place, "~experiment.reference")


@pytest.fixture
def composed(place, ran, monkeypatch):
    monkeypatch.setattr(published, "FOLDER", place / "published")
    return read("two", given(place), str(place / "conf"))


def test_a_sweep_runs_every_cell_and_shows_the_table(place, ran):
    runs = sorted(path.parent.name for path in (place / "results").glob("**/settings.json"))
    assert [name.rpartition("-")[0] for name in runs] == [
        "centre-8", "toy-4", "toy-4", "toy-8", "toy-8",
    ]  # fmt: skip
    assert "A & B" in ran.out
    flat = " ".join(ran.out.split())
    assert "2 of 5 cells are not done: python -m benchmark --config-dir " in flat
    assert f"{place / 'conf'} --multirun +experiment=two" in flat


def test_a_sweep_ends_with_its_report(place, ran):
    page = place / "results" / "reports" / "two" / "index.html"
    assert f"report: {page}" in ran.out
    assert "A &amp; B" in page.read_text()
    assert "Toy" in (page.parent / "data" / "0" / "index.js").read_text()


def test_whether_a_report_is_written_is_no_setting_of_a_result(composed, place):
    other = read("two", given(place, "report=false"), str(place / "conf"))
    assert [cell.state for cell in collect(other)] == [cell.state for cell in collect(composed)]
    assert State.done in {cell.state for cell in collect(other)}


@pytest.mark.parametrize("error", [RuntimeError("boom"), BadInput("boom"), OSError("boom")])
def test_a_report_that_cannot_be_written_fails_no_sweep(error, tmp_path, monkeypatch, capsys):
    def fails(*given):
        raise error

    monkeypatch.setattr(sweep, "unfinished", [])
    monkeypatch.setattr(sources, "of_experiment", fails)
    config, _ = composed_of("config", ["+experiment=smoke", f"results='{tmp_path}'"])
    sweep.ShowTable().on_multirun_end(config)
    said = capsys.readouterr()
    assert "benchmark: no report: " in said.err and "boom" in said.err
    assert "are not done" in said.out


def test_a_cell_that_fails_stops_no_other_and_stands_in_the_table(composed, ran):
    assert ran.code == 2
    states = {(cell.row, cell.column): cell for cell in collect(composed)}
    broken = states["Broken_toy", "fine"]
    assert broken.state is State.failed
    assert "a heatmap is [B, r, r]" in broken.note
    assert states["Toy", "coarse"].state is State.done
    assert states["Centre", "coarse"].state is State.none
    assert states["Theirs", "fine"].state is State.none


def test_a_cell_holds_the_means_of_its_own_run(composed, place):
    for cell in collect(composed):
        if cell.state is State.done:
            folder = RunFolder(place / cell.run)
            outcomes = {each.res: each for each in folder.outcomes()}
            table = per_image(folder, outcomes[{"fine": 8, "coarse": 4}[cell.column]])
            assert cell.means["deletion"].value == table["deletion"].mean()
            assert cell.row.lower() in folder.path.name


def test_the_same_sweep_again_computes_nothing(place, ran):
    before = {file: file.read_bytes() for file in (place / "results").glob("**/*.jsonl")}
    again = swept(place, "~experiment.reference", "~experiment.rows.Broken_toy", "report=false")
    assert again.code == 0
    assert "report: " not in again.out
    for file, data in before.items():
        if file.name not in ("log.jsonl", "failures.jsonl"):
            assert file.read_bytes() == data
    assert "8 of 8 images are in the records already" in again.err


def test_settings_that_differ_are_another_table(place, composed):
    other = read("two", given(place, "n=3"), str(place / "conf"))
    assert {cell.state for cell in collect(other)} == {State.missing, State.none}


def test_where_results_and_images_lie_makes_no_difference_to_what_is_found(place, composed):
    moved = [f"dataset.root='{place / 'elsewhere'}'", f"results='{place / 'results'}'"]
    there = read("two", [*moved, "batch_size=3"], str(place / "conf"))
    assert [cell.state for cell in collect(there)] == [cell.state for cell in collect(composed)]


def test_published_values_stand_beside_ours_with_the_difference(composed):
    found = {
        (entry.row, entry.column, entry.metric): entry
        for entry in entries(composed.experiment, collect(composed))
    }
    ours = found["Toy", "fine", "deletion"]
    assert ours.difference == pytest.approx(ours.value - 0.25)
    assert found["Toy", "coarse", "deletion"].published.text == "<1"
    assert found["Toy", "coarse", "deletion"].difference is None
    assert found["Theirs", "fine", "deletion"].published.value == 0.1
    assert found["Theirs", "coarse", "deletion"].published is None
    assert found["Toy", "fine", "pointing"].published is None


def test_the_best_of_each_column_is_marked_among_at_least_two(composed):
    found = entries(composed.experiment, collect(composed))
    fine = [each for each in found if (each.column, each.metric) == ("fine", "deletion")]
    values = {each.row: each.value for each in fine if each.row in ("Toy", "Centre")}
    assert [each.row for each in fine if each.best] == [min(values, key=values.get)]
    assert not any(each.best for each in found if each.column == "coarse")


@pytest.mark.parametrize("apart", [0, 9])
def test_what_is_not_told_apart_from_the_best_is_marked_and_the_caption_says_so(composed, apart):
    cells_of = collect(composed)
    images = next(cell.images for cell in cells_of if cell.row == "Centre" and cell.means)
    values = {"Centre": images, "Toy": images.assign(deletion=images["deletion"] + apart)}
    same = [cell._replace(images=values[cell.row]) if cell.means else cell for cell in cells_of]
    found = entries(composed.experiment, same)
    fine = [each for each in found if (each.column, each.metric) == ("fine", "deletion")]
    rivals = [each.row for each in fine if each.cell.means and not each.best]
    assert [each.row for each in fine if each.alike] == ([] if apart else rivals)
    said = [line for line in caption(composed, same, fine) if line.startswith("≈ not told apart")]
    assert len(said) == (0 if apart else 1)


def test_percent_are_scaled_with_their_intervals(composed):
    found = entries(composed.experiment, collect(composed))
    entry = next(each for each in found if each.metric == "pointing" and each.row == "Toy")
    mean = entry.cell.means["pointing"]
    assert (entry.value, entry.low, entry.high) == (100 * mean[0], 100 * mean[1], 100 * mean[2])


def test_every_format_is_written_and_says_what_it_is_of(composed, tmp_path):
    files = write_table(composed, tmp_path / "two")
    texts = {file.suffix: file.read_text() for file in files}
    value = next(
        f"{each.value:.4f}"
        for each in entries(composed.experiment, collect(composed))
        if (each.row, each.column, each.metric) == ("Toy", "fine", "deletion")
    )
    assert set(texts) == {".csv", ".md", ".tex", ".html"}
    assert r"A \& B" in texts[".tex"] and r"Broken\_toy" in texts[".tex"]
    assert r"\toprule" in texts[".tex"] and r"\multicolumn{2}{c}{fine}" in texts[".tex"]
    assert r"\ifdim\wd0>\textwidth\resizebox" in texts[".tex"], "a wide one is made to fit"
    assert r"{\tiny paper 0.25} \\ {\tiny (" in texts[".tex"]
    assert texts[".tex"].count(r"\addlinespace") == len(composed.experiment.rows) - 1
    assert "A &amp; B" in texts[".html"] and "http" not in texts[".html"]
    for suffix in (".md", ".tex", ".html"):
        assert value in texts[suffix] and "paper 0.25" in texts[suffix]
        assert "seed 0" in texts[suffix], "the weights are named"
    table = pd.read_csv(io.StringIO(texts[".csv"]))
    row = table.query("row == 'Toy' and column == 'fine' and metric == 'deletion'").iloc[0]
    assert f"{row['value']:.4f}" == value
    assert (row["n"], row["published"], row["state"]) == (8, "0.25", "done")
    assert len(str(row["commit"])) == 40


PAGE = r"""\documentclass[twocolumn]{article}
\usepackage[margin=0.75in]{geometry}
\usepackage{booktabs,graphicx}
\begin{document}
\input{two}
\end{document}
"""


@pytest.mark.parametrize("given_n", ["two", "0", "-3", "2.5", "true"])
def test_a_number_of_images_that_is_none_is_refused_by_its_name(place, given_n):
    composed = read("two", given(place, f"n={given_n}"), str(place / "conf"))
    with pytest.raises(BadInput, match=f"n={given_n} is no number of images".replace("t", "[tT]")):
        collect(composed)


def test_in_latex_an_option_keeps_its_two_hyphens():
    assert LATEX.text("m --multirun a---b") == "m -{}-multirun a-{}-{}-b"


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="there is no LaTeX")
@pytest.mark.parametrize("copies", [1, 6])
def test_in_latex_a_table_fits_on_the_page_however_many_columns_it_has(composed, tmp_path, copies):
    columns = {
        f"{name} of {copy}": column
        for copy in range(copies)
        for name, column in composed.experiment.columns.items()
    }
    wide = dataclasses.replace(composed.experiment, columns=columns)
    found = [
        each._replace(column=f"{each.column} of {copy}")
        for copy in range(copies)
        for each in entries(composed.experiment, collect(composed))
    ]
    (tmp_path / "two.tex").write_text(latex(wide, found, ["a % b_c & λ1 < ε² ≈ 3 – all"]))
    (tmp_path / "page.tex").write_text(PAGE)
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout


def test_a_table_of_another_format_is_refused(composed, tmp_path):
    with pytest.raises(BadInput, match=r"ends in \.csv, \.md, \.tex, \.html"):
        write_table(composed, tmp_path / "two.xlsx")


def test_a_table_that_is_too_wide_is_shown_in_parts(composed):
    narrow = Console(width=60, file=io.StringIO())
    print_table(composed, narrow)
    lines = narrow.file.getvalue().splitlines()
    assert sum(line.startswith("┏") for line in lines) == 2
    assert all(len(line) <= 60 for line in lines if line.startswith(("┃", "│")))


def test_the_long_layout_has_a_line_for_each_cell(place, composed, tmp_path):
    long = read("two", given(place, "+experiment.layout=long"), str(place / "conf"))
    (file,) = write_table(long, tmp_path / "two.md")
    rows = [line.split(" | ")[0] for line in file.read_text().splitlines() if line.startswith("| ")]
    assert [row.removeprefix("| ") for row in rows[1:]] == [
        "Toy, fine", "Toy, coarse", "Broken_toy, fine", "Broken_toy, coarse", "Centre, fine",
        "Theirs, fine",
    ]  # fmt: skip


def test_the_order_of_rows_is_compared_with_the_published_one():
    def entry(value, theirs):
        known = Some(value=theirs)
        return Some(column="c", metric="m", value=value, published=known)

    same = [entry(0.1, 1.0), entry(0.2, 2.0), entry(0.3, 3.0)]
    assert order(same) == ["c, m: Kendall's tau +1.00 over 3 rows"]
    turned = [entry(0.1, 3.0), entry(0.2, 2.0), entry(0.3, 1.0)]
    assert order(turned) == ["c, m: Kendall's tau -1.00 over 3 rows"]
    assert order(same[:2]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("res=4", "res=4: the table's rows and columns set res"),
        (
            "++experiment.rows.Toy.columns=[fine,finer]",
            "names finer: the table has the columns fine",
        ),
        ("experiment.rows.Toy.set=['method=toy','res=3']", "row Toy and column fine both set res"),
        ("++experiment.rows.Toy.sett=[]", "sett"),
        ("++experiment.layout=broad", "broad"),
        (
            "+experiment.only=[Toy,Toi]",
            'experiment.only names Toi: the rows are "Toy", "Broken_toy", "Centre", "Theirs"; '
            'the columns are "fine", "coarse"',
        ),
        (
            "experiment.only=[Toy]",
            "no setting experiment.only; one that an experiment's file",
        ),
        ("experiment.rws.x=1", "no setting experiment.rws.x: did you mean experiment.rows?"),
        (
            "experiment.rows.A-B.set=[]",
            "experiment.rows.A-B.set; experiment.rows has Toy, Broken_toy, Centre, Theirs",
        ),
        ("experiment.titel=x", "no setting experiment.titel: did you mean experiment.title?"),
        ("+experiment.only=[Toy (toy)]", 'needs quotes of its own, "Toy (toy)"'),
    ],
)
def test_a_wrong_experiment_is_refused(place, change, message):
    with pytest.raises(BadInput, match=re.escape(message)):
        read("two", given(place, change), str(place / "conf"))


def test_an_experiment_needs_multirun(place):
    place_and_name = ["--config-dir", str(place / "conf"), "+experiment=two"]
    said = command(*place_and_name, *given(place), cwd=place)
    assert said.code == 2
    assert "add --multirun" in said.err and "Traceback" not in said.err


def test_what_is_wrong_with_every_cell_is_said_once_and_summed_up(place, tmp_path):
    said = swept(place, "device=cuda:99", f"results='{tmp_path}'")
    assert said.code == 2
    lines = [line for line in said.err.splitlines() if "device=cuda:99" in line]
    assert len(lines) == 2
    assert lines[1].startswith("benchmark: so for 5 jobs: device=cuda:99")


def test_a_sweep_that_sets_what_cells_set_runs_nothing(place, tmp_path):
    said = swept(place, "method=centre", f"results='{tmp_path}'")
    assert said.code == 2
    assert "rows and columns set method" in said.err and "Traceback" not in said.err
    assert not list(tmp_path.iterdir())


def test_an_unknown_experiment_is_refused_by_the_names_there_are():
    with pytest.raises(
        BadInput, match=r"experiment=table9: did you mean table\d or .*There are .*table1"
    ):
        read("table9", [])


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_and_columns_of_every_experiment_compose(name):
    composed = read(name, [])
    rows, columns = set(), set()
    for row, column in composed.experiment.cells():
        if row not in rows or column not in columns:
            settings = composed.settings(row, column)
            assert set(settings.metric) <= {*composed.experiment.metrics} or settings.runtime
            rows.add(row)
            columns.add(column)
    assert rows and columns == set(composed.experiment.columns)


def test_the_survey_has_a_row_for_every_method_and_enlarges_what_it_says():
    experiment = read("surveys", []).experiment
    lines = experiment.rows.items()
    rows = {title: dict(each.split("=") for each in line.set) for title, line in lines}
    methods = [row["method"] for row in rows.values()]
    assert len(set(methods)) == len(methods)
    there = {file.stem for file in (ROOT / "conf" / "method").glob("*.yaml")}
    forgotten = there - set(methods)
    assert not forgotten, f"give {forgotten} rows in conf/experiment/surveys.yaml"
    for title, row in rows.items():
        assert (row.get("resize") == "bilinear") == title.endswith(" (enlarged)"), title


@pytest.mark.parametrize("name", PAPER)
def test_every_published_value_of_a_table_has_its_place(name):
    composed = read(name, [])
    experiment = composed.experiment
    places = [(row, column) for row in experiment.rows for column in experiment.columns]
    cells_of = [Collected(*place, State.none) for place in places]
    shown = [
        entry.published.text
        for entry in entries(experiment, cells_of)
        if entry.published is not None and not experiment.rows[entry.row].reference
    ]
    table = pd.read_csv(ROOT / "results" / "published" / "igos.csv", dtype=str)
    values = table.loc[table["table"] == name.removeprefix("table"), "value"]
    assert sorted(shown) == sorted(values)


def test_the_published_list_of_images_is_the_one_that_a_seed_chooses():
    everything = [f"ILSVRC2012_val_{number:08}" for number in range(1, 50_001)]
    file = ROOT / "conf" / "experiment" / "imagenet-5000.txt"
    assert file.read_text().split() == choose(everything, 5000, 0, None)


def test_failures_are_kept_with_their_settings(place, ran):
    (first, *_) = [
        json.loads(line)
        for file in (place / "results").glob("failures-*.jsonl")
        for line in file.read_text().splitlines()
    ]
    assert first["settings"]["method"]["fault"] == "shape"


def test_a_refusal_outside_of_an_experiment_is_kept_nowhere(place, tmp_path):
    said = command(
        "--config-dir",
        str(place / "conf"),
        *cells.choices(place, "method.fault=shape", f"results='{tmp_path}'"),
        cwd=place,
    )
    assert said.code == 2
    assert not list(tmp_path.glob("failures*"))


def test_some_rows_and_columns_may_be_asked_for(place):
    few = read("two", given(place, "+experiment.only=[Toy,fine]"), str(place / "conf"))
    assert list(few.experiment.cells()) == [("Toy", "fine")]
    rows = read("two", given(place, "+experiment.only=[Centre]"), str(place / "conf"))
    assert list(rows.experiment.columns) == ["fine", "coarse"]


def test_another_list_of_images_in_the_same_file_is_another_table(place, tmp_path):
    manifest = tmp_path / "images.txt"
    manifest.write_text("image-00\nimage-01\n")
    more = [f"dataset.manifest='{manifest}'", "n=2", f"results='{tmp_path / 'results'}'"]
    cells.start(place, "metric=[deletion,pointing]", "res=8", "dataset.limit=2", more[0], more[2])
    composed = read("two", given(place, *more), str(place / "conf"))

    def state():
        return next(cell.state for cell in collect(composed))

    assert state() is State.done
    moved = manifest.rename(tmp_path / "moved.txt")
    moved.rename(manifest)
    assert state() is State.done
    manifest.write_text("image-00\nimage-02\n")
    assert state() is State.missing


def test_resizing_makes_no_difference_where_nothing_was_resized(place, tmp_path):
    own = [f"results='{tmp_path}'", "metric=[deletion,pointing]", "resize=area"]
    cells.start(
        place, "res=8", "dataset.limit=8", *own
    )  # a toy's own resolution is the one asked for
    composed = read("two", given(place, own[0]), str(place / "conf"))
    assert next(iter(collect(composed))).state is State.done


@pytest.mark.parametrize(
    ("wrong", "message"),
    [("+n=5", "n=5 is for experiments"), ("+cell=1", "cell=1 is for experiments")],
)
def test_what_belongs_to_experiments_is_refused_without_one(wrong, message):
    with pytest.raises(BadInput, match=message):
        load(wrong)


def test_a_cell_that_is_not_there_is_refused(place):
    arguments = ["--config-dir", str(place / "conf"), "+experiment=two", "+cell=99"]
    said = command(*arguments, *given(place), cwd=place)
    assert (said.code, said.out) == (2, "")
    assert "cells 0 to 4" in said.err and "Traceback" not in said.err


def test_a_table_of_a_metric_that_cells_lack_is_refused(place):
    asked = given(place, "~experiment.metrics.pointing", "+experiment.metrics.delition={}")
    composed = read("two", asked, str(place / "conf"))
    with pytest.raises(BadInput, match="names delition: the cells have backward_passes, deletion"):
        collect(composed)


def test_cells_that_a_sweep_has_not_come_to_make_it_fail(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sweep, "unfinished", [])
    config, _ = composed_of("config", ["+experiment=smoke", f"results='{tmp_path}'"])
    sweep.ShowTable().on_multirun_end(config)
    assert len(sweep.unfinished) == len(list(read("smoke", []).experiment.cells()))
    assert "are not done" in capsys.readouterr().out
