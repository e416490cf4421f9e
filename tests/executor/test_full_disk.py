"""A disk on which there is no room: nothing can be written down, and all goes on."""

from __future__ import annotations

import base64
import os
import subprocess

import pytest

from serenity.executor.tasks.outputs import OutputFile
from serenity.wire.messages.kill_record import KillRecord

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to mount")]
KIB = 1024


@pytest.fixture
def disk(tmp_path):
    """A small one; an executor's sandbox is made on it."""
    folder = tmp_path / "sandbox"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=100", "none", str(folder)]
    if subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("cannot mount a tmpfs here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder, inodes=False):
    """`inodes`: folders too need room on most file systems; on a tmpfs they take that only."""
    free = os.statvfs(folder)
    (folder / "filler").write_bytes(b"x" * free.f_bavail * free.f_bsize)
    for each in range(free.f_favail - 1 if inodes else 0):
        (folder / f"filler{each}").touch()


def test_tasks_run_on_and_are_killed_and_told_of_and_new_ones_are_refused_for_free(disk, start, agent, labels):
    executor = start(qos=False)
    agent.launch("t1", "sh", "-c", "echo up; trap 'exit 0' TERM; while :; do sleep 0.05; done")
    executor.wait_for_output("t1", "up")
    fill(disk, inodes=True)
    for task in ("t2", "t3"):
        agent.launch(task, "true")
        refused = agent.wait_for(task, "TASK_FAILED")
        assert labels(refused)["serenity.reason"] == "LAUNCH_REFUSED"
        assert "No space left on device" in refused["message"]
        assert not (disk / "tasks" / task).exists()  # Nobody would ever remove it.
        (disk / "filler0").unlink(missing_ok=True)  # For the next there is room for its folder, and for nothing in it.
    agent.kill("t1")
    assert KillRecord.decode(base64.b64decode(agent.wait_for("t1", "TASK_KILLED")["data"])).graceful
    agent.shutdown()
    assert executor.wait() == 0
    assert executor.cgroups() == []


def test_an_output_is_cut_all_the_same(disk):
    """That is when it matters most; what was to be kept has no room, and goes."""
    (disk / "stdout").write_bytes(b"x" * 128 * KIB)
    file = OutputFile(disk, "stdout", 64 * KIB)
    fill(disk)
    with pytest.raises(OSError, match="No space left"), (disk / "stdout").open("ab", buffering=0) as stdout:
        stdout.write(b"x" * 8 * KIB)
    assert file.rotate_if_large() is True
    with (disk / "stdout").open("ab") as stdout:
        stdout.write(b"again\n")
    assert (disk / "stdout").read_bytes() == b"again\n"
    assert (disk / f"stdout.{128 * KIB}").read_bytes() == b""
