"""What holds of every interval, test and verdict, and slow second computations of them."""

from collections import defaultdict
from fractions import Fraction
from itertools import product
from math import isnan
from statistics import mean

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata

from benchmark.equivalence import ABOVE, BELOW, UNCLEAR, threshold
from benchmark.equivalence import judge as judge_equivalence
from benchmark.measured import Measured
from benchmark.paired import compare, holm, sign_flip, spread, weighted
from benchmark.regression import Rules
from benchmark.regression import judge as judge_regression
from benchmark.stats import class_mean_interval, mean_band, mean_interval, mean_intervals

NAN = float("nan")
FEW = 199  # draws, where what holds does so of each
MANY = 40_000  # where it holds but for their scatter
eighths = st.integers(-40, 40).map(lambda count: count / 8)  # their sums are exact
gaps = st.one_of(eighths, st.just(NAN))
scores = st.lists(eighths, min_size=2, max_size=12)
classed = st.lists(st.tuples(eighths, st.integers(0, 3)), min_size=2, max_size=12)
scales = st.sampled_from([0.001, 0.25, 3.0, 128.0])


def rows(values, most, least=1):
    """Lists [1 to 4, N] with N from least to most."""
    return st.integers(least, most).flatmap(
        lambda n: st.lists(st.lists(values, min_size=n, max_size=n), min_size=1, max_size=4)
    )


def known(values):
    return [value for value in values if not isnan(value)]


def groups_of(values, classes):
    found = defaultdict(list)
    for value, each in zip(values, classes, strict=True):
        found[each].append(value)
    return list(found.values())


# Intervals of means


def all_draws(groups):
    """Every mean of class means that drawing within the classes can give, as often as it does."""
    sums = np.zeros(1)
    for group in groups:
        draws = np.array(list(product(group, repeat=len(group))))
        sums = np.add.outer(sums, draws.mean(1))
    return (sums.ravel() / len(groups)).round(9)


def where_ends_lie(groups, resamples):
    """Bound both ends of the interval that so many draws of all there are may come to.

    Efron & Tibshirani (1993), equations 14.9 to 14.15, four standard errors to either side.
    """
    every, value = all_draws(groups), round(mean(map(mean, groups)), 9)
    influence = []
    for group in (each for each in groups if len(each) > 1):
        without = [mean(group[:at] + group[at + 1 :]) for at in range(len(group))]
        influence += [(mean(without) - each) * (len(group) - 1) / len(group) for each in without]
    cubes, squares = sum(each**3 for each in influence), sum(each**2 for each in influence)
    acceleration = cubes / (6 * squares**1.5)
    below = (every < value).mean() + (every == value).mean() / 2
    bias = norm.ppf(below)
    unsure = 4 * np.sqrt(below * (1 - below) / resamples) / norm.pdf(bias)
    for level in (0.025, 0.975):
        shares = []
        for sign in (-1, 1):
            shifted = bias + sign * unsure + norm.ppf(level)
            share = norm.cdf(bias + sign * unsure + shifted / (1 - acceleration * shifted))
            shares.append(share + sign * 4 * np.sqrt(share * (1 - share) / resamples))
        low, high = np.clip(shares, 0, 1)
        yield np.quantile(every, low, method="lower"), np.quantile(every, high, method="higher")


@settings(max_examples=40)
@given(st.lists(st.integers(0, 4), min_size=3, max_size=5).filter(lambda x: len(set(x)) > 1))
def test_in_either_order_few_images_have_the_interval_of_all_their_draws(values):
    """Which draws are made depends on the order of the images, what they tell does not."""
    (least, low), (high, most) = where_ends_lie([values], MANY)
    for ordered in (values, values[::-1]):
        found = mean_interval(ordered, resamples=MANY)
        assert least - 1e-9 <= found.low <= low + 1e-9
        assert high - 1e-9 <= found.high <= most + 1e-9


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3), min_size=2, max_size=3).filter(
        lambda groups: any(len(set(group)) > 1 for group in groups)
    )
)
def test_few_classes_have_the_interval_of_all_draws_within_them(groups):
    labels = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    found = class_mean_interval(np.concatenate(groups), labels, resamples=MANY)
    (least, low), (high, most) = where_ends_lie(groups, MANY)
    assert least - 1e-9 <= found.low <= low + 1e-9
    assert high - 1e-9 <= found.high <= most + 1e-9


