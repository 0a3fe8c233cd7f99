import ast
import dataclasses
import importlib
import re
import subprocess
import sys
from enum import Enum
from functools import cache

import pytest
from cells import ROOT, command, environment
from omegaconf import OmegaConf

from benchmark import config, resolvers
from benchmark.building import build
from benchmark.config import Resize, Settings, load
from benchmark.errors import BadInput
from benchmark.substrates import Blur

Colour = Enum("Colour", "red green")
GROUPS = ("attack", "dataset", "method", "metric", "model", "protocol", "substrate")
CHOICES = [
    (group, file.stem)
    for group in GROUPS
    for file in sorted((ROOT / "conf" / group).iterdir())
    if file.stem != "none"
]
BLUR = {"_target_": "benchmark.substrates.Blur", "kernel": 5, "sigma": 1.5}


@dataclasses.dataclass(frozen=True)
class Thing:
    count: int
    share: float
    word: str
    flag: bool
    colour: Colour
    baseline: Blur
    maybe: int | None
    sizes: dict[str, int]
    words: list[str]

    def __post_init__(self):
        if self.count < 1:
            raise BadInput(f"thing.count must be at least 1, got {self.count}")


@dataclasses.dataclass(frozen=True)
class Modest:
    count: int = 3


class NotADataclass:
    count = 1


THING = {
    "_target_": "test_config.Thing",
    "count": 2,
    "share": 0.5,
    "word": "a",
    "flag": True,
    "colour": "green",
    "baseline": BLUR,
    "maybe": None,
    "sizes": {"cpu": 1},
    "words": ["b"],
}


def thing(**changes):
    values = {**THING, **changes}
    return build(OmegaConf.create({k: v for k, v in values.items() if v is not ...}), "thing")


# build()


def test_an_object_is_built_with_every_value_of_its_type():
    made = thing()
    assert made == Thing(2, 0.5, "a", True, Colour.green, Blur(5, 1.5), None, {"cpu": 1}, ["b"])
    assert [type(value) for value in (made.count, made.share, made.flag)] == [int, float, bool]
    assert made.colour is Colour.green
    assert isinstance(made.baseline, Blur)


def test_a_whole_number_is_a_share_and_a_null_is_nothing():
    assert type(thing(share=1).share) is float
    assert thing(maybe=4).maybe == 4


def test_a_nested_object_is_built_before_the_outer_one():
    assert thing(baseline={**BLUR, "kernel": 7}).baseline == Blur(7, 1.5)


def test_a_default_of_the_dataclass_is_kept():
    assert build(OmegaConf.create({"_target_": "test_config.Modest"}), "modest") == Modest(3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": "two"}, r"thing\.count: .*'two'.*Integer"),
        ({"count": 2.7}, r"thing\.count: .*2\.7.*Integer"),
        ({"count": True}, r"thing\.count: .*True.*Integer"),
        ({"count": None}, r"thing\.count: .*None"),
        ({"share": "half"}, r"thing\.share: .*half.*Float"),
        ({"flag": "perhaps"}, r"thing\.flag: .*perhaps"),
        ({"colour": "blue"}, r"thing\.colour.*blue.*red, green"),
        ({"sizes": {"cpu": "many"}}, r"thing\.sizes\.cpu: .*many"),
        ({"words": "b"}, r"thing\.words: "),
        (
            {"shade": 1},
            r"shade is not a setting of Thing: did you mean thing\.share\? It has count",
        ),
        ({"gizmo": 1}, r"thing\.gizmo is not a setting of Thing; it has count, share"),
        ({"count": ...}, r"thing\.count is missing: Thing needs"),
        ({"baseline": ...}, r"thing\.baseline is missing: Thing needs"),
        ({"count": "???"}, r"thing\.count is missing"),
        ({"count": 0}, r"thing\.count must be at least 1, got 0"),
        ({"baseline": {**BLUR, "kernel": 4}}, r"odd kernel.*kernel=4"),
        ({"baseline": {**BLUR, "kernel": "x"}}, r"thing\.baseline\.kernel: "),
        ({"baseline": {**BLUR, "width": 4}}, r"thing\.baseline\.width is not a setting of Blur"),
        ({"_target_": ...}, r"thing needs a _target_"),
        (
            {"_target_": "test_config.NotADataclass"},
            r"thing\._target_=.*NotADataclass is not a data",
        ),
        (
            {"_target_": "test_config.thing"},
            r"thing\._target_=test_config\.thing is not a dataclass",
        ),
        ({"_target_": "test_config.Missing"}, r"thing\._target_=.*Missing cannot be imported"),
        (
            {"_target_": "no_such_module.Thing"},
            r"thing\._target_=no_such_module\.Thing cannot be imp",
        ),
        ({"_target_": "Thing"}, r"thing\._target_=Thing cannot be imported"),
        ({"_target_": ".Thing"}, r"thing\._target_=\.Thing cannot be imported"),
        ({"_target_": "test_config."}, r"thing\._target_=test_config\. cannot be imported"),
        ({"_target_": 3}, r"thing needs a _target_"),
    ],
)
def test_what_does_not_fit_the_dataclass_is_refused_by_name_in_one_line(changes, message):
    with pytest.raises(BadInput, match=message) as refusal:
        thing(**changes)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("value", [{"kernel": 3, "sigma": 1.0}, 5, "blur", None])
