import importlib
import io
import json
import os
import random
import shutil
import signal
import sys
import textwrap
import time

import cells
import numpy as np
import pandas as pd
import pytest
import torch
from cells import CALLS, finished, make_conf, make_images, product, start, started
from rich.console import Console
from safetensors.torch import save_file

from benchmark import captions, config, identity, show, tables
from benchmark.cell import CHOOSES_IMAGES, Cell
from benchmark.interfaces import BadInput
from benchmark.pass_sizes import load_model

COUNT = 16


@pytest.fixture(autouse=True)
def _forgotten_calls():
    CALLS.clear()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with the tiny images and the configuration that names the tiny classes."""
    folder = tmp_path_factory.mktemp("source")
    make_images(folder / "images", COUNT)
    make_conf(folder / "conf")
    return folder


@pytest.fixture
def place(source, tmp_path):
    """A folder to run in: its own copy of the images, no results yet."""
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="module")
def finished_run(source, tmp_path_factory):
    """An uninterrupted run of the toy method, not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(source, folder, dirs_exist_ok=True)
    return start(folder)[0]


def explained():
    """The images the toy method was called for, in order."""
    return [image_id for ids in CALLS for image_id in ids]


def rows_of(outcome):
    return outcome.folder.stage("heatmaps").rows


def heatmaps_of(outcome):
    stage = outcome.folder.stage(outcome.heatmaps)
    return torch.from_numpy(np.stack([stage.array(each, "heatmap") for each in outcome.ids]))


def images_of(folder, ids):
    data = [np.frombuffer((folder / "images" / each).read_bytes(), np.uint8) for each in ids]
    return torch.from_numpy(np.stack(data)).view(-1, 3, cells.SIDE, cells.SIDE).float() / 255


def probabilities(images, weights=None):
    """Ask the network directly, with its normalisation written out once more."""
    mean = torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)
    return cells.tiny_network()((images - mean) / 0.2).softmax(1).detach()


def folder_of(folder, *more):
    return Cell.open(cells.settings(folder, *more)).folder.path


def table_of(outcome):
    return tables.per_image(outcome.folder, outcome.outcome)


def row_text(outcome, **changes):
    """The row as it is printed."""
    means = tables.summary(table_of(outcome), list(outcome.stages))
    page = Console(file=io.StringIO(), width=120)
    page.print(tables.row(outcome.outcome._replace(**changes), means))
    return page.file.getvalue()


# Resuming


@pytest.fixture(scope="module")
def igos_files(source, tmp_path_factory):
    """What an uninterrupted run of a slow, noisy method leaves."""
    folder = tmp_path_factory.mktemp("igos")
    shutil.copytree(source, folder, dirs_exist_ok=True)
    return product(start(folder, *IGOS)[0].folder.path)


IGOS = ["method=igos", "method.iterations=2", "method.points=4", "batch_size=2"]


def results_size(folder):
    return sum(
        file.stat().st_size
        for file in folder.glob("results/*/*/*/**/*")
        if file.suffix in {".jsonl", ".f32"} and file.stem not in {"log", "timing"}
    )


def test_a_run_that_was_killed_again_and_again_ends_with_the_same_bytes(place, igos_files):
    """The moments are drawn from a seed: so many bytes written, and up to 10 ms more.

    On a busy machine the later kills may come too late; the first has to hit the run.
    """
    moments = random.Random(20240229)
    total = sum(len(content) for content in igos_files.values())
    arguments = ["--config-dir", str(place / "conf"), *cells.choices(place, *IGOS)]
    sizes = []
    for share in (0.0, 0.2, 0.4, 0.6):
        process = started(*arguments, cwd=place)
        until = (share + moments.uniform(0.01, 0.15)) * total
        deadline = time.monotonic() + 300
        while results_size(place) < until and time.monotonic() < deadline:
            time.sleep(0.0005)
        time.sleep(moments.uniform(0, 0.01))
        os.kill(process, signal.SIGKILL)
        assert finished(process).code == -signal.SIGKILL
        sizes.append(results_size(place))
    assert 0 < sizes[0] < total
    assert sizes == sorted(sizes)
    outcome, _ = start(place, *IGOS)
    assert product(outcome.folder.path) == igos_files


