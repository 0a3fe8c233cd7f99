"""Bring up a Ray of two nodes on this machine, and take down what was started."""

import os
import subprocess
import sys
import time
from pathlib import Path

HEAD = "127.0.0.1:6399"
ENV = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ADDRESS": HEAD}
NODE = ["--num-cpus=1", "--object-store-memory=100000000", "--include-dashboard=false", "--block"]


class Ray:
    """The two nodes; each is a group of processes that ends with its first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = os.environ | {key: ENV[key] for key in ENV if key != "RAY_ADDRESS"}
        self.nodes: list[subprocess.Popen[bytes]] = []

    def up(self) -> dict[str, str]:
        """Start both; returns the environment that a job's command needs."""
        self.folder.mkdir(parents=True)
        self._start("head", "--head", f"--port={HEAD.partition(':')[2]}", *NODE)
        self._wait_for(1)
        self._start("second", f"--address={HEAD}", *(each for each in NODE if "dash" not in each))
        self._wait_for(2)
        return ENV

    def _start(self, name: str, *given: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            ray = [sys.executable, "-m", "ray.scripts.scripts", "start", *given]
            self.nodes.append(subprocess.Popen(ray, stdout=log, stderr=log, env=self.env))

    def _wait_for(self, nodes: int, seconds: float = 300) -> None:
        code = (
            f"import ray; ray.init(address={HEAD!r}, log_to_driver=False, logging_level='error'); "
            f"raise SystemExit(sum(each['Alive'] for each in ray.nodes()) != {nodes})"
        )
        deadline = time.monotonic() + seconds
        while subprocess.run(
            [sys.executable, "-c", code], env=self.env, capture_output=True, check=False
        ).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError(f"Ray has not come to {nodes} nodes: see {self.folder}")
            time.sleep(1)

    def down(self) -> None:
        """Stop both, the second first: with --block a node's processes end with the first."""
        for node in reversed(self.nodes):
            node.terminate()
            node.wait(60)
