"""Every run of the suite draws the same examples, and its processes share the cores."""

import os

from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, and handed on

os.environ["WANDB_MODE"] = "disabled"  # but where a test asks for it

settings.register_profile("benchmark", derandomize=True, deadline=None)
settings.load_profile("benchmark")
