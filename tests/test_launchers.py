"""Sweeps of cells by shards, what a launcher's other processes tell the command, and their GPUs."""

import os
import pickle
import shlex

import cells
import pytest
from cells import command
from filelock import FileLock
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

from benchmark import __main__ as line
from benchmark import gpus
from benchmark.advice import one_line
from benchmark.progress import unfinished
from benchmark.stopping import AGAIN, Stopped
from benchmark.sweep import JobFailed, ShowTable, is_away

EXPERIMENT = """# @package _global_
defaults:
  - override /dataset: tiny
  - override /model: tiny
  - override /metric: [deletion]
  - override /hydra/sweeper: cells
device: cpu
report: false
protocol: {steps: 10}
experiment:
  title: Two cells
  rows:
    Toy: {set: [method=toy]}
  columns:
    fine: {set: [res=8]}
    coarse: {set: [res=4]}
  metrics: {deletion: {}}
"""


@pytest.fixture
def sweep(tmp_path):
    """Run the experiment on 8 images from the command line."""
    cells.make_images(tmp_path / "images", 8)
    cells.make_conf(tmp_path / "conf")
    (tmp_path / "conf" / "experiment").mkdir()
    (tmp_path / "conf" / "experiment" / "two.yaml").write_text(EXPERIMENT)

    def run(*given):
        places = [f"dataset.root='{tmp_path / 'images'}'", f"results='{tmp_path / 'results'}'"]
        start = ["--config-dir", str(tmp_path / "conf"), "--multirun", "+experiment=two"]
        return command(*start, *places, *given, cwd=tmp_path)

    return run


def test_every_cell_of_a_sweep_is_run_in_all_its_shards(sweep, tmp_path):
    said = sweep("shards=3")
    assert said.code == 0
    for cell in ("8 x 8", "4 x 4"):
        for shard, done in ((0, 3), (1, 6)):
            assert f"toy at {cell}: shard {shard} of 3 is done, {done} of 8 images are" in said.out
    assert said.out.count("Two cells") == 1
    assert len(list(tmp_path.glob("results/*/*/*/writers/*"))) == 6


def test_one_shard_of_every_cell_can_be_run_and_the_table_says_what_is_there(sweep, tmp_path):
    said = sweep("shards=4", "shard=1")
    assert said.code == 2
    flat = " ".join(said.out.split())
    assert "2 of 2 cells are not done: python -m benchmark --config-dir" in flat
    assert "Toy, fine: partial, 2 of 8 images" in flat and "shards=" not in flat
    (again,) = {each.partition("; to go on: ")[2] for each in unfinished(tmp_path / "results")}
    assert "shard=" not in again and "shards=" not in again
    said = command(*shlex.split(again.removeprefix("python -m benchmark ")), cwd=tmp_path)
    assert said.code == 0 and unfinished(tmp_path / "results") == []


# What other processes tell


def test_a_failure_survives_the_way_from_another_process():
    failed = pickle.loads(pickle.dumps(JobFailed("no such thing", 2)))
    assert (failed.code, str(failed)) == (2, "no such thing")


@pytest.mark.parametrize(("name", "away"), [("core.BasicLauncher", False), ("x.Joblib", True)])
def test_only_hydras_own_launcher_stays_in_this_process(name, away):
    assert is_away(OmegaConf.create({"launcher": {"_target_": name}})) is away


@pytest.fixture
def ends(monkeypatch):
    """The sweeps whose tables are shown."""
    shown = []

    class Shown(ShowTable):
        def on_multirun_end(self, config, **named):
            del named
            shown.append(config)

    monkeypatch.setattr(line, "ShowTable", Shown)
    return shown


def sweeping(monkeypatch, error, launcher="x.Joblib"):
    """Let a command begin a sweep that ends with an error."""
    config = OmegaConf.create({"hydra": {"launcher": {"_target_": launcher}}})

    def entry():
        line.ShowTable.begun = config
        raise error

    monkeypatch.setattr(line, "entry", entry)
    return config


@pytest.mark.parametrize("code", [1, 2])
def test_a_job_that_failed_elsewhere_is_the_commands_failure_and_the_table_is_shown(
    monkeypatch, ends, code
):
    config = sweeping(monkeypatch, JobFailed("nope", code))
    assert line.main() == code
    assert ends == [config]


def test_a_job_that_was_lost_is_said_in_a_line_and_the_table_is_shown(monkeypatch, ends, capsys):
    config = sweeping(monkeypatch, RuntimeError("the worker was killed\nat line 3"))
    assert line.main() == 1
    assert ends == [config]
    said = capsys.readouterr().err
    assert "a job was lost; when the others have ended, give the same command again" in said
    assert said.endswith("(RuntimeError: the worker was killed)\n")
    assert "line 3" not in said


def test_an_error_of_this_process_is_not_taken_for_a_lost_job(monkeypatch, ends):
    sweeping(monkeypatch, RuntimeError("ours"), launcher="core.BasicLauncher")
    with pytest.raises(RuntimeError, match="ours"):
        line.main()
    assert ends == []


def test_a_job_that_was_told_to_stop_elsewhere_stops_the_command_alike(monkeypatch, capsys):
    sweeping(monkeypatch, Stopped("SIGTERM"))
    assert line.main() == AGAIN
    assert "stopped by SIGTERM" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("plug_in", "extra"), [("joblib", "joblib"), ("submitit_slurm", "slurm"), ("ray", "ray")]
)
def test_a_launcher_that_is_not_installed_is_named_with_what_installs_it(plug_in, extra):
    error = MissingConfigException("missing", f"hydra/launcher/{plug_in}", ["basic"])
    assert one_line(error).endswith(f'pip install -e ".[{extra}]"')


# GPUs


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of two GPUs on which this process has none yet."""
    monkeypatch.setattr(gpus, "_held", [])
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv(gpus.VISIBLE, "3,5")
    yield tmp_path
    for lock in gpus._held:
        lock.release()


def test_there_is_a_process_for_each_gpu_or_for_each_core(monkeypatch):
    monkeypatch.setenv(gpus.VISIBLE, "0,1,7")
    assert gpus.workers() == 3
    monkeypatch.setenv(gpus.VISIBLE, "")
    assert gpus.workers() == len(os.sched_getaffinity(0))


def test_a_process_takes_the_gpu_that_no_other_has_and_keeps_it(machine):
    with FileLock(machine / f"benchmark-{os.getuid()}-gpu-3-0.lock"):
        gpus.take_gpu()
    assert os.environ[gpus.VISIBLE] == "5"
    gpus.take_gpu()
    assert os.environ[gpus.VISIBLE] == "5"


def test_a_gpu_is_shared_only_where_all_are_taken(machine):
    names = [f"benchmark-{os.getuid()}-gpu-{gpu}-0.lock" for gpu in (3, 5)]
    with FileLock(machine / names[0]), FileLock(machine / names[1]):
        gpus.take_gpu()
    assert os.environ[gpus.VISIBLE] == "3"


def test_the_only_gpu_is_left_as_it_is(machine, monkeypatch):
    monkeypatch.setenv(gpus.VISIBLE, "3")
    gpus.take_gpu()
    assert os.environ[gpus.VISIBLE] == "3" and list(machine.iterdir()) == []
