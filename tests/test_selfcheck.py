"""What is checked before a run: the network, the data, the metrics; and how it is told."""

import json
import math
from dataclasses import dataclass
from types import SimpleNamespace

import cells
import pytest
import torch
from cells import make_conf, make_images, start
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from toys import BLACK, Flat, Tiny, classifier, images_of, no_boxes, protocol

from benchmark import plausible, selfcheck
from benchmark.cell import Cell
from benchmark.config import load
from benchmark.constant_scores import constant_scores
from benchmark.curves import Area, Order
from benchmark.interfaces import BadInput, Item, Scores, Truth
from benchmark.items import check_heatmaps, check_item
from benchmark.models import Activation
from benchmark.summary import per_image
from metrics.deletion_insertion import Deletion, Insertion
from metrics.least_relevant_first import LeastRelevantFirst
from metrics.relevance_gain import RelevanceGain


class Few:
    """Images of two classes that ``Bright`` tells apart, but for those that are named wrongly."""

    def __init__(self, wrong=0, labelled=True, count=20):
        self.wrong, self.labelled, self.count = wrong, labelled, count

    def load(self, image_id, size):
        number = int(image_id)
        label = (number + (number < self.wrong)) % 2 if self.labelled else -1
        image = 0.2 + 0.6 * (number % 2) + 0.1 * images_of(1, size, seed=number)[0]
        return Item(image_id, image, label, no_boxes())


class Bright(nn.Module):
    """Class 1 is the bright one; ``then`` is done with the logits."""

    def __init__(self, then=lambda logits: logits):
        super().__init__()
        self.then = then

    def forward(self, images):
        mean = images.mean((1, 2, 3))
        return self.then(torch.stack([1 - 2 * mean, 4 * mean - 2], 1))


def cell_of(network, data=None, metrics=(), rule="trapezoid", baseline=BLACK, **more):
    """As much of a cell as a self-check looks at, with the real methods of one."""
    cell = SimpleNamespace(
        model=classifier(network, **more),
        dataset=data or Few(),
        baseline=baseline,
        settings=SimpleNamespace(target="predicted", seed=0, res=7, model={}),
        metrics=dict(metrics),
        protocol=protocol(area=rule),
    )
    cell.logits = lambda items: Cell.logits(cell, items)
    cell.batch_of = lambda items, known: Cell.batch_of(cell, items, known)
    return cell


IDS = [str(number) for number in range(20)]


def check(network, ids=IDS, **more):
    return selfcheck.self_check(cell_of(network, **more), ids)


def test_a_sound_network_passes_and_its_accuracy_and_scores_are_those_of_the_images():
    metrics = {"deletion": Deletion(protocol()), "insertion": Insertion(protocol())}
    found = check(Bright(), data=Few(wrong=3), metrics=metrics)
    assert (found["images"], found["labelled"], found["right"], found["classes"]) == (16, 16, 13, 2)
    assert found["constant"] == ["deletion", "insertion"]
    model, batch = (
        classifier(Bright()),
        torch.stack([Few().load(each, 32).image for each in IDS[:4]]),
    )
    expected = model.probabilities(model(batch)).amax(1).mean()
    assert found["score_on_image"] == pytest.approx(float(expected))
    black = torch.tensor([1.0, -2.0]).softmax(0)  # what Bright says of nothing
    assert found["score_on_baseline"] == pytest.approx(float(black.mean()))
    assert json.loads(json.dumps(found)) == found
    assert "13 of 16 labelled right; of the first 4: score 0." in plausible.told(found)
    assert "4 of 4 labelled right; score 0." in plausible.told(check(Bright(), ids=IDS[:4]))


def test_images_without_labels_are_checked_but_for_the_accuracy():
    found = check(Bright(), data=Few(labelled=False))
    assert (found["labelled"], found["right"]) == (0, 0)
    assert plausible.warning(found) == ""
    assert "no labels" in plausible.told(found)
    assert check(Bright(), ids=[]) == {}
    assert plausible.told({}) == ""


