import signal
import subprocess
import sys
import threading
import time

import pytest
from cells import ROOT

from benchmark import bounded as module
from benchmark.bounded import TookTooLong, bounded
from benchmark.errors import BadInput


def test_what_takes_longer_is_stopped_and_what_does_not_is_left_alone():
    with pytest.raises(TookTooLong), bounded(0.05):
        while True:
            time.sleep(0.001)
    with bounded(60):
        done = True
    assert done
    with bounded(None):
        time.sleep(0.001)


def test_what_swallows_the_alarm_and_goes_on_has_taken_too_long_all_the_same():
    def stubborn():
        try:
            while True:
                time.sleep(0.001)
        except BaseException:
            return "half of it"

    with pytest.raises(TookTooLong), bounded(0.02):
        stubborn()
    with pytest.raises(TookTooLong), bounded(0.02):
        try:
            while True:
                time.sleep(0.001)
        except Exception:  # which it is not
            pass


def test_afterwards_there_is_neither_an_alarm_nor_anyone_who_waits_for_it():
    before = signal.getsignal(signal.SIGALRM)
    for limit in (0.01, 60.0):
        try:
            with bounded(limit):
                time.sleep(0.05)
        except TookTooLong:
            pass
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
        assert signal.getsignal(signal.SIGALRM) is before


def test_in_a_thread_a_limit_is_refused():
    refused = []

    def ask():
        try:
            with bounded(1):
                pass
        except BadInput as error:
            refused.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert refused == ["timeout needs a process of its own on a system with alarms: leave it null"]


def test_what_never_comes_back_to_python_ends_the_process():
    """A search whose time grows without bounds, in a single operation that looks at no signal."""
    stuck = (
        "from benchmark import bounded; bounded.GRACE = 0.1\n"
        "with bounded.bounded(0.1): sum(range(10**15))"
    )
    done = subprocess.run(
        [sys.executable, "-c", stuck], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Timeout (0:00:00.2" in done.stderr and module.GRACE == 60
