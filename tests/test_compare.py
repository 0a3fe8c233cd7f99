"""Comparisons out of records: who is compared with whom, what is said, what is refused."""

import shutil

import cells
import numpy as np
import pandas as pd
import pytest

from benchmark import compare, contenders
from benchmark.comparisons import alike, tables
from benchmark.contenders import Contender, below, of_folders
from benchmark.experiment import Average

SOURCE = np.random.default_rng(0)
NOISE = SOURCE.normal(0, 0.01, size=40)


def contender(name, values, group="g", *, twin="", metric="deletion", targets=0, seed=0):
    ids = [f"image-{number}" for number in range(len(values))]
    images = pd.DataFrame({metric: values, "target": targets}, index=ids)
    return Contender(group, name, images, {metric: metric == "insertion"}, twin or name, seed)


def test_the_better_method_of_a_pair_is_named_whichever_stands_first():
    low, high = contender("low", NOISE + 0.2), contender("high", NOISE[::-1] + 0.4)
    for pair in ([low, high], [high, low]):
        (line,) = tables(pair)["pairs"].to_dict("records")
        assert line["verdict"] == "low is better"
        assert abs(line["difference"]) == pytest.approx(0.2)
        assert line["wins"] == (1 if pair[0] is low else 0)


def test_methods_that_differ_by_chance_are_not_told_apart():
    (line,) = tables([contender("a", NOISE), contender("b", NOISE[::-1])])["pairs"].to_dict(
        "records"
    )
    assert line["verdict"] == "not told apart"


@pytest.mark.parametrize(("n", "verdict"), [(5, "too few images"), (6, "low is better")])
def test_so_few_images_that_no_difference_shows_are_said_to_be_too_few(n, verdict):
    (line,) = tables([contender("low", NOISE[:n]), contender("high", NOISE[:n] + 9)])[
        "pairs"
    ].to_dict("records")
    assert line["verdict"] == verdict
    assert np.isnan(line["detectable"]) == (n == 5)


def test_the_more_lines_the_more_images_are_too_few():
    three = [contender(name, NOISE[:7] + step) for name, step in (("a", 0), ("b", 5), ("c", 9))]
    assert set(tables(three)["pairs"]["verdict"]) == {"a is better", "b is better"}  # p 3 / 64
    more = [*three, contender("d", NOISE[:7] + 13)]
    assert set(tables(more)["pairs"]["verdict"]) == {"too few images"}  # p 6 / 64
    # Comparisons of many images come first in the correction, and leave a factor of 3 ...
    many = [contender(name, NOISE + step, "many") for name, step in (("a", 0), ("b", 5), ("c", 9))]
    pairs = tables([*three, *many])["pairs"]
    assert set(pairs["verdict"]) == {"a is better", "b is better"}
    # ... unless these are too few themselves: then nothing comes before the line of fewest.
    groups = "ghijk"
    some = [
        contender(name, NOISE[:8] + step, group)
        for group in groups
        for name, step in (("a", 0), ("b", 5), ("c", 9))
    ]
    assert set(tables([*three, *some])["pairs"]["verdict"]) == {"too few images"}  # 18 / 128


def test_what_is_too_few_is_shown_without_a_detectable_difference():
    found = tables([contender("low", NOISE[:5]), contender("high", NOISE[:5] + 9)])
    (line,) = [
        each for each in compare._rendered(found, ".md").splitlines() if "too few images |" in each
    ]
    assert "| – |" in line
    assert "nan" not in line


def test_images_are_paired_by_their_names_and_not_by_their_order():
    first = contender("a", NOISE)
    second = first._replace(name="b", twin="b", images=first.images.iloc[::-1])
    (line,) = tables([first, second])["pairs"].to_dict("records")
    assert (line["difference"], line["p"], line["n"]) == (0, 1, 40)


def test_images_that_one_method_lacks_are_left_out():
    first = contender("a", NOISE)
    second = first._replace(name="b", twin="b", images=first.images.iloc[:10])
    found = tables([first, second])
    assert found["pairs"]["n"].tolist() == [10]
    assert found["ranks"]["n"].tolist() == [10, 10]


def test_groups_are_never_compared_but_corrected_together():
    far = [
        contender(name, NOISE + step, group)
        for group in "gh"
        for name, step in (("a", 0), ("b", 9))
    ]
    pairs = tables(far)["pairs"]
    assert pairs["group"].tolist() == ["g", "h"]
    assert pairs["Holm"].tolist() == [2 * pairs["p"][0]] * 2


def test_against_one_method_only_the_others_are_compared_with_it():
    three = [contender(name, NOISE + step) for step, name in enumerate("abc")]
    assert len(tables(three)["pairs"]) == 3
    pairs = tables(three, against="b")["pairs"]
    assert list(zip(pairs["first"], pairs["second"], strict=True)) == [("a", "b"), ("c", "b")]
    assert tables(three, against="b")["ranks"]["method"].tolist() == ["a", "b", "c"]


def test_runs_that_differ_by_their_seed_have_a_spread():
    runs = [contender(f"seed {seed}", NOISE + seed, twin="same", seed=seed) for seed in (0, 1)]
    (line,) = tables(runs)["seeds"].to_dict("records")
    assert line["seeds"] == 2
    assert line["sd of the mean"] == pytest.approx(np.sqrt(0.5))
    assert line["sd of an image"] == pytest.approx(np.sqrt(0.5))
    assert "seeds" not in tables([contender("a", NOISE), contender("b", NOISE)])


