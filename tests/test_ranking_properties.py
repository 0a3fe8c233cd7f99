"""What holds of every ranking, agreement and front, and slow second computations of them."""

from collections import Counter
from fractions import Fraction
from itertools import combinations, permutations
from math import comb, isnan, sqrt
from statistics import mean

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.contenders import Contender
from benchmark.paired import ranks
from benchmark.rankings import Level, comparisons_of, krippendorff, tau, turned_pairs
from benchmark.standings import boards, front

NAN = float("nan")
FEW = 99  # draws, where what holds does so of each
eighths = st.integers(-8, 8).map(lambda count: count / 8)  # their sums are exact


def tables(values, tall, wide, least=1):
    """Lists [least to tall, least to wide]."""
    return st.integers(least, wide).flatmap(
        lambda n: st.lists(st.lists(values, min_size=n, max_size=n), min_size=least, max_size=tall)
    )


def orders(count):
    return st.permutations(range(count))


# Krippendorff's alpha

rated = tables(st.sampled_from([1.0, 2.0, 3.0, 5.0, NAN]), 5, 6)


def by_coincidences(ratings, level):
    """Alpha from the matrix of coincidences, as Krippendorff (2011) has it; exact.

    None where there is none.
    """
    together = Counter()
    for unit in zip(*ratings, strict=True):
        known = [value for value in unit if not isnan(value)]
        for pair in permutations(known, 2):
            together[pair] += Fraction(1, len(known) - 1)
    often = Counter()
    for (value, _), count in together.items():
        often[value] += count

    def distance(one, other):
        if level is Level.interval:
            return Fraction(one - other) ** 2
        low, high = sorted((one, other))
        between = sum(count for value, count in often.items() if low <= value <= high)
        return (between - (often[low] + often[high]) / 2) ** 2

    observed = sum(count * distance(*pair) for pair, count in together.items())
    expected = sum(often[a] * often[b] * distance(a, b) for a in often for b in often)
    return 1 - (sum(often.values()) - 1) * observed / expected if expected else None


@given(rated, st.sampled_from(Level))
def test_alpha_is_that_of_the_coincidences_whoever_is_missing(ratings, level):
    expected = by_coincidences(ratings, level)
    found = krippendorff(ratings, level)
    assert found == pytest.approx(NAN if expected is None else float(expected), nan_ok=True)


@given(rated, st.sampled_from(Level), st.data())
def test_neither_the_order_of_raters_nor_of_units_nor_a_unit_rated_once_changes_alpha(
    ratings, level, data
):
    mixed = np.array(ratings)
    mixed = mixed[data.draw(orders(len(mixed)))][:, data.draw(orders(mixed.shape[1]))]
    once = np.full((len(mixed), 1), NAN)
    once[data.draw(st.integers(0, len(mixed) - 1))] = 9.0
    expected = pytest.approx(krippendorff(ratings, level), nan_ok=True)
    assert krippendorff(mixed, level) == expected
    assert krippendorff(np.hstack([mixed, once]), level) == expected


@given(rated, eighths, st.sampled_from([-3.0, -0.5, 0.25, 10.0]))
def test_alpha_of_orders_survives_any_scale_that_keeps_them_and_that_of_values_any_unit(
    ratings, shift, scale
):
    x = np.array(ratings)
    ordinal, interval = (krippendorff(x, level) for level in (Level.ordinal, Level.interval))
    assert krippendorff(scale * x**3, Level.ordinal) == pytest.approx(ordinal, nan_ok=True)
    assert krippendorff(scale * x + shift, Level.interval) == pytest.approx(interval, nan_ok=True)


@given(st.floats(-100, 100), st.integers(1, 7), st.integers(1, 7), st.sampled_from(Level))
def test_alpha_has_no_value_where_all_ratings_are_one_number(value, raters, units, level):
    assert np.isnan(krippendorff(np.full((raters, units), value), level))


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=6).filter(lambda x: np.ptp(x) > 1e-3),
    st.integers(3, 6),
    st.sampled_from(Level),
    st.data(),
)
def test_alpha_is_1_where_raters_agree_on_any_numbers_and_less_where_one_does_not(
    units, raters, level, data
):
    ratings = np.tile(units, (raters, 1))
    ratings[data.draw(st.integers(0, raters - 1)), data.draw(st.integers(0, len(units) - 1))] = NAN
    assert krippendorff(ratings, level) == pytest.approx(1)
    ratings = np.tile(units, (raters, 1))
    ratings[0, 0] += 0.01
    assert krippendorff(ratings, level) < 1