def dropped(logits):
    return functional.dropout(logits, 0.5, training=True)


def normalised(logits):
    return functional.batch_norm(logits, None, None, training=True)


@pytest.mark.parametrize(
    ("then", "message"),
    [
        (lambda logits: logits.softmax(1), "returns probabilities.* leave out its last softmax"),
        (lambda logits: torch.full_like(logits, 0.5), "returns probabilities"),
        (dropped, "changes when called twice: .* dropout"),
        (normalised, "logits for 0 differ by up to .* batch normalisation"),
        (lambda logits: logits * math.nan, "NaN or infinity for 0"),
        (
            lambda logits: torch.cat([logits, logits], 1),
            r"returns \(4, 4\) for 4 images and 2 clas",
        ),
        (lambda logits: logits[:, :, None, None], r"returns \(4, 2, 1, 1\)"),
        (lambda logits: (logits, logits), "returns tuple for 4 images"),
        (lambda logits: {"logits": logits}, "returns dict for 4 images"),
    ],
)
def test_a_network_that_cannot_be_scored_is_refused_by_what_is_wrong(then, message):
    with pytest.raises(BadInput, match=message) as refusal:
        check(Bright(then))
    assert "\n" not in str(refusal.value)


def test_probabilities_of_classes_that_do_not_exclude_each_other_are_refused_too():
    sigmoid = {"activation": Activation.sigmoid}
    with pytest.raises(BadInput, match="leave out its last sigmoid"):
        check(Bright(lambda logits: logits.sigmoid().repeat(1, 8)), classes=16, **sigmoid)
    assert not check(Bright(), **sigmoid)["judged"]


def test_of_few_such_classes_logits_may_lie_between_0_and_1_and_it_is_only_said():
    found = check(Bright(torch.sigmoid), activation=Activation.sigmoid)
    assert "all logits are between 0 and 1" in plausible.warning(found)
    assert "all logits are between" in plausible.of_rows(found, [])
    assert plausible.warning(check(Bright(), activation=Activation.sigmoid)) == ""


def test_a_network_that_knows_no_score_of_the_baseline_is_no_reason_to_stop():
    class Standardised(Bright):
        def forward(self, images):
            return (
                super().forward(images) + 0 * (images / images.std((1, 2, 3), keepdim=True)).sum()
            )

    found = check(Standardised(), baseline=Flat(0.0))
    assert found["score_on_baseline"] is None
    assert "on the baseline not a number" in plausible.told(json.loads(json.dumps(found)))


def test_every_image_that_is_looked_at_has_to_be_one_that_the_network_can_take():
    class Mislabelled(Few):
        def load(self, image_id, size):
            item = super().load(image_id, size)
            return item._replace(label=7) if image_id == "10" else item

    with pytest.raises(BadInput, match="10 has the label 7"):
        check(Bright(), data=Mislabelled())


def test_a_network_is_not_judged_by_images_that_show_another_class_too():
    class Several(Few):
        def load(self, image_id, size):
            both = Truth(torch.zeros(2, 4), torch.tensor([0, 1]))
            return super().load(image_id, size)._replace(truth=both)

    assert not check(Bright(), data=Several())["judged"]
    assert check(Bright())["judged"]


def test_log_probabilities_are_logits():
    assert check(Bright(lambda logits: logits.log_softmax(1)))["right"] == 16


def test_a_part_in_training_mode_is_named():
    cell = cell_of(Tiny(), classes=5)
    cell.model.network.dropout.train()
    with pytest.raises(BadInput, match="the model's dropout is in training mode"):
        selfcheck.self_check(cell, IDS)


def test_a_baseline_that_is_no_number_is_refused():
    with pytest.raises(BadInput, match="baseline: its image has NaN"):
        check(Bright(), baseline=Flat(math.nan))


def test_no_hook_stays_on_the_network_and_its_answers_do_not_count():
    cell = cell_of(Bright())
    selfcheck.self_check(cell, IDS)
    assert not cell.model.network._forward_hooks
    with pytest.raises(BadInput):
        selfcheck.self_check(cell_of(broken := Bright(lambda logits: (logits,))), IDS)
    assert not broken._forward_hooks