def test_a_value_where_an_object_belongs_is_refused_by_name(value):
    with pytest.raises(BadInput, match=r"thing\.baseline"):
        thing(baseline=value)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_setting_that_is_no_number_is_refused_by_name(number):
    with pytest.raises(BadInput, match=r"thing\.share"):
        thing(share=number)


# load()


def test_settings_are_composed_as_the_command_line_would():
    settings = load("method=igos", "res=28")
    assert (settings.res, settings.method.res) == (28, 28)
    assert settings.target == "predicted"
    assert settings.resize is Resize.refuse
    assert settings.choices == {
        "method": "igos",
        "model": "scenes_vgg",
        "dataset": "scenes",
        "protocol": "igos",
        "attack": "none",
    }
    assert settings.overrides == ["method=igos", "res=28"]
    assert build(settings.method, "method").baseline == build(settings.baseline, "baseline")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=nope"], r"method=nope.*igos"),
        (["res=13"], r"method\.l1 has no value for res=13: use res=224, 112, 28, 14, 7, or"),
        (["res=abc"], r"res .*abc"),
        (["res=0", "method=random"], "res must be at least 1, got 0"),
        (["seed=-1"], "seed must be at least 0, got -1"),
        (["batch_size=0"], "batch_size must be at least 1, got 0"),
        (["seed=1.5"], "seed: .*1.5"),
        (["resize=cubic"], r"resize.*cubic.*refuse, area, bilinear"),
        (["target=nobody"], r"target=nobody is none of predicted, label or a class's number"),
        (["target=-1"], r"target=-1 is none of predicted, label or a class's number"),
        (["iterations=3"], r"no setting iterations: did you mean method\.iterations\?$"),
        (["limit=3"], r"no setting limit: did you mean dataset\.limit\?$"),
        (["datset.limit=3"], r"no setting datset\.limit: did you mean dataset\.limit\?$"),
        (["datset=scenes"], r"no setting datset: did you mean dataset\?$"),
        (["protocol.stepz=3"], r"no setting protocol\.stepz: did you mean protocol\.steps\?$"),
        (["method.gizmo=3"], r"no setting method\.gizmo; method has res, l1, tv, baseline, "),
        (["res.gizmo=3"], r"no setting res\.gizmo; res is a value or taken from elsewhere, with"),
        (
            ["protocol.deletion_substrate.foo=3"],
            r"protocol\.deletion_substrate is a value or taken",
        ),
        (["datset.gizmo=3"], r"no setting datset\.gizmo: did you mean dataset\?$"),
        (
            ["metric.deletoin.x=1"],
            r"no setting metric\.deletoin\.x: did you mean metric\.deletion\?$",
        ),
        (
            ["attack.epsilon=1"],
            r"attack\.epsilon: attack is null: choose one first, as attack=mi_fgsm$",
        ),
        (["attack.eps=1"], r"attack\.eps: attack is null: choose one first, as attack=mi_fgsm$"),
        (["runtime.batches=[1]"], r"no setting runtime\.batches; runtime is a value or taken from"),
        (
            ["experiment.only=[a]"],
            r"experiment\.only without an experiment: add one, such as",
        ),
        (["gizmo=3"], r"no setting gizmo; a run has method, model, dataset, protocol, "),
        (["+iterations=3"], "iterations is not a setting of Settings"),
        (["method.iteration=3"], r"no setting method\.iteration: did you mean method\.iterations"),
        (["metric=[]"], r"no metric is named: give one or more, as metric=\[deletion,insertion\]$"),
        (["results=null"], "results"),
        (["~res"], "res"),
        (["res=", "="], "="),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_overrides_that_fit_nothing_are_refused_by_name_in_one_line(overrides, message):
    with pytest.raises(BadInput, match=message) as refusal:
        load(*overrides)
    assert "\n" not in str(refusal.value)


