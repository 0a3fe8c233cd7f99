"""How many images pass at once: asked for, or found once for a model and device and remembered.

``model.pass_batch`` is what bounds memory: methods and metrics send no more images through at a
time. Where that is too much, a run goes on with half as many, and later runs begin there.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import torch
from filelock import FileLock

from benchmark.building import build
from benchmark.config import Settings
from benchmark.devices import device_name, device_of
from benchmark.files import write_whole
from benchmark.interfaces import BadInput
from benchmark.models import ImageClassifier, Precision
from benchmark.pass_times import of_classifier
from benchmark.tf32 import TF32Classifier

FILE = "pass_batch.json"  # in the folder of the results
TRIED = (4, 8, 16, 32, 64, 128, 256, 512)  # images; all of them multiples of the CPU's padding
WORTH = 0.02  # share of the time that a larger size has to save
REPEATS = 3


class Known(TypedDict, total=False):
    """What is remembered of one model on one device."""

    fastest: int  # images at once; found by timing
    most: int  # images at once that memory has held; no more are sent


def load_model(settings: Settings, say: Callable[[str], None] = lambda _: None) -> ImageClassifier:
    """Load the network of these settings, with the number of images that pass through at once.

    Args:
        settings: of a run; ``model.pass_batch`` may be 0 for a device, which asks for the fastest
            number, found at the first run and then read from the results' folder.
        say: told in a line where the number is not the one that was asked for.

    Raises:
        BadInput: the network, its weights or the device cannot be used.
    """
    device = device_of(settings.device)
    model: ImageClassifier = build(settings.model, "model").load(device)
    if model.precision is Precision.tf32:
        model = TF32Classifier.around(model)
    place, key = Path(settings.results) / FILE, _key(settings, model)
    known = _read(place).get(key, Known())
    if model.pass_batch == 0:
        if "fastest" not in known:
            with _alone(place):  # others that start now wait, and take what is found
                known = _read(place).get(key, Known())
                if "fastest" not in known:
                    known = _remember(place, key, Known(fastest=fastest(model)))
        model.pass_batch = known["fastest"]
        say(f"{model.pass_batch} images pass at once, the fastest here according to {place}")
    if (most := known.get("most")) and model.pass_batch > most:
        say(
            f"memory has not held {model.pass_batch} images at once: {most} pass, as {place} says; "
            "remove it to try again"
        )
        model.pass_batch = most
    return model


def halve(settings: Settings, model: ImageClassifier) -> int:
    """Remember that so many images were too many for memory; returns half of them, at least 1.

    Raises:
        BadInput: memory does not hold a single image.
    """
    if model.pass_batch == 1:
        raise BadInput(
            f"{device_name(model.device)} has too little memory for one image at a time: free some,"
            " or choose another device or a smaller batch_size"
        )
    half, place, key = model.pass_batch // 2, Path(settings.results) / FILE, _key(settings, model)
    with _alone(place):
        least = min(half, _read(place).get(key, Known()).get("most", half))
        _remember(place, key, Known(most=least))
    return least


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of a GPU, or of the machine, did not suffice."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate" in str(error)
    )


def free_memory() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def fastest(model: ImageClassifier) -> int:
    """Time passes there and back of growing size; return the smallest that no larger one beats.

    A size counts as beaten where a larger one takes ``WORTH`` less time for each image. Sizes that
    memory does not hold are not tried any further.
    """
    seconds: dict[int, float] = {}
    for size in TRIED:
        shape = (size, 3, model.input_size, model.input_size)
        try:
            images = torch.rand(shape, device=model.device)
            seconds[size] = of_classifier(model, images, REPEATS).both
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            break
        if seconds[size] > 1.25 * min(seconds.values()):
            break  # caches are full, and larger sizes are slower still
    free_memory()
    if not seconds:
        raise BadInput(f"{device_name(model.device)} has too little memory for {TRIED[0]} images")
    least = min(seconds.values())
    return min(size for size, each in seconds.items() if each <= least * (1 + WORTH))


def _alone(place: Path) -> FileLock:
    place.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{place}.lock")


def _key(settings: Settings, model: ImageClassifier) -> str:
    name = settings.model.get("architecture", settings.choices["model"])
    threads = f" x {torch.get_num_threads()}" if model.device.type == "cpu" else ""
    return f"{name} {model.precision.name} {device_name(model.device)}{threads}"


def _read(place: Path) -> dict[str, Known]:
    if not place.exists():
        return {}
    try:
        found: dict[str, Known] = json.loads(place.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise BadInput(f"{place} is damaged: remove it, and it is made anew") from error
    return found


def _remember(place: Path, key: str, new: Known) -> Known:
    everything = _read(place)
    everything[key] = Known(**{**everything.get(key, {}), **new})
    write_whole(place, json.dumps(everything, indent=1, sort_keys=True) + "\n")
    return everything[key]
