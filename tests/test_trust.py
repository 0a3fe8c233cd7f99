"""Which metrics prefer the true cause: the maps that are constructed, and what is said of them."""

import numpy as np
import pandas as pd
import pytest
import torch
from cells import ROOT
from moves import Moves
from PIL import Image

import benchmark
from benchmark import trust
from benchmark.config import load
from benchmark.constructed_maps import ConstructedMaps
from benchmark.interfaces import BadInput
from benchmark.known_curves import values_of
from benchmark.preference import enough, findings, preferences, share
from benchmark.usual_settings import not_asked, usual


@pytest.fixture(scope="module")
def cell():
    return benchmark.load("model=tagged_vgg", "dataset=tagged", "dataset.limit=3", "method=centre")


@pytest.fixture(scope="module")
def batch(cell):
    return cell.batch(cell.dataset.ids())


MAPS = ConstructedMaps(blur=20.0, shift=48)


def peaks(heatmaps):
    """The pixel (y, x) of 224 at the middle of each highest cell."""
    res = heatmaps.shape[-1]
    places = heatmaps.flatten(1).argmax(1)
    return [(at // res * 223 / (res - 1), at % res * 223 / (res - 1)) for at in places.tolist()]


@pytest.mark.parametrize("res", [7, 14, 28, 224])
def test_the_cause_peaks_on_the_tag_the_decoy_on_the_digit_and_the_shifted_on_neither(
    cell, batch, res
):
    maps = MAPS(cell.dataset, batch, res)
    assert set(maps) == {"cause", "blurred", "shifted", "decoy", "random"}
    for heatmaps in maps.values():
        assert heatmaps.shape == (3, res, res)
        assert heatmaps.amin() >= 0
        assert heatmaps.amax() <= 1
    for row, (y, x) in enumerate(peaks(maps["cause"])):
        rows, columns = batch.truths[row].mask.nonzero(as_tuple=True)
        middle = (rows.float().mean(), columns.float().mean())
        assert max(abs(y - middle[0]), abs(x - middle[1])) <= 112 / (res - 1) + 18
        far = peaks(maps["shifted"])[row]
        assert abs(far[0] - y) >= 48 - 18 - 223 / (res - 1)
    if res >= 28:
        for row, (y, x) in enumerate(peaks(maps["decoy"])):
            digit = cell.dataset.decoy(batch.ids[row])
            near = digit[max(0, round(y) - 8) : round(y) + 9, max(0, round(x) - 8) : round(x) + 9]
            assert near.any()


def test_the_shifted_cause_stays_whole_and_shares_no_pixel_with_the_cause(batch):
    for truth in batch.truths:
        moved = MAPS._moved(truth.mask.float())
        assert moved.sum() == truth.mask.sum()
        assert not (moved.bool() & truth.mask).any()
        (top, left), (y, x) = (
            [each.float().mean() for each in mask.nonzero(as_tuple=True)]
            for mask in (truth.mask, moved)
        )
        assert (abs(y - top), abs(x - left)) == pytest.approx((48, 48), abs=1e-3)


def test_random_maps_come_from_the_image_and_not_from_its_batch(cell, batch):
    alone = MAPS(cell.dataset, batch.select([1]), 14)
    assert torch.equal(alone["random"][0], MAPS(cell.dataset, batch, 14)["random"][1])


def test_images_whose_target_is_not_their_label_have_no_known_cause(batch):
    other = batch._replace(targets=(batch.targets + torch.tensor([0, 1, 0])) % 6)
    assert MAPS.known(other).ids == [batch.ids[0], batch.ids[2]]


@pytest.mark.parametrize(("blur", "shift"), [(0.0, 5), (3.0, 0)])
def test_maps_that_would_be_the_cause_itself_are_refused(blur, shift):
    with pytest.raises(BadInput, match=f"got blur={blur} shift={shift}"):
        ConstructedMaps(blur=blur, shift=shift)


def test_too_wide_a_blur_is_refused(cell, batch):
    with pytest.raises(BadInput, match="is too wide for 224 pixels"):
        ConstructedMaps(blur=80.0, shift=5)(cell.dataset, batch, 14)


def test_the_interval_of_a_share_is_jeffreys():
    # Brown, Cai & DasGupta 2001: at 0 of n the upper end solves a beta's; here against its integral
    x = np.linspace(0, 1, 200_001)[1:-1]
    density = x ** (7 - 0.5) * (1 - x) ** (3 - 0.5)
    grown = density.cumsum() / density.sum()
    found = share([1] * 7 + [0] * 3)
    assert found.low == pytest.approx(x[grown.searchsorted(0.025)], abs=1e-4)
    assert found.high == pytest.approx(x[grown.searchsorted(0.975)], abs=1e-4)
    assert (found.value, found.n) == (0.7, 10)
    assert share([1, 1, np.nan]).high == 1
    assert 0 < share([1, 1, np.nan]).low < 0.5
    assert share([0, 0]).low == 0
    assert share([0.5, 0.5]).value == 0.5


def made(cause, rival, better=True):
    values = {("m", "cause"): cause, ("m", "decoy"): rival}
    return preferences(values, {"m": better}, "cause")


def test_a_preference_is_counted_image_by_image_and_in_the_metrics_own_direction():
    (line,) = made([1, 2, 3, np.nan], [0, 2, 5, 1]).to_dict("records")
    assert (line["n"], line["share"]) == (3, 0.5)
    assert line["difference"] == pytest.approx(-1 / 3)
    (line,) = made([1, 2, 3, np.nan], [0, 2, 6, 1], better=False).to_dict("records")
    assert line["difference"] == pytest.approx(2 / 3)


def test_what_is_said_of_a_metric_follows_from_its_intervals():
    good, bad, even = made([1] * 9, [0] * 9), made([0] * 9, [1] * 9), made([1] * 13, [1] * 13)
    assert findings(good, ["decoy"]) == ["m prefers the cause to every wrong map, on all images"]
    most = made([1] * 9, [0] * 8 + [2])
    assert findings(most, ["decoy"]) == [
        "m prefers the cause to every wrong map, least often to decoy (89% of 9 images)"
    ]
    assert findings(bad, ["decoy"]) == ["m prefers decoy to the cause"]
    assert findings(even, ["decoy"]) == ["m does not tell decoy from the cause"]
    assert findings(good, ["shifted"]) == []
    three = pd.concat([even.assign(rival=rival) for rival in ("decoy", "shifted", "random")])
    said = ["m does not tell decoy, shifted and random from the cause"]
    assert findings(three, ["decoy", "shifted", "random"]) == said


def test_few_images_that_exclude_nothing_cannot_tell():
    for wins, n in ((1, 1), (2, 2), (3, 3), (4, 6), (8, 12)):
        few = made([1] * n, [0] * wins + [2] * (n - wins))
        if wins == n:  # all right, and it would exclude nothing
            assert few["low"].item() <= 0.5
        images = "1 image" if n == 1 else f"{n} images"
        said = f"m: {images} cannot tell whether it prefers the cause to decoy"
        assert findings(few, ["decoy"]) == [said]
    two_values = made([1] * 12, [1] * 12)  # as of pointing, where both maps are hits
    assert findings(two_values, ["decoy"])[0].startswith("m: 12 images cannot tell whether it")
    assert enough() == 13
    more = made([1] * 13, [0] * 8 + [2] * 5)
    assert findings(more, ["decoy"]) == ["m does not tell decoy from the cause"]
    assert "prefers the cause to every" in findings(made([1] * 4, [0] * 4), ["decoy"])[0]
    assert findings(made([0] * 4, [1] * 4), ["decoy"]) == ["m prefers decoy to the cause"]
    both = pd.concat([made([0] * 6, [1] * 6), made([1] * 6, [0, 0, 0, 2, 2, 0]).assign(rival="r")])
    assert findings(both, ["decoy", "r"]) == [
        "m prefers decoy to the cause, and 6 images cannot tell whether it prefers the cause to r"
    ]


def test_rivals_are_named_in_their_order_and_in_one_part_whatever_their_images():
    two, three = made([1, 1, np.nan], [0, 0, 0]), made([1] * 3, [0] * 3)
    lines = pd.concat([two.assign(rival="shifted"), three, three.assign(rival="random")])
    assert findings(lines, ["decoy", "shifted", "random"]) == [
        "m: 2 to 3 images cannot tell whether it prefers the cause to decoy, shifted and random"
    ]


def test_images_are_enough_once_the_interval_of_an_even_metric_lies_in_the_middle_half():
    assert share([0.5] * enough()).low >= 0.25 > share([0.5] * (enough() - 1)).low
    assert f"{enough()} images or more say" in trust.Verdict(made([1], [0]), [], "", "").note


def test_deletion_and_mass_prefer_the_cause_and_sparseness_does_not_care_where_it_lies():
    verdict = trust.judge(
        [
            "dataset.limit=6",
            "res=14",
            "batch_size=4",
            "protocol.steps=15",
            "metric=[deletion,lerf,relevance_gain,relevance_mass,sparseness]",
        ]
    )
    lines = verdict.lines.set_index(["metric", "rival"])
    for metric in ("deletion", "relevance_gain", "relevance_mass"):
        for rival in ("decoy", "shifted", "random"):
            assert lines.loc[(metric, rival), "share"] >= 0.8
    # the curves are shared: the gain is the difference of the two metrics that keep them
    for rival in ("decoy", "shifted", "random"):
        apart = (
            lines.loc[("lerf", rival), "difference"] + lines.loc[("deletion", rival), "difference"]
        )
        assert lines.loc[("relevance_gain", rival), "difference"] == pytest.approx(apart, abs=1e-6)
    assert abs(lines.loc[("sparseness", "shifted"), "difference"]) < 0.02
    assert "protocol igos protocol.steps=15" in verdict.caption
    assert f" · {lines['n'].max()} images · maps blur" in verdict.caption
    text = trust.markdown(verdict)
    assert text.startswith("| prefers the cause to | decoy | shifted | random | blurred |")
    assert "- relevance_mass prefers the cause to every wrong map" in text


def test_the_bar_moves_with_each_map_of_each_batch_and_in_all_by_the_images(monkeypatch):
    moves = Moves()
    monkeypatch.setattr(trust, "stage", moves)
    trust.judge(["dataset.limit=3", "res=7", "batch_size=2", "metric=[sparseness,complexity]"])
    assert moves.titles == [("scoring constructed heatmaps of 3 images by 2 metrics", 3)]
    assert sum(moves.moved) == pytest.approx(3)
    assert [each for each in moves.moved if each] == pytest.approx([2 / 5] * 5 + [1 / 5] * 5)


def test_metrics_that_were_left_out_are_named_from_the_folder(monkeypatch):
    known = {file.stem for file in (ROOT / "conf" / "metric").glob("*.yaml")}
    config, given = usual("trust", [])
    settings = load(*given)
    said = not_asked(settings.metric, settings.method, "a constructed one")
    can, cannot = said.partition(" (metric=[")[0], said.partition("one needs); ")[2]
    left = can.removeprefix("not asked: ").split(", ")
    owned = cannot.partition(" cannot be asked: they take l1 and tv of")[0].split(", ")
    assert sorted({*left, *owned, *settings.metric}) == sorted(known)
    assert all(each.startswith("objective") for each in owned)
    assert "metric=[best_iou_boxes,...] does" in said
    short = [each for each in given if not each.startswith("metric=")]
    for name in left:  # what can be asked composes
        load(*short, f"metric=[{name}]")
    optimised = load("method=igos").method
    assert "cannot" not in not_asked([], optimised, "")
    assert not_asked(known, settings.method, "") == ""

    few = ["metric=[sparseness]", "dataset.limit=1", "res=7"]
    assert trust.judge(few).left_out == ""  # who names metrics knows which
    monkeypatch.setattr(trust, "usual", lambda *_: (config, [*short, *few]))
    assert "not asked: average_drop, best_iou, " in trust.markdown(trust.judge([]))


def test_what_is_written_is_shown_too(tmp_path, monkeypatch, capsys):
    files = [tmp_path / "trust.md", tmp_path / "trust.csv"]
    given = ["metric=[sparseness]", "dataset.limit=1", "res=7"]
    written = [part for file in files for part in ("--write", str(file))]
    monkeypatch.setattr("sys.argv", ["trust", *given, *written])
    assert trust.main() == 0
    shown = capsys.readouterr().out
    assert "┃ prefers the cause to " in shown
    assert shown.splitlines()[-2:] == [f"written to {file}" for file in files]
    assert "| sparseness |" in files[0].read_text()
    assert pd.read_csv(files[1])["metric"].tolist() == ["sparseness"] * 4


def test_data_without_masks_is_refused(tmp_path, monkeypatch, capsys):
    Image.new("RGB", (224, 224)).save(tmp_path / "a.png")
    root = f"dataset.root={tmp_path}"
    monkeypatch.setattr("sys.argv", ["trust", "dataset=folder", root, "metric=[sparseness]"])
    assert trust.main() == 2
    said = capsys.readouterr().err
    stage, refusal = said.splitlines()
    assert stage == "scoring constructed heatmaps of 1 image by 1 metric"
    assert refusal.startswith("benchmark.trust: ")
    assert "has a mask of its target: use dataset=tagged, scenes or coco2014" in said


@pytest.mark.parametrize(
    ("given", "meant"),
    [("mapps.blur=3", "maps.blur"), ("mapps.gizmo=3", "maps"), ("Maps.blur=3", "maps.blur")],
)
def test_a_mistyped_node_of_the_commands_own_is_refused_with_what_was_meant(given, meant):
    with pytest.raises(BadInput, match=rf"no setting .*: did you mean {meant}\?$"):
        usual("trust", [given])


def test_another_kind_of_file_is_refused_before_anything_is_scored(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["trust", "--write", "trust.xls"])
    assert trust.main() == 2
    assert "--write takes files that end in .md, .csv, not" in capsys.readouterr().err


def test_a_table_has_a_dash_where_no_image_has_a_value():
    shown = trust.cells_of(made([np.nan], [1.0]).astype({"n": int}))
    assert isinstance(shown, pd.DataFrame)
    assert shown.loc["m", "decoy"] == "–"


def test_all_metrics_of_an_image_take_at_most_twice_the_passes_of_deletion_and_insertion():
    config, given = usual("trust", ["dataset.limit=1"])
    assert set(config) == {"settings", "maps"}
    cell = benchmark.load(*given)
    one = cell.batch(cell.dataset.ids())
    heatmaps = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0))

    def passes(metrics):
        cell.model.begin_count(1)
        assert set(values_of(metrics, cell.model, one, heatmaps)) == set(metrics)
        return float(cell.model.forward_passes.sum() + cell.model.backward_passes.sum())

    alone = passes({name: cell.metrics[name] for name in ("deletion", "insertion")})
    assert alone == 2 * 263  # 784 cells in groups of 3, and the image itself
    assert len(cell.metrics) > 20
    assert alone < passes(cell.metrics) <= 2 * alone