def test_every_resolution_of_the_table_has_its_own_value_and_13_has_none():
    config.prepare()
    text = "${by_res:${res},{28: 1.5, 14: 2.5, 7: 3.5}}"
    values = {
        res: OmegaConf.create({"res": res, "method": {"l1": text}}).method.l1 for res in (28, 14, 7)
    }
    assert values == {28: 1.5, 14: 2.5, 7: 3.5}
    with pytest.raises(Exception, match=r"method\.l1 has no value for res=13: use res=28, 14, 7"):
        _ = OmegaConf.create({"res": 13, "method": {"l1": text}}).method.l1


def test_a_value_given_for_an_unknown_resolution_is_taken():
    settings = load("res=13", "method.l1=2", "method.tv=3")
    assert build(settings.method, "method").l1 == 2.0


def test_a_model_of_ones_own_comes_before_torchvisions_of_that_name(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "alexnet.yaml").write_text("defaults: [scenes_vgg, _self_]\n")
    assert load("model=alexnet", folder=tmp_path).model == load("model=scenes_vgg").model
    shown = command("--config-dir", str(tmp_path), "model=alexnet", "--cfg", "job", cwd=tmp_path)
    assert "_target_: benchmark.model_sources.ScenesModel" in shown.out
    assert load("model=alexnet").model.architecture == "alexnet"


@pytest.mark.parametrize("name", ["model/vgg19", "method/sobel", "experiment/smoke", "config"])
def test_a_file_of_ones_own_that_would_not_be_read_is_refused(tmp_path, name):
    own = tmp_path / f"{name}.yaml"
    own.parent.mkdir(exist_ok=True)
    own.write_bytes((ROOT / "conf" / f"{name}.yaml").read_bytes())
    load(folder=tmp_path)  # a copy that says the same
    own.write_text("{}\n")
    with pytest.raises(BadInput, match=f"{own} would not be read: {name} is the project's own"):
        load(folder=tmp_path)


def test_yaml_that_cannot_be_read_is_refused_by_its_line(tmp_path):
    (tmp_path / "model").mkdir()
    own = tmp_path / "model" / "mine.yaml"
    own.write_text("defaults:\n  - [scenes_vgg\n_target_: a.B\n")
    with pytest.raises(BadInput, match=rf"{own}, line \d: ") as refusal:
        load("model=mine", folder=tmp_path)
    done = command("--config-dir", str(tmp_path), "model=mine", cwd=tmp_path)
    assert (done.code, done.err) == (2, f"benchmark: {refusal.value}\n")


def test_the_command_line_refuses_a_file_that_would_not_be_read(tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "sobel.yaml").write_text("_target_: a.B\n")
    done = command("--config-dir", str(tmp_path), "method=sobel", cwd=tmp_path)
    assert done.code == 2
    assert re.fullmatch(r"benchmark: \S+sobel\.yaml would not be read: .*\n", done.err)
    assert not (tmp_path / "results").exists()


def test_loading_leaves_nothing_behind_for_the_next():
    load("seed=5")
    assert load().seed == 0


# conf/ and the code agree


def compose(group, choice):
    """The node that a file of ``conf`` becomes, with what only a user can give filled in."""
    given = {
        "dataset/coco2014": ["dataset.root=somewhere"],
        "dataset/folder": ["dataset.root=somewhere"],
        "dataset/imagenet": ["dataset.root=somewhere"],
        "dataset/voc2007": ["dataset.root=somewhere"],
        "model/multi_label": ["model.network=vgg16", "model.classes=voc", "model.pretrained=a.pth"],
        "model/torchvision": ["model.architecture=alexnet"],
    }
    if group == "substrate":  # each may stand in several places
        return load(f"substrate@baseline={choice}").baseline
    name = f"[{choice}]" if group == "metric" else choice
    settings = load(f"{group}={name}", *given.get(f"{group}/{choice}", []))
    node = getattr(settings, group)
    return node[choice] if group == "metric" else node


@pytest.mark.parametrize(("group", "choice"), CHOICES, ids="/".join)
def test_every_file_of_conf_is_built_and_names_every_field_of_its_dataclass(group, choice):
    node = compose(group, choice)
    made = build(node, group)
    fields = {field.name for field in dataclasses.fields(made)}
    assert set(node) - {"_target_", "_about_"} == fields
    assert type(made).__dataclass_params__.frozen


def test_every_group_has_a_file():
    assert {group for group, _ in CHOICES} == set(GROUPS)
    assert len(CHOICES) >= 20


