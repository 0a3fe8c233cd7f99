"""What a cell is called, and what its numbers depend on, in words."""

from __future__ import annotations

from benchmark.cell import CHOOSES_IMAGES, CHOOSES_WEIGHTS, Cell, architecture, plain_node
from benchmark.config import LABEL, PREDICTED, Settings
from benchmark.model_sources import RANDOM
from benchmark.resolvers import ABOUT

WRAPPED = "method@method.of"  # what is chosen here stands in the title as part of the method
# These show in a row's caption in any case.
SHOWN = ("model.architecture", "model.precision", "dataset.preprocess", "dataset.split")


def title(cell: Cell) -> str:
    """Name the method, any that it was told to wrap, and whatever else was changed about it."""
    settings = cell.settings
    resized = "" if cell.heatmaps == "heatmaps" else f" (resize={settings.resize.name})"
    within = dict(each.split("=", 1) for each in settings.overrides if each.startswith(WRAPPED))
    methods = [settings.choices["method"], *(within[place] for place in sorted(within))]
    shape = f"{' of '.join(methods)} at {settings.res} x {settings.res}"
    return shape + resized + _changed(settings, "method")


def about(settings: Settings) -> str:
    """Say what the method is called, who published it, and in a line what it does.

    Where it wraps another, that one's too.
    """
    lines, node = [], settings.method
    while node is not None and (told := node.get(ABOUT)):
        lines.append(f"{told['name']} ({told['paper']}), {told['line']}")
        node = node.get("of")
    return f"{settings.choices['method']}: {'; of '.join(lines)}" if lines else ""


def caption(cell: Cell) -> dict[str, str]:
    """Say in words what a row's numbers depend on."""
    settings = cell.settings
    kind = settings.dataset.get("preprocess", settings.dataset.get("split", ""))
    seed = f" seed {settings.seed}" if settings.seed else ""
    precision = settings.model.get("precision", "fp32")
    exact = " deterministic" if cell.identity.get("deterministic") else ""
    return {
        "data": f"{cell.dataset.name} {kind}".strip() + _changed(settings, "dataset"),
        "model": f"{architecture(settings)} ({cell.model.weights}, "
        f"{cell.identity['weights_sha256'][:8]})" + _changed(settings, "model"),
        "target": _target(cell),
        **_attack(settings),
        "protocol": settings.choices["protocol"]
        + _changed(settings, "protocol", "baseline", "substrate", "metric"),
        "device": f"{cell.model.device.type} {precision}{exact}{seed}, batch {settings.batch_size}",
    }


def warnings(
    cell: Cell, skipped: int, *, unfooled: int, constant: int, implausible: str
) -> list[str]:
    """Say what a reader of the row must not overlook.

    Args:
        cell: what was run.
        skipped: images that could not be read.
        unfooled: attacked images that kept their class.
        constant: images whose heatmap has the same value in every cell.
        implausible: what is odd about the network's accuracy, if anything.
    """
    found = []
    if cell.model.weights == RANDOM:
        found.append(f"{RANDOM}: this network was never trained; its numbers mean nothing")
    if skipped:
        found.append(f"{skipped} of the chosen images could not be read: skipped")
    if unfooled:
        found.append(
            f"{unfooled} of the attacked images kept their class: they are no adversarial ones"
        )
    if constant:
        found.append(
            f"{constant} of the heatmaps are constant: their cells are ranked by place alone"
        )
    if implausible:
        found.append(implausible)
    return found


def _target(cell: Cell) -> str:
    target = cell.settings.target
    if target in (PREDICTED, LABEL):
        return f"{target} class"
    return f"class {target}, {cell.model.class_names[int(target)]}"


def _attack(settings: Settings) -> dict[str, str]:
    """Name the attack with all its values: without them it says nothing."""
    if not settings.attack:
        return {}
    values = plain_node(settings.attack, ("_target_",))
    named = [f"{name}={value}" for name, value in values.items()]
    return {"attack": " ".join([settings.choices["attack"], *named])}


def _changed(settings: Settings, *groups: str) -> str:
    """Name the settings of these groups that the user gave, unless the caption has them."""
    known = {f"model.{name}" for name in CHOOSES_WEIGHTS} | set(SHOWN)
    known |= {f"dataset.{name}" for name in (*CHOOSES_IMAGES, "name")}
    given = [each.lstrip("+") for each in settings.overrides]
    return "".join(
        f" {each}"
        for each in given
        if each.startswith(tuple(group + mark for group in groups for mark in ".@"))
        and not each.startswith(WRAPPED)
        and each.partition("=")[0] not in known
    )