@given(scores)
def test_the_interval_holds_the_mean_within_the_values_and_is_narrow_only_where_all_are_equal(
    values,
):
    value, low, high, n = mean_interval(values, resamples=FEW)
    assert n == len(values)
    assert value == pytest.approx(mean(values))
    assert min(values) - 1e-12 <= low <= value <= high <= max(values) + 1e-12
    assert (low == high) == (len(set(values)) == 1)


@given(classed)
def test_the_interval_of_class_means_holds_them_and_is_narrow_only_where_no_class_differs(images):
    values, classes = zip(*images, strict=True)
    groups = groups_of(values, classes)
    value, low, high, n = class_mean_interval(values, classes, resamples=FEW)
    assert n == len(values)
    assert value == pytest.approx(mean(map(mean, groups)))
    if max(map(len, groups)) == 1:
        assert np.isnan([low, high]).all()
        return
    least, most = (mean(map(end, groups)) for end in (min, max))
    assert least - 1e-12 <= low <= value + 1e-12
    assert value - 1e-12 <= high <= most + 1e-12
    assert (low == high) == all(len(set(group)) == 1 for group in groups)


@given(scores, scales, eighths, st.integers(0, 3))
def test_other_units_change_nothing_but_the_units(values, scale, shift, seed):
    x = np.array(values)
    found = np.array(mean_interval(x, seed, FEW)[:3])
    moved = mean_interval(scale * x + shift, seed, FEW)[:3]
    assert moved == pytest.approx(scale * found + shift, abs=1e-9)
    turned = mean_interval(shift - scale * x, seed, FEW)[:3]
    assert turned == pytest.approx(shift - scale * found[[0, 2, 1]], abs=1e-9)


@given(classed, scales, eighths, st.randoms(use_true_random=False))
def test_units_the_order_of_images_and_names_of_classes_change_no_mean_over_classes(
    images, scale, shift, random
):
    values, classes = np.array(images).T
    found = class_mean_interval(values, classes, 1, FEW)
    order = random.sample(range(len(images)), len(images))
    names = [f"class {each:g}" for each in classes[order]]  # sorted as the numbers are
    moved = class_mean_interval(scale * values[order] + shift, names, 1, FEW)
    assert moved[:3] == pytest.approx(scale * np.array(found[:3]) + shift, abs=1e-9, nan_ok=True)


@given(classed, eighths)
def test_a_class_of_one_image_shifts_the_interval_and_adds_nothing_to_its_width(images, alone):
    values, classes = np.array(images).T
    count = len(set(classes))
    found = class_mean_interval(values, classes, 1, FEW)
    more = class_mean_interval([*values, alone], [*classes, 9], 1, FEW)
    expected = (count * np.array(found[:3]) + alone) / (count + 1)
    assert more[:3] == pytest.approx(expected, abs=1e-9, nan_ok=True)


@given(rows(gaps, 8), st.integers(0, 3))
def test_columns_at_once_are_columns_one_at_a_time_whatever_each_misses(columns, seed):
    columns = {str(at): column for at, column in enumerate([*columns, [1.0, 2.0, 4.0, NAN]])}
    together = mean_intervals(columns, seed, FEW)
    assert list(together) == list(columns)
    for name, values in columns.items():
        kept = known(values)
        alone = mean_interval(kept, seed, FEW)
        np.testing.assert_equal((together[name].value, together[name].n), (alone.value, len(kept)))
        assert together[name] == pytest.approx(alone, abs=1e-12, nan_ok=True)


