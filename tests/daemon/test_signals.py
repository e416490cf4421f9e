from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

PROGRAM = """
import sys
if "gevent" in sys.argv:
    from gevent import monkey
    monkey.patch_all()
from serenity.daemon.signals import stop_event
stopping = stop_event()
print("ready", flush=True)
while not stopping.wait(0.0005):
    pass
print("stopping", flush=True)
if "slow" in sys.argv:
    import time
    time.sleep(30)
"""


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def start(started: list[subprocess.Popen[str]], *arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)
    started.append(process)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("kind", ["threads", "gevent"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_in_order(
    started: list[subprocess.Popen[str]], kind: str, number: signal.Signals
) -> None:
    process = start(started, kind)
    process.send_signal(number)
    out, _ = process.communicate(timeout=10)
    assert (out, process.returncode) == ("stopping\n", 0)


def test_a_second_signal_ends_it_at_once(started: list[subprocess.Popen[str]]) -> None:
    process = start(started, "slow")
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None and process.stdout.readline() == "stopping\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == -signal.SIGTERM
    assert time.monotonic() - began < 5
