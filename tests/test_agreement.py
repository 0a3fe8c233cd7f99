"""How far rankings agree: closed forms, a published example, and records of tiny runs."""

from itertools import combinations, product

import cells
import numpy as np
import pandas as pd
import pytest

from benchmark import agreement
from benchmark.collect import collect
from benchmark.contenders import Contender
from benchmark.errors import BadInput
from benchmark.experiment import read
from benchmark.ranking_texts import NAMED, lacking, sentences, told_apart
from benchmark.rankings import Level, comparisons_of, correlations, krippendorff

NAN = np.nan
# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, section D: 4 observers, 12 units.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]


def test_alpha_is_that_of_krippendorffs_own_example():
    assert krippendorff(PUBLISHED, Level.ordinal) == pytest.approx(0.815, abs=5e-4)
    assert krippendorff(PUBLISHED, Level.interval) == pytest.approx(0.849, abs=5e-4)


def by_pairs(ratings, level):
    """Alpha as it is defined: mean squared distances of pairs, within units and among all."""
    units = [
        [value for value in unit if not np.isnan(value)] for unit in zip(*ratings, strict=True)
    ]
    units = [unit for unit in units if len(unit) > 1]
    every = [value for unit in units for value in unit]

    def distance(a, b):
        if level is Level.interval:
            return (a - b) ** 2
        low, high = min(a, b), max(a, b)
        between = sum(low <= value <= high for value in every)
        return (between - (every.count(low) + every.count(high)) / 2) ** 2

    observed = sum(
        sum(distance(a, b) for a, b in product(unit, unit)) / (len(unit) - 1) for unit in units
    ) / len(every)
    expected = sum(2 * distance(a, b) for a, b in combinations(every, 2))
    return 1 - observed / (expected / (len(every) * (len(every) - 1)))


@pytest.mark.parametrize("level", list(Level))
def test_alpha_is_that_of_the_definition_pair_by_pair(level):
    source = np.random.default_rng(0)
    for _ in range(5):
        ratings = source.integers(1, 6, (4, 7)).astype(float)
        ratings[source.random((4, 7)) < 0.2] = NAN
        assert krippendorff(ratings, level) == pytest.approx(by_pairs(ratings.tolist(), level))


def test_alpha_is_1_where_all_agree_and_ordinal_alpha_ignores_how_far_values_are():
    agreeing = [[1, 2, 3]] * 4
    assert krippendorff(agreeing, Level.ordinal) == krippendorff(agreeing, Level.interval) == 1
    given = np.array(PUBLISHED)
    assert krippendorff(given**3, Level.ordinal) == krippendorff(given, Level.ordinal)
    assert krippendorff([[1, 2], [2, 1]], Level.interval) == pytest.approx(-0.5)


def test_alpha_has_no_value_where_nothing_differs_or_nothing_is_rated_twice():
    assert np.isnan(krippendorff([[2, 2], [2, 2]], Level.ordinal))
    assert np.isnan(krippendorff([[1, NAN], [NAN, 2]], Level.ordinal))


GROUP = "7 x 7 · data d · protocol {} · device cpu · images manifest-3"


def contender(name, protocol="igos", **scores):
    images = pd.DataFrame(scores, index=[f"image-{n}" for n in range(3)])
    better = {metric: metric != "deletion" for metric in scores}
    return Contender(GROUP.format(protocol), name, images, better, name, 0)


def three(protocol="igos", order=(0.1, 0.2, 0.3)):
    return [
        contender(name, protocol, deletion=[x, x, x], insertion=[1 - x, 1 - x, 1 - x])
        for name, x in zip("abc", order, strict=True)
    ]


def test_metrics_of_opposite_directions_that_order_methods_alike_have_tau_1():
    frames = comparisons_of(three())
    (line,) = frames["metrics"].to_dict("records")
    assert (line["tau"], line["turned"], line["methods"]) == (1, 0, 3)
    assert frames["images"]["alpha"].tolist() == [1, 1]
    assert set(frames) == {"images", "metrics"}  # one protocol: nothing moves


def test_protocols_that_turn_one_pair_of_three_have_tau_a_third():
    frames = comparisons_of(three() + three("rise protocol.steps=9", (0.2, 0.1, 0.3)))
    lines = frames["protocols"].set_index("metric")
    assert lines["tau"].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert lines["turned"].tolist() == pytest.approx([1 / 3, 1 / 3])
    assert lines["second"].tolist() == ["rise protocol.steps=9"] * 2
    assert "protocol" not in lines["base"].iloc[0]
    moved = frames["methods"].set_index(["metric", "method"]).loc[("deletion", "a")]
    assert moved[["lowest", "highest"]].tolist() == pytest.approx([0.1, 0.2])
    assert moved["at lowest"] == "igos"
    assert moved["at highest"] == "rise protocol.steps=9"
    assert (moved["best rank"], moved["worst rank"]) == (1, 2)