# Kendall's tau

two_orders = st.lists(st.tuples(eighths, eighths), min_size=2, max_size=7)


def frame(points):
    return pd.DataFrame(points, columns=["first", "second"])


@given(two_orders)
def test_tau_and_the_pairs_that_turn_round_are_by_definition(points):
    """Kendall (1945): concordant less discordant pairs, over those that either does not tie."""
    pairs = list(combinations(range(len(points)), 2))
    steps = [[points[b][side] - points[a][side] for side in (0, 1)] for a, b in pairs]
    turned = [pair for pair, (one, other) in zip(pairs, steps, strict=True) if one * other < 0]
    alike = sum(one * other > 0 for one, other in steps)
    untied = [sum(step[side] != 0 for step in steps) for side in (0, 1)]
    expected = (alike - len(turned)) / sqrt(untied[0] * untied[1]) if all(untied) else NAN
    assert turned_pairs(frame(points)) == turned
    assert tau(frame(points)) == pytest.approx(expected, nan_ok=True)


@settings(max_examples=40)
@given(two_orders)
def test_tau_goes_by_orders_alone_and_changes_its_sign_with_one(points):
    both = frame(points)
    expected = tau(both)
    stretched = both.assign(first=both["first"] ** 3 * 7 + 1)
    assert tau(stretched[::-1]) == pytest.approx(expected, nan_ok=True)
    assert tau(both[["second", "first"]]) == pytest.approx(expected, nan_ok=True)
    assert tau(both.assign(second=-both["second"])) == pytest.approx(-expected, nan_ok=True)


@given(st.integers(2, 7).flatmap(lambda n: st.tuples(orders(n), orders(n))))
def test_without_ties_tau_is_one_less_twice_the_share_that_turns_round(columns):
    both = frame(list(zip(*columns, strict=True)))
    turned = len(turned_pairs(both)) / comb(len(both), 2)
    assert tau(both) == pytest.approx(1 - 2 * turned)


# Ranks of methods

several = tables(eighths, 5, 6, least=2)
labels = st.lists(st.integers(0, 2), min_size=6, max_size=6)
over_both = pytest.mark.parametrize("over", [False, True], ids=["images", "classes"])


@over_both
@settings(max_examples=60)
@given(several, labels, st.booleans(), st.data())
def test_a_rank_counts_the_better_and_half_of_the_equal(over, values, classes, up, data):
    classes = classes[: len(values[0])]
    missing = data.draw(st.integers(0, len(classes)))  # one image that the first method has not
    values[0] = [NAN if at == missing else value for at, value in enumerate(values[0])]
    kept = [at for at in range(len(classes)) if at != missing]
    found = ranks(values, higher_is_better=up, classes=classes if over else None, resamples=FEW)
    assert {each.n for each in found} == {len(kept)}
    parts = [[at for at in kept if classes[at] == each or not over] for each in {*classes}]
    exact = [
        mean(mean(Fraction(row[at]) for at in part) for part in parts if part) for row in values
    ]
    for own, rank in zip(exact, found, strict=True):
        better = sum(other > own if up else other < own for other in exact)
        assert rank.value == better + (exact.count(own) + 1) / 2
        assert 1 <= rank.low <= rank.high <= len(values)
    assert sum(each.value for each in found) == comb(len(values) + 1, 2)


@over_both
@settings(max_examples=40)
@given(several, labels, st.data())
def test_ranks_go_with_their_methods_and_what_all_share_of_an_image_changes_none(
    over, values, classes, data
):
    own = {"classes": classes[: len(values[0])] if over else None, "resamples": FEW}
    table = np.array(values)
    shared = data.draw(
        st.lists(st.integers(-64, 64), min_size=table.shape[1], max_size=table.shape[1])
    )
    order = data.draw(orders(len(table)))
    found = ranks(table, higher_is_better=True, **own)
    moved = ranks(shared - 4 * table[order], higher_is_better=False, **own)
    assert moved == [found[at] for at in order]