def test_files_that_end_anywhere_are_completed_to_the_same_bytes(finished_run, place):
    cuts = random.Random(7)
    expected = product(finished_run.folder.path)
    for _ in range(12):
        shutil.rmtree(place / "results", ignore_errors=True)
        copy = place / "results" / "tiny" / "tiny" / finished_run.folder.path.name
        shutil.copytree(finished_run.folder.path, copy)
        for name, content in expected.items():
            if cuts.random() < 0.6:
                os.truncate(copy / name, cuts.randrange(len(content) + 1))
        outcome, _ = start(place)
        assert outcome.folder.path == copy
        assert product(copy) == expected


def test_a_torn_line_in_the_notes_of_times_does_not_stop_the_next_start(finished_run, place):
    copy = place / "results" / "tiny" / "tiny" / finished_run.folder.path.name
    shutil.copytree(finished_run.folder.path, copy)
    for name in ("heatmaps.jsonl", "timing.jsonl", "log.jsonl"):
        os.truncate(copy / name, (copy / name).stat().st_size * 2 // 3)
    outcome, _ = start(place)
    times = table_of(outcome)["seconds"]
    assert times.notna().sum() >= COUNT // 2


def test_an_error_in_the_middle_keeps_what_was_done_and_the_next_start_goes_on(
    place, finished_run, monkeypatch
):
    class PowerCutError(Exception):
        pass

    whole = cells.Toy.__call__

    def cut(self, model, batch):
        if len(CALLS) == 3:
            raise PowerCutError
        return whole(self, model, batch)

    with monkeypatch.context() as patch:
        patch.setattr(cells.Toy, "__call__", cut)
        with pytest.raises(PowerCutError):
            start(place, "batch_size=4")
    CALLS.clear()
    outcome, listener = start(place, "batch_size=4")
    assert (listener.done, [len(ids) for ids in CALLS]) == (12, [4])
    assert product(outcome.folder.path) == product(finished_run.folder.path)


def test_a_second_start_calls_neither_the_method_nor_the_model(place, monkeypatch):
    first, _ = start(place)
    files = product(first.folder.path)
    assert explained() == first.ids
    CALLS.clear()

    def refuse(*arguments):
        raise AssertionError("computed again")

    monkeypatch.setattr("benchmark.models.ImageClassifier.__call__", refuse)
    monkeypatch.setattr("metrics.pointing.Pointing.__call__", refuse)
    second, listener = start(place)
    assert CALLS == []
    assert (listener.done, listener.advanced) == (COUNT, 0)
    assert product(second.folder.path) == files
    assert second.ids == first.ids


@pytest.mark.parametrize(
    "more",
    [
        ["metric=[deletion,insertion,pointing_15]"],
        ["protocol=rise", "protocol.steps=8"],
        ["protocol.steps=20"],
        ["metric.pointing.tolerance=3"],
    ],
    ids=" ".join,
)
def test_another_metric_or_protocol_takes_the_stored_heatmaps(place, more, finished_run):
    copy = place / "results" / "tiny" / "tiny" / finished_run.folder.path.name
    shutil.copytree(finished_run.folder.path, copy)
    before = product(copy)
    outcome, _ = start(place, *more)
    after = product(outcome.folder.path)
    assert outcome.folder.path == copy
    assert CALLS == []
    assert {name: after[name] for name in before} == before
    new = {name for name in after if name not in before}
    assert new
    for stage in outcome.stages.values():
        assert set(outcome.folder.stage(stage).rows) == set(outcome.ids)


def test_scores_from_stored_heatmaps_are_those_of_a_fresh_run(place, finished_run):
    more = ["protocol=igospp", "metric=[insertion]"]
    fresh, _ = start(place, *more)
    copy = place / "later"
    shutil.copytree(finished_run.folder.path, copy / finished_run.folder.path.name)
    (place / "moved" / "tiny").mkdir(parents=True)
    copy.rename(place / "moved" / "tiny" / "tiny")
    CALLS.clear()
    later, _ = start(place, *more, f"results='{place / 'moved'}'")
    assert CALLS == []
    assert later.folder.path != fresh.folder.path
    stage = fresh.stages["insertion"]
    for suffix in ("jsonl", "f32"):
        name = f"{stage}.{suffix}"
        assert product(later.folder.path)[name] == product(fresh.folder.path)[name]


# What makes another run, and what does not


@pytest.mark.parametrize(
    "more",
    [
        ["method.gain=2"],
        ["method=centre"],
        ["res=14"],
        ["method.res=14", "res=7", "resize=area"],
        ["target=label"],
        ["target=2"],
        ["seed=1"],
        ["baseline.sigma=5"],
        [
            "baseline._target_=benchmark.substrates.MeanColour",
            "~baseline.kernel",
            "~baseline.sigma",
        ],
        ["dataset.name=other"],
        ["model.precision=bf16"],
        ["model.pass_batch=7"],
    ],
    ids=" ".join,
)
def test_changed_settings_have_another_folder(source, finished_run, tmp_path, more):
    result = f"results='{tmp_path}'"
    assert folder_of(source, result, *more).name != folder_of(source, result).name


@pytest.mark.parametrize(
    "more",
    [
        ["dataset.limit=3"],
        ["dataset.seed=3"],
        ["batch_size=3"],
        ["metric=[insertion]"],
        ["protocol=rise"],
        ["resize=bilinear"],
        ["device=auto"] if not torch.cuda.is_available() else ["device=cpu"],
        ["device=cpu", "deterministic=true"],
    ],
    ids=" ".join,
)
def test_what_changes_no_heatmap_has_the_same_folder(source, tmp_path, more):
    result = f"results='{tmp_path}'"
    assert folder_of(source, result, *more) == folder_of(source, result)


def test_other_weights_have_another_folder_and_the_same_weights_elsewhere_have_not(place):
    state = cells.tiny_network().state_dict()
    save_file(state, place / "same.safetensors")
    state["0.bias"][0] += 1e-3
    save_file(state, place / "other.safetensors")
    usual = folder_of(place)
    assert folder_of(place, f"model.weights='{place / 'same.safetensors'}'") == usual
    assert folder_of(place, f"model.weights='{place / 'other.safetensors'}'") != usual


def test_the_preprocessing_of_images_changes_the_folder_and_their_place_does_not():
    """Checked on the part of the key that the data set makes: ImageNet itself is not here."""
    changes = ([], ["dataset.preprocess=crop"], ["dataset.limit=5"], ["dataset.root=x"])
    nodes = [config.load("dataset=imagenet", *more).dataset for more in changes]
    usual, preprocess, limit, root = (
        {key: node[key] for key in node if key not in CHOOSES_IMAGES} for node in nodes
    )
    assert preprocess != usual
    assert limit == root == usual


def forget_code():
    """Let the sources be read again, as a new process would."""
    for part in vars(identity).values():
        if hasattr(part, "cache_clear"):
            part.cache_clear()


METHOD = textwrap.dedent("""\
    '''A flat heatmap.'''
    from dataclasses import dataclass
    import torch
    from benchmark.images import chunks

    @dataclass(frozen=True)
    class Flat:
        res: int
        def __call__(self, model, batch):
            return torch.full((len(batch.ids), self.res, self.res), 1.0)
""")


def test_editing_a_methods_code_has_another_folder_and_editing_its_comments_has_not(
    place, monkeypatch
):
    monkeypatch.syspath_prepend(str(place))
    more = ["method._target_=flat_method.Flat", *(f"~method.{key}" for key in TOY_ONLY)]

    def folder(text):
        (place / "flat_method.py").write_text(text)
        shutil.rmtree(place / "__pycache__", ignore_errors=True)
        sys.modules.pop("flat_method", None)
        importlib.invalidate_caches()
        forget_code()
        return folder_of(place, *more)

    usual = folder(METHOD)
    assert folder(METHOD.replace("A flat heatmap.", "Nothing at all.") + "\n# a comment\n") == usual
    assert folder(METHOD.replace("1.0", "2.0")) != usual
    sys.modules.pop("flat_method", None)


TOY_ONLY = ("gain", "slow_start", "slow", "fault")


@pytest.mark.parametrize(
    "line",
    [
        "import other_place.helper",
        "from other_place.helper import a",
        "from other_place import helper",
        "from . import helper",
        "from .helper import a",
    ],
)
def test_the_code_of_imported_modules_counts_and_of_others_does_not(tmp_path, monkeypatch, line):
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [each for each in sys.modules if each.startswith("other_place")]:
        monkeypatch.delitem(sys.modules, name)
    package = tmp_path / "other_place"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("a = 1\n")
    (package / "stranger.py").write_text("a = 1\n")

    def key(name, text):
        (package / name).write_text(text)
        forget_code()
        return identity.code_hash("other_place.method")

    usual = key("method.py", f"{line}\n")
    assert key("stranger.py", "a = 2\n") == usual
    assert key("helper.py", "a = 2\n") != usual
    assert key("helper.py", "a = 1\n") == usual


def test_a_module_that_is_made_later_counts_from_then_on(tmp_path, monkeypatch):
    """As in a notebook: a helper that a method looks for only when it is called."""
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "late_place"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "method.py").write_text("def method():\n    from late_place import helper\n")
    forget_code()
    without = identity.code_hash("late_place.method")
    (package / "helper.py").write_text("import cv2\n")
    importlib.invalidate_caches()
    assert identity.code_hash("late_place.method") != without
    assert list(identity.library_versions("late_place.method")) == ["opencv-python-headless"]