@given(rows(eighths, 6), scales, eighths, st.randoms(use_true_random=False))
def test_a_bands_points_keep_to_themselves(curves, scale, shift, random):
    curves = np.array(curves)
    order = random.sample(range(curves.shape[1]), curves.shape[1])
    changed = curves[:, order]
    changed[:, 0] = shift - scale * changed[:, 0]
    before, after = mean_band(curves, 1, FEW), mean_band(changed, 1, FEW)
    for one, other in zip(before, (after.value, after.low, after.high), strict=True):
        assert other[1:] == pytest.approx(one[order[1:]], abs=1e-9, nan_ok=True)
    turned = [shift - scale * end[order[0]] for end in (before.value, before.high, before.low)]
    assert [end[0] for end in after] == pytest.approx(turned, abs=1e-9, nan_ok=True)


# Tests


def flips(values):
    """Every sum there is when each sign may be either."""
    sums = [Fraction(0)]
    for value in map(Fraction, values):
        sums = [each + signed for each in sums for signed in (value, -value)]
    return sums


def share(marks):
    marks = list(marks)
    return sum(marks) / len(marks)


@given(rows(gaps, 8))
def test_p_of_few_images_is_the_share_of_all_flips(differences):
    above = [[total >= sum(known(row)) for total in flips(known(row))] for row in differences]
    apart = [[abs(x) >= abs(sum(known(row))) for x in flips(known(row))] for row in differences]
    assert sign_flip(differences, above=True) == list(map(share, above))
    assert sign_flip(differences) == list(map(share, apart))


@settings(max_examples=40)
@given(st.lists(eighths, min_size=1, max_size=6), st.integers(14, 20), st.integers(0, 3))
def test_p_of_random_flips_is_that_of_all_but_for_their_scatter(values, n, seed):
    padded = np.zeros(n)
    padded[: len(values)] = values
    (exact,) = sign_flip([values])
    p, turned = sign_flip([padded, -padded], seed=seed)
    assert p == turned
    assert p == pytest.approx(exact, abs=5 * np.sqrt(exact * (1 - exact) / 9_999) + 1e-4)
    up, down = (sign_flip(each, seed=seed, above=True)[0] for each in (padded, -padded))
    assert 0 < up <= 1 < up + down
    assert p * 10_000 == pytest.approx(round(p * 10_000), abs=1e-6)
    (far,) = sign_flip(padded + 9, seed=seed)
    assert far > 0
    assert sign_flip([padded * 3, padded + 9], seed=seed) == [p, far]


def signed_ranks(values):
    """Wilcoxon's p by his definition: every sign of the ranks of what is not 0."""
    present = [value for value in values if value]
    ranks = rankdata(np.abs(present)) * np.sign(present) if present else []
    return share(abs(total) >= abs(sum(ranks)) for total in flips(ranks))


few_sizes = st.sampled_from([-0.75, -0.5, -0.25, 0.0, 0.0, 0.25, 0.5, NAN])  # ties, and nothing
some_classes = st.lists(st.integers(0, 2), min_size=7, max_size=7)


@settings(max_examples=50)
@given(rows(few_sizes, 7, least=2), some_classes, st.booleans())
def test_a_pair_of_methods_is_compared_by_definition(differences, classes, over_classes):
    classes = classes[: len(differences[0])]
    found = compare(differences, classes if over_classes else None, tests=1, seed=2)
    for row, pair in zip(differences, found, strict=True):
        kept = known(row)
        labels = [each for each, value in zip(classes, row, strict=True) if not isnan(value)]
        often = {each: labels.count(each) * len(set(labels)) for each in labels}
        counts = [often[each] if over_classes else len(kept) for each in labels]
        parts = [Fraction(value) / count for value, count in zip(kept, counts, strict=True)]
        apart = [abs(total) >= abs(sum(parts)) for total in flips(parts)]
        assert pair.difference.n == len(kept)
        assert pair.sign_flip == share(apart)
        assert pair.wilcoxon == pytest.approx(signed_ranks(kept))
        if kept:
            assert pair.difference.value == pytest.approx(float(sum(parts)), abs=1e-12)
            assert pair.higher == share((value > 0) + (value == 0) / 2 for value in kept)


