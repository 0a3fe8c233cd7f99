"""Bring up a Slurm of several nodes on this machine, and take down what was started.

``python tests/cluster/one_machine_slurm.py up FOLDER`` and ``... down FOLDER``, as root, with
Debian's packages slurmctld, slurmd, slurm-client, munge, slurmdbd and mariadb-server. Accounts are
kept: a job that was cancelled is otherwise waited for without end.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

NODES = 4
NEEDED = ("slurmctld", "slurmd", "slurmdbd", "sbatch", "sacctmgr", "munged", "mariadbd")
MUNGE = Path("/run/munge/munge.socket.2")
PORTS = {"slurmctld": 16817, "slurmdbd": 16819, "mariadb": 13306, "slurmd": 17000}

SLURM = """ClusterName=onemachine
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
SlurmUser=root
SlurmdUser=root
SlurmctldPort={slurmctld}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={slurmdbd}
JobAcctGatherType=jobacct_gather/linux
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
ReturnToService=2
MpiDefault=none
KillWait=5
{nodes}
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName=n{0} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=4000"
ACCOUNTS = """AuthType=auth/munge
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={slurmdbd}
SlurmUser=root
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadb}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
"""
DATABASE = """CREATE DATABASE slurm;
CREATE USER 'slurm'@'127.0.0.1' IDENTIFIED BY 'slurm';
CREATE USER 'slurm'@'localhost' IDENTIFIED BY 'slurm';
GRANT ALL ON slurm.* TO 'slurm'@'127.0.0.1';
GRANT ALL ON slurm.* TO 'slurm'@'localhost';"""


def lacking() -> list[str]:
    """Name what this machine lacks to bring it up."""
    found = [name for name in NEEDED if shutil.which(name, path="/usr/sbin:/usr/bin") is None]
    return found if os.geteuid() == 0 else [*found, "root"]


def run(*command: str, check: bool = True, **more) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def wait_for(*command: str, seconds: float = 600, env=None) -> None:
    """Ask again and again until a command succeeds."""
    deadline = time.monotonic() + seconds
    while subprocess.run(command, capture_output=True, check=False, env=env).returncode:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{' '.join(command)} has not succeeded for {seconds} seconds")
        time.sleep(0.3)


def up(folder: Path) -> dict[str, str]:
    """Start all daemons; returns the environment that their commands need."""
    folder.mkdir(parents=True)
    for place in [folder, *folder.parents]:  # the database's user has to get through
        place.chmod(place.stat().st_mode | 0o011)
    names = {"host": socket.gethostname().partition(".")[0], "folder": folder} | PORTS
    for each in ("state", *(f"spool-n{number}" for number in range(NODES))):
        (folder / each).mkdir()
    nodes = [NODE.format(number, port=PORTS["slurmd"] + number, **names) for number in range(NODES)]
    (folder / "slurm.conf").write_text(SLURM.format(nodes="\n".join(nodes), **names))
    accounts = folder / "slurmdbd.conf"
    accounts.touch(0o600)
    accounts.write_text(ACCOUNTS.format(**names))
    env = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    munge(folder)
    database(folder)
    run("slurmdbd", env=env)
    wait_for("sacctmgr", "-n", "show", "cluster", env=env)
    for given in (
        ["cluster", "onemachine"],
        ["account", "tests"],
        ["user", "root", "account=tests"],
    ):
        run("sacctmgr", "-i", "add", *given, env=env)
    run("slurmctld", env=env)
    for number in range(NODES):
        run("slurmd", "-N", f"n{number}", env=env)
    ready = f'[ "$(sinfo -h -N -t idle | wc -l)" = {NODES} ]'
    wait_for("bash", "-c", ready, env=env)
    return {"SLURM_CONF": env["SLURM_CONF"]}


def munge(folder: Path) -> None:
    """Start munge, which proves to Slurm who asks, unless it runs."""
    if (
        MUNGE.exists()
        and subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode == 0
    ):
        return
    MUNGE.parent.mkdir(exist_ok=True)
    shutil.chown(MUNGE.parent, "munge", "munge")
    MUNGE.parent.chmod(0o755)
    run("setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "/usr/sbin/munged")
    shutil.copy("/run/munge/munged.pid", folder / "munged.pid")


def database(folder: Path) -> None:
    """Start a MariaDB of its own for the accounts."""
    place = folder / "database"
    place.mkdir()
    shutil.chown(place, "mysql", "mysql")
    run("mariadb-install-db", "--user=mysql", f"--datadir={place}/data", "--skip-test-db",
        "--auth-root-authentication-method=normal")  # fmt: skip
    with (folder / "mariadb.log").open("wb") as log:
        subprocess.Popen(
            ["mariadbd", "--no-defaults", "--user=mysql", f"--datadir={place}/data",
             f"--socket={place}/socket", f"--port={PORTS['mariadb']}", "--bind-address=127.0.0.1",
             f"--pid-file={place}/mariadb.pid", "--innodb-buffer-pool-size=64M",
             "--innodb-lock-wait-timeout=900"],
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    ask = ("mariadb", f"--socket={place}/socket", "-uroot", "-e")
    wait_for(*ask, "SELECT 1")
    run(*ask, DATABASE)


def down(folder: Path) -> None:
    """Stop exactly the daemons that ``up`` has started."""
    first = [*folder.glob("slurmd-*.pid"), folder / "slurmctld.pid", folder / "slurmdbd.pid"]
    for files in (first, [folder / "database" / "mariadb.pid", folder / "munged.pid"]):
        started = [int(file.read_text()) for file in files if file.exists()]
        for process in started:
            try:
                os.kill(process, signal.SIGTERM)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + 60
        while any(Path(f"/proc/{each}").exists() for each in started):
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)


if __name__ == "__main__":
    asked, place = sys.argv[1], Path(sys.argv[2]).resolve()
    if asked == "up":
        if missing := lacking():
            sys.exit(f"this machine lacks {', '.join(missing)}")
        print(json.dumps(up(place)))
    else:
        down(place)