@cache
def classes():
    """Every dataclass that ``conf`` names, with the names under which others read its fields."""
    found = {Settings: {"settings"}}
    for file in sorted((ROOT / "conf").rglob("*.yaml")):
        for target in re.findall(r"_target_: (\S+)", file.read_text()):
            module, _, name = target.rpartition(".")
            kind = getattr(importlib.import_module(module), name)
            if not dataclasses.is_dataclass(kind):  # Hydra's own, or made for it
                continue
            found.setdefault(kind, set()).update({file.parent.name, name.lower()})
    return found


@cache
def reads(path):
    """Every (owner, attribute) of an ``owner.attribute`` that a source reads."""
    return {
        (getattr(node.value, "attr", getattr(node.value, "id", "")), node.attr)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


def sources(*packages):
    return [file for package in packages for file in sorted((ROOT / package).rglob("*.py"))]


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_every_setting_is_read_somewhere(kind):
    owners = classes()[kind]
    read = set()
    for file in sources("benchmark", "methods", "metrics"):
        modules = {base.__module__.replace(".", "/") for base in kind.__mro__}
        own = str(file.relative_to(ROOT).with_suffix("")) in modules
        for owner, name in reads(file):
            if owner in owners or (owner == "self" and own):
                read.add(name)
    if kind is Settings:  # conf/ may hand a setting on to others, as ${protocol} to the metrics
        texts = [file.read_text() for file in sorted((ROOT / "conf").rglob("*.yaml"))]
        read |= set(re.findall(r"\$\{(\w+)\}", "".join(texts)))
        logged = [file.read_text() for file in sources("benchmark")]  # and read again from there
        read |= set(re.findall(r'\["settings"\]\.get\("(\w+)"', "".join(logged)))
    dead = {field.name for field in dataclasses.fields(kind)} - read
    assert not dead, f"{kind.__name__} never reads {dead}"


# Who may import whom


def imports(file):
    """List the modules a source imports, by their full names."""
    names = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file.name} imports relatively"
            names.append(node.module)
            if node.module == "benchmark":
                names += [f"benchmark.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("file", sources("methods", "metrics"), ids=lambda file: file.name)
def test_methods_and_metrics_import_the_shared_few_and_never_each_other(file):
    shared = {"interfaces", "images", "substrates", "curves", "resolution"}
    shared |= {"attribution", "perturbation", "cam_layer", "segments", "unfold", "paths"}
    shared |= {"background", "masker", "masker_files", "masking", "mask_descent", "relevance"}
    shared |= {"iterates", "regions", "hidden_parts", "redraw"}
    for name in imports(file):
        top, _, rest = name.partition(".")
        assert top not in {"methods", "metrics"}, f"{file.name} imports {name}"
        if top == "benchmark":
            assert rest in shared, f"{file.name} imports {name}"


@pytest.mark.parametrize("file", sources("benchmark"), ids=lambda file: file.name)
def test_the_harness_knows_no_method_and_no_metric(file):
    tops = {name.partition(".")[0] for name in imports(file)}
    assert not tops & {"methods", "metrics"}


@pytest.mark.parametrize(
    "modules",
    [
        "benchmark.tables, benchmark.compare, benchmark.records, benchmark.stats, benchmark.errors",
        "benchmark.leaderboard, benchmark.template.__main__",
        "benchmark.tables, benchmark.compare, benchmark.records, benchmark.stats, "
        "benchmark.errors, benchmark.agreement, benchmark.preference, benchmark.precision_tables, "
        "benchmark.precision_findings, benchmark.precision_texts",
    ],
)
def test_views_of_results_need_no_torch(modules):
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment(), check=False).returncode == 0
    )


def test_settings_are_composed_and_checked_without_torch():
    code = "import sys; from benchmark.config import load; load(); sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment(), check=False).returncode == 0
    )


def test_a_run_loads_torchvision_for_a_network_of_its_own_alone():
    code = (
        "import sys; from benchmark.config import load; from benchmark.cell import Cell; "
        "packages = Cell.open(load('method=sobel')).identity['packages']; "
        "sys.exit('torchvision' in sys.modules or 'torchvision' not in packages)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment(), check=False).returncode == 0
    )


def test_a_method_whose_file_says_nothing_of_it_is_listed_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "bare.yaml").write_text("_target_: methods.mine.Mine\n")
    about = "_about_: {name: Told, paper: 'A et al., 2026', line: what it does}\n"
    (tmp_path / "method" / "told.yaml").write_text(about)
    monkeypatch.setattr(resolvers, "CONF", tmp_path)
    assert resolvers.about_methods()["bare"] == {}
    assert resolvers._methods() == "  bare\n  told  Told (A et al., 2026): what it does"
