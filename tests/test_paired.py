"""Differences between methods on the same images, closed forms and other people's code."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy.stats import permutation_test, wilcoxon

from benchmark.paired import compare, holm, ranks, sign_flip, spread

NAN = float("nan")
# Sixty differences whose mean is about a standard error from zero.
FIXED = np.random.default_rng(5).normal(0.15, 1, size=60)


def test_of_four_equal_signs_two_flips_in_sixteen_are_as_far():
    assert sign_flip([[1.0, 2.0, 3.0, 4.0]]) == [2 / 16]


def test_a_difference_of_nothing_is_reached_by_every_flip():
    assert sign_flip([[0.0] * 5, [1.0, -1.0, 2.0, -2.0, 0.0]]) == [1.0, 1.0]


def test_missing_differences_change_no_p_value():
    assert sign_flip([[1.0, 2.0, 3.0, 4.0, NAN]]) == sign_flip([[1.0, 2.0, 3.0, 4.0]])


def test_random_flips_agree_with_scipys():
    theirs = permutation_test(
        (FIXED,), np.mean, permutation_type="samples", n_resamples=9_999, rng=1
    ).pvalue
    (mine,) = sign_flip([FIXED])
    assert mine == pytest.approx(theirs, abs=4 * np.sqrt(0.25 / 9_999))


def test_random_flips_never_give_zero_and_get_finer_with_the_number_of_tests():
    far = np.full((1, 50), 1.0)
    assert sign_flip(far) == [1 / 10_000]
    assert sign_flip(far, tests=300) == [1 / 30_001]


def test_p_values_of_methods_alike_are_spread_evenly():
    draws = np.random.default_rng(0).exponential(size=(400, 30))
    draws -= np.random.default_rng(1).exponential(size=(400, 30))
    share = np.mean(np.asarray(sign_flip(draws)) < 0.05)
    assert 0.02 < share < 0.08  # 400 trials at 5 % scatter by 1.1 points


def test_a_pair_of_methods_by_hand():
    (pair,) = compare([[0.1, 0.2, -0.1, 0.0, NAN]], tests=1)
    assert pair.difference.value == pytest.approx(0.05)
    assert pair.difference.n == 4
    assert pair.higher == (2 + 0.5) / 4
    assert pair.wilcoxon == pytest.approx(wilcoxon([0.1, 0.2, -0.1, 0.0]).pvalue)
    # Of the eight flips of .1, .2 and -.1, a sum of .2 or more in size: six.
    assert pair.sign_flip == 6 / 8


def test_the_same_values_are_not_told_apart():
    (pair,) = compare([[0.0, 0.0, 0.0]], tests=1)
    assert (pair.difference.value, pair.sign_flip, pair.wilcoxon, pair.higher) == (0, 1, 1, 0.5)


def test_images_without_a_value_are_no_images_of_the_flips():
    few = [0.1, 0.2, 0.3, 0.1, 0.2, 0.3]
    gaps = [*few, *[np.nan] * 34]  # of so many flips not all would be tried
    whole = np.random.default_rng(0).normal(0.1, 1, size=40)
    alone, among = sign_flip([few]), sign_flip([whole, gaps, whole])
    assert alone == [2 / 64]
    assert among == [*sign_flip([whole]), 2 / 64, *sign_flip([whole])]
    assert sign_flip([[np.nan, np.nan]]) == [1.0]


def test_a_detectable_difference_is_detected_four_times_in_five():
    source = np.random.default_rng(7)
    noise = source.normal(0, 2, size=(300, 40))
    sizes = [pair.detectable for pair in compare(noise[:40], tests=1)]
    assert np.mean(np.asarray(sign_flip(noise + np.mean(sizes))) < 0.05) == pytest.approx(
        0.8, abs=0.08
    )


def test_means_over_classes_weigh_an_image_by_its_class():
    apart, classes = [[0.0, 0.0, 0.0, 1.0]], [1, 1, 1, 2]
    (pair,) = compare(apart, classes, tests=1)
    assert pair.difference.value == 0.5  # of 0 and 1; over images it is a quarter


def test_over_classes_the_detectable_difference_is_that_of_draws_within_them():
    source = np.random.default_rng(4)
    apart = 0.1 + source.normal(0, 0.001, size=100)
    classes = np.repeat([0, 1], [90, 10])
    (pair,) = compare([apart], classes, tests=1)
    parts = [apart[:90], apart[90:]]
    error = np.sqrt(sum(part.var(ddof=1) / len(part) for part in parts)) / 2
    assert pair.detectable == pytest.approx((1.98447 + 0.84521) * error, rel=1e-3)  # t, 98 d.f.
    assert pair.detectable < pair.difference.value


def test_ranks_over_classes_draw_images_within_them():
    apart = np.r_[np.ones(90), np.full(10, -0.9)]  # over classes .05, surely above 0
    found = ranks(
        [apart, np.zeros(100)], higher_is_better=True, classes=np.repeat([0, 1], [90, 10])
    )
    assert [tuple(each)[:3] for each in found] == [(1, 1, 1), (2, 2, 2)]


def test_holms_correction_by_hand():
    assert holm([0.01, 0.02], tests=5) == pytest.approx([0.05, 0.08])
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(some.lists(some.floats(0, 1), min_size=1, max_size=20))
def test_holm_lowers_no_p_value_and_keeps_their_order(ps):
    corrected = holm(ps)
    assert all(p <= q <= 1 for p, q in zip(ps, corrected, strict=True))
    assert np.array_equal(np.asarray(corrected)[np.argsort(ps, kind="stable")], np.sort(corrected))


def test_methods_that_always_differ_have_sure_ranks():
    base = np.arange(20.0)
    found = ranks([base + 2, base, base + 1], higher_is_better=True)
    assert [tuple(each) for each in found] == [(1, 1, 1, 20), (3, 3, 3, 20), (2, 2, 2, 20)]
    lower = ranks([base + 2, base, base + 1], higher_is_better=False)
    assert [each.value for each in lower] == [3, 1, 2]


def test_methods_alike_share_a_rank_and_close_ones_have_wide_ones():
    source = np.random.default_rng(2)
    values = source.normal(size=(3, 30))
    same = ranks([values[0], values[0], values[0] - 9], higher_is_better=True)
    assert [tuple(each)[:3] for each in same] == [(1.5, 1.5, 1.5), (1.5, 1.5, 1.5), (3, 3, 3)]
    for close in ranks(values, higher_is_better=True):
        assert (close.low, close.high) == (1, 3)


def test_ranks_are_over_images_that_all_have():
    found = ranks([[1.0, 1.0, 9.0], [2.0, 2.0, NAN]], higher_is_better=True)
    assert [(each.value, each.n) for each in found] == [(2, 2), (1, 2)]


def test_the_spread_over_seeds_by_hand():
    found = spread([[0.0, 1.0], [0.2, 1.0]])
    assert found.mean == pytest.approx(0.55)
    assert found.of_mean == pytest.approx(0.1 / np.sqrt(2))
    assert found.of_image == pytest.approx(0.2 / np.sqrt(2) / np.sqrt(2))
    assert found.seeds == 2