@settings(max_examples=40)
@given(rows(gaps, 7, least=2), some_classes, st.booleans())
def test_the_other_way_round_differences_are_negated_and_tests_the_same(apart, classes, over):
    labels = classes[: len(apart[0])] if over else None
    ahead, behind = (
        compare(sign * np.array(apart), labels, tests=1, seed=1)[0] for sign in (1, -1)
    )
    assert behind[1:3] == ahead[1:3]
    assert behind.higher == pytest.approx(1 - ahead.higher, nan_ok=True)
    assert behind.detectable == pytest.approx(ahead.detectable, nan_ok=True)
    value, low, high, n = ahead.difference
    assert behind.difference[::3] == pytest.approx((-value, n), nan_ok=True)
    if not over:  # draws within classes go by the sorted values, and so are others
        assert behind.difference[1:3] == pytest.approx((-high, -low), abs=1e-12, nan_ok=True)


@given(rows(gaps, 8), st.lists(st.integers(0, 2), min_size=8, max_size=8))
def test_weighted_values_have_for_their_mean_that_of_the_classes(values, classes):
    classes = np.array(classes[: len(values[0])])
    for row, scaled in zip(values, weighted(np.array(values), classes), strict=True):
        assert np.array_equal(np.isnan(row), np.isnan(scaled))
        expected = class_mean_interval(row, classes, resamples=1).value
        present = known(scaled.tolist())
        found = mean(present) if present else NAN
        assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


def rejected(ps, level):
    """Holm's procedure: the least p against level / m, the next against level / (m - 1), ..."""
    found = set()
    for step, at in enumerate(sorted(range(len(ps)), key=lambda at: ps[at])):
        if ps[at] * (len(ps) - step) > level:
            break
        found.add(at)
    return found


some_p = st.integers(0, 64).map(lambda count: count / 64)


@given(st.lists(some_p, min_size=1, max_size=8), some_p.filter(lambda p: p < 1), st.integers(0, 12))
def test_at_every_level_holms_procedure_rejects_what_the_corrected_p_says(ps, level, tests):
    unknown = [1.0] * max(0, tests - len(ps))
    by_correction = {at for at, p in enumerate(holm(ps, tests)) if p <= level}
    assert by_correction == rejected(ps + unknown, level)


@settings(max_examples=50)
@given(rows(gaps, 6).filter(lambda runs: len(runs) > 1 and known(np.sum(runs, axis=0))))
def test_the_spread_over_seeds_is_by_definition(runs):
    together = [column for column in zip(*runs, strict=True) if not np.isnan(column).any()]
    deviations = [np.std(column, ddof=1) for column in together]
    found = spread(runs)
    assert found.seeds == len(runs)
    assert found.mean == pytest.approx(np.mean(together), abs=1e-12)
    assert found.of_image == pytest.approx(np.sqrt(np.mean(np.square(deviations))), abs=1e-12)
    means = [mean(run) for run in zip(*together, strict=True)]
    assert found.of_mean == pytest.approx(np.std(means, ddof=1), abs=1e-12)
    assert found.of_mean <= found.of_image + 1e-12


# Verdicts of equivalence


@st.composite
def two_series(draw):
    """Draw two series [N, 2] that lie apart by about as much on every image, or hits."""
    if draw(st.booleans()):
        hits = st.sampled_from([0.0, 1.0, NAN])
        return np.array(draw(st.lists(st.tuples(hits, hits), min_size=2, max_size=10)))
    near = st.integers(-3, 3).map(lambda count: count / 8)
    both = np.array(draw(st.lists(st.tuples(gaps, near), min_size=2, max_size=10)))
    return np.stack([both[:, 0], both.sum(1) + draw(eighths) / 2], axis=1)


@given(scores, scales, eighths, st.integers(1, 5000))
def test_a_threshold_is_in_the_units_of_the_values_and_wherever_they_lie(values, scale, shift, n):
    limit = threshold([*values, NAN], n, 0.1)
    assert (limit > 0) == (len(set(values)) > 1)
    moved = threshold(shift - scale * np.array(values), n, 0.1)
    assert moved == pytest.approx(scale * limit, abs=1e-12)
    assert threshold(values, 4 * n, 0.2) == pytest.approx(limit)


