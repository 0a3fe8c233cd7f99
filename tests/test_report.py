"""The report: what its pages say is what the records hold, and its scripts make what was scored."""

import base64
import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cells
import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.composites import composites
from benchmark.images import composite, upsample
from benchmark.records import finished
from benchmark.report import __main__ as report
from benchmark.report import charts, sources
from benchmark.report.overview import warnings
from benchmark.report.pages import HERE, write_report
from benchmark.stats import Mean
from benchmark.summary import per_image, summary
from benchmark.survival import survival, warning

EVIL = "<script>alert(1)</script>"
IMAGES = 5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the runs of two protocols, and the report on them."""
    folder = tmp_path_factory.mktemp("report")
    cells.make_images(folder / "images", count=IMAGES)
    cells.make_conf(folder / "conf")
    with pytest.MonkeyPatch.context() as patch:
        classes = (EVIL, *cells.CLASSES[1:])
        patch.setattr(cells, "CLASSES", classes)
        patch.setattr(cells.TinyDataset, "class_names", classes)
        (folder / "images" / "image-03").write_bytes(b"torn")
        for protocol in ("igos", "rise"):
            for method in ("toy", "centre"):
                more = [f"protocol={protocol}", f"method={method}", "res=8", "target=0"]
                cells.start(folder, *more, "metric=[deletion,insertion,pointing]")
        source = sources.of_folders([folder / "results"])
        page = write_report(source, folder / "out", images=3)
    return source, page.parent


def received(file):
    """Read the value that a script hands to the page."""
    text = file.read_text()
    assert text.startswith("receive(...") and text.endswith(");\n")
    name, value = json.loads(text.removeprefix("receive(...").removesuffix(");\n"))
    assert name == str(file.relative_to(file.parents[1])).removesuffix(".js")
    return value


def decoded(url):
    data = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)))


def picture(out, number):
    return decoded(received(out / "data" / "pictures" / f"{number}.js"))


class Page(HTMLParser):
    """Collects the tables that can be sorted, as lists of what their rows hold."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.links, self.scripts, self.at = [], [], 0, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.scripts += tag == "script" and "src" not in attributes
        self.links += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag == "table":
            self.at = None
            if attributes.get("class") == "sortable":
                self.tables.append([])
                self.at = self.tables[-1]
        if tag == "tr" and self.at is not None:
            self.at.append([])
        if tag in ("td", "th") and self.at is not None:
            self.at[-1].append(attributes.get("data-value"))


def test_the_tables_hold_the_means_of_the_records(made):
    source, out = made
    tables = Page((out / "index.html").read_text()).tables
    assert len(tables) == len(source.groups) == 2
    for group, (_, *rows) in zip(source.groups, tables, strict=True):
        told = {label: [float(each) for each in values] for label, *values in rows}
        assert told.keys() == {"toy", "centre"}
        for each in group.contestants:
            images = per_image(each.run.folder, each.run.outcome)
            means = summary(images, ["deletion", "insertion", "pointing"])
            passes = images["forward_passes"].mean() + images["backward_passes"].mean()
            expected = [means[name].value for name in ("deletion", "insertion", "pointing")]
            expected += [means["seconds"].value, passes, IMAGES - 1]
            assert told[each.run.label] == pytest.approx(expected)


def test_only_runs_that_may_be_compared_stand_in_one_table(made):
    source, _ = made
    assert [group.facts["protocol"].split()[0] for group in source.groups] == ["igos", "rise"]
    for group in source.groups:
        assert {each.run.outcome.caption["protocol"] for each in group.contestants} == {
            group.facts["protocol"]
        }
        assert "8 × 8" in group.title and group.facts["protocol"] in group.title


def test_resolutions_stand_in_tables_of_their_own(tmp_path):
    cells.make_images(tmp_path / "images", count=2)
    cells.make_conf(tmp_path / "conf")
    for res in (4, 8):
        cells.start(tmp_path, f"res={res}")
    source = sources.of_folders([tmp_path / "results"])
    assert [group.title for group in source.groups] == ["8 × 8", "4 × 4"]