# Metrics under a constant score


@pytest.mark.parametrize("rule", Area)
@pytest.mark.parametrize("activation", Activation)
def test_the_areas_under_a_constant_score_are_that_score(rule, activation):
    made = protocol(area=rule.name)
    metrics = {
        "deletion": Deletion(made),
        "insertion": Insertion(made),
        "gain": RelevanceGain(made),
    }
    cell = cell_of(Bright(), metrics=metrics, activation=activation)
    batch = Cell.batch_of(cell, [Few().load("0", 32)], {})
    assert list(constant_scores(cell, batch)) == ["deletion", "insertion", "gain"]


@pytest.mark.parametrize("rule", Area)
@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("res", [2, 5, 7, 14])
def test_no_metric_of_curves_is_refused_whatever_the_steps_leave_over(rule, order, res):
    made = protocol(area=rule.name, order=order.name)
    metrics = {
        "deletion": Deletion(made),
        "insertion": Insertion(made),
        "lerf": LeastRelevantFirst(made),
        "gain": RelevanceGain(made),
    }
    cell = cell_of(Bright(), metrics=metrics)
    cell.settings.res = res
    batch = Cell.batch_of(cell, [Few().load("0", 32)], {})
    assert list(constant_scores(cell, batch)) == list(metrics)


class TwiceTheArea(Deletion):
    def from_curves(self, *curves):
        scores = super().from_curves(*curves)
        return scores._replace(values=2 * scores.values)


class Biased(RelevanceGain):
    """Tells heatmaps apart that a constant network cannot: by the last call's number."""

    def __init__(self, made):
        super().__init__(made)
        object.__setattr__(self, "calls", [])

    def from_curves(self, *curves):
        self.calls.append(curves)
        return Scores(torch.tensor([float(len(self.calls))]), {})


@pytest.mark.parametrize("metric", [TwiceTheArea, Biased])
def test_a_metric_that_does_not_hold_it_is_refused_by_name(metric):
    cell = cell_of(Bright(), metrics={"mine": metric(protocol())})
    batch = Cell.batch_of(cell, [Few().load("0", 32)], {})
    with pytest.raises(BadInput, match=r"metric=mine: a network whose score is always 0\.25 gets"):
        list(constant_scores(cell, batch))


# What is plausible


def found_of(right, labelled, classes=1000, stated=None, judged=True):
    counts = {"right": right, "labelled": labelled, "classes": classes}
    return {**counts, "stated_accuracy": stated, "judged": judged}


def exact(right, labelled, chance):
    """The chance of so few right answers, added up."""
    counts = range(right + 1)
    return sum(math.comb(labelled, k) * chance**k * (1 - chance) ** (labelled - k) for k in counts)


@pytest.mark.parametrize("labelled", [4, 16, 100])
@pytest.mark.parametrize("stated", [0.58, 0.8])
def test_so_few_right_answers_are_odd_that_the_weights_give_them_once_in_a_thousand_times(
    labelled, stated
):
    for right in range(labelled + 1):
        odd = exact(right, labelled, stated - 0.1) < 1e-3
        told = plausible.warning(found_of(right, labelled, stated=stated))
        assert (told != "") is odd
        if odd:
            assert f"only {right} of {labelled} labelled" in told
            assert f"state {stated:.1%}" in told


@pytest.mark.parametrize(("classes", "enough"), [(2, 12), (10, 5), (1000, 1)])
def test_where_nothing_is_stated_more_must_be_right_than_by_guessing(classes, enough):
    assert 1 - exact(enough - 1, 16, 1 / classes) <= 0.05 < 1 - exact(enough - 2, 16, 1 / classes)
    told = plausible.warning(found_of(enough - 1, 16, classes))
    assert f"by guessing among {classes} classes" in told
    assert plausible.warning(found_of(enough, 16, classes)) == ""
    assert plausible.warning(found_of(0, 15, classes)) == ""  # too few to tell


