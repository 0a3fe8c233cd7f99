"""Hostile values in every setting: taken because they mean something, or refused in one line."""

import functools
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, ListConfig, OmegaConf
from test_config import CHOICES, compose

from benchmark.building import build
from benchmark.config import composed, settings_of
from benchmark.devices import device_of
from benchmark.errors import BadInput
from benchmark.setting_values import check_text, check_value
from benchmark.tracking import tracking_of

TEXTS = ["", " ", "é漢", "\x00", "\n", "a\nb", "\ud800", "nan", "-1", "1e400", "9" * 40, "x" * 5000]
TEXTS += ["../../etc", "/nonexistent", "${nope}", "${oc.env:NO_SUCH_VARIABLE}", "???", "os.system"]
NUMBERS = [
    0,
    -1,
    1,
    3,
    -(10**6),
    10**9,
    10**30,
    10**400,
    -0.5,
    0.5,
    1.5,
    1e30,
    1e308,
    -1e308,
    1e-300,
]
NUMBERS += [math.nan, math.inf, -math.inf]
PARTS = [None, True, False, [], [1], [None], ["a"], [[1]], [-1], [math.nan], [10**30], ["\x00"]]
PARTS += [{}, {"a": 1}, {"a\nb": 1}, {"cpu": -1}, {"_target_": "os.system"}, {"_target_": "a\nb"}]
HOSTILE = st.one_of(
    st.sampled_from(TEXTS + NUMBERS + PARTS), st.text(max_size=20), st.integers(), st.floats()
)
# Numbers below 0 mean something only here: seeds are hashed with what they are the seed of; the
# others depend on the data, the device or the run, and are refused where these are known.
MAY_BE_NEGATIVE = {"seed", "limit", "cpu", "cuda", "res"}
RUNTIME = "{_target_: benchmark.runtime.Runtime, batches: [1, 8], images: 2, repeats: 2}"
DEFAULT = ["method=random", "metric=[deletion]", "attack=mi_fgsm", f"runtime={RUNTIME}"]
# Each command's file, the overrides it needs, and its nodes that are built; "" is the whole.
COMMANDS = {
    "check": (["candidate=a", "baseline=b"], "check"),
    "metaeval": ([], "perturbations"),
    "precision": ([], "precision"),
    "scaling": ([], ""),
    "speed": ([], "speed"),
    "train_masker": ([], ""),
    "trust": ([], "maps"),
}


@functools.cache
def node_of(group, choice):
    node = compose(group, choice)
    OmegaConf.resolve(node)
    OmegaConf.set_struct(node, False)
    return node


@functools.cache
def command_of(name):
    overrides, key = COMMANDS[name]
    config, _ = composed(name, overrides)
    node = (
        config[key] if key else OmegaConf.masked_copy(config, [k for k in config if k != "hydra"])
    )
    OmegaConf.set_struct(node, False)
    return node


@functools.cache
def whole():
    config, hydra = composed("config", DEFAULT)
    OmegaConf.set_struct(config, False)
    return config, hydra


def places(node, above=()):
    """Yield the path to every value, and to every part that has values."""
    for key in node if isinstance(node, DictConfig) else range(len(node)):
        if key in ("_about_", "hydra"):
            continue
        path = (*above, key)
        yield path
        if OmegaConf.is_interpolation(node, key) or OmegaConf.is_missing(node, key):
            continue
        if isinstance(node[key], DictConfig | ListConfig):
            yield from places(node[key], path)


def replaced(node, path, value):
    other = node.copy()
    inner = functools.reduce(lambda part, key: part[key], path[:-1], other)
    inner[path[-1]] = value
    return other


def refused_in_a_line(node, path, value, use):
    """Whether the value is refused; then the message has to be a line that names the setting."""
    try:
        changed = replaced(node, path, value)
    except Exception as error:  # OmegaConf has no such value, and Hydra would not have let it in
        assert "omegaconf" in type(error).__module__ or isinstance(error, UnicodeError)
        return True
    try:
        use(changed)
    except BadInput as error:
        text = str(error)
        assert len(text.splitlines()) == 1, text
        check_text("message", text)
        assert len(text) < 700, text
        names = [key for key in path if isinstance(key, str) and key != "_target_"]
        told = {"of": "method", "first": "method", "second": "method"}
        assert not names or any(n in text for n in (names[-1], told.get(names[-1], names[-1]))), (
            text
        )
        return True
    return False


