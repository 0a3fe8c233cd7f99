"""The substrate audit: what a network makes of an image once all of it is replaced."""

import math

import pandas as pd
import pytest
import torch
from torch import nn
from toys import Flat, OnePixel, batch_of, classifier, images_of

from benchmark.audit import left
from benchmark.cell import Cell
from benchmark.config import load
from benchmark.contenders import Contender
from benchmark.experiment import read
from benchmark.models import Activation
from benchmark.rankings import by_protocol, comparisons_of
from benchmark.run import run
from benchmark.summary import per_image
from benchmark.survival import survival, told, warning


class Logits(nn.Module):
    """The same logits for every image."""

    def __init__(self, *values):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values))

    def forward(self, images):
        return self.values.expand(len(images), -1) + 0 * images.sum((1, 2, 3))[:, None]


def test_what_is_left_is_the_score_of_the_target_on_the_substrate_and_not_on_the_image():
    batch = batch_of(images_of(3), torch.tensor([0, 1, 0]))
    scores, entropies = left(classifier(OnePixel(0, 0)), batch, Flat(0.5))
    torch.testing.assert_close(scores, torch.tensor([0.5, 0.5, 0.5]))
    torch.testing.assert_close(entropies, torch.ones(3, dtype=torch.float64))
    scores, entropies = left(classifier(OnePixel(0, 0)), batch, Flat(1.0))
    torch.testing.assert_close(scores, torch.tensor([0.9, 0.1, 0.9]))
    expected = -(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1))
    assert entropies.tolist() == pytest.approx([expected] * 3, abs=1e-6)


def test_entropy_is_1_where_all_classes_are_as_likely_and_0_where_one_is_certain():
    batch = batch_of(images_of(1))
    for logits, expected in (((0.0,) * 4, 1.0), ((100.0, 0.0, 0.0, 0.0), 0.0)):
        entropy = left(classifier(Logits(*logits), classes=4), batch, Flat(0.0))[1]
        assert float(entropy) == pytest.approx(expected, abs=1e-6)


def test_entropy_of_classes_that_do_not_exclude_each_other_is_a_mean_of_yes_and_no():
    network = Logits(0.0, 100.0, -100.0)
    model = classifier(network, classes=3, activation=Activation.sigmoid)
    scores, entropies = left(model, batch_of(images_of(1), torch.tensor([1])), Flat(0.0))
    assert float(scores) == 1
    assert float(entropies) == pytest.approx(1 / 3)


def lines(deleted, inserted):
    return pd.DataFrame(
        {
            "score_on_image": [0.8] * 20,
            "score_all_deleted": deleted,
            "entropy_all_deleted": 0.9,
            "score_none_inserted": inserted,
            "entropy_none_inserted": 0.4,
        }
    )


def test_a_class_survives_above_half_of_its_score_and_readers_are_warned_where_it_often_does():
    rarely, often = [0.41] * 2 + [0.4] * 18, [0.41] * 3 + [0.4] * 17
    assert survival(lines(rarely, rarely))["deletion"].survives == 2
    assert warning(survival(lines(rarely, rarely))) == ""
    said = "the class survives where all is replaced: 3 of 20 images in insertion"
    assert warning(survival(lines(rarely, often))) == said
    assert told(survival(lines([0.1] * 20, often))).startswith(
        "all replaced, deletion: score 0.1000, entropy 0.90, the class survives on 0 of 20 images; "
        "insertion: score 0.4015, entropy 0.40, the class survives on 3 of 20 images"
    )
    assert told({}) == warning({}) == ""


class Quiet:
    def begin(self, title, done, total):
        pass

    def advance(self, images):
        pass

    def warn(self, message):
        raise AssertionError(message)


GIVEN = ["method=centre", "dataset.limit=3", "res=14", "protocol.steps=5"]


def test_a_run_of_curves_keeps_what_its_own_curves_end_at(tmp_path):
    settings = load(*GIVEN, "protocol=rise", "metric=[deletion,insertion]", f"results={tmp_path}")
    folder, outcome = run(settings, Quiet())
    opened = []
    table = per_image(folder, outcome, lambda name: opened.append(name) or folder.stage(name))
    assert len(opened) == len(set(opened))  # each file is read once, however many images there are
    for curve, point, column in (
        ("deletion", -1, "score_all_deleted"),
        ("insertion", 0, "score_none_inserted"),
    ):
        stage = folder.stage(outcome.stages[curve])
        ends = [stage.array(each, "scores")[point] for each in table["id"]]
        assert table[column].tolist() == pytest.approx(ends, abs=1e-5)
    alive = (table["score_none_inserted"] > table["score_on_image"] / 2).sum()
    assert survival(table)["insertion"].survives == alive


def test_a_run_without_curves_has_no_audit(tmp_path):
    settings = load(*GIVEN, "metric=[pointing]", f"results={tmp_path}")
    folder, outcome = run(settings, Quiet())
    assert outcome.audit == ""
    assert "score_all_deleted" not in per_image(folder, outcome)


def test_every_column_of_the_sensitivity_table_scores_the_same_heatmaps():
    composed = read("sensitivity", ["model=scenes_vgg", "dataset=scenes", "n=2"])
    columns = list(composed.experiment.columns)
    assert len(columns) == 10
    others = [columns[0], columns[1], columns[4], columns[-1]]
    cells = [Cell.open(composed.settings("Gradient", each)) for each in others]
    assert len({str(cell.folder.path) for cell in cells}) == 1
    assert len({cell.stages["deletion"] for cell in cells}) == len(others)
    for cell in cells:  # least relevant first is then the insertion's own curve
        assert cell.metrics["deletion"].protocol.deletion_substrate == (
            cell.metrics["insertion"].protocol.insertion_substrate
        )


def contender(column, name, values, model="a"):
    facts = {"data": "d", "model": model, "protocol": f"p {column}", "code": column}
    frame = pd.DataFrame({"deletion": values}, index=["x", "y"])
    return Contender(column, name, frame, {"deletion": False}, "", 0, facts=facts)


def test_columns_that_differ_in_the_protocol_alone_are_compared_by_the_rankings_they_give():
    found = [
        contender("blur", "one", [0.1, 0.2]),
        contender("blur", "two", [0.3, 0.4]),
        contender("black", "one", [0.5, 0.6]),
        contender("black", "two", [0.3, 0.2]),
    ]
    (line,) = comparisons_of(by_protocol(found, "T"))["protocols"].to_dict("records")
    assert (line["first"], line["second"], line["tau"], line["turned"]) == ("blur", "black", -1, 1)
    other = [*found[:2], *(each._replace(facts={"model": "b"}) for each in found[2:])]
    assert "protocols" not in comparisons_of(by_protocol(other, "T"))