def test_where_there_is_one_class_nothing_can_be_guessed():
    assert plausible.warning(found_of(16, 16, classes=1)) == ""


def test_networks_that_are_not_judged_are_not_warned_about():
    assert plausible.warning(found_of(0, 100, stated=0.8, judged=False)) == ""
    assert plausible.of_rows({}, [{"predicted": 1, "label": 0}] * 100) == ""


def test_under_an_attack_the_classes_before_it_count():
    rows = [{"predicted": 1, "clean": 0, "label": 0}] * 50
    assert plausible.of_rows(found_of(0, 0, stated=0.8), rows) == ""
    assert plausible.of_rows(found_of(0, 0, stated=0.8), [{**r, "clean": 1} for r in rows])


def test_the_embedded_weights_and_torchvisions_state_their_accuracy():
    def stated(found, choice="squeezenet1_1", **model):
        given = SimpleNamespace(model=load(f"model={choice}").model)
        for name, value in model.items():
            given.model[name] = value
        return selfcheck._stated_accuracy(
            SimpleNamespace(settings=given, model=SimpleNamespace(weights=found))
        )

    assert stated("scenes_vgg.safetensors", "scenes_vgg") == pytest.approx(0.976)
    assert stated("squeezenet1_1.safetensors") == pytest.approx(0.58178)
    assert stated("torchvision IMAGENET1K_V1", weights="IMAGENET1K_V1") == pytest.approx(0.58178)
    assert stated("mine.pth", weights="mine.pth") is None
    assert stated("RANDOM WEIGHTS", weights="random") is None


@pytest.mark.parametrize(
    "given",
    [
        {"architecture": "vit_small_patch16_224"},
        {"architecture": "resnet50"},
        {"architecture": "resnet50", "weights": "IMAGENET1K_V1"},
        {},
    ],
)
def test_nothing_is_known_of_the_weights_of_a_users_own_model(tmp_path, given):
    save_file({"a": torch.zeros(1)}, tmp_path / "own.safetensors", {"test_accuracy": "93.4%"})
    own = tmp_path / "own.pth"
    torch.save({"a": torch.zeros(1)}, own)
    settings = SimpleNamespace(model=OmegaConf.create({"_target_": "mine.Model", **given}))
    for weights in ("scenes_vgg.safetensors", str(own), str(tmp_path / "own.safetensors")):
        cell = SimpleNamespace(settings=settings, model=SimpleNamespace(weights=weights))
        assert selfcheck._stated_accuracy(cell) is None


# In a run


def test_a_run_keeps_what_was_checked_and_says_it_without_checking_again(tmp_path, monkeypatch):
    make_images(tmp_path / "images")
    make_conf(tmp_path / "conf")
    made, _ = start(tmp_path)
    assert made.checked["images"] == made.checked["labelled"] == 8
    assert made.checked["constant"] == ["deletion"]
    monkeypatch.setattr("benchmark.run.self_check", None)  # nothing is left to do
    again, listener = start(tmp_path)
    assert again.checked == made.checked
    assert listener.warnings == []


def test_an_odd_accuracy_stands_in_the_warnings_of_the_row_and_is_said_before_the_run(
    tmp_path, monkeypatch
):
    make_images(tmp_path / "images", count=16)
    make_conf(tmp_path / "conf")
    monkeypatch.setattr(cells, "label_of", lambda _: 3)
    made, listener = start(tmp_path)
    right = int((per_image(made.folder, made.outcome)["predicted"] == 3).sum())
    told = f"only {right} of 16 labelled images are classified right, no more than by guessing"
    assert [each.startswith(told) for each in made.warnings] == [True]
    assert listener.warnings == made.warnings


def test_a_failed_check_leaves_no_result(tmp_path, monkeypatch):
    make_images(tmp_path / "images")
    make_conf(tmp_path / "conf")
    network = cells.tiny_network()
    monkeypatch.setattr(cells, "tiny_network", lambda: nn.Sequential(network, nn.Softmax(1)))
    with pytest.raises(BadInput, match="returns probabilities"):
        start(tmp_path)
    assert not list(tmp_path.rglob("heatmaps*"))


