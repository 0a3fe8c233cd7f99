"""Which method explains which network, found by trying: ``python -m benchmark.applicability``.

Every method of ``conf/method`` explains one image of noise for each network, with so little work
that only the course of the computation counts, and with random weights unless told otherwise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmark.config import about_methods, build, load
from benchmark.errors import BadInput
from benchmark.files import write_whole
from benchmark.interfaces import Batch, Truth
from benchmark.memory import keep_freed_memory
from benchmark.models import ImageClassifier
from benchmark.quick import quick

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


def tried(method: str, model: ImageClassifier) -> tuple[str, str]:
    """Explain one image of noise.

    Returns:
        What a table shows: the resolution of the heatmap, ``any`` where the user chooses it, or a
        dash; and why not, where it is a dash.
    """
    settings = load(f"method={method}", "res=7")
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
    try:
        heatmaps = build(quick(settings.method), "method")(model, batch)
    except BadInput as error:
        return NO, str(error)
    return ANY if "res" in settings.method else str(heatmaps.shape[-1]), ""


def table(models: Sequence[str], weights: str) -> str:
    """Try every method on every model; return Markdown.

    Raises:
        BadInput: there is no such model, or no such weights.
    """
    methods = about_methods()
    cells: dict[str, list[str]] = {method: [] for method in methods}
    reasons: dict[str, list[str]] = {}
    for name in models:
        settings = load(f"model={name}", f"model.weights={weights}")
        model: ImageClassifier = build(settings.model, "model").load(torch.device("cpu"))
        for method in methods:
            shown, reason = tried(method, model)
            cells[method].append(shown)
            if reason:
                reasons.setdefault(f"{reason}.", []).append(f"`{method}`")
            print(f"{name}: {method} {shown}", file=sys.stderr)
    lines = [
        "Cells along a side of the native heatmap; `any` where `res` chooses it; – where the",
        "method does not apply. Every method can also be had at fewer cells, by `resize=area`.",
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
    arguments = parser.parse_args()
    keep_freed_memory()
    try:
        text = table(arguments.models, arguments.weights)
        if arguments.write:
            write_whole(arguments.write, text)
    except (BadInput, OSError) as error:
        print(f"benchmark.applicability: {error}", file=sys.stderr)
        return 2
    print(f"written to {arguments.write}" if arguments.write else text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