def test_results_of_a_smaller_subset_are_part_of_a_larger_one(place, finished_run):
    small, _ = start(place, "dataset.limit=5")
    assert small.ids == finished_run.ids[:5]
    CALLS.clear()
    large, listener = start(place)
    assert listener.done == 5
    assert explained() == large.ids[5:]
    assert product(large.folder.path) == product(finished_run.folder.path)
    again, listener = start(place, "dataset.limit=5")
    assert (again.ids, listener.advanced) == (small.ids, 0)


def test_every_start_leaves_the_list_of_its_images(place):
    outcome, _ = start(place, "dataset.limit=3")
    start(place, "dataset.limit=5")
    lists = {file.read_text() for file in outcome.folder.path.glob("manifest-*.txt")}
    assert "".join(f"{each}\n" for each in outcome.ids) in lists
    assert sorted(text.count("\n") for text in lists) == [3, 5]
    manifest = next(outcome.folder.path.glob("manifest-3-*.txt"))
    CALLS.clear()
    repeated, _ = start(place, f"dataset.manifest='{manifest}'")
    assert repeated.ids == outcome.ids
    assert CALLS == []


METHODS = {
    "toy": ["method=toy"],
    "igos": ["method=igos", "method.iterations=2", "method.points=4"],
    "gradcam": ["method=gradcam", "res=8"],
    "integrated_gradients": ["method=integrated_gradients", "method.steps=5", "res=32"],
    "random": ["method=random"],
}