# Items and heatmaps


def item(label=0, boxes=((1.0, 2, 3, 4),), image=None):
    truth = Truth(torch.tensor(boxes).reshape(-1, 4), torch.zeros(len(boxes), dtype=torch.int64))
    return Item("a", torch.zeros(3, 4, 4) if image is None else image, label, truth)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (item(label=4), "a has the label 4: the model has the classes 0 to 3"),
        (item(label=-2), "a has the label -2"),
        (item(boxes=((3.0, 2, 1, 4),)), "maximum below its minimum"),
        (item(boxes=((1.0, 2, math.nan, 4),)), "not finite"),
        (item(image=torch.full((3, 4, 4), 255.0)), r"pixels from 255 to 255: RGB in \[0, 1\]"),
        (item(image=torch.full((3, 4, 4), math.nan)), "pixels from nan"),
        (item(image=torch.zeros(1, 4, 4)), r"pixels \(1, 4, 4\)"),
        (
            item()._replace(truth=no_boxes()._replace(classes=torch.zeros(2))),
            "boxes .* of 2 classes",
        ),
    ],
)
def test_an_item_that_no_network_can_take_is_named(bad, message):
    with pytest.raises(BadInput, match=message):
        check_item(bad, 4)


def test_an_item_with_or_without_label_and_boxes_is_taken():
    check_item(item(), 4)
    check_item(item(label=-1, boxes=()), 4)


@pytest.mark.parametrize(
    ("heatmaps", "message"),
    [
        (torch.tensor([[[1.0]], [[math.nan]]]), "method=mine returned NaN or infinity for b$"),
        (torch.tensor([[[math.inf]], [[0.0]]]), "for a$"),
        (torch.tensor([[[0.0]], [[1e300]]], dtype=torch.float64), "for b$"),
        (torch.zeros(2, 3, 4), r"shape \(2, 3, 4\) for 2 images"),
        (torch.zeros(1, 3, 3), r"shape \(1, 3, 3\) for 2 images"),
        (torch.zeros(2, 1, 3, 3), r"shape \(2, 1, 3, 3\)"),
        (torch.zeros(2, 0, 0), r"shape \(2, 0, 0\)"),
        (torch.tensor(1.0), r"shape \(\) for 2 images"),
        (torch.zeros(2, 3, 3, dtype=torch.complex64), "complex64: heatmaps are real"),
        (torch.zeros(2, 3, 3).numpy(), "returned ndarray"),
        (None, "returned NoneType"),
    ],
)
def test_what_is_no_heatmap_is_refused_with_the_method_and_the_image(heatmaps, message):
    with pytest.raises(BadInput, match=message):
        check_heatmaps(heatmaps, ["a", "b"], "method=mine")


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.int64, torch.bool])
def test_constant_and_negative_heatmaps_of_any_real_type_are_heatmaps(kind):
    heatmaps = torch.full((2, 3, 3), -1).to(kind)
    assert torch.equal(check_heatmaps(heatmaps, ["a", "b"], "me"), heatmaps.float())


@dataclass(frozen=True)
class Blank:
    res: int

    def __call__(self, _model, batch):
        return torch.zeros(len(batch.ids), self.res, self.res)


def test_constant_heatmaps_are_counted_beside_the_row(tmp_path):
    make_images(tmp_path / "images")
    make_conf(tmp_path / "conf")
    made, _ = start(tmp_path, "method=random", "metric=[pointing]")
    assert made.warnings == []
    yaml = "_target_: test_selfcheck.Blank\nres: ${res}\n"
    (tmp_path / "conf/method/blank.yaml").write_text(yaml)
    made, _ = start(tmp_path, "method=blank", "metric=[pointing]")
    assert made.warnings == [
        "8 of the heatmaps are constant: their cells are ranked by place alone"
    ]
