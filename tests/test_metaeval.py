"""Meta-evaluation: what consistency is worth in closed form, and what is said of a metric."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import torch
from moves import Moves
from toys import Tiny

from benchmark import metaeval
from benchmark import perturbed_scores as scoring
from benchmark.consistency import chance_of_nr, change_p, consistency, same_ranks, worse
from benchmark.interfaces import BadInput
from benchmark.perturbed_scores import Perturbations, passes_alone, perturbed_scores, scaled_weights
from benchmark.preference import preferences
from benchmark.sanity import cells_of
from benchmark.verdicts import BELIEVE, CARE, NOT, UNKNOWN, judged, sentences

N, METHODS = 8, 4


def table(minor, disruptive, metric="m", draws=1):
    """Scores [draws, L, N] after perturbations of either kind; before it is image + 10 method."""
    before = np.arange(N) / 7 + 10.0 * np.arange(METHODS)[:, None]
    return pd.DataFrame(
        [
            {"test": test, "strength": strength, "draw": draw, "method": f"{method}"}
            | {"metric": metric, "id": f"{image}", "before": before[method, image]}
            | {"after": after(before, draw)[method, image]}
            for test in ("inputs", "weights")
            for strength, after in (("minor", minor), ("disruptive", disruptive))
            for draw in range(draws)
            for method in range(METHODS)
            for image in range(N)
        ]
    )


def lower(before, _draw):
    """Every score by an amount of its own."""
    return before - np.arange(1, N + 1) / 3


def same(before, _draw):
    return before


# Formulas


def test_scores_that_stay_have_p_1_and_scores_that_all_fall_the_least_p_there_is():
    before = np.arange(N, dtype=float)
    assert change_p(before, before) == 1
    assert change_p(before, before + 1e-9) == 1  # rounding
    assert change_p(before, lower(before, 0)) == 2 ** (1 - N)
    assert change_p(before, 2 * before - lower(before, 0)) == 2 ** (1 - N)


def test_images_without_a_value_are_left_out_of_p_and_one_image_has_none():
    before = np.array([1, 2, 3, np.nan, 5])
    after = np.array([0.5, 1, 1.5, 0, np.nan])
    assert change_p(before, after) == change_p(before[:3], after[:3]) == 2 ** (1 - 3)
    assert np.isnan(change_p([1], [0]))


def test_of_all_orders_of_the_methods_one_rank_in_as_many_stays():
    before = np.arange(METHODS, dtype=float)[:, None]
    shares = [same_ranks(before, np.array(order)[:, None]) for order in permutations(range(4))]
    assert np.mean(shares) == pytest.approx(1 / METHODS)
    assert shares[0] == 1


def test_equal_scores_share_a_rank_and_images_without_a_value_have_none():
    assert same_ranks([[1], [1], [0]], [[5], [5], [4]]) == 1
    assert same_ranks([[1], [1], [0]], [[2], [1], [0]]) == pytest.approx(1 / 3)
    assert same_ranks([[0, np.nan], [1, 1]], [[0, 1], [1, 0]]) == 1
    assert np.isnan(same_ranks([[np.nan], [1]], [[0], [1]]))


def test_worse_follows_the_metrics_direction_and_equal_is_not_worse():
    before, after = [[1, 2, 3, np.nan]], [[0, 2, 5, 0]]
    assert worse(before, after, True) == pytest.approx(1 / 3)
    assert worse(before, after, False) == pytest.approx(1 / 3)
    assert worse([[1]], [[0]], True) == 1
    assert np.isnan(worse([[np.nan]], [[0]], True))


def test_a_perfect_metric_has_noise_resilience_1_and_the_reactivity_that_its_images_allow():
    found = consistency(table(same, lower), {"m": True})
    assert found["test"].tolist() == ["inputs", "weights"]
    least = 2 ** (1 - N)
    for _, line in found.iterrows():
        assert (line["IAC_NR"], line["IEC_NR"], line["NR"]) == (1, 1, 1)
        assert (line["IAC_AR"], line["IEC_AR"]) == (1 - least, 1)
        assert line["AR"] == 1 - least / 2
        assert line["MC"] == 1 - least / 4
        assert (line["minor"], line["disruptive"]) == (N, N)


def test_a_metric_that_never_changes_is_resilient_and_does_not_react():
    (line, _) = consistency(table(same, same), {"m": True}).to_dict("records")
    assert (line["NR"], line["AR"], line["MC"]) == (1, 0, 0.5)


def test_a_metric_that_gets_better_when_all_is_destroyed_changes_and_never_for_the_worse():
    (line, _) = consistency(table(same, lower), {"m": False}).to_dict("records")
    assert (line["IAC_AR"], line["IEC_AR"]) == (1 - 2 ** (1 - N), 0)


def test_a_metric_of_random_values_has_what_is_named_as_chance():
    draws = 60
    source = np.random.default_rng(0)
    values = source.random((4, draws, METHODS, N))
    before = table(same, same, draws=draws)
    before["before"] = source.random(len(before))
    before["after"] = values.reshape(-1)
    found = consistency(before, {"m": True})
    assert found["NR"].mean() == pytest.approx(chance_of_nr(METHODS), abs=0.03)
    assert found["AR"].mean() == pytest.approx(0.5, abs=0.03)


def test_where_no_image_changed_its_class_reactivity_is_not_known():
    scores = table(same, lower)
    scores = scores[(scores["test"] == "inputs") | (scores["strength"] == "minor")]
    inputs, weights = consistency(scores, {"m": True}).to_dict("records")
    assert inputs["AR"] > 0.9
    assert np.isnan(weights["AR"])
    assert np.isnan(weights["MC"])
    assert (weights["NR"], weights["disruptive"]) == (1, 0)


# Perturbing


def test_factors_of_weights_have_mean_1_and_the_spread_that_was_asked_for():
    network = Tiny().eval().requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ratios = []
    for name, value in scaled_weights(network, 0.1, seed=1).named_parameters():
        assert torch.equal(network.state_dict()[name], before[name])
        ratios.append((value / before[name])[before[name] != 0])
    ratio = torch.cat(ratios)
    assert ratio.mean() == pytest.approx(1, abs=0.02)
    assert ratio.std() == pytest.approx(0.1, abs=0.02)
    again, other = (scaled_weights(network, 0.1, seed).state_dict() for seed in (1, 2))
    first = scaled_weights(network, 0.1, 1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.parametrize(
    "strengths", [(0, 0.1, 5, 0.1, 2), (1, 0, 5, 0.1, 2), (1, 0.1, 0.1, 0.1, 2), (1, 0.1, 5, 3, 2)]
)
def test_perturbations_of_no_or_falling_strength_are_refused(strengths):
    with pytest.raises(BadInput, match="a minor strength below the disruptive one: got draws="):
        Perturbations(*strengths, explain_again=True)


GIVEN = [
    "model=tagged_vgg",
    "dataset=tagged",
    "dataset.limit=4",
    "res=14",
    "resize=area",
    "protocol.steps=8",
    "method=gradcam,gradient",
]


def strengths(explain_again):
    return Perturbations(1, 0.001, 5.0, 0.001, 2.0, explain_again=explain_again)


@pytest.fixture(scope="module")
def cells():
    return cells_of([*GIVEN, "metric=[deletion,relevance_mass,sparseness]"])


@pytest.mark.parametrize("explain_again", [True, False])
def test_an_image_counts_where_the_prediction_stays_under_little_and_changes_under_much(
    cells, explain_again
):
    cell = cells[0]
    batch = cell.batch(cell.dataset.ids())
    scores = perturbed_scores(cells, strengths(explain_again))
    seen = cell.model(batch.images).argmax(1)
    for each in strengths(explain_again)(cell.model, batch, 0):
        kept = each.model(each.batch.images).argmax(1) == seen
        counts = kept if each.strength == "minor" else ~kept
        own = scores[(scores["test"] == each.test) & (scores["strength"] == each.strength)]
        expected = [name for name, yes in zip(batch.ids, counts, strict=True) if yes]
        assert sorted(own["id"].unique()) == sorted(expected)
        assert len(own) == len(expected) * 2 * 3
    for method, sign in (("gradcam at 14 x 14", 0), ("gradient at 14 x 14 (resize=area)", 1)):
        own = scores[(scores["method"] == method) & (scores["metric"] == "sparseness")]
        inputs = own[own["test"] == "inputs"]
        # sparseness is the heatmap's own: it stays exactly where the heatmap is kept
        assert (inputs["before"] == inputs["after"]).all() != explain_again
        weights = own[(own["test"] == "weights") & (own["strength"] == "disruptive")]
        assert (weights["before"] != weights["after"]).all()
        heatmaps = cells[sign].method(cell.model, batch)
        first = own.drop_duplicates("id").set_index("id")["before"]
        if sign == 0:  # in the resolution of its own
            direct = cell.metrics["sparseness"](cell.model, batch, heatmaps).values
            assert first[batch.ids].tolist() == pytest.approx(direct.tolist())


def test_the_bar_moves_with_each_perturbation_of_each_batch_and_in_all_by_the_images(monkeypatch):
    moves = Moves()
    monkeypatch.setattr(scoring, "stage", moves)
    batches_of_3_and_1 = cells_of([*GIVEN, "metric=[sparseness]", "batch_size=3"])
    perturbed_scores(batches_of_3_and_1, strengths(explain_again=False))
    assert [total for _, total in moves.titles] == [4]
    assert sum(moves.moved) == pytest.approx(4)
    assert moves.moved == pytest.approx([3 / 5] * 5 + [1 / 5] * 5)


def test_passes_are_those_of_a_metric_by_itself(cells):
    found = passes_alone(cells[0])
    assert found["relevance_mass"] == found["sparseness"] == 0
    points = -(-196 // (196 // 8)) + 1
    assert found["deletion"] == points


# What is said


def told(metric, minor, disruptive, preferred):
    parts = consistency(table(minor, disruptive, metric), {metric: True})
    return judged(parts, preferred, {metric: 3.0}, ["decoy"], METHODS)[0]


def preferring(metric, cause, rival):
    values = {(metric, "cause"): cause, (metric, "decoy"): rival}
    return preferences(values, {metric: True}, "cause")


def test_the_verdict_follows_from_consistency_and_from_the_cause():
    nothing = pd.DataFrame()
    good, bad = preferring("m", [1] * 9, [0] * 9), preferring("m", [0] * 9, [1] * 9)
    even = preferring("m", [1] * 13, [1] * 13)
    assert told("m", same, lower, good).verdict == BELIEVE
    assert told("m", same, lower, nothing).verdict == BELIEVE
    assert told("m", same, lower, even).verdict == CARE
    assert told("m", same, lower, bad).verdict == NOT
    assert told("m", same, same, good).verdict == CARE  # it does not react
    few = preferring("m", [1] * 3, [0] * 3)
    assert told("m", same, lower, few).verdict == UNKNOWN
    assert told("m", same, same, few).verdict == CARE  # whatever it prefers
    (said,) = sentences([told("m", same, lower, few)])
    assert said.startswith("m: cannot tell; it bears small noise (NR 1.00)")
    assert said.endswith(", 3 images cannot tell whether it prefers the cause to decoy")
    shuffled = told("m", lambda before, _: before[[1, 2, 3, 0]], lower, good)
    assert shuffled.standing("NR") < 0
    assert shuffled.verdict == NOT


def test_a_metric_is_described_in_plain_words_with_its_numbers():
    (said,) = sentences([told("m", same, same, preferring("m", [1] * 9, [0] * 9))])
    assert said.startswith("m: with care; it bears small noise (NR 1.00), gets no worse where the")
    assert "(AR 0.00), prefers the cause to every wrong map, on all images" in said


def test_a_metric_without_values_is_not_judged():
    parts = consistency(table(same, lower).assign(after=np.nan), {"m": True})
    (each,) = judged(parts, pd.DataFrame(), {"m": 0.0}, ["decoy"], METHODS)
    assert each.verdict == UNKNOWN
    (said,) = sentences([each])
    assert said.startswith("m: cannot tell, it has no values on these images and where the network")


def test_the_command_writes_a_table_a_figure_and_a_line_per_value(tmp_path, monkeypatch, capsys):
    files = [tmp_path / f"meta.{kind}" for kind in ("md", "csv", "png")]
    given = [*GIVEN, "metric=[relevance_mass,sparseness]", "perturbations.draws=1"]
    written = [part for file in files for part in ("--write", str(file))]
    monkeypatch.setattr("sys.argv", ["metaeval", *given, *written])
    assert metaeval.main() == 0
    text = files[0].read_text()
    assert text.startswith("| metric | MC | NR: inputs / weights | AR: inputs / weights |")
    assert "4 images · 1 draw, noise 0.001 / 5, factor sd 0.001 / 2" in text
    assert "a metric of random values has NR 0.50 and AR 0.50" in text
    assert "believe: NR above 0.75 and AR above 0.75, and where the cause is known all of" in text
    assert "do not believe: NR of at most 0.50, or all of an interval below 50%" in text
    assert "- relevance_mass: " in text
    assert len(pd.read_csv(files[1])) == 2 * 2
    assert files[2].stat().st_size > 10_000
    shown = capsys.readouterr()
    assert "┃ metric " in shown.out  # on the screen, too
    assert shown.out.splitlines()[-3:] == [f"written to {file}" for file in files]
    assert shown.err.splitlines() == [
        "explaining 4 images, as they are and perturbed, by 2 methods, scoring by 2 metrics",
        "scoring constructed heatmaps of 4 images by 2 metrics",
        "counting the passes of 2 metrics",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["method=gradcam"], "ranks need two methods at least"),
        (["--write", "a.xls"], "--write takes files that end in .md"),
        (["perturbations.draws=0"], "draws of at least 1"),
        (["perturbations.drawn=1"], "drawn"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(given, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["metaeval", *given])
    assert metaeval.main() == 2
    said = capsys.readouterr().err
    assert said.startswith("benchmark.metaeval: ")
    assert message in said
    assert said.count("\n") == 1