def test_seeds_in_columns_of_their_own_have_a_spread_though_nothing_is_compared():
    runs = [contender("a", NOISE + seed, f"seed {seed}", twin="same", seed=seed) for seed in (0, 1)]
    assert set(tables(runs)) == {"ranks", "seeds"}


def test_one_seed_has_no_spread_however_often_it_was_run():
    again = [contender(name, NOISE, twin="same") for name in "ab"]
    assert "seeds" not in tables(again)


def test_of_methods_alike_seldom_any_is_told_apart_from_the_best():
    source = np.random.default_rng(3)
    wrong = 0
    for _ in range(60):
        drawn = source.normal(size=(12, 40))
        best, *rivals = [contender("m", values).images for values in drawn[drawn.mean(1).argsort()]]
        wrong += not all(alike([best, *rivals], "deletion", Average.images))
    assert wrong <= 7  # 60 trials at 5 % give 3; a correction for 11 tests instead of 66 gives 10


def test_the_mark_of_a_table_is_for_the_methods_that_are_not_told_apart_from_the_best():
    best = contender("a", NOISE).images
    close = contender("b", NOISE[::-1]).images
    far = contender("c", NOISE + 1).images
    assert alike([best, close, far], "deletion", Average.images) == [True, False]
    assert alike([best], "deletion", Average.images) == []
    assert alike([best, best], "deletion", Average.images) == [True]


def test_means_over_classes_are_compared_as_such():
    classes = [0] * 39 + [1]
    first = contender("a", np.r_[np.zeros(39), 1.0], targets=classes)
    second = contender("b", np.zeros(40), targets=classes)
    (line,) = tables([first, second], mean=Average.classes)["pairs"].to_dict("records")
    assert line["difference"] == 0.5  # of the classes' differences, 0 and 1


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with two methods and, of one, two seeds, on the same four images."""
    folder = tmp_path_factory.mktemp("compare")
    cells.make_images(folder / "images", count=4)
    cells.make_conf(folder / "conf")
    for more in (["method=toy"], ["method=toy", "seed=1"], ["method=centre"]):
        cells.start(folder, *more, "res=8")
    return folder / "results"


def test_a_folder_of_runs_is_compared_by_what_was_run(runs, tmp_path, monkeypatch, capsys):
    file = tmp_path / "pairs.csv"
    monkeypatch.setattr("sys.argv", ["compare", str(runs), "--write", str(file)])
    assert compare.main() == 0
    table = pd.read_csv(file)
    pairs, seeds = table[table["table"] == "pairs"], table[table["table"] == "seeds"]
    assert {*pairs["first"], *pairs["second"]} == {"toy at 8 x 8", "centre at 8 x 8"}
    assert not any(pairs["group"].str.contains("seed 1")), "another seed is another group"
    assert set(seeds["method"]) == {"toy at 8 x 8"}
    assert set(seeds["seeds"]) == {2}
    shown = capsys.readouterr().out  # on the screen, too
    assert "Wilcoxon" in shown
    assert shown.splitlines()[-1] == f"written to {file}"
    monkeypatch.setattr("sys.argv", ["compare", str(runs), "--against", "centre at 8 x 8"])
    assert compare.main() == 0
    assert "Wilcoxon" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--against", "nobody"], "--against nobody: there are "),
        (["--write", "x.pdf"], "takes files that end in .md, .csv, not x.pdf"),
        (["n=3"], "n=3 is no folder of results, and these take no settings"),
        (["--against", "toy"], "--against toy: there are toy at 8 x 8"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, more, said, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["compare", str(runs), *more])
    assert compare.main() == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_called_one(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["compare", "results/nowhere"])
    assert compare.main() == 2
    assert "there is no folder results/nowhere" in capsys.readouterr().err


def test_what_lies_in_two_folders_counts_once_and_what_is_new_beside_it(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "again")
    once, twice = tables(below(runs)), tables(below(runs, tmp_path / "again"))
    for name in once:
        pd.testing.assert_frame_equal(once[name], twice[name])
    cells.start(runs.parent, "method=toy", "res=8", "method.gain=-3.0", f"results='{tmp_path}/new'")
    both = of_folders([str(runs), str(tmp_path / "new")])
    assert len(both) == len(below(runs)) + 1


def test_one_key_that_came_to_other_values_is_two_runs_named_by_their_folders(
    runs, tmp_path, monkeypatch
):
    shutil.copytree(runs, tmp_path / "again")
    right = contenders.per_image

    def elsewhere(folder, outcome):
        table = right(folder, outcome)
        moved = 1e-9 * ("again" in folder.path.parts)
        return table.assign(deletion=table["deletion"] + moved)

    monkeypatch.setattr(contenders, "per_image", elsewhere)
    found = below(runs, tmp_path / "again")
    assert len(found) == 2 * len(below(runs))
    names = [each.name for each in found if each.name.startswith("toy at 8 x 8")]
    assert any(str(tmp_path / "again") in name for name in names)
    assert len({(each.group, each.name) for each in found}) == len(found)


def test_an_empty_folder_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["compare", str(tmp_path)])
    assert compare.main() == 2
    assert "there is no finished run below" in capsys.readouterr().err


def test_what_was_run_twice_is_compared_once_and_is_no_second_seed(runs):
    before = tables(below(runs))
    cells.start(runs.parent, "method=centre", "res=8", "batch_size=2")
    cells.start(runs.parent, "method=toy", "res=8", "method.gain=1.0")  # its default
    after = tables(below(runs))
    assert len(after["pairs"]) == len(before["pairs"])
    assert len(after["seeds"]) == len(before["seeds"])
