"""A data set, a model and a method so small that the whole loop takes a fraction of a second.

They are reached as anyone's own would be: by ``_target_``, from a configuration folder beside the
project's (``conf``). ``command`` runs the command line in a process of its own.
"""

import atexit
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from benchmark.config import load
from benchmark.datasets.selection import choose
from benchmark.images import generators
from benchmark.interfaces import Item, Truth, UnreadableImage
from benchmark.models import ImageClassifier, Precision
from benchmark.records import Outcome
from benchmark.run import run

SIDE, CLASSES = 32, ("circle", "square", "star", "cross")
CALLS: list[list[str]] = []  # the ids of every batch the toy method was given
ROOT = Path(__file__).resolve().parent.parent

CONF = {
    "dataset/tiny.yaml": """
        _target_: cells.TinyDataset
        name: tiny
        root: ???
        limit: null
        seed: 0
        manifest: null""",
    "model/tiny.yaml": """
        _target_: cells.TinyModel
        weights: null
        precision: fp32
        pass_batch: 20""",
    "method/toy.yaml": """
        _target_: cells.Toy
        res: ${res}
        gain: 1.0
        slow_start: 0.0
        slow: 0.0
        fault: none""",
}

Fault = Enum("Fault", "none not_finite shape flat")


@dataclass(frozen=True)
class TinyDataset:
    """Files of raw bytes; the class of image-NN is NN modulo 4, and its box is in the middle."""

    name: str
    root: str
    limit: int | None
    seed: int
    manifest: str | None

    class_names = CLASSES

    def ids(self):
        known = [file.name for file in Path(self.root).iterdir()]
        return choose(known, self.limit, self.seed, self.manifest)

    def digest(self, image_id):
        return sha256(self._bytes(image_id)).hexdigest()[:16]

    def load(self, image_id, size):
        data = self._bytes(image_id)
        if len(data) != 3 * size * size:
            raise UnreadableImage(f"{image_id} has {len(data)} bytes")
        pixels = np.frombuffer(data, np.uint8).reshape(3, size, size)
        label = label_of(image_id)
        truth = Truth(torch.tensor([[8.0, 8, 23, 23]]), torch.tensor([label]))
        return Item(image_id, torch.from_numpy(pixels.copy()).float() / 255, label, truth)

    def _bytes(self, image_id):
        try:
            return (Path(self.root) / image_id).read_bytes()
        except OSError as error:
            raise UnreadableImage(f"{image_id}: {error.strerror}") from error


@dataclass(frozen=True)
class TinyModel:
    """Two convolutions and a linear layer; drawn from a seed, or read from a file."""

    weights: str | None
    precision: Precision
    pass_batch: int

    def load(self, device):
        network = tiny_network()
        if self.weights:
            network.load_state_dict(load_file(self.weights))
        return ImageClassifier(
            network,
            mean=(0.5, 0.4, 0.3),
            std=(0.2, 0.2, 0.2),
            input_size=SIDE,
            class_names=CLASSES,
            weights=Path(self.weights or "seed 0").name,
            device=device,
            precision=self.precision,
            pass_batch=self.pass_batch,
        )


@dataclass(frozen=True)
class Toy:
    """The input's gradient plus noise: it sees the image, the target, the model and the seed."""

    res: int
    gain: float  # changes the heatmaps
    slow_start: float  # seconds that the first batch of a process takes longer
    slow: float  # seconds that every batch takes longer
    fault: Fault

    def __call__(self, model, batch):
        time.sleep(self.slow + (0 if CALLS else self.slow_start))
        CALLS.append(batch.ids)
        images = batch.images.clone().requires_grad_()
        scores = model.scores(images, batch.targets)
        (gradient,) = torch.autograd.grad(scores.sum(), images)
        maps = nn.functional.adaptive_avg_pool2d(gradient.abs().sum(1), self.res)
        noise = [
            torch.rand(self.res, self.res, generator=g) for g in generators(batch.seeds, "cpu")
        ]
        maps = self.gain * maps + 0.01 * torch.stack(noise)
        if self.fault is Fault.not_finite:
            maps[-1, 0, 0] = torch.nan
        return {Fault.shape: maps[:, None], Fault.flat: maps.sum()}.get(self.fault, maps)


def label_of(image_id):
    return int(image_id[-2:]) % len(CLASSES)


def tiny_network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, 2, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, len(CLASSES)),
        )
        nn.init.normal_(network[-1].weight, std=5.0)
        with torch.no_grad():  # else one class would win on every image
            blocks = nn.functional.interpolate(torch.rand(64, 3, 4, 4), SIDE)
            usual = network[:-1]((blocks - 0.4) / 0.2).mean(0)
            network[-1].bias.copy_(-network[-1].weight @ usual)
    return network.eval()


