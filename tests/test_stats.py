import numpy as np
import pytest
from scipy.stats import bootstrap, norm

from benchmark import stats
from benchmark.stats import class_mean_interval, mean_band, mean_interval, mean_intervals

# Forty numbers that lean to one side, as deletion scores do.
FIXED = np.random.default_rng(3).beta(1, 4, size=40)


def test_an_interval_holds_the_true_mean_nineteen_times_in_twenty():
    draws = np.random.default_rng(0).exponential(size=(400, 60))
    hits = [low <= 1.0 <= high for _, low, high, _ in map(narrow, draws)]
    # 400 trials at 93-95 % scatter by about 1.2 points; half the width would give under 70 %.
    assert 0.90 <= np.mean(hits) <= 0.98


def narrow(values):
    return mean_interval(values, resamples=400)


def test_the_interval_leaves_out_as_much_on_either_side():
    draws = np.random.default_rng(1).exponential(size=(400, 60))
    means = [narrow(values) for values in draws]
    above, below = (np.mean(x) for x in zip(*((m.low > 1, m.high < 1) for m in means), strict=True))
    assert above < 0.06
    assert below < 0.09


def test_the_interval_is_scipys_bca_of_the_same_seed():
    mine = mean_interval(FIXED, seed=5, resamples=2000)
    theirs = bootstrap(
        (FIXED,), np.mean, n_resamples=2000, method="BCa", rng=np.random.default_rng(5), batch=1000
    ).confidence_interval
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_the_interval_is_the_bca_of_the_book():
    """A slow second implementation, after Efron & Tibshirani (1993), equations 14.9 to 14.15."""
    picks = np.random.default_rng(11).integers(0, len(FIXED), (20000, len(FIXED)))
    means = FIXED[picks].mean(1)
    bias = norm.ppf((means < FIXED.mean()).mean())
    left_out = np.array([np.delete(FIXED, k).mean() for k in range(len(FIXED))])
    away = left_out.mean() - left_out
    acceleration = (away**3).sum() / (6 * (away**2).sum() ** 1.5)
    ends = []
    for level in (0.025, 0.975):
        z = bias + norm.ppf(level)
        ends.append(np.quantile(means, norm.cdf(bias + z / (1 - acceleration * z))))
    mine = mean_interval(FIXED, resamples=20000)
    width = ends[1] - ends[0]
    assert mine.low == pytest.approx(ends[0], abs=0.02 * width)
    assert mine.high == pytest.approx(ends[1], abs=0.02 * width)
    plain = np.quantile(means, [0.025, 0.975])
    assert np.abs(np.array([mine.low, mine.high]) - plain).max() > 0.02 * width


def test_the_value_is_the_mean_and_lies_in_its_interval():
    value, low, high, n = mean_interval(FIXED)
    assert value == pytest.approx(FIXED.mean(), abs=1e-15)
    assert low < value < high
    assert n == 40


def test_equal_values_have_an_interval_without_width():
    assert mean_interval([0.3] * 7) == pytest.approx((0.3, 0.3, 0.3, 7), abs=1e-15)


def test_a_missing_value_is_left_out_and_not_counted():
    gaps = np.insert(FIXED, [0, 5, 40], np.nan)
    assert mean_interval(gaps) == mean_interval(FIXED)
    assert mean_interval(gaps).n == 40


def test_the_same_seed_gives_the_same_interval_and_another_a_slightly_different_one():
    first, second, other = (mean_interval(FIXED, seed=seed) for seed in (0, 0, 1))
    assert first == second
    assert (first.low, first.high) != (other.low, other.high)
    assert (first.low, first.high) == pytest.approx((other.low, other.high), abs=0.01)


@pytest.mark.parametrize(("values", "value", "n"), [([], np.nan, 0), ([np.nan], np.nan, 0)])
def test_no_values_have_no_mean(values, value, n):
    np.testing.assert_equal(mean_interval(values), (value, np.nan, np.nan, n))


def test_one_value_has_a_mean_and_no_interval():
    np.testing.assert_equal(mean_interval([0.5, np.nan]), (0.5, np.nan, np.nan, 1))


def test_one_image_that_differs_makes_an_interval():
    value, low, high, n = mean_interval([0.0] * 19 + [1.0])
    assert 0 <= low < value < high
    assert n == 20


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.0, 0.0, 1.0], [1.0] * 999 + [0.0]])
def test_yes_and_no_of_few_images_have_an_interval_of_numbers(values, recwarn):
    value, low, high, _ = mean_interval(values)
    assert low <= value <= high
    assert not recwarn.list


# Means over classes


def grouped(*groups):
    """Values and classes of these groups, mixed up."""
    values = np.concatenate(groups)
    classes = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    order = np.random.default_rng(1).permutation(len(values))
    return values[order], classes[order]


UNEVEN = (FIXED, np.random.default_rng(4).beta(4, 1, size=15), np.array([0.1, 0.4, 0.9]))


def test_every_class_counts_alike_however_many_images_it_has():
    hits = [1.0] * 90 + [0.0] * 10 + [0.0, 0.0, 1.0, 0.0]
    mean = class_mean_interval(hits, ["person"] * 100 + ["cat"] * 4)
    assert mean.value == pytest.approx((0.9 + 0.25) / 2, abs=1e-15)
    assert mean.n == 104
    assert mean.low < mean.value < mean.high


