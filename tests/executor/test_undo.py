"""What a killed executor leaves, and that nothing of it stays: made up, and then a real one with real cgroups."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from serenity.daemon import exits
from serenity.executor.corrections.kernel_files import Knob
from serenity.executor.corrections.originals import Originals, lock_file, record_file
from serenity.executor.corrections.undo import undo_all
from serenity.wire.messages.node import originals_folder
from tests.executor.actuators.made_up_kernel import MadeUpKernel, MadeUpResctrl, cgroup_v2


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "originals"


def run_and_kill(folder, kernel, change):
    """An executor's process that changes something, and ends without undoing it."""
    pid = os.fork()
    if pid == 0:
        try:
            change(Originals(folder, "c1", kernel))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def nobody_is_left(_container_id, _parents):
    """These tests have no processes."""


def test_values_and_classes_of_a_killed_executor_are_put_back(tmp_path, folder):
    kernel = MadeUpResctrl(tmp_path / "resctrl")
    cgroup_v2(tmp_path / "t1")
    knobs = {Knob(tmp_path / "t1/cpu.max"): "50000 100000", Knob(tmp_path / "t1/cgroup.freeze"): "1"}

    def change(originals):
        originals.set(knobs)
        originals.make(kernel.root / "serenity-c1")

    run_and_kill(folder, kernel, change)
    assert [kernel.value(each) for each in knobs] == ["50000 100000", "1"]
    kernel.write(tmp_path / "t1/cpu.max", "70000 100000")  # Another's, since.
    (done,) = undo_all(folder, kernel, nobody_is_left)
    assert [kernel.value(each) for each in knobs] == ["70000 100000", "0"]
    assert not (kernel.root / "serenity-c1").exists()
    assert str(done) == "container c1: 1 value put back, processes and cgroups removed"
    assert list(folder.iterdir()) == []


def test_a_living_executor_is_left_alone(tmp_path, folder):
    kernel = MadeUpKernel()
    cgroup_v2(tmp_path / "t1")
    knob = Knob(tmp_path / "t1/cpu.max")
    ours = Originals(folder, "c1", kernel)
    ours.set({knob: "50000 100000"})
    (done,) = undo_all(folder, kernel, nobody_is_left)
    assert done.alive and "its executor runs" in str(done)
    assert kernel.value(knob) == "50000 100000"
    ours.restore([knob])
    ours.end()
    assert list(folder.iterdir()) == []


def test_what_is_refused_is_said_and_kept_for_the_next_time(tmp_path, folder):
    kernel = MadeUpKernel()
    cgroup_v2(tmp_path / "t1")
    run_and_kill(folder, kernel, lambda originals: originals.set({Knob(tmp_path / "t1/cpu.max"): "50000 100000"}))
    kernel.refuses["cpu.max"] = errno.EIO
    (done,) = undo_all(folder, kernel, nobody_is_left)
    assert done.refused == [f"{tmp_path}/t1/cpu.max: {os.strerror(errno.EIO)}"]
    del kernel.refuses["cpu.max"]
    (done,) = undo_all(folder, kernel, nobody_is_left)
    assert (done.values, done.refused) == (1, [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"changes": [{"file": "/etc/passwd", "key": "", "original": "x", "ours": ["y"]}]}, "nothing that Serenity"),
        ({"folders": ["/etc"]}, "no folder of Serenity's"),
    ],
)
def test_a_record_cannot_make_it_touch_anything_else(tmp_path, folder, change, said):
    run_and_kill(folder, MadeUpKernel(), Originals.begin)
    file = record_file(folder, "c1")
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    (done,) = undo_all(folder, MadeUpKernel(), nobody_is_left)
    assert said in str(done)


@pytest.mark.parametrize("damage", ["", "{", '{"schema": 1}', '{"schema": 2, "container_id": "c1"}'])
def test_a_damaged_record_is_said_and_left(tmp_path, folder, damage):
    run_and_kill(folder, MadeUpKernel(), Originals.begin)
    record_file(folder, "c1").write_text(damage)
    (done,) = undo_all(folder, MadeUpKernel(), nobody_is_left)
    assert "nothing is undone by" in str(done)
    assert record_file(folder, "c1").read_text() == damage


def test_killed_before_it_wrote_anything_it_leaves_a_lock(folder):
    folder.mkdir(mode=0o700)
    lock_file(folder, "c1").write_text("1\n")
    (done,) = undo_all(folder, MadeUpKernel(), nobody_is_left)
    assert not done.refused and list(folder.iterdir()) == []


def run_undo(run_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "serenity.executor", "--undo", "--run-dir", str(run_dir)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_says_when_there_is_nothing(tmp_path):
    done = run_undo(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("nothing is left of any executor")


def test_the_command_refuses_what_it_must_not_undo(tmp_path):
    folder = originals_folder(tmp_path)
    run_and_kill(folder, MadeUpKernel(), Originals.begin)
    record_file(folder, "c1").write_text("{")
    done = run_undo(tmp_path)
    assert (done.returncode, done.stderr) == (exits.REFUSED, "") and "nothing is undone by" in done.stdout