def test_a_place_is_among_the_methods_that_all_of_a_methods_protocols_have():
    frames = comparisons_of(three() + three("rise", (0.2, 0.1, 0.3))[1:])  # a is under igos alone
    moved = frames["methods"].set_index(["metric", "method"])
    assert sorted({method for _, method in moved.index}) == ["b", "c"]
    assert (moved[["best rank", "worst rank", "methods"]].loc[("deletion", "b")] == [1, 1, 2]).all()
    assert (moved[["best rank", "worst rank", "methods"]].loc[("deletion", "c")] == [2, 2, 2]).all()


def test_images_that_rank_methods_each_their_own_way_do_not_agree():
    rolling = [
        contender(name, insertion=np.roll([0.1, 0.2, 0.3], step)) for step, name in enumerate("abc")
    ]
    (line,) = comparisons_of(rolling)["images"].to_dict("records")
    assert line["alpha"] == pytest.approx(1 - 8 / 6)  # all that differs does within units
    assert (
        "3 images agree little on the order of 3 methods" in sentences(comparisons_of(rolling))[0]
    )


def test_correlations_turn_metrics_so_that_agreement_is_1():
    (matrix,) = correlations(three()).values()
    assert matrix.loc["deletion", "insertion"] == pytest.approx(1)
    figure = agreement.correlation_figure({"g": matrix})
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["1.00"] * 4


def test_two_methods_of_equal_means_by_one_metric_count_neither_way_in_tau_b():
    values = [(0.1, 0.1), (0.1, 0.2), (0.3, 0.3), (0.4, 0.25)]
    tied = [
        contender(name, deletion=[one] * 3, insertion=[1 - two] * 3)
        for name, (one, two) in zip("abcd", values, strict=True)
    ]
    (line,) = comparisons_of(tied)["metrics"].to_dict("records")
    # of six pairs deletion ties one; of the five others four agree and one is turned
    assert line["tau"] == pytest.approx((4 - 1) / np.sqrt(5 * 6))
    assert line["turned"] == pytest.approx(1 / 6)


def test_one_method_alone_has_nothing_to_be_ranked_with():
    with pytest.raises(BadInput, match="no two methods were scored on the same images"):
        comparisons_of([contender("a", insertion=[1, 2, 3])])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    cells.make_images(place / "images", 4)
    cells.make_conf(place / "conf")
    for method, steps in product(("toy", "centre"), (4, 8)):
        given = (f"method={method}", f"protocol.steps={steps}", "metric=[deletion,insertion]")
        overrides = (*given, f"results='{place / 'results'}'")
        cells.run(cells.settings(place, *overrides), cells.Listener())
    return place / "results"


def told(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["agreement", *map(str, arguments)])
    return agreement.main()


def test_stored_runs_become_a_table_a_text_and_a_figure(runs, tmp_path, monkeypatch, capsys):
    files = [tmp_path / name for name in ("a.md", "a.csv", "a.png", "a.pdf")]
    assert told(monkeypatch, runs, *(word for file in files for word in ("--write", file))) == 0
    lines = pd.read_csv(files[1])
    assert set(lines["table"]) == {"images", "metrics", "protocols", "methods"}
    means = lines[lines["table"] == "methods"]
    assert (means["lowest"] <= means["highest"]).all()
    ends = {text.rpartition(" ")[2] for text in [*means["at lowest"], *means["at highest"]]}
    assert ends == {"protocol.steps=4", "protocol.steps=8"}
    assert (
        files[0]
        .read_text()
        .startswith("- protocol igos protocol.steps=10 protocol.steps=4: deletion: 4 images")
    )
    assert files[2].read_bytes().startswith(b"\x89PNG")
    assert files[3].read_bytes().startswith(b"%PDF")
    shown = capsys.readouterr().out  # on the screen, too
    assert "┃ metric " in shown
    assert shown.splitlines()[-4:] == [f"written to {file}" for file in files]
    assert told(monkeypatch, runs, "--only", "protocol.steps=8") == 0
    shown = capsys.readouterr().out
    assert "protocol.steps=8" in shown
    assert "protocol.steps=4" not in shown