def test_the_interval_of_class_means_is_scipys_of_as_many_samples():
    mine = class_mean_interval(*grouped(*UNEVEN), resamples=40_000)
    theirs = bootstrap(
        UNEVEN,
        lambda *samples, axis: sum(sample.mean(axis=axis) for sample in samples) / len(samples),
        n_resamples=40_000,
        method="BCa",
        rng=np.random.default_rng(7),
        batch=5000,
    ).confidence_interval
    width = theirs.high - theirs.low
    assert (mine.low, mine.high) == pytest.approx(tuple(theirs), abs=0.02 * width)


def test_the_interval_of_class_means_is_what_drawing_images_one_by_one_gives():
    """A slow second implementation: hits and misses, drawn within each class by their places."""
    groups = [
        np.array([1.0] * hits + [0.0] * misses) for hits, misses in ((30, 10), (8, 12), (3, 2))
    ]
    source = np.random.default_rng(0)
    draws = [np.mean([source.choice(g, len(g)).mean() for g in groups]) for _ in range(4000)]
    mine = class_mean_interval(*grouped(*groups))
    deviation = np.sqrt(sum(g.var() / len(g) for g in groups)) / len(groups)
    assert np.std(draws) == pytest.approx(deviation, rel=0.05)
    plain = np.quantile(draws, [0.025, 0.975])
    assert (mine.low, mine.high) == pytest.approx(tuple(plain), abs=0.25 * deviation)


def test_an_interval_of_class_means_holds_the_true_mean_nineteen_times_in_twenty():
    source, hits = np.random.default_rng(2), 0
    chances = (0.9, 0.6, 0.3)
    for _ in range(300):
        groups = [
            (source.random(count) < p) * 1.0 for p, count in zip(chances, (60, 40, 25), strict=True)
        ]
        _, low, high, _ = class_mean_interval(*grouped(*groups), resamples=400)
        hits += low <= np.mean(chances) <= high
    assert 0.90 <= hits / 300 <= 0.98


def test_one_class_has_nearly_the_interval_of_a_plain_mean():
    plain, classes = mean_interval(FIXED), class_mean_interval(FIXED, np.zeros(40))
    assert classes.value == pytest.approx(plain.value, abs=1e-15)
    assert (classes.low, classes.high) == pytest.approx((plain.low, plain.high), abs=0.004)


def test_missing_values_leave_their_class_and_a_class_without_any_is_none():
    values, classes = grouped(*UNEVEN)
    gaps, more = np.append(values, [np.nan] * 3), np.append(classes, [0, 1, 7])
    assert class_mean_interval(gaps, more) == class_mean_interval(values, classes)


def test_means_of_few_images_say_what_is_not_known():
    np.testing.assert_equal(class_mean_interval([], []), (np.nan, np.nan, np.nan, 0))
    np.testing.assert_equal(class_mean_interval([0.0, 1.0], [0, 1]), (0.5, np.nan, np.nan, 2))
    assert class_mean_interval([0.5, 0.5, 1.0], [0, 0, 1]) == (0.75, 0.75, 0.75, 3)
    low, high = class_mean_interval([0.0, 1.0, 1.0], [0, 0, 1])[1:3]
    assert 0.5 <= low < high <= 1.0


def test_as_many_classes_as_values_are_needed():
    with pytest.raises(ValueError, match=r"shape \(2,\) need classes alike, not \(3,\)"):
        class_mean_interval([0.0, 1.0], [0, 1, 2])


@pytest.mark.parametrize(
    ("curves", "resamples"),
    [
        (FIXED.reshape(10, 4), 500),
        (np.random.default_rng(5).random((600, 3)) ** [1, 2, 9], 1999),  # in more than one product
    ],
)
def test_a_band_has_at_every_point_the_interval_of_that_points_mean(curves, resamples):
    band = mean_band(curves, seed=4, resamples=resamples)
    for point in range(curves.shape[1]):
        alone = mean_interval(curves[:, point], seed=4, resamples=resamples)
        here = (band.value[point], band.low[point], band.high[point])
        assert here == pytest.approx(alone[:3], abs=1e-12)


def test_a_band_has_no_width_where_all_curves_agree_and_is_unknown_for_one_curve():
    curves = np.stack([np.full(10, 0.25), FIXED[:10]], axis=1)
    band = mean_band(curves, resamples=200)
    assert band.low[0] == band.high[0] == 0.25
    assert band.low[1] < band.value[1] < band.high[1]
    alone = mean_band(curves[:1])
    assert np.isnan([*alone.low, *alone.high]).all()
    assert alone.value == pytest.approx(curves[0])


def test_columns_together_have_the_intervals_of_each_by_itself():
    some = FIXED.copy()
    some[3] = np.nan
    columns = {
        "all": FIXED,
        "some": some,
        "constant": np.ones_like(FIXED),
        "others": FIXED**2,
        "none": np.full_like(FIXED, np.nan),
    }
    together = mean_intervals(columns, seed=3, resamples=500)
    assert list(together) == list(columns)
    for name, values in columns.items():
        alone = mean_interval(values, seed=3, resamples=500)
        assert together[name] == pytest.approx(alone, abs=1e-12, nan_ok=True)


def test_draws_too_many_to_be_kept_give_the_same_interval(monkeypatch):
    kept = mean_interval(FIXED, seed=8, resamples=300)
    monkeypatch.setattr(stats, "KEPT", 0)
    monkeypatch.setattr(stats, "AT_ONCE", 7 * len(FIXED))
    assert mean_interval(FIXED, seed=8, resamples=300) == pytest.approx(kept, abs=1e-12)
