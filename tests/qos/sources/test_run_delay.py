"""How long threads waited to run: by the kernel's own sum of each process, and thread by thread."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serenity.qos.frame import PRODUCTION, Container
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.files import FileBudget, KeptFiles
from serenity.qos.sources.places import Places
from serenity.qos.sources.processes import ProcessTable
from serenity.qos.sources.residents import Residents
from serenity.qos.sources.run_delay import RunDelay
from serenity.qos.sources.taskstats import Taskstats
from tests.manual_clock import ManualClock
from tests.polling import eventually

# Some threads that stay, and one that has worked and ended; all of it on one CPU, so that it had to wait.
THREADS = """
import os, threading
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
def work():
    for _ in range({turns}):
        pass
def live():
    work()
    threading.Event().wait()
first = threading.Thread(target=work)
for each in [first, *(threading.Thread(target=live, daemon=True) for _ in range(5))]:
    each.start()
first.join()
print("ready", flush=True)
input()
work()
print("worked", flush=True)
input()
"""


@pytest.fixture
def threaded() -> Iterator[subprocess.Popen[str]]:
    code = THREADS.format(turns=1_000_000)
    made = subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert made.stdout is not None and made.stdout.readline() == "ready\n"
    eventually(lambda: len(os.listdir(f"/proc/{made.pid}/task")) == 6, "the end of one thread")
    os.kill(made.pid, signal.SIGSTOP)  # Nothing moves while it is read.
    os.waitid(os.P_PID, made.pid, os.WSTOPPED | os.WEXITED)
    yield made
    made.kill()
    made.wait()


@pytest.fixture
def taskstats() -> Iterator[Taskstats]:
    try:
        made = Taskstats()
    except OSError as error:
        pytest.skip(f"taskstats cannot be asked here: {error}")
    yield made
    made.close()


def by_threads_s(pid: int) -> float:
    return sum(int(each.read_text().split()[1]) for each in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


class Sampled:
    """One container, which is a process tree of the test's."""

    def __init__(self, pid: int, **more: object) -> None:
        self.clock, self.faults = ManualClock(), Faults()
        self._row = Row(Container("c", PRODUCTION, "web", 1.0, 1e9, container="c"), pid)
        files = KeptFiles(FileBudget())
        residents = Residents(self.clock, Places(), files)
        self.source = RunDelay(self.clock, self.faults, files, residents, **more)  # type: ignore[arg-type]

    def second(self) -> float:
        self.clock.advance(1.0)
        draft = Draft([self._row], ProcessTable.look)
        self.source.read(draft)
        return float(draft.frame(0.0, node=None).column("run_delay")[0])  # type: ignore[arg-type]


def test_one_question_tells_of_all_threads_those_that_have_ended_too(threaded, taskstats):
    alive_s = by_threads_s(threaded.pid)
    assert 0 < alive_s < taskstats.run_delay_s(threaded.pid)


def test_a_process_that_has_ended_is_said_to_have(threaded, taskstats):
    threaded.kill()
    threaded.wait()
    with pytest.raises(ProcessLookupError):
        taskstats.run_delay_s(threaded.pid)
    assert taskstats.run_delay_s(os.getpid()) >= 0  # No answer is taken for another's.


def test_both_ways_measure_the_same(threaded, taskstats):
    def refused() -> Taskstats:
        raise PermissionError(1, "Operation not permitted")

    by_process, by_thread = Sampled(threaded.pid), Sampled(threaded.pid, open_taskstats=refused)
    assert np.isnan(by_process.second()) and np.isnan(by_thread.second())
    os.kill(threaded.pid, signal.SIGCONT)
    assert threaded.stdin is not None and threaded.stdout is not None
    threaded.stdin.write("\n")
    threaded.stdin.flush()
    assert threaded.stdout.readline() == "worked\n"
    os.kill(threaded.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, threaded.pid, os.WSTOPPED | os.WEXITED)
    measured = by_process.second()
    assert measured == pytest.approx(by_thread.second(), abs=1e-9)
    assert measured > 0  # It has waited for the line at least.
    assert by_process.faults.counts == by_thread.faults.counts == {}
    by_process.source.close()


def test_without_taskstats_that_is_said_once_and_threads_are_read(threaded, caplog):
    def missing() -> Taskstats:
        raise FileNotFoundError(2, "No such file or directory")

    caplog.set_level("INFO")
    sampled = Sampled(threaded.pid, open_taskstats=missing)
    sampled.second()
    assert sampled.second() == 0.0  # It is stopped.
    assert [each.message.partition(":")[0] for each in caplog.records] == [
        "run delay is read thread by thread, for want of taskstats"
    ]


def test_a_container_of_more_than_are_read_is_counted(threaded, caplog):
    def missing() -> Taskstats:
        raise FileNotFoundError(2, "No such file or directory")

    sampled = Sampled(threaded.pid, max_readings=5, open_taskstats=missing)
    assert np.isnan(sampled.second()) and np.isnan(sampled.second())
    assert sampled.faults.counts == {"run_delay": 2}
    assert "6 threads; 5 are read" in caplog.text


def test_six_threads_are_one_process_to_read(threaded, taskstats):
    sampled = Sampled(threaded.pid, max_readings=1)
    sampled.second()
    assert sampled.second() == 0.0
    assert sampled.faults.counts == {}
    sampled.source.close()
