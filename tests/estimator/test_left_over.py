"""What killed executors have left is undone on the estimator's word."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from serenity.estimator.left_over import LeftOver
from serenity.wire.messages.node import originals_folder
from tests.manual_clock import ManualClock
from tests.polling import eventually

# Says that it lives, as an executor does, and waits to be killed.
LIVES = """
import sys, time
from pathlib import Path
from serenity.executor.corrections.kernel_files import KernelFiles
from serenity.executor.corrections.originals import Originals
originals = Originals(Path(sys.argv[1]), "c1", KernelFiles())
originals.begin()
print("up", flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path):
    return originals_folder(tmp_path)


@pytest.fixture
def executor(folder):
    process = subprocess.Popen([sys.executable, "-c", LIVES, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_killed_executor_is_undone_and_a_living_one_is_not(tmp_path, folder, executor, caplog):
    clock = ManualClock()
    left_over = LeftOver(tmp_path, clock)
    left_over.look()
    clock.advance(10)
    left_over.look()
    assert sorted(os.listdir(folder)) == ["c1.json", "c1.lock"]
    executor.kill()
    executor.wait()
    left_over.look()  # Not again before its time.
    assert sorted(os.listdir(folder)) == ["c1.json", "c1.lock"]
    clock.advance(10)
    left_over.look()
    eventually(lambda: not os.listdir(folder), "it is undone")
    eventually(lambda: "container c1: 0 values put back" in caplog.text, "and it is said")


def test_what_cannot_be_undone_is_not_tried_every_few_seconds(tmp_path, folder, executor, caplog):
    executor.kill()
    executor.wait()
    (folder / "c1.json").write_text("{")
    clock = ManualClock()
    left_over = LeftOver(tmp_path, clock)
    left_over.look()
    eventually(lambda: "nothing is undone by" in caplog.text, "it is said")
    eventually(lambda: "undo" not in [each.name for each in threading.enumerate()], "it has ended")
    caplog.clear()
    for _ in range(5):
        clock.advance(10)
        left_over.look()
    assert "undo" not in [each.name for each in threading.enumerate()]
    clock.advance(300)
    left_over.look()
    eventually(lambda: "nothing is undone by" in caplog.text, "it was tried again")


def test_where_no_executor_was_ever_there_is_nothing_to_do(tmp_path):
    LeftOver(tmp_path, ManualClock()).look()
    assert list(tmp_path.iterdir()) == []


def test_the_estimators_own_process_does_it(tmp_path, folder, executor, embedded, estimator):
    executor.kill()
    executor.wait()
    made = estimator("--run-dir", str(tmp_path), agent=embedded.agent)
    assert eventually(lambda: not os.listdir(folder), "it is undone")
    said = "left by executors that were killed: container c1: "
    assert eventually(lambda: said in made.log.read_text(), "and it is said")
