"""A tethered process ends with its supervisor, even one that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import serenity
from serenity.localmesos.cluster.tether import tethered

IMPORTS = str(Path(serenity.__file__).resolve().parent.parent)

# Starts a shell that says which signal it got, then waits to be killed itself.
SUPERVISOR = """
import signal, subprocess, sys, time
from serenity.localmesos.cluster.tether import tethered
shell = "trap 'echo USR1 >&2; exit' USR1; trap 'echo TERM >&2; exit' TERM; echo ready; while :; do sleep 0.05; done"
subprocess.Popen(tethered(["/bin/sh", "-c", shell], signal.Signals[sys.argv[1]]))
time.sleep(60)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_killed_supervisor_takes_it_along_by_the_signal_that_was_asked_for(name):
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, name],
        env={**os.environ, "PYTHONPATH": IMPORTS},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as supervisor:
        assert supervisor.stdout.readline() == "ready\n"
        supervisor.send_signal(signal.SIGKILL)
        # Reads to the end: the shell holds the pipe until it has ended.
        assert supervisor.communicate(timeout=20)[1] == f"{name.removeprefix('SIG')}\n"


def test_it_is_the_command_itself_with_its_output_and_its_pid():
    with subprocess.Popen(tethered(["/bin/sh", "-c", "echo $$; exit 3"]), stdout=subprocess.PIPE, text=True) as process:
        assert int(process.stdout.readline()) == process.pid
    assert process.returncode == 3


def test_a_command_that_is_not_there_is_told_in_one_line():
    ran = subprocess.run(tethered(["/nonexistent/x"]), capture_output=True, text=True, check=False)
    assert ran.returncode == 127 and ran.stderr == "cannot run /nonexistent/x: No such file or directory\n"


def test_whose_supervisor_is_gone_already_does_not_start():
    argv = tethered(["/bin/echo", "started"])
    argv[argv.index(str(os.getpid()))] = "1"
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ran.stdout == "" and ran.returncode == 127
