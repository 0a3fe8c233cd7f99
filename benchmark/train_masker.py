"""Train the masking network of real-time saliency: ``python -m benchmark.train_masker``.

It is trained once for a classifier and explains any image afterwards in one pass (Dabkowski & Gal,
NeurIPS 2017). Settings are composed as the main command's are, from ``conf/train_masker.yaml``.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch import Tensor

from benchmark import loading
from benchmark.advice import one_line
from benchmark.building import build
from benchmark.config import composed
from benchmark.devices import device_of
from benchmark.interfaces import BadInput, Dataset
from benchmark.masker import find_maps
from benchmark.masker_files import COMMAND, own_file, save
from benchmark.masker_training import Training
from benchmark.memory import keep_freed_memory
from benchmark.own_folder import add_folder, with_folder

EXAMPLES = f"""examples:
  {COMMAND} model=scenes_resnet dataset=scenes
  {COMMAND} model=resnet50 dataset=imagenet dataset.root=/data/imagenet \\
      dataset.manifest=training.txt dataset.limit=null steps=20000 batch_size=32 device=cuda

Every setting and its value: conf/train_masker.yaml"""


def run(overrides: Sequence[str]) -> Path:
    """Train a masker as the overrides say, and write it; return its file.

    Raises:
        BadInput: a setting, the model or the images cannot be used.
    """
    config, hydra = composed("train_masker", overrides)
    if config.dataset.get("split") == "test":
        if any(each.startswith("dataset.split=") for each in overrides):
            raise BadInput("dataset.split=test is what maskers are measured on: leave it out")
        config.dataset.split = "train"
    values = OmegaConf.create({str(key): config[key] for key in config if key != "hydra"})
    training: Training = build(values, "")
    start = time.perf_counter()
    # What is wrong is said before what takes long.
    training.dataset.ids()
    model = training.model.load(device_of(training.device))
    find_maps(model)
    images, digest = read(training.dataset, model.input_size)
    print(f"{len(images)} images read in {time.perf_counter() - start:.0f} s", flush=True)
    masker, reached = training.fit(model, images)
    own = own_file(model, str(hydra.runtime.choices.model))
    file = own if training.out is None else Path(training.out)
    made = {
        "command": shlex.join([*COMMAND.split(), *overrides]),
        "settings": {
            name: values[name] for name in values if isinstance(values[name], int | float)
        },
        "images": f"{len(images)} of {training.dataset.name}",
        "images_sha256": digest,
        "torch": torch.__version__,
        **{name: round(value, 4) for name, value in reached.items()},
    }
    save(masker, model, file, made)
    print(f"written to {file} after {time.perf_counter() - start:.0f} s", flush=True)
    return file


def read(dataset: Dataset, size: int) -> tuple[Tensor, str]:
    """Decode the chosen images; those that cannot be read are named and left out.

    Returns:
        Images [N, 3, H, W] of 8 bits, and a hash of which they are.
    """

    def skip(image_id: str, reason: str) -> None:
        print(f"skipped {image_id}: {reason}", file=sys.stderr)

    images, lines = [], []
    for item in loading.items(dataset, dataset.ids(), size, 16, skip):
        images.append((item.image * 255).round().byte())
        lines.append(f"{item.id} {dataset.digest(item.id)}")
    if not images:
        raise BadInput("none of the chosen images can be read")
    return torch.stack(images), sha256("\n".join(lines).encode()).hexdigest()


def main() -> int:
    """Run the command line; return its exit code: 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(
        description="Train the masking network of method=realtime_saliency for one classifier.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", nargs="*", help="group=choice or key=value")
    add_folder(parser)
    chosen = parser.parse_intermixed_args()
    keep_freed_memory()
    torch.set_num_threads(1)  # so that the weights do not depend on the number of cores
    torch.use_deterministic_algorithms(True, warn_only=True)  # on a CPU all are
    try:
        run(with_folder(chosen, chosen.settings))
    except BadInput as error:
        print(f"train_masker: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