def mean_something(path, value):
    """Whether a value that was taken is no number out of any range."""
    name = next((key for key in reversed(path) if isinstance(key, str)), "")
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, bool | str) or not value < 0 or name in MAY_BE_NEGATIVE


def check(node, path, value, use):
    if not refused_in_a_line(node, path, value, use) and isinstance(value, int | float):
        is_text = isinstance(functools.reduce(lambda part, key: part[key], path, node), str | None)
        assert is_text or mean_something(path, value), f"{path} takes {value}"


@settings(max_examples=3)
@pytest.mark.parametrize(("group", "choice"), CHOICES, ids=["/".join(each) for each in CHOICES])
@given(st.data())
def test_every_choice_takes_or_refuses_hostile_values(group, choice, data):
    node = node_of(group, choice)
    paths = list(places(node))
    if paths:
        value = data.draw(HOSTILE)
        check(node, data.draw(st.sampled_from(paths)), value, lambda each: build(each, group))


@settings(max_examples=25)
@pytest.mark.parametrize("name", COMMANDS)
@given(st.data())
def test_every_command_takes_or_refuses_hostile_values(name, data):
    node, key = command_of(name), COMMANDS[name][1]
    path, value = data.draw(st.sampled_from(list(places(node)))), data.draw(HOSTILE)
    check(node, path, value, lambda each: build(each, key))


def use(config):
    """Check a run's settings as far as no network and no image is needed."""
    checked = settings_of(config, whole()[1])
    for key in ("baseline", "dataset", "method", "model", "protocol", "claims"):
        build(getattr(checked, key), key)
    for key in ("attack", "runtime"):
        if getattr(checked, key) is not None:
            build(getattr(checked, key), key)
    for key in map(str, checked.metric):
        build(checked.metric[key], f"metric.{key}")
    tracking_of(checked.wandb)
    device_of(checked.device)


@settings(max_examples=60)
@given(st.data())
def test_a_run_takes_or_refuses_hostile_values(data):
    config, _ = whole()
    path, value = data.draw(st.sampled_from(list(places(config)))), data.draw(HOSTILE)
    check(config, path, value, use)


# What the fuzzing has found, each once


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("dataset.name", "../../etc", r"dataset\.name=\.\./\.\./etc: .* no / in it"),
        ("dataset.name", "", r"dataset\.name=: "),
        ("results", "", "results is empty"),
        ("method.res", -1, r"method\.res must be at least 1, got -1"),
        ("target", "x" * 5000, r"target has 5000 characters, from 'xxx"),
        ("device", "\x00", r"device has the character '\\x00'"),
        ("seed", 10**30, r"seed: a whole number between -2\^63 and 2\^63"),
        ("report", 7, "report: true or false is needed, got 7"),
        ("model.pass_batch.cpu", [1], r"model\.pass_batch\.cpu: one value is needed"),
        ("model.pass_batch", [1], r"model\.pass_batch: named values are needed"),
        ("runtime.batches", [[1]], r"runtime\.batches\[0\]: one value is needed"),
        ("runtime.batches", "12", r"runtime\.batches: a list is needed"),
        ("claims.silent", 1e300, "claims need .* up to a day"),
        ("method", "a\nb", r"method has the character '\\n'"),
        ("method._target_", "../../etc", r"method\._target_=../../etc cannot be imported"),
        ("res", "${nope}", "nope"),
    ],
)
def test_what_was_let_through_is_refused_by_name(path, value, message):
    config, _ = whole()
    with pytest.raises(BadInput, match=message) as refusal:
        use(replaced(config, path.split("."), value))
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize(
    "name", ["faithfulness_correlation", "infidelity", "monotonicity_correlation"]
)
def test_a_grid_below_nothing_is_refused_although_its_square_is_not(name):
    with pytest.raises(BadInput, match="grid"):
        build(replaced(node_of("metric", name), ("grid",), -10), "metric")


@pytest.mark.parametrize(("hint", "value"), [(int, 2), (float, 1e30), (bool, True), (bool, "yes")])
def test_values_of_the_type_are_left_to_the_types_own_check(hint, value):
    check_value("key", value, hint)


@example("\u2028", True)
@given(st.text(max_size=30), st.booleans())
def test_a_text_is_taken_exactly_where_it_has_no_control_character(text, listed):
    controls = {*range(32), *range(127, 160), *range(0xD800, 0xE000), 0x2028, 0x2029}
    odd = any(ord(each) in controls for each in text)
    try:
        check_text("key", [text] if listed else text)
    except BadInput:
        assert odd
    else:
        assert not odd