def test_runs_of_one_label_are_told_apart(tmp_path):
    cells.make_images(tmp_path / "images", count=2)
    cells.make_conf(tmp_path / "conf")
    for more in (["seed=0"], ["seed=1"]):
        cells.start(tmp_path, *more)
    (group,) = sources.of_folders([tmp_path / "results"]).groups
    labels = [each.run.label for each in group.contestants]
    assert len(set(labels)) == 2
    assert any("seed 1" in label for label in labels)


def test_a_report_asks_for_nothing_outside_its_folder(made):
    _, out = made
    for file in out.rglob("*"):
        if file.suffix in (".html", ".css", ".js"):
            assert "http" not in file.read_text(), file
    for name in ("index", "gallery", "image"):
        for link in Page((out / f"{name}.html").read_text()).links:
            target = link.partition("#")[0]
            assert link == "data:," or not target or (out / target).is_file(), link


def test_what_the_data_says_is_never_run(made):
    _, out = made
    text = (out / "index.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    pages = [*out.glob("*.html"), *out.rglob("*.js")]
    assert all(EVIL not in file.read_text() for file in pages)
    assert Page(text).scripts == 0
    index = received(out / "data" / "0" / "index.js")
    assert index["classes"]["0"] == EVIL


def test_the_gallery_holds_the_values_of_the_first_images(made):
    source, out = made
    for number, group in enumerate(source.groups):
        index = received(out / "data" / str(number) / "index.js")
        assert index["ids"] == group.shared.ids[:3]
        assert index["pictured"] == [1, 1, 1]
        for place, each in enumerate(group.contestants):
            table = each.images.loc[index["ids"]]
            assert index["values"]["deletion"][place] == pytest.approx(table["deletion"], rel=1e-3)
            total = (table["deletion"] + table["insertion"]) / table["score_on_image"]
            assert index["excess"][place] == pytest.approx(1 - total, rel=1e-2, abs=1e-3)
            points = [None if np.isnan(value) else value for value in table["pointing"]]
            assert index["values"]["pointing"][place] == points
        for at in range(3):
            strip = Image.open(out / "data" / str(number) / f"{at}.jpg")
            assert strip.size == (96 * 3, 96)


def test_the_audit_and_the_warnings_are_of_the_records(made):
    source, out = made
    text = (out / "index.html").read_text()
    images = source.groups[0].contestants[0].images
    survives = (images["score_on_baseline"] > images["score_on_image"] / 2).mean()
    for value in (f"{images['score_on_baseline'].mean():.4f}", f"{survives:.1%}"):
        assert f"<td>{value}</td>" in text
    assert f"<td>{images['entropy_all_deleted'].mean():.2f}</td>" in text
    surviving = warning(survival(images))
    assert (f": {surviving}" if surviving else "skipped image-03") in text
    assert "skipped image-03: image-03 has 4 bytes" in text


def test_code_versions_and_commits_that_differ_are_warned_of(made):
    source, _ = made
    starts = [
        {"git": {"commit": letter * 40, "changed": letter == "b"}, "packages": {"torch": number}}
        for letter, number in (("a", "1"), ("b", "2"))
    ]
    two = zip(source.groups[0].contestants, starts, strict=True)
    own = [replace(each, start=start) for each, start in two]
    group = sources.Group("t", source.groups[0].facts, own)
    found = warnings(sources.Source("t", [group]))
    assert "1 of 2 runs were made by code that was not committed" in found
    assert "the runs were made by different commits: aaaaaaaaaa, bbbbbbbbbb" in found
    assert "the runs were made with different torch: 1, 2" in found


def views(made):
    """Yield what each curve's composites are made of in the browser, and what was scored."""
    source, out = made
    for number, group in enumerate(source.groups):
        for at in (0, 2):
            view = received(out / "data" / str(number) / f"{at}.js")
            image = picture(out, view["image"])
            for each, method in zip(group.contestants, view["methods"], strict=True):
                for metric in ("deletion", "insertion"):
                    told = method[metric]
                    high, low, _ = np.moveaxis(picture(out, told["steps"]).astype(int), 2, 0)
                    image_id = group.shared.ids[at]
                    scored = composites(group.shared, each.run, metric, image_id)
                    hidden = picture(out, told["substrate"])
                    yield image, hidden, 256 * high + low, metric, scored, told


def test_the_map_of_steps_makes_the_composites_that_were_scored(made):
    sides = set()
    for image, hidden, steps, metric, scored, told in views(made):
        sides.add(len(steps))
        assert told["scores"] == pytest.approx(scored.scores, abs=1e-4)
        assert told["fractions"] == pytest.approx(scored.fractions, abs=1e-5)
        bright = [torch.tensor(each).permute(2, 0, 1) / 255 for each in (image, hidden)]
        for point, expected in enumerate(scored.images):
            shown = (steps <= point) == (metric == "insertion")
            mask = upsample(torch.from_numpy(shown).float()[None, None], cells.SIDE)[0]
            mixed = composite(*bright, mask)
            assert torch.allclose(mixed, expected, atol=0.5 / 255 + 1e-5)
    assert sides == {8, cells.SIDE}, "one protocol ranks cells and the other pixels"


NODE = shutil.which("node")
needs_node = pytest.mark.skipif(not NODE, reason="node, which runs the pages' scripts, is missing")


def ask(program, data):
    """Run JavaScript that answers ``data``; it finds the report's scripts by ``file``."""
    before = f"const file = (name) => require({json.dumps(str(HERE))} + '/' + name);"
    read = "const data = JSON.parse(require('fs').readFileSync(0));"
    code = f"{before}{read}process.stdout.write(JSON.stringify(({program})(data)))"
    done = subprocess.run(
        [NODE, "-e", code], input=json.dumps(data), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_node
def test_the_browsers_composites_are_those_that_were_scored(made):
    asked, expected = [], []
    for image, hidden, steps, metric, scored, _ in views(made):
        for point in range(0, len(scored.images), 3):
            opaque = [np.dstack([each, np.full(each.shape[:2], 255)]) for each in (image, hidden)]
            bright, dark = (each.astype(int).flatten().tolist() for each in opaque)
            order = {"steps": steps.flatten().tolist(), "res": len(steps), "point": point}
            asked.append(order | {"image": bright, "hidden": dark, "in": metric == "insertion"})
            expected.append(scored.picture(point))
    program = f"""(all) => all.map((each) => {{
        const {{ composite, enlarged, shownAt }} = file("image.js");
        const mask = enlarged(shownAt(each.steps, each.point, each.in), each.res, {cells.SIDE});
        return Array.from(composite(each.image, each.hidden, mask));
    }})"""
    answers = np.array(ask(program, asked)).reshape(-1, cells.SIDE, cells.SIDE, 4)
    assert np.abs(answers[..., :3] - 255 * np.stack(expected)).max() <= 1.01
    assert (answers[..., 3] == 255).all()


@needs_node
def test_the_gallery_filters_and_orders_images():
    index = {
        "ids": ["a", "b", "c"],
        "classes": {"0": "Cat", "1": "dog"},
        "target": [0, 1, 1],
        "predicted": [0, 1, 0],
        "correct": [1, 1, 0],
        "confidence": [0.9, 0.5, 0.2],
        "methods": ["m", "n"],
        "excess": [[0, 0.8, 0], [0, None, 0.1]],
        "values": {
            "deletion": [[0.1, 0.1, 0.5], [0.1, 0.1, 0.5]],
            "insertion": [[0.9, 0.1, 0.5], [0.9, 0.7, 0.6]],
            "pointing": [[1, None, 0], [1, 1, 1]],
        },
    }
    program = """({ index, wanted, orders }) => {
        const { filtered, ordered } = file("gallery.js");
        return [wanted.map((each) => filtered(index, each)),
                orders.map((each) => ordered(index, [0, 1, 2], ...each))];
    }"""
    everything = {"text": "", "target": "", "correct": "", "from": 0, "to": 1}
    wanted = [
        everything | each
        for each in ({"text": "cat"}, {"target": "1"}, {"correct": "0"}, {"from": 0.4, "to": 0.6})
    ]
    orders = [
        ["manifest", 0, 0, "deletion"],
        ["disagree", 0, 0, "deletion"],  # spreads 0, 0.3, 0.05
        ["adversarial", 0, 0, "deletion"],  # 0, 0.8, 0.1
        ["difference", 0, 1, "pointing"],  # 0, none, 1
    ]
    found, ordered = ask(program, {"index": index, "wanted": wanted, "orders": orders})
    assert found == [[0, 2], [1, 2], [2], [1]]
    assert ordered == [[0, 1, 2], [1, 2, 0], [1, 2, 0], [2, 0, 1]]


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(not BROWSER, reason="chromium, which shows the pages, is missing")
@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("gallery.html#1", ["3 of 3 images", "data/1/2.jpg", "explained: &lt;script&gt;"]),
        ("image.html#1.2", ["of the cells removed", "insertion", 'class="composite" role="img"']),
    ],
)
def test_a_browser_shows_the_pages_from_a_disk(made, page, said, tmp_path):
    _, out = made
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]
    place = [f"--user-data-dir={tmp_path}", "--dump-dom", f"{out.as_uri()}/{page}"]
    done = subprocess.run([BROWSER, *flags, *place], capture_output=True, text=True, check=True)
    for text in said:
        assert text in done.stdout


