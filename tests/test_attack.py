"""Adversarial images: the attack itself, and runs and figures of what it makes."""

import shutil
from copy import deepcopy

import cells
import numpy as np
import pytest
import torch
from cells import CALLS, product, start
from toys import Additive, Constant, Recorder, Smooth, Tiny, classifier, images_of

from benchmark import plan, tables
from benchmark.attack import MIFGSM
from benchmark.building import build
from benchmark.captions import caption
from benchmark.cell import Cell
from benchmark.composites import composites
from benchmark.config import load
from benchmark.curve_figures import curve_figure
from benchmark.errors import BadInput
from benchmark.figure_parts import ALIKE, CURVES, Wanted, shared
from benchmark.heatmap_figures import contact_sheet, heatmap_grid
from benchmark.identity import code_hash, modules_of

BOTH = "metric=[deletion,insertion]"
ATTACK = ["attack=mi_fgsm", "attack.epsilon=40"]
COUNT = 8


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    cells.make_images(folder / "images", COUNT)
    cells.make_conf(folder / "conf")
    return folder


@pytest.fixture
def place(source, tmp_path):
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    CALLS.clear()
    return tmp_path


@pytest.fixture(scope="module")
def ran(source, tmp_path_factory):
    """The toy method on the images as they are, and on attacked ones; not to be changed."""
    folder = tmp_path_factory.mktemp("ran")
    shutil.copytree(source, folder, dirs_exist_ok=True)
    return start(folder, BOTH)[0], start(folder, BOTH, *ATTACK)[0]


def seen(images):
    """The class that the tiny network sees, its normalisation written out once more."""
    mean = torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)
    return cells.tiny_network()((images - mean) / 0.2).argmax(1).tolist()


def clean_images(folder, ids):
    data = [np.frombuffer((folder / "images" / each).read_bytes(), np.uint8) for each in ids]
    return torch.from_numpy(np.stack(data)).view(-1, 3, cells.SIDE, cells.SIDE).float() / 255


def stored_images(run):
    stage = run.folder.stage("attacked")
    return torch.from_numpy(np.stack([stage.array(each, "image") for each in run.ids]))


def both(ran, *metrics):
    return shared([each.folder.path for each in ran], Wanted(metrics=metrics), ["data"])


# The attack


