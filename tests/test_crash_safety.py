"""A sweep that is killed anywhere, again and again, ends with the bytes of one that was not."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from types import SimpleNamespace

import pandas as pd
import pytest
from cells import choices, command, finished, make_conf, make_images, product, started

KILLS = 12  # of each kind
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


class Disk:
    """A disk of its own in memory, of a few kilobytes, at the place of the results."""

    def __init__(self, place):
        self.place = place

    def mount(self, options):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", self.place],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"no disk in memory can be mounted: {done.stderr.strip()}")

    def change(self, options):
        subprocess.run(["mount", "-o", f"remount,{options}", self.place], check=True)


@pytest.fixture
def disk(place):
    (place / "results").mkdir()
    made = Disk(place / "results")
    made.mount("size=32k")
    try:
        yield made
    finally:
        subprocess.run(["umount", made.place], check=True)


def toy(place, *more):
    return ["--config-dir", str(place / "conf"), *choices(place, *more)]


def said(done):
    """What a command that was refused has to say, besides its bar: a line of its own."""
    assert done.code == 2
    assert "Traceback" not in done.err
    [line] = [each for each in done.err.splitlines() if each.startswith("benchmark: ")]
    return line


@pytest.fixture(scope="module")
def finished_run(source, tmp_path_factory):
    """What an undisturbed run of one cell leaves, at a resolution whose arrays take some room."""
    place = tmp_path_factory.mktemp("finished")
    shutil.copytree(source, place, dirs_exist_ok=True)
    assert command(*toy(place, *LARGE), cwd=place).code == 0
    return product_in(place)


LARGE = ["method.res=28", "res=28", "batch_size=2"]


def product_in(place):
    [folder] = (path.parent for path in place.glob("results/*/*/*/settings.json"))
    return product(folder)


def test_a_full_disk_is_said_and_the_run_continues_when_there_is_room(place, disk, finished_run):
    line = said(command(*toy(place, *LARGE), cwd=place))
    assert "No space left on device" in line
    disk.change("size=32m")
    assert command(*toy(place, *LARGE), cwd=place).code == 0
    assert product_in(place) == finished_run


def test_a_disk_that_cannot_be_written_is_said_and_nothing_is_changed(place, disk, finished_run):
    disk.change("ro")
    assert "cannot write to" in said(command(*toy(place, *LARGE), cwd=place))
    disk.change("rw,size=32m")
    assert command(*toy(place, *LARGE), cwd=place).code == 0
    disk.change("ro")  # now with all of the results in it
    assert "Read-only file system" in said(command(*toy(place, *LARGE), cwd=place))
    assert product_in(place) == finished_run


def test_results_that_are_removed_meanwhile_are_said_and_made_again(place, finished_run):
    process = started(*toy(place, *LARGE, "method.slow=0.3"), cwd=place)
    while not list(place.glob("results/*/*/*/heatmaps.jsonl")):
        time.sleep(0.005)
    shutil.move(place / "results", place / "elsewhere")
    assert "No such file or directory" in said(finished(process))
    shutil.rmtree(place / "results", ignore_errors=True)
    assert command(*toy(place, *LARGE), cwd=place).code == 0
    assert product_in(place) == finished_run