def test_what_cannot_be_written_or_found_is_said_in_a_line(runs, monkeypatch, capsys):
    assert told(monkeypatch, runs, "--write", "a.xls") == 2
    assert "end in .md, .csv, .png, .pdf, .svg, not" in capsys.readouterr().err
    assert told(monkeypatch, runs, "--only", "nowhere") == 2
    assert "has 'nowhere' in its line" in capsys.readouterr().err


# What is said of which group, and what is missing


def test_titles_are_told_apart_by_what_the_others_have_not():
    assert told_apart(["a · b"]) == {"a · b": ""}
    assert told_apart(["a · b · c", "a · d · c"]) == {"a · b · c": "b: ", "a · d · c": "d: "}
    assert told_apart(["a · b", "a"]) == {"a · b": "a · b: ", "a": "a: "}  # nothing of its own


def test_sentences_name_their_group_where_there_are_several():
    alone = sentences(comparisons_of(three()))
    assert alone[0].startswith("deletion: 3 images")
    several = sentences(comparisons_of(three() + three("rise", (0.2, 0.1, 0.3))))
    own = [each for each in several if "images" in each or "deletion and insertion" in each]
    assert len(own) == 6
    assert {each.partition(": ")[0] for each in own} == {"protocol igos", "protocol rise"}
    assert sum(each.startswith("deletion: igos and rise order 3 methods") for each in several) == 1
    both = three() + three("rise")
    other = [each._replace(group=each.group.replace("data d", "data e")) for each in both]
    bases = comparisons_of(both + other)
    said = sentences(bases)
    assert any(each.startswith("data e: deletion: igos and rise order") for each in said)
    assert any(each.startswith("data d: insertion: a moves most") for each in said)


SWEPT = """# @package _global_
defaults:
  - override /dataset: tiny
  - override /model: tiny
  - override /metric: [deletion, insertion]
  - override /hydra/sweeper: cells
device: cpu
res: 7
experiment:
  title: Steps
  rows:
    Toy: {set: [method=toy]}
    Centre: {set: [method=centre]}
    Random: {set: [method=random], columns: ["9 steps"]}
  columns:
    4 steps: {set: [protocol.steps=4]}
    8 steps: {set: [protocol.steps=8]}
    9 steps: {set: [protocol.steps=9]}
  metrics: {deletion: {}, insertion: {}}
"""


@pytest.fixture(scope="module")
def swept(runs):
    """An experiment of which two columns of three are done, and what its commands are given."""
    conf = runs.parent / "conf"
    (conf / "experiment").mkdir()
    (conf / "experiment" / "steps.yaml").write_text(SWEPT)
    images = runs.parent / "images"
    return ["--config-dir", conf, "steps", f"dataset.root='{images}'", f"results='{runs}'"]


def test_cells_of_an_experiment_that_are_not_done_are_counted_and_named(
    swept, tmp_path, monkeypatch, capsys
):
    missing = (
        "3 of 7 cells are not there or not complete: Toy × 9 steps; Centre × 9 steps; "
        "Random × 9 steps; to go on: python -m benchmark --config-dir"
    )
    assert told(monkeypatch, *swept) == 0
    shown = capsys.readouterr().out
    assert missing in shown
    assert "--multirun +experiment=steps" in shown.splitlines()[-1]
    assert "deletion: 4 steps and 8 steps order 2 methods" in shown
    assert "protocol 4 steps: deletion: 4 images" in shown
    assert "data tiny · model tiny" in shown
    assert told(monkeypatch, *swept, "--write", tmp_path / "a.md") == 0
    written = (tmp_path / "a.md").read_text()
    assert f"- {missing}" in written and "- data tiny · model tiny" in written
    assert told(monkeypatch, *swept, "+experiment.only=[Toy,'9 steps','8 steps']") == 2
    said = capsys.readouterr().err
    assert "no two methods were scored" in said
    assert "; 1 of 2 cells are not there or not complete: Toy × 9 steps; to go on" in said
    assert told(monkeypatch, *swept, "+experiment.only=['4 steps','8 steps']") == 0
    assert "not complete" not in capsys.readouterr().out


def test_of_many_cells_that_are_not_done_only_the_first_are_named():
    few = '+experiment.only=["I-GOS","random","centre"]'
    composed = read("sensitivity", ["n=2", "results=nowhere", few])
    (line,) = lacking(composed, collect(composed))
    assert line.startswith("30 of 30 cells are not there or not complete: I-GOS × blur, 50 steps; ")
    assert line.count(" × ") == NAMED
    assert f"; and {30 - NAMED} more; to go on: python -m benchmark --multirun" in line