def test_a_linear_classifiers_image_goes_straight_against_its_weights_to_the_bound():
    weights = torch.zeros(3, 4, 4)
    weights[0], weights[1] = 0.01, -0.01
    images = torch.full((1, 3, 4, 4), 0.5)
    images[0, 0, 0] = 0.02
    attack = MIFGSM(epsilon=12.75, steps=5, momentum=1.0)
    changed = attack(classifier(Additive(weights), input_size=4), images, torch.tensor([0]))
    expected = torch.full((3, 4, 4), 0.5)
    expected[0], expected[1], expected[0, 0] = 0.45, 0.55, 0.0
    assert torch.allclose(changed[0], expected, atol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_every_step_adds_the_gradients_over_their_sizes_and_follows_the_signs(momentum):
    network, steps, epsilon = Smooth(), 4, 20 / 255
    image, target = images_of(1, size=12)[0], 1
    double, direction, point = deepcopy(network).double(), torch.zeros(3, 12, 12), image.double()
    for _ in range(steps):
        point = point.detach().requires_grad_()
        logits = double(point[None])[0]
        (logits.exp().sum().log() - logits[target]).backward()
        direction = momentum * direction + point.grad / point.grad.abs().sum()
        moved = point.detach() + epsilon / steps * direction.sign()
        point = torch.minimum(torch.maximum(moved, image - epsilon), image + epsilon).clamp(0, 1)
    attack = MIFGSM(epsilon=20.0, steps=steps, momentum=momentum)
    model = classifier(network, classes=4, input_size=12)
    changed = attack(model, image[None], torch.tensor([target]))[0]
    assert torch.allclose(changed.double(), point, atol=1e-6)
    other = MIFGSM(epsilon=20.0, steps=steps, momentum=0.8 - momentum)
    assert not torch.allclose(other(model, image[None], torch.tensor([target]))[0], changed)


def test_images_stay_near_themselves_and_in_range_and_are_mostly_seen_as_something_else():
    model, images = classifier(Tiny(), classes=5), images_of(12)
    classes = model(images).argmax(1)
    changed = MIFGSM(epsilon=16.0, steps=10, momentum=1.0)(model, images, classes)
    assert float((changed - images).abs().max()) == pytest.approx(16 / 255, abs=1e-6)
    assert changed.min() >= 0 and changed.max() <= 1
    assert (model.scores(changed, classes) < model.scores(images, classes)).all()
    assert (model(changed).argmax(1) != classes).sum() > 6


def test_an_attacked_image_does_not_depend_on_the_others_in_its_batch():
    model, images = classifier(Tiny(), classes=5, pass_batch=4), images_of(6)
    classes, attack = model(images).argmax(1), MIFGSM(epsilon=8.0, steps=3, momentum=1.0)
    together = attack(model, images, classes)
    for number in range(6):
        alone = attack(model, images[number, None], classes[number, None])
        assert torch.equal(alone[0], together[number])


def test_a_classifier_without_a_gradient_leaves_images_as_they_are():
    images = images_of(2)
    attack = MIFGSM(epsilon=8.0, steps=2, momentum=1.0)
    assert torch.equal(attack(classifier(Constant(0.5)), images, torch.tensor([0, 1])), images)


@pytest.mark.parametrize(
    "values", [(0.0, 10, 1.0), (256.0, 10, 1.0), (8.0, 0, 1.0), (8.0, 1, -1.0)]
)
def test_an_attack_that_can_do_nothing_or_too_much_is_refused(values):
    with pytest.raises(BadInput, match="an attack needs epsilon above 0"):
        MIFGSM(*values)


# Its place in a run


def test_what_is_explained_and_scored_is_the_attacked_image_and_its_class(place, ran):
    _, attacked = ran
    cell = Cell.open(cells.settings(place, BOTH, *ATTACK))
    before = clean_images(place, attacked.ids)
    classes = torch.tensor(seen(before))
    images = stored_images(attacked)
    assert torch.equal(images, cell.attack(cell.model, before, classes))
    batch = cell.batch(attacked.ids)
    assert torch.equal(batch.images, images)
    rows = attacked.folder.stage("heatmaps").rows
    assert batch.targets.tolist() == [rows[each]["target"] for each in attacked.ids] == seen(images)
    stage = attacked.folder.stage("heatmaps")
    heatmaps = torch.from_numpy(np.stack([stage.array(e, "heatmap") for e in attacked.ids]))
    assert torch.equal(cell.method(cell.model, batch), heatmaps)
    scored = cell.metrics["insertion"](cell.model, batch, heatmaps).values
    known = attacked.folder.stage(attacked.stages["insertion"]).rows
    assert [known[each]["value"] for each in attacked.ids] == scored.tolist()


def test_the_records_say_what_was_seen_before_and_who_was_fooled(place, ran):
    clean, attacked = ran
    table = tables.per_image(attacked.folder, attacked.outcome)
    assert table["clean"].tolist() == seen(clean_images(place, attacked.ids))
    assert table["predicted"].tolist() == seen(stored_images(attacked))
    assert table["fooled"].tolist() == (table["clean"] != table["predicted"]).tolist()
    assert table["fooled"].sum() > COUNT / 2
    assert (table["forward_passes"] == 1).all() and (table["backward_passes"] == 1).all()
    assert not {"clean", "fooled"} & set(tables.per_image(clean.folder, clean.outcome).columns)


def test_the_row_names_the_attack_and_counts_the_images_that_it_did_not_turn(place):
    made, _ = start(place, "attack=mi_fgsm", "attack.epsilon=0.001", "dataset.limit=5")
    assert made.caption["attack"] == "mi_fgsm epsilon=0.001 steps=10 momentum=1.0"
    kept = "5 of the attacked images kept their class: they are no adversarial ones"
    assert made.warnings == [kept]
    ((facts, table, *_),) = tables.overview(place / "results")
    assert "attack mi_fgsm epsilon=0.001" in facts
    assert kept in table["method"][0]
    assert not start(place)[0].warnings


def opened(*more):
    """A cell of the project's own classes: those of the tests import all of the harness."""
    return Cell.open(load("method=centre", "device=cpu", "metric=[deletion]", *more))


def test_a_run_without_an_attack_keeps_the_key_it_had_before_there_were_attacks():
    cell = opened()
    assert opened("attack=none").folder.path == cell.folder.path
    assert "attack" not in cell.identity and "attack" not in caption(cell)
    source = build(cell.settings.model, "model")
    parts = modules_of(cell.method, cell.dataset, cell.baseline, source, cell.model)
    assert cell.identity["code"] == code_hash("benchmark.loading", *parts)


def test_the_attack_and_each_of_its_values_and_its_code_are_part_of_the_key():
    more = [[], ["attack.epsilon=41"], ["attack.steps=9"], ["attack.momentum=0.5"]]
    attacked, plain = [opened(*ATTACK, *each) for each in more], opened()
    assert len({cell.folder.path for cell in [*attacked, plain]}) == 5
    assert attacked[0].identity["code"] != plain.identity["code"]
    assert attacked[0].stages == plain.stages


def test_a_stopped_run_goes_on_with_the_images_it_has_stored(place, ran):
    _, attacked = ran
    copy = place / "results" / attacked.folder.path.relative_to(attacked.folder.path.parents[2])
    shutil.copytree(attacked.folder.path, copy)
    lines = (copy / "heatmaps.jsonl").read_bytes().splitlines(keepends=True)
    (copy / "heatmaps.jsonl").write_bytes(b"".join(lines[:3]))
    for file in copy.glob("scores/*"):
        file.unlink()
    before = (copy / "attacked.f32").read_bytes()
    again, _ = start(place, BOTH, *ATTACK)
    assert again.folder.path == copy
    assert sorted(each for ids in CALLS for each in ids) == sorted(attacked.ids[3:])
    assert (copy / "attacked.f32").read_bytes() == before
    assert product(copy) == product(attacked.folder.path)


def test_an_image_that_changed_after_its_attack_is_refused(place):
    folder, _ = start(place, BOTH, *ATTACK, "dataset.limit=1")
    (folder.folder.path / "heatmaps.jsonl").write_bytes(b"")  # stopped before it was explained
    (file,) = (place / "images").glob(f"{folder.ids[0]}*")
    file.write_bytes(bytes(reversed(file.read_bytes())))
    with pytest.raises(BadInput, match=f"{folder.ids[0]} or its annotation has changed"):
        start(place, BOTH, *ATTACK, "dataset.limit=1")


def test_the_plan_has_the_attacks_passes_apart_from_the_methods(place):
    settings = cells.settings(place, *ATTACK, "attack.steps=7")
    cell = Cell.open(settings)
    cost = plan.count_passes(settings, cell.model, cell.batch(cell.dataset.ids()[:1]))
    assert (cost.forward, cost.backward, cost.attack) == (1, 1, 7)
    without = plan.count_passes(cells.settings(place), cell.model, cell.batch(["image-00"]))
    assert without.attack == 0


def test_an_attack_can_be_left_out_by_name():
    assert load("attack=none").attack is None
    with pytest.raises(BadInput, match=r"there is no attack=pgd: choose one of mi_fgsm, none"):
        load("attack=pgd")


# Figures


def test_a_figure_shows_each_run_over_the_images_that_it_saw(place, ran):
    clean, attacked = ran
    common = both(ran)
    figure = heatmap_grid(common, images=2)
    titles = [" ".join(panel.get_title().split()) for panel in figure.axes[:4]]
    assert titles[0] == "image no attack" and titles[1] == "toy 7 x 7 no attack"
    assert titles[2].startswith("image mi_fgsm epsilon=40") and titles[3].startswith("toy 7 x 7 mi")
    first = clean_images(place, common.ids[:1])[0].permute(1, 2, 0).numpy()
    changed = attacked.folder.stage("attacked").array(common.ids[0], "image").transpose(1, 2, 0)
    assert np.array_equal(figure.axes[0].images[0].get_array(), first)
    assert np.array_equal(figure.axes[2].images[0].get_array(), changed)
    assert not np.array_equal(first, changed)
    row = clean.folder.stage("heatmaps").rows[common.ids[0]]
    assert figure.axes[1].get_xlabel().startswith(cells.CLASSES[row["target"]])


def test_runs_on_the_same_attacked_images_share_one_picture_of_them(place):
    runs = [start(place, *ATTACK, f"method.gain={gain}.0")[0] for gain in (1, 2)]
    common = both(runs)
    assert "mi_fgsm epsilon=40" in common.facts
    assert len(heatmap_grid(common, images=1).axes) == 3
    picture = common.picture(common.runs[0], common.ids[0])
    sheet = contact_sheet(common, images=1, blocks=1)
    assert np.array_equal(sheet.axes[0].images[0].get_array(), picture)
    assert np.array_equal(common.picture(common.runs[1], common.ids[0]), picture)


def test_a_sheet_with_one_row_of_images_is_refused_for_two_versions_of_them(ran):
    with pytest.raises(BadInput, match="some of the runs saw attacked images"):
        contact_sheet(both(ran), images=2, blocks=1)


def test_curves_of_original_and_attacked_images_stand_in_one_figure_told_apart(ran):
    common = shared([each.folder.path for each in ran], Wanted(metrics=CURVES), ALIKE)
    texts = [text.get_text() for text in curve_figure(common).legends[0].get_texts()]
    assert texts[0].startswith("toy at 7 x 7 · no attack · deletion")
    assert texts[1].startswith("toy at 7 x 7 · mi_fgsm epsilon=40")


def test_curves_can_stand_below_the_heatmaps_they_are_of(ran):
    common = both(ran, *CURVES)
    figure = heatmap_grid(common, images=1, curves=True)
    assert len(figure.axes) == 2 * 4
    for column, run in ((5, common.runs[0]), (7, common.runs[1])):
        for line, metric in zip(figure.axes[column].lines, CURVES, strict=True):
            scores, fractions = run.curve(metric, common.ids[:1])
            assert np.array_equal(line.get_ydata(), scores[0])
            assert np.array_equal(line.get_xdata(), fractions)


def test_a_grid_of_curves_that_a_run_has_not_is_refused(place):
    start(place, "metric=[insertion]", "dataset.limit=1")
    (path,) = [each.parent for each in (place / "results").rglob("settings.json")]
    with pytest.raises(BadInput, match="has no deletion curve"):
        heatmap_grid(shared([path], Wanted()), 1, curves=True)


def test_the_composites_of_an_attacked_image_are_those_that_were_scored(place, ran):
    _, attacked = ran
    cell = Cell.open(cells.settings(place, BOTH, *ATTACK))
    common = shared([attacked.folder.path], Wanted(metrics=CURVES))
    (run,), image_id = common.runs, attacked.ids[0]
    model = cell.model
    recorder = Recorder(
        model.network,
        mean=model.mean.tolist(),
        std=model.std.tolist(),
        input_size=model.input_size,
        class_names=model.class_names,
        weights="",
        device=model.device,
        pass_batch=model.pass_batch,
    )
    heatmap = torch.from_numpy(run.folder.stage("heatmaps").array(image_id, "heatmap"))
    cell.metrics["insertion"](recorder, cell.batch([image_id]), heatmap[None])
    assert torch.equal(composites(common, run, "insertion", image_id).images, recorder.seen)