@given(st.floats(-100, 100), st.integers(2, 30))
def test_values_that_do_not_vary_have_a_threshold_of_0_and_tell_nothing(value, count):
    values = np.full(count, value)
    limit = threshold(values, 5000, 0.1)
    assert limit == 0
    for others in (values, values + 1e-3):
        assert judge_equivalence(values, others, limit, 2).verdict == UNCLEAR


@given(two_series(), st.integers(1, 48), st.integers(0, 6))
def test_a_verdict_of_equivalence_is_what_the_interval_says_either_way_round(both, limit, least):
    first, second = both.T
    limit = (limit + 0.37) / 16  # where no end of an interval lies
    found = judge_equivalence(first, second, limit, least)
    turned = judge_equivalence(second, first, limit, least)
    value, low, high, n = found.difference
    assert n == sum(not np.isnan(pair).any() for pair in both)
    assert turned.verdict == found.verdict
    assert turned.images == pytest.approx(found.images, abs=1, nan_ok=True)  # rounded up
    assert turned.difference == pytest.approx((-value, -high, -low, n), abs=1e-12, nan_ok=True)
    if n < max(least, 1) or np.isnan(low):
        assert found.verdict == UNCLEAR
        return
    assert low <= value + 1e-12
    assert value - 1e-12 <= high
    within, beyond = max(high, -low) <= limit, min(high, -low) < -limit
    assert found.verdict == (BELOW if within else ABOVE if beyond else UNCLEAR)
    assert (found.verdict == UNCLEAR) == (found.images >= n)


@settings(max_examples=30)
@given(two_series())
def test_a_wider_limit_never_takes_back_that_a_difference_is_below_it(both):
    first, second = both.T
    found = [judge_equivalence(first, second, limit, 2).verdict for limit in (0.1, 0.4, 1, 2, 6)]
    order = [ABOVE, UNCLEAR, BELOW]
    places = [order.index(verdict) for verdict in found]
    assert places == sorted(places)


# Verdicts of the gate


def measured(values, higher_is_better):
    images = pd.DataFrame({"mine": values, "forward_passes": 3.0, "backward_passes": 2.0})
    return Measured("cell", "", "mine", {}, {}, {"mine": higher_is_better}, images)


def rules(margin, level):
    return Rules({"mine": margin}, 0.1, 0.1, exact=[], tolerance=0.0, level=level, unclear=3)


def by_definition(harms, margin, level):
    """Give verdicts as the gate's documentation has them, by every flip there is."""

    def p(values):
        return share(total >= sum(values) for total in flips(values))

    able = [at for at, harm in enumerate(harms) if 0.5 ** np.count_nonzero(harm) <= level]
    tested = [harms[at] for at in able]
    worse = {able[at] for at in rejected([p(harm) for harm in tested], level)}
    better = {able[at] for at in rejected([p([-x for x in harm]) for harm in tested], level)}
    for at, harm in enumerate(harms):
        if at in better:
            yield "better"
        elif not any(harm) or p([margin - x for x in harm]) <= level:
            yield "same"
        else:
            yield "worse" if at in worse and mean(harm) > margin else "unclear"


def harms_from(least):
    return st.lists(st.integers(least, 6).map(lambda count: count / 8), min_size=1, max_size=5)


some_harms = st.lists(st.one_of(harms_from(-4), harms_from(1)), min_size=1, max_size=3)


@settings(max_examples=70)
@given(some_harms, st.sampled_from([0.1875, 0.5]), st.sampled_from([0.05, 0.125, 0.3]))
def test_the_gates_verdicts_are_those_of_its_definition_whichever_way_is_better(
    harms, margin, level
):
    expected = list(by_definition(harms, margin, level))
    for sign in (1, -1):
        cells = [
            tuple(measured(2 - sign * np.array(each), sign > 0) for each in (harm, [0] * len(harm)))
            for harm in harms
        ]
        for step in (1, -1):
            findings = judge_regression(cells[::step], rules(margin, level))[::3]
            assert [each.verdict.name for each in findings][::step] == expected
