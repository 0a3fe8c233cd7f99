"""The real engines on one machine: twelve cells in four shards each, and a killed worker."""

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import one_machine_slurm
import pytest
from one_machine_ray import Ray

from benchmark import records
from benchmark.summary import per_image

pytestmark = pytest.mark.cluster
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
EXPERIMENT = ["--config-dir", str(HERE / "conf"), "--multirun", "+experiment=many"]
JOBS_BEFORE = 14  # the one that is killed, of 48
TIMES = ["seconds", "warm_up"]  # what no two runs have in common


def benchmark(module, *arguments, cwd, env=None):
    """Run a command of the project in a folder; show what it said."""
    clean = {key: value for key, value in os.environ.items() if not key.endswith("_ROOT")}
    clean |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(env or {})}
    cwd.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd, env=clean, capture_output=True, text=True, check=False,
    )  # fmt: skip
    print(f"$ python -m {module} {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)


def numbers(place):
    """All that there is to read: the tables as written, every image's line and arrays."""
    said = benchmark(
        "benchmark.tables", "many", "--config-dir", str(HERE / "conf"), "--write", "many", cwd=place
    )
    assert said.code == 0
    found = {suffix: (place / f"many.{suffix}").read_bytes() for suffix in ("md", "tex", "html")}
    for folder, outcome in records.finished(place / "results" / "runs"):
        name, ids = f"{folder.path.name} at {outcome.res}", folder.ids(outcome.manifest)
        found[name] = per_image(folder, outcome).drop(columns=TIMES).to_csv(index=False)
        for kind in (outcome.heatmaps, *outcome.stages.values()):
            stage = folder.stage(kind)
            for array in stage.rows[ids[0]]["arrays"]:
                values = (each.tobytes() for each in stage.arrays_of(ids, array))
                found[f"{name}, {array} of {kind}"] = b"".join(values)
    assert len([name for name in found if "," not in name]) == 3 + 12
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process makes of all twelve cells."""
    place = tmp_path_factory.mktemp("alone")
    assert benchmark("benchmark", *EXPERIMENT, cwd=place).code == 0
    return numbers(place)


@contextlib.contextmanager
def killing(place, killed):
    """Kill a process that is at work on an image in the middle of a sweep, and note its number."""
    ended = threading.Event()

    def watch():
        while len(list(place.glob("results/runs/*/*/*/writers/*"))) < JOBS_BEFORE:
            if ended.wait(0.1):
                return
        while not ended.is_set() and not killed:
            for file in place.glob("results/runs/*/*/*/claims/*.json"):
                with contextlib.suppress(OSError, json.JSONDecodeError):
                    process = json.loads(file.read_text())["pid"]
                    os.kill(process, signal.SIGKILL)
                    killed.append(process)
                    print(f"killed {process}, at work on {file.parent.parent.name}")
                    break
            time.sleep(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def slurm(tmp_path):
    if lacking := one_machine_slurm.lacking():
        pytest.skip(f"this machine lacks {', '.join(lacking)}")
    if importlib.util.find_spec("submitit") is None:
        pytest.skip('pip install -e ".[slurm]"')
    try:
        yield one_machine_slurm.up(tmp_path / "slurm")
    finally:
        one_machine_slurm.down(tmp_path / "slurm")


@pytest.fixture
def ray(tmp_path):
    if importlib.util.find_spec("hydra_plugins.hydra_ray_launcher") is None:
        pytest.skip('pip install -e ".[ray]" in an environment of its own')
    cluster = Ray(tmp_path / "ray")
    try:
        yield cluster.up()
    finally:
        cluster.down()


def test_a_sweep_on_slurm_that_loses_a_worker_ends_with_the_table_of_one_process(
    tmp_path, slurm, alone
):
    place, killed = tmp_path / "sweep", []
    given = ["shards=4", "hydra/launcher=slurm", "hydra.launcher.array_parallelism=4"]
    given += ["hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2"]
    with killing(place, killed):
        first = benchmark("benchmark", *EXPERIMENT, *given, cwd=place, env=slurm)
    assert killed and first.code == 1
    assert "a job was lost; when the others have ended" in first.err and "Twelve cells" in first.out
    jobs = [sys.executable, "-c", "pass"]
    while jobs:  # the others go on
        time.sleep(1)
        jobs = one_machine_slurm.run("squeue", "-h", env=os.environ | slurm).split()
    states = one_machine_slurm.run(
        "sacct", "-n", "-X", "-o", "State", env=os.environ | slurm
    ).split()
    assert sorted(set(states)) == ["COMPLETED", "FAILED"] and states.count("FAILED") == 1
    partly = benchmark("benchmark.tables", "many", "--config-dir", str(HERE / "conf"), cwd=place)
    assert "1 of 12 cells are not done" in " ".join(partly.out.split())
    assert " of 8 images" in partly.out
    assert benchmark("benchmark", *EXPERIMENT, cwd=place).code == 0
    assert numbers(place) == alone


def test_a_sweep_on_ray_that_loses_a_worker_ends_with_the_table_of_one_process(
    tmp_path, ray, alone
):
    place, killed = tmp_path / "sweep", []
    given = ["shards=4", "hydra/launcher=ray_cluster", f"results='{place / 'results' / 'runs'}'"]
    with killing(place, killed):
        first = benchmark("benchmark", *EXPERIMENT, *given, cwd=place, env=ray)
    assert killed and first.code == 0  # Ray has begun the job again
    assert numbers(place) == alone