def make_images(folder, count=8):
    """Write so many images, each 3 x 32 x 32 bytes, and return their ids in alphabetical order."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"image-{number:02}" for number in range(count)]
    for number, image_id in enumerate(ids):
        blocks = np.random.default_rng(number).integers(0, 256, (3, 4, 4), dtype=np.uint8)
        pixels = blocks.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2)
        (folder / image_id).write_bytes(pixels.tobytes())
    return ids


def make_conf(folder):
    """Write the configuration of the three classes below."""
    for name, text in CONF.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(line.strip() for line in text.strip().splitlines()) + "\n")


def choices(folder, *more):
    """Name the tiny cell in a folder that ``make_images`` and ``make_conf`` have filled."""
    return [
        "dataset=tiny",
        "model=tiny",
        "method=toy",
        "metric=[deletion,pointing]",
        "res=7",
        "device=cpu",
        "protocol.steps=10",
        f"dataset.root='{folder / 'images'}'",
        f"results='{folder / 'results'}'",
        *more,
    ]


def settings(folder, *more):
    """Compose the tiny cell's settings."""
    place = f"hydra.searchpath=['file://{folder / 'conf'}','torchvision://models']"
    return load(place, *choices(folder, *more))


class Listener:
    """A watcher that remembers what it was told."""

    def __init__(self):
        self.done = self.total = None
        self.advanced, self.warnings = 0, []

    def begin(self, title, done, total):
        del title
        self.done, self.total = done, total

    def advance(self, images):
        self.advanced += images

    def warn(self, message):
        self.warnings.append(message)


def start(folder, *more):
    """Run the tiny cell here; return what it made and what was said meanwhile."""
    listener = Listener()
    place, outcome = run(settings(folder, *more), listener)
    ids = place.ids(outcome.manifest) if isinstance(outcome, Outcome) else None  # of a part: none
    facts = {**outcome._asdict(), "outcome": outcome, "ids": ids}
    return SimpleNamespace(folder=place, **facts), listener


def product(folder):
    """Read every file of a run that holds results, by its path in the folder."""
    files = [*folder.glob("heatmaps*"), *folder.glob("scores/*")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(files)}


# The command line


def environment():
    """Environment variables under which a child finds the project and this module."""
    own = {key: value for key, value in os.environ.items() if not key.endswith("_ROOT")}
    own |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    return own | {"WANDB_MODE": "disabled"}


def command(*arguments, cwd):
    """Run ``python -m benchmark`` with these arguments in a folder: code, out and err."""
    return finished(started(*arguments, cwd=cwd))


def started(*arguments, cwd, module="benchmark.__main__", before=""):
    """Start the command, or that of another module, in the background; return its process id.

    ``before``, as ``"power_cut at results 3 0"``, names a function of a module of the tests and
    what it is called with in the process, before the command begins.
    """
    question = {"start": arguments, "cwd": str(cwd), "module": module, "before": before}
    return _asked(question)


def finished(process):
    """Wait for a started command: code (negative: the signal), out and err."""
    return SimpleNamespace(**_asked({"wait": process}))


def _asked(question):
    """Ask the process that torch is loaded in once, and that forks for every command."""
    server = _server()
    server.stdin.write(json.dumps(question) + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())


@functools.cache
def _server():
    server = subprocess.Popen(
        [sys.executable, "-c", "import cells; cells.serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    atexit.register(server.wait)
    atexit.register(server.stdin.close)
    return server


def serve():
    """Answer questions from standard input until it is closed."""
    methods = ("methods.igos", "methods.gradcam", "metrics.pointing")
    for name in ("benchmark.__main__", "benchmark.show", "benchmark.tables", *methods):
        importlib.import_module(name)
    load()  # finds Hydra's plug-ins
    with tempfile.TemporaryDirectory() as place:
        for line in sys.stdin:
            question = json.loads(line)
            if "start" in question:
                print(json.dumps(_fork(question, Path(place))), flush=True)
            else:
                process = question["wait"]
                code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
                out, err = (Path(place, f"{process}.{name}").read_text() for name in ("out", "err"))
                print(json.dumps({"code": code, "out": out, "err": err}), flush=True)


def _fork(question, place):
    if process := os.fork():
        return process
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(place / f"{os.getpid()}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
    code = 70
    try:
        os.chdir(question["cwd"])
        sys.argv = [question["module"], *question["start"]]
        if question["before"]:
            module, name, *given = question["before"].split()
            getattr(importlib.import_module(module), name)(*given)
        code = importlib.import_module(question["module"]).main()
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