def test_a_chart_of_one_value_has_an_axis():
    one = Mean(0.5, np.nan, np.nan, 1)
    drawn = str(charts.against_passes([0], [one], "deletion", "deletion"))
    assert "nan" not in drawn
    assert drawn.count("<circle") == 1


@pytest.fixture
def asked(monkeypatch, capsys):
    """The command line, run here: code, out and err."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["report", *map(str, arguments)])
        return report.main(), *capsys.readouterr()

    return run


def test_the_command_writes_again_in_place_of_an_earlier_report(made, tmp_path, asked):
    source, _ = made
    run = source.groups[0].contestants[0].run.folder.path
    for _ in range(2):
        code, out, _ = asked(run, "-o", tmp_path / "out", "--images", 1)
        assert code == 0
        assert f"written to {tmp_path / 'out' / 'index.html'}" in out
        assert len(list((tmp_path / "out" / "data" / "0").glob("*.jpg"))) == 1


def test_images_that_are_gone_cost_only_their_pictures(made, tmp_path):
    source, _ = made
    moved = Path(source.groups[0].shared.dataset.root)
    moved.rename(tmp_path / "moved")
    try:
        page = write_report(sources.of_folders([moved.parent / "results"]), tmp_path / "out")
    finally:
        (tmp_path / "moved").rename(moved)
    assert "4 of 4 images have no pictures" in page.read_text()
    assert received(tmp_path / "out" / "data" / "0" / "index.js")["pictured"] == [0] * 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{runs}", "--images", "-1"], "--images must be at least 0, got -1"),
        (["{runs}", "n=3"], "n=3 is no folder; folders take no settings"),
        (["{empty}"], "there is no finished run below"),
        (["nosuch"], "nosuch"),
        (["smoke", "results={empty}"], "no cell is done: python -m benchmark --multirun"),
    ],
)
def test_what_cannot_be_reported_is_refused(made, arguments, said, tmp_path, asked):
    source, _ = made
    (tmp_path / "empty").mkdir()
    places = {"runs": source.groups[0].contestants[0].run.folder.path, "empty": tmp_path / "empty"}
    given = [each.format(**places) for each in arguments]
    code, _, err = asked(*given, "-o", tmp_path / "out")
    assert code == 2
    assert said in err
    assert not (tmp_path / "out").exists()


def test_a_report_without_images_has_its_tables(made, tmp_path, asked):
    source, _ = made
    run = source.groups[0].contestants[0].run.folder.path
    assert asked(run, "-o", tmp_path / "out", "--images", "0")[0] == 0
    assert Page((tmp_path / "out" / "index.html").read_text()).tables
    assert received(tmp_path / "out" / "data" / "0" / "index.js")["ids"] == []


def test_a_folder_with_something_else_in_it_is_left_alone(made, tmp_path, asked):
    source, _ = made
    (tmp_path / "thesis.tex").write_text("all of it")
    run = source.groups[0].contestants[0].run.folder.path
    code, _, err = asked(run, "-o", tmp_path)
    assert code == 2
    assert "holds thesis.tex, which is of no report" in err
    assert [each.name for each in tmp_path.iterdir()] == ["thesis.tex"]


def test_every_finished_run_below_a_folder_is_in_the_report(made):
    source, out = made
    runs = {folder.path for folder, _ in finished(out.parent / "results")}
    shown = {each.run.folder.path for group in source.groups for each in group.contestants}
    assert shown == runs