@pytest.mark.parametrize("name", METHODS)
def test_the_batch_size_changes_no_byte(place, name):
    files = []
    for size in (1, 3, 8):
        shutil.rmtree(place / "results", ignore_errors=True)
        more = [*METHODS[name], "dataset.limit=8", f"batch_size={size}"]
        files.append(product(start(place, *more)[0].folder.path))
    assert files[0] == files[1] == files[2]


@pytest.fixture
def inexact():
    """Torch's switch, off before and after."""
    torch.use_deterministic_algorithms(mode=False)
    yield
    torch.use_deterministic_algorithms(mode=False)


def test_exact_operations_are_switched_on_where_asked_for_and_change_no_byte(place, inexact):
    plain, _ = start(place, "method=igos", "device=cpu")
    expected = product(plain.folder.path)
    assert not torch.are_deterministic_algorithms_enabled()
    shutil.rmtree(place / "results")
    exact, _ = start(place, "method=igos", "deterministic=true", "device=cpu")
    assert product(exact.folder.path) == expected
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    with pytest.warns(UserWarning, match="put_ does not have a deterministic"):
        torch.zeros(3).put_(torch.tensor([1, 1]), torch.tensor([1.0, 2.0]))


def test_what_a_gpu_computes_by_exact_operations_has_a_folder_of_its_own_and_says_so(
    place, monkeypatch, inexact
):
    def elsewhere(settings, say):
        model = load_model(settings, say)
        model.device = torch.device("cuda")
        return model

    monkeypatch.setattr("benchmark.cell.load_model", elsewhere)
    plain, exact = (
        Cell.open(cells.settings(place, f"deterministic={each}")) for each in ("false", "true")
    )
    assert plain.folder.path != exact.folder.path
    assert "deterministic" not in captions.caption(plain)["device"]
    assert captions.caption(exact)["device"].startswith("cuda fp32 deterministic, batch")


# Bad images