@over_both
@settings(max_examples=30)
@given(several, labels)
def test_of_two_methods_one_gains_what_the_other_loses_in_every_draw(over, values, classes):
    own = classes[: len(values[0])] if over else None
    one, other = ranks(values[:2], higher_is_better=True, classes=own, resamples=FEW)
    sums = (one.value + other.value, one.low + other.high, one.high + other.low)
    assert sums == pytest.approx((3, 3, 3))


# Fronts and boards

points = st.lists(
    st.tuples(st.integers(0, 5), st.one_of(eighths, st.just(NAN))), min_size=1, max_size=9
)


def beaten(point, others, up):
    """Whether one of these is as good in both respects and better in one."""
    cost, score = point
    return any(
        other[0] <= cost and (other[1] >= score if up else other[1] <= score) and other != point
        for other in others
    )


@given(points, st.booleans(), st.data())
def test_on_the_front_are_those_with_a_score_that_no_other_beats_in_any_order(runs, up, data):
    mixed = [runs[at] for at in data.draw(orders(len(runs)))]
    costs, values = zip(*mixed, strict=True)
    found = front(costs, values, higher_is_better=up)
    assert found == [not isnan(point[1]) and not beaten(point, mixed, up) for point in mixed]
    assert any(found) == any(not isnan(value) for value in values)
    assert front(costs, np.negative(values), higher_is_better=not up) == found


PASSES = [0, 1, 1, 4]


def runs_of(values, lacking):
    """Four runs of one group [4, 2, images], some of which may lack the second metric."""
    found = []
    for at, (passes, (up, down)) in enumerate(zip(PASSES, values, strict=True)):
        images = pd.DataFrame({"up": up, "down": down})
        images[["forward_passes", "backward_passes", "seconds"]] = [passes, 0.0, 1.0]
        images[["warm_up", "target"]] = [False, 0]
        better = {"up": True} if at in lacking else {"up": True, "down": False}
        found.append(Contender("g", f"run {at}", images, better, str(at), 0))
    return found


some_runs = st.lists(
    st.lists(st.lists(eighths, min_size=3, max_size=3), min_size=2, max_size=2),
    min_size=4,
    max_size=4,
)


@settings(max_examples=20)
@given(some_runs, st.sets(st.integers(0, 3)), orders(4))
def test_a_board_ranks_those_that_have_a_metric_and_is_the_same_in_any_order(
    values, lacking, order
):
    runs = runs_of(values, lacking)
    (board,) = boards(runs)
    found = {each.name: each for each in board.standings}
    assert sorted(found) == [run.name for run in runs]
    for metric, up in board.metrics.items():
        own = [(at, run.name) for at, run in enumerate(runs) if metric in run.higher_is_better]
        placed = [found[name].ranks[metric].value for _, name in own]
        assert sum(placed) == comb(len(own) + 1, 2)
        costs_and_scores = [(PASSES[at], sum(values[at][0 if up else 1])) for at, _ in own]
        for (_, name), point in zip(own, costs_and_scores, strict=True):
            assert (metric in found[name].front) != beaten(point, costs_and_scores, up)
    for at, run in enumerate(runs):
        assert found[run.name].ranks.keys() == run.higher_is_better.keys()
        assert found[run.name].passes == PASSES[at]
    lines = [(len(each.ranks), -each.mean_rank) for each in board.standings]
    assert lines == sorted(lines, reverse=True)
    (again,) = boards([runs[at] for at in order])
    assert {each.name: each for each in again.standings} == found


@settings(max_examples=12)
@given(some_runs)
def test_a_metric_turned_round_in_values_and_direction_ranks_and_agrees_as_before(values):
    runs = runs_of(values, {})
    turned = [
        run._replace(
            images=run.images.assign(up=-run.images["up"]),
            higher_is_better={"up": False, "down": False},
        )
        for run in runs
    ]
    before, after = comparisons_of(runs), comparisons_of(turned)
    pd.testing.assert_frame_equal(before["images"], after["images"])
    assert before.keys() == after.keys()
    if "metrics" in before:
        pd.testing.assert_frame_equal(before["metrics"], after["metrics"])
    (one,), (other,) = boards(runs, ["up"]), boards(turned, ["up"])
    assert [(each.name, each.ranks, each.front) for each in one.standings] == [
        (each.name, each.ranks, each.front) for each in other.standings
    ]
