"""A sweep that is killed anywhere, again and again, ends with the bytes of one that was not."""

import os
import random
import re
import shutil
import signal
import time
from types import SimpleNamespace

import pandas as pd
import pytest
from cells import finished, make_conf, make_images, product, started

KILLS = 25  # of each kind
SUFFIXES = ("md", "csv", "tex", "html")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.+]+")  # at which a run has ended
TIMES = ["seconds", "warm_up"]  # what no two runs have in common
EXPERIMENT = """
# @package _global_
defaults:
  - override /dataset: tiny
  - override /model: tiny
  - override /metric: [deletion, insertion, pointing]
  - override /hydra/sweeper: cells
n: 6
batch_size: 2
device: cpu
report: false
protocol: {steps: 5}
dataset: {limit: "${n}"}
experiment:
  title: Killed
  rows:
    Toy: {set: [method=toy]}
    I-GOS: {set: [method=igos, method.iterations=2, method.points=2]}
  columns:
    coarse: {set: [res=7]}
  metrics: {deletion: {}, insertion: {}, pointing: {}}
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with the tiny images, and a table of two cells to make of them."""
    folder = tmp_path_factory.mktemp("source")
    make_images(folder / "images")
    make_conf(folder / "conf")
    (folder / "conf" / "experiment").mkdir()
    (folder / "conf" / "experiment" / "killed.yaml").write_text(EXPERIMENT)
    return folder


@pytest.fixture
def place(source, tmp_path):
    """A folder to run in, without results."""
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    return tmp_path


class Sweep:
    """The two commands of a table, in a folder, in which each is started again after a kill."""

    def __init__(self, place):
        self.place, self.results = place, place / "results"
        shared = ["--config-dir", str(place / "conf")]
        given = [f"dataset.root='{place / 'images'}'", f"results='{self.results}'"]
        self.commands = [
            ("benchmark.__main__", [*shared, "--multirun", "+experiment=killed", *given]),
            ("benchmark.tables", [*shared, "killed", *given, "--write", str(place / "table")]),
        ]
        self.reached = 0  # the command that is still to be done

    def start(self, before=""):
        module, given = self.commands[self.reached]
        return started(*given, cwd=self.place, module=module, before=before)

    def ended(self, process):
        """Wait; whether it was killed. A command that has come to its end is not started again."""
        done = finished(process)
        if done.code == -signal.SIGKILL:
            return True
        assert done.code == 0, done.err
        self.reached += 1
        return False

    def is_done(self):
        return self.reached == len(self.commands)

    def again(self):
        """Begin the whole sweep anew."""
        shutil.rmtree(self.results)
        for suffix in SUFFIXES:
            self.place.joinpath(f"table.{suffix}").unlink()
        self.reached = 0

    def numbers(self):
        """Read all that does not depend on the time: results, lines for each image, and tables."""
        found = {}
        for folder in sorted(path.parent for path in self.results.glob("*/*/*/settings.json")):
            images = pd.read_csv(folder / "per_image.csv", dtype=str).drop(columns=TIMES)
            found[folder.name] = (product(folder), images.to_csv(index=False))
        assert len(found) == 2
        for suffix in SUFFIXES:
            text = (self.place / f"table.{suffix}").read_text().replace("\\_", "_")  # LaTeX's
            found[suffix] = MOMENT.sub("", text.replace(str(self.place), ""))
        return found


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """What is left by a sweep that nothing has disturbed, and how long its commands took."""
    place = tmp_path_factory.mktemp("whole")
    shutil.copytree(source, place, dirs_exist_ok=True)
    sweep, seconds = Sweep(place), []
    while not sweep.is_done():
        began = time.monotonic()
        assert not sweep.ended(sweep.start())
        seconds.append(time.monotonic() - began)
    return SimpleNamespace(numbers=sweep.numbers(), seconds=seconds)


def test_a_sweep_that_is_killed_at_any_time_ends_with_the_same_bytes(place, whole):
    sweep, moments, kills = Sweep(place), random.Random(20200207), 0
    while kills < KILLS or not sweep.is_done():
        if sweep.is_done():
            assert sweep.numbers() == whole.numbers
            sweep.again()
        process = sweep.start()
        if kills < KILLS:
            time.sleep(moments.uniform(0, whole.seconds[sweep.reached]))
            os.kill(process, signal.SIGKILL)
        kills += sweep.ended(process)
    assert sweep.numbers() == whole.numbers


def test_a_sweep_that_loses_its_power_at_any_write_ends_with_the_same_bytes(place, whole):
    sweep, chance, kills = Sweep(place), random.Random(20200212), 0
    while kills < KILLS or not sweep.is_done():
        if sweep.is_done():
            assert sweep.numbers() == whole.numbers
            sweep.again()
        cut = f"power_cut at {place} {chance.randint(1, 9)} {kills}"
        kills += sweep.ended(sweep.start(before=cut if kills < KILLS else ""))
    assert sweep.numbers() == whole.numbers