def test_an_unreadable_image_is_skipped_said_and_counted(place):
    (place / "images" / "image-03").write_bytes(b"torn")
    outcome, listener = start(place)
    assert len(outcome.ids) == COUNT - 1
    assert "image-03" not in outcome.ids
    assert listener.warnings == ["skipped image-03: image-03 has 4 bytes"]
    assert outcome.warnings == ["1 of the chosen images could not be read: skipped"]
    shown = row_text(outcome)
    assert "1 of the chosen images could not be read" in shown
    assert f"│ {COUNT - 1} │" in shown
    ends = [json.loads(line) for line in (outcome.folder.path / "log.jsonl").open()]
    assert ends[-1]["skipped"] == {"image-03": "image-03 has 4 bytes"}
    again, listener = start(place)
    assert again.warnings == outcome.warnings
    assert len(listener.warnings) == 1


def test_a_repaired_image_is_explained_by_the_next_start(place, source, finished_run):
    (place / "images" / "image-03").write_bytes(b"torn")
    start(place)
    shutil.copy(source / "images" / "image-03", place / "images" / "image-03")
    CALLS.clear()
    outcome, _ = start(place)
    assert CALLS == [["image-03"]]
    assert outcome.ids == finished_run.ids
    assert outcome.warnings == finished_run.warnings
    torch.testing.assert_close(heatmaps_of(outcome), heatmaps_of(finished_run), rtol=0, atol=0)


def test_a_skipped_image_changes_nothing_for_the_others(place, finished_run):
    (place / "images" / "image-03").write_bytes(b"torn")
    outcome, _ = start(place)
    for image_id in outcome.ids:
        mine, theirs = (rows_of(each)[image_id] for each in (outcome, finished_run))
        assert mine["arrays_crc"] == theirs["arrays_crc"]


def test_no_readable_image_at_all_is_refused(place):
    for file in (place / "images").iterdir():
        file.write_bytes(b"")
    with pytest.raises(BadInput, match="none of the 16 chosen images can be read"):
        start(place)


def test_an_image_that_was_explained_and_is_gone_is_skipped(place):
    manifest = place / "ids.txt"
    manifest.write_text("image-01\nimage-02\n")
    start(place)
    data = (place / "images" / "image-02").read_bytes()
    (place / "images" / "image-02").unlink()
    (place / "images" / "image-02").mkdir()
    outcome, listener = start(place, f"dataset.manifest='{manifest}'")
    assert outcome.ids == ["image-01"]
    assert "image-02" in listener.warnings[0]
    assert len(data) == 3 * cells.SIDE**2


def test_a_changed_image_under_an_old_name_is_refused(place):
    start(place)
    (place / "images" / "image-05").write_bytes(bytes(3 * cells.SIDE**2))
    with pytest.raises(BadInput, match="image-05 or its annotation has changed"):
        start(place)
    assert start(place, "dataset.name=tiny_2")[0].ids


# Bad models and methods


def with_weights(folder, value):
    state = cells.tiny_network().state_dict()
    state["6.bias"][1] = value
    save_file(state, folder / "broken.safetensors")
    return f"model.weights='{folder / 'broken.safetensors'}'"


