"""Which method explains which network, found by trying: ``python -m benchmark.applicability``.

Every method of ``conf/method``, and of the folder of ``--config-dir``, explains one image of noise
for each network, with so little work that only the course of the computation counts, and with
random weights unless told otherwise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmark.building import build
from benchmark.config import load, places
from benchmark.errors import BadInput
from benchmark.files import write_whole
from benchmark.interfaces import Batch, Truth
from benchmark.masker import Masker, find_maps
from benchmark.masker_files import save
from benchmark.memory import keep_freed_memory
from benchmark.models import ImageClassifier
from benchmark.own_folder import add_folder
from benchmark.quick import quick
from benchmark.resolvers import about_methods

MODELS = (
    "squeezenet1_1",
    "vgg19",
    "resnet50",
    "mobilenet_v2",
    "inception_v3",
    "convnext_tiny",
    "vit_b_16",
)
ANY, NO = "any", "–"
USUAL = (224, 112, 28, 14, 7)  # the paper's; a method may have settings for these alone
UNUSUAL = 10  # has settings of its own in no method


def tried(method: str, model: ImageClassifier, place: Sequence[str] = ()) -> tuple[str, str]:
    """Explain one image of noise.

    A method that needs a trained masker is given one that was not trained.

    Args:
        method: a choice of the group.
        model: to be explained.
        place: what lets its configuration lie in a folder of one's own, as of ``places``.

    Returns:
        What a table shows: the resolution of the heatmap, ``any`` or those there are settings for
        where the user chooses it, or a dash; and why not, where it is a dash.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _tried(method, model, Path(folder) / "masker.safetensors", place), ""
    except BadInput as error:
        return NO, str(error)


def _tried(method: str, model: ImageClassifier, untrained: Path, place: Sequence[str]) -> str:
    settings = load(*place, f"method={method}", "res=7")
    if "masker" in settings.method:
        save(Masker(find_maps(model), len(model.class_names), width=1), model, untrained, {})
        settings.method.masker = str(untrained)
    size = model.input_size
    batch = Batch(
        ids=["noise"],
        images=torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)),
        targets=torch.tensor([0]),
        labels=torch.tensor([0]),
        seeds=torch.tensor([0]),
        truths=[Truth(boxes=torch.zeros(0, 4), classes=torch.zeros(0, dtype=torch.int64))],
    )
    model.begin_count(1)
    heatmaps = build(quick(settings.method), "method")(model, batch)
    if "res" not in settings.method:
        return str(heatmaps.shape[-1])
    if _accepted(method, UNUSUAL, place):
        return ANY
    return ", ".join(str(res) for res in USUAL if _accepted(method, res, place))


def _accepted(method: str, res: int, place: Sequence[str]) -> bool:
    """Whether a method's settings can be had for a resolution that the user chooses."""
    try:
        build(load(*place, f"method={method}", f"res={res}").method, "method")
    except BadInput:
        return False
    return True


def table(models: Sequence[str], weights: str, folder: str = "") -> str:
    """Try every method on every model; return Markdown.

    ``folder`` is that of ``--config-dir``, whose methods are tried, too.

    Raises:
        BadInput: there is no such model, no such weights or no such folder.
    """
    place = places(folder)
    methods = about_methods(folder)
    cells: dict[str, list[str]] = {method: [] for method in methods}
    reasons: dict[str, list[str]] = {}
    for name in models:
        settings = load(*place, f"model={name}", f"model.weights={weights}")
        model: ImageClassifier = build(settings.model, "model").load(torch.device("cpu"))
        for method in methods:
            shown, reason = tried(method, model, place)
            cells[method].append(shown)
            if reason:
                reasons.setdefault(f"{reason}.", []).append(f"`{method}`")
        applies = sum(row[-1] != NO for row in cells.values())
        print(f"{name}: {applies} of {len(methods)} methods apply", file=sys.stderr)
    lines = [
        "# Which method explains which network",
        "",
        f"Found by trying (`python -m benchmark.applicability {' '.join(models)}`) on an image of",
        f"noise, with `weights={weights}`. Cells along a side of the native heatmap: `any`, or the",
        "ones listed, where `res` chooses; – where the method does not apply. Every method can",
        "also be had at fewer cells, by `resize=area`. Real-time saliency was tried untrained.",
        "",
        f"| method | {' | '.join(models)} |",
        "|---|" + "---:|" * len(models),
        *(f"| `{method}` | {' | '.join(row)} |" for method, row in cells.items()),
        "",
        "Why not:",
        "",
        *(f"- {', '.join(dict.fromkeys(names))}: {why}" for why, names in reasons.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(prog="benchmark.applicability", description=__doc__)
    parser.add_argument("models", nargs="*", default=MODELS, help="torchvision classifiers")
    parser.add_argument("--weights", default="random", help="as model.weights")
    parser.add_argument("--write", type=Path, help="a Markdown file")
    add_folder(parser)
    arguments = parser.parse_intermixed_args()
    keep_freed_memory()
    torch.set_flush_denormal(True)  # random weights make them, and passes with them take minutes
    try:
        text = table(arguments.models, arguments.weights, arguments.config_dir)
        if arguments.write:
            write_whole(arguments.write, text)
    except (BadInput, OSError) as error:
        print(f"benchmark.applicability: {error}", file=sys.stderr)
        return 2
    print(f"written to {arguments.write}" if arguments.write else text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