@pytest.mark.parametrize(
    "more",
    [
        ["target=predicted"],
        ["target=label"],
        ["target=label", "metric=[pointing]"],
        ["target=label", "metric=[pointing]", "method=random"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_model_that_returns_no_number_is_refused(place, more, value):
    with pytest.raises(BadInput, match=r"the model returned NaN or infinity for image-") as refusal:
        start(place, with_weights(place, value), *more)
    assert "\n" not in str(refusal.value)


def test_scores_for_another_number_of_classes_are_refused(place, monkeypatch):
    network = cells.tiny_network()
    network[-1] = torch.nn.Linear(32, 7)
    monkeypatch.setattr(cells, "tiny_network", lambda: network)
    with pytest.raises(BadInput, match=r"returns \(4, 7\) for 4 images and 4 classes"):
        start(place)


def test_a_model_of_other_classes_than_the_data_is_refused(place, monkeypatch):
    monkeypatch.setattr(cells.TinyDataset, "class_names", ["one", "two"])
    with pytest.raises(BadInput, match="model=tiny knows 4 classes and dataset=tiny has 2"):
        start(place)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("not_finite", "method=toy returned NaN or infinity"),
        ("shape", r"method=toy returned shape \(8, 1, 7, 7\) for 8 images"),
        ("flat", r"method=toy returned shape \(\) for 8 images"),
    ],
)
def test_a_method_that_returns_no_heatmap_is_refused(place, fault, message):
    with pytest.raises(BadInput, match=message):
        start(place, f"method.fault={fault}")
    assert not list(place.glob("results/**/heatmaps.jsonl"))


# The resolution


def test_another_native_resolution_is_refused_and_the_right_one_named(place):
    with pytest.raises(
        BadInput, match=r"makes 8 x 8 heatmaps .* for res=7 add resize=area or .*, or use res=8"
    ):
        start(place, "method=gradcam")
    assert heatmaps_of(start(place, "method=gradcam", "res=8")[0]).shape == (COUNT, 8, 8)


def test_a_heatmap_is_averaged_over_areas_only_to_fewer_cells(place):
    with pytest.raises(
        BadInput, match=r"makes 8 x 8 heatmaps .* for res=14 add resize=bilinear, or"
    ):
        start(place, "method=gradcam", "res=14", "resize=area")


@pytest.mark.parametrize("res", [3, 4])
def test_resizing_by_area_averages_the_cells_each_covers(place, res):
    native = heatmaps_of(start(place, "method.res=8", "res=8")[0])
    small = heatmaps_of(start(place, "method.res=8", f"res={res}", "resize=area")[0])
    for row in range(res):
        for column in range(res):
            top, left = row * 8 // res, column * 8 // res
            bottom, right = -(-(row + 1) * 8 // res), -(-(column + 1) * 8 // res)
            mean = native[:, top:bottom, left:right].mean((1, 2))
            torch.testing.assert_close(small[:, row, column], mean)


def test_every_resolution_is_made_from_one_explanation_and_keeps_its_own_row(place):
    native = start(place, "method=gradcam", "res=8")[0]
    before = product(native.folder.path)
    small = start(place, "method=gradcam", "res=4", "resize=area")[0]
    assert small.folder.path == native.folder.path
    assert small.heatmaps == "heatmaps-4-area"
    assert before.items() <= product(native.folder.path).items()
    assert len(native.folder.timings()) == len(small.folder.timings()) > 0
    assert not set(native.stages.values()) & set(small.stages.values())
    [(_, rows, *_)] = tables.overview(place / "results")
    titles = [each.partition(";")[0] for each in rows["method"]]  # warnings follow
    assert titles == ["gradcam at 8 x 8", "gradcam at 4 x 4 (resize=area)"]
    assert rows.iloc[0, 2] != rows.iloc[1, 2]


def test_a_heatmap_that_has_the_resolution_already_is_not_resized(place):
    native = start(place, "method=gradcam", "res=8")[0]
    asked = start(place, "method=gradcam", "res=8", "resize=area")[0]
    assert asked.heatmaps == "heatmaps"
    assert asked.stages == native.stages
    assert asked.title == native.title == "gradcam at 8 x 8"


def test_resizing_bilinearly_keeps_the_values_in_their_range(place):
    native = heatmaps_of(start(place, "method=gradcam", "res=8")[0])
    fine = heatmaps_of(start(place, "method=gradcam", "res=16", "resize=bilinear")[0])
    assert fine.shape == (COUNT, 16, 16)
    assert (fine.amax((1, 2)) <= native.amax((1, 2))).all()
    assert not torch.equal(fine[:, ::2, ::2], native)


# What is recorded of an image


def test_label_prediction_and_target_are_the_models_and_the_datas(place):
    outcome, _ = start(place)
    predicted = probabilities(images_of(place, outcome.ids)).argmax(1).tolist()
    rows = [rows_of(outcome)[each] for each in outcome.ids]
    labels = [cells.label_of(each) for each in outcome.ids]
    assert [row["label"] for row in rows] == labels
    assert [row["predicted"] for row in rows] == predicted
    assert [row["target"] for row in rows] == predicted
    correct = [row["correct"] for row in rows]
    assert correct == [a == b for a, b in zip(labels, predicted, strict=True)]
    assert 0 < sum(correct) < COUNT
    assert len(set(predicted)) > 1


def test_the_label_is_explained_where_it_is_asked_for(place, finished_run):
    outcome, _ = start(place, "target=label")
    rows = rows_of(outcome)
    assert all(row["target"] == cells.label_of(each) for each, row in rows.items())
    assert {k: r["predicted"] for k, r in rows.items()} == {
        k: r["predicted"] for k, r in rows_of(finished_run).items()
    }
    same = [each for each in outcome.ids if rows[each]["correct"]]
    other = [each for each in outcome.ids if not rows[each]["correct"]]
    crc = {each: rows_of(finished_run)[each]["arrays_crc"] for each in outcome.ids}
    assert all(rows[each]["arrays_crc"] == crc[each] for each in same)
    assert all(rows[each]["arrays_crc"] != crc[each] for each in other)


def test_an_image_without_a_label_cannot_be_explained_for_it(place, monkeypatch):
    monkeypatch.setattr(cells, "label_of", lambda _: -1)
    with pytest.raises(BadInput, match=r"target=label, but image-.* has none"):
        start(place, "target=label")
    assert not any(row["correct"] for row in rows_of(start(place)[0]).values())


def test_scores_are_the_targets_probability_on_the_image_and_on_the_baseline(place):
    grey = ["baseline._target_=benchmark.substrates.MeanColour", "~baseline.kernel"]
    outcome, _ = start(place, *grey, "~baseline.sigma")
    images = images_of(place, outcome.ids)
    mean = torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)
    on_image, on_grey = probabilities(images), probabilities(mean.expand_as(images))
    for number, image_id in enumerate(outcome.ids):
        row = rows_of(outcome)[image_id]
        target = row["target"]
        assert row["score_on_image"] == pytest.approx(float(on_image[number, target]), abs=1e-5)
        assert row["score_on_baseline"] == pytest.approx(float(on_grey[number, target]), abs=1e-5)


@pytest.mark.parametrize(("size", "pass_batch"), [(1, 20), (3, 2), (16, 20)])
def test_passes_are_those_of_the_method_alone(place, size, pass_batch):
    outcome, _ = start(place, f"batch_size={size}", f"model.pass_batch={pass_batch}")
    for row in rows_of(outcome).values():
        assert (row["forward_passes"], row["backward_passes"]) == (1, 1)


def test_a_path_methods_passes_are_its_points(place):
    outcome, _ = start(place, *METHODS["integrated_gradients"], "dataset.limit=3")
    for row in rows_of(outcome).values():
        assert (row["forward_passes"], row["backward_passes"]) == (5, 5)
    outcome, _ = start(place, "method=centre", "dataset.limit=3")
    for row in rows_of(outcome).values():
        assert (row["forward_passes"], row["backward_passes"]) == (0, 0)


def test_curves_are_kept_and_their_area_is_the_score(place):
    outcome, _ = start(place, "dataset.limit=3")
    stage = outcome.folder.stage(outcome.stages["deletion"])
    for image_id, row in stage.rows.items():
        scores, fractions = (stage.array(image_id, name) for name in ("scores", "fractions"))
        assert row["value"] == pytest.approx(np.trapezoid(scores, fractions), abs=1e-6)
        assert scores[0] == pytest.approx(rows_of(outcome)[image_id]["score_on_image"], abs=1e-6)
        end = rows_of(outcome)[image_id]["score_on_baseline"]
        assert scores[-1] == pytest.approx(end, abs=1e-6)


def test_the_time_of_the_batch_that_warms_up_is_not_averaged(place):
    outcome, _ = start(place, "method.slow_start=1", "method.slow=0.04", "batch_size=4")
    table = table_of(outcome)
    assert table["warm_up"].tolist() == [True] * 4 + [False] * (COUNT - 4)
    assert (table["seconds"][:4] > 0.25).all()
    mean = tables.summary(table, ["deletion"])["seconds"]
    assert mean.n == COUNT - 4
    assert mean.value == pytest.approx(table["seconds"][4:].mean(), rel=1e-12)
    assert mean.value >= 0.01


def test_a_single_batchs_time_is_shown_although_it_warms_up(place):
    outcome, _ = start(place, "dataset.limit=2", "method.slow=0.04")
    table = table_of(outcome)
    assert tables.summary(table, ["deletion"])["seconds"].value > 0.02


def test_the_log_says_with_what_every_start_was_made(place):
    outcome, _ = start(place, "seed=3", "dataset.limit=2")
    start(place, "seed=3", "dataset.limit=2")
    log = [json.loads(line) for line in (outcome.folder.path / "log.jsonl").open()]
    assert [line["event"] for line in log] == ["start", "end", "start", "end"]
    first = log[0]
    assert first["settings"]["seed"] == 3
    assert first["settings"]["method"]["gain"] == 1.0
    assert first["weights"] == "seed 0"
    assert torch.__version__.startswith(first["packages"]["torch"])
    assert first["device"] == "cpu"
    assert set(first["git"]) == {"commit", "changed"}
    kept = json.loads((outcome.folder.path / "settings.json").read_text())
    assert len(kept["weights_sha256"]) == 64
    assert "Infinity" not in (outcome.folder.path / "log.jsonl").read_text()


# What a person is shown


@pytest.fixture
def screen(place, capsys):
    """Run as the command line does; return what was made and what was printed."""

    def show_run(*more):
        show.Screen().run(cells.settings(place, *more))
        shown = capsys.readouterr()
        return start(place, *more)[0], shown

    return show_run


COLUMNS = [
    "id",
    "target",
    "label",
    "predicted",
    "correct",
    "score_on_image",
    "score_on_baseline",
    "score_all_deleted",
    "entropy_all_deleted",
    "score_none_inserted",
    "entropy_none_inserted",
    "deletion",
    "pointing",
    "forward_passes",
    "backward_passes",
    "seconds",
    "protocol",
    "warm_up",
]


def test_the_table_of_images_has_a_line_for_each_and_the_documented_columns(screen):
    outcome, shown = screen()
    table = pd.read_csv(outcome.folder.path / "per_image.csv", dtype={"id": str})
    assert list(table.columns) == COLUMNS
    assert table["id"].tolist() == outcome.ids
    stored = outcome.folder.stage(outcome.stages["deletion"]).rows
    assert table["deletion"].tolist() == [stored[each]["value"] for each in outcome.ids]
    ends = [
        outcome.folder.stage(outcome.stages["deletion"]).array(each, "scores")[-1]
        for each in outcome.ids
    ]
    assert table["score_all_deleted"].tolist() == pytest.approx(ends, abs=1e-5)
    alive = (table["score_all_deleted"] > table["score_on_image"] / 2).sum()
    assert f"the class survives on {alive} of {len(table)} images" in shown.out.replace("\n", " ")
    applies = [rows_of(outcome)[each]["correct"] for each in outcome.ids]
    assert table["pointing"].notna().tolist() == applies
    assert "per_image.csv" in shown.out


def test_the_row_has_the_mean_its_interval_and_the_number_of_images(screen):
    outcome, shown = screen()
    table = pd.read_csv(outcome.folder.path / "per_image.csv")
    assert f"{table['deletion'].mean():.4f}" in shown.out
    assert "toy at 7 x 7" in shown.out
    assert "deletion ↓" in shown.out
    assert "pointing ↑" in shown.out
    assert f"│ {COUNT} │" in shown.out
    assert f"n = {table['pointing'].notna().sum()}" in shown.out
    assert "1 + 1" in shown.out
    for fact in ("data tiny", "model tiny (seed 0", "predicted", "protocol igos", "cpu", "fp32"):
        assert fact in shown.out


def test_a_metric_that_applies_to_no_image_is_shown_as_a_dash(screen, monkeypatch):
    monkeypatch.setattr(cells, "label_of", lambda _: -1)
    outcome, shown = screen()
    assert "–" in shown.out
    assert pd.read_csv(outcome.folder.path / "per_image.csv")["pointing"].isna().all()


def test_the_row_shows_every_change_of_the_method_in_full(screen):
    _, shown = screen("method.gain=2", "dataset.limit=2")
    assert "toy at 7 x 7 method.gain=2" in shown.out
    _, shown = screen("method.res=8", "resize=area", "dataset.limit=2")
    assert "(resize=area)" in shown.out


@pytest.mark.parametrize("change", ["protocol.steps=20", "metric.pointing.tolerance=3"])
def test_the_row_shows_what_was_changed_about_a_protocol(screen, change):
    _, shown = screen(change, "dataset.limit=2")
    assert change in shown.out


def test_a_warning_is_shown_letter_by_letter_whatever_brackets_it_has(capsys):
    message = "skipped a[b] [/c]: a box needs four finite numbers, not [nan, 1.0]"
    shown = show.Screen()
    shown.console.width = 200
    shown.warn(message)
    assert message in capsys.readouterr().err


def test_a_title_is_shown_letter_by_letter_whatever_brackets_it_has(finished_run):
    title = "toy at 7 x 7 method.layers=[a,b]"
    assert title in row_text(finished_run, title=title)


def test_any_class_can_be_the_target_of_every_image_and_one_that_is_not_there_is_refused(place):
    outcome, _ = start(place, "target=2", "metric=[deletion]")
    assert {row["target"] for row in rows_of(outcome).values()} == {2}
    assert outcome.caption["target"].startswith("class 2, ")
    with pytest.raises(BadInput, match="target=4: model=tiny has the classes 0 to 3"):
        start(place, "target=4")
