"""The control process leaves its container's cpu group, and nothing else; its tasks stay.  How much that
gives: bench/guard_under_load.py.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import pytest

from serenity.qos.sources.cgroups import memberships
from tests.polling import eventually

CPU, MEMORY = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup/memory")
BE_SHARES_A_CPU = 10  # As Mesos gives to revocable cpus.  Not here: a busy machine would never start the executor.

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(
        os.geteuid() != 0 or not os.access(CPU / "cpu.shares", os.W_OK) or not MEMORY.is_dir(),
        reason="needs root and cgroup v1 hierarchies for cpu and memory",
    ),
]


@pytest.fixture
def container():
    """The cgroups of a best-effort container, as Mesos makes them."""
    name = f"test-{uuid.uuid4()}"
    folders = [CPU / name, MEMORY / name]
    for each in folders:
        each.mkdir()
    yield name
    for each in folders:
        eventually(lambda each=each: subprocess.run(["rmdir", str(each)], check=False).returncode == 0, f"{each} empty")


def where(pid):
    return memberships(Path(f"/proc/{pid}/cgroup").read_bytes())


def test_it_has_shares_of_its_own_outside_the_container_and_everything_else_inside(
    container, start, agent, monkeypatch
):
    popen = subprocess.Popen

    def inside(argv, **more):
        files = " ".join(f"{each / container / 'cgroup.procs'}" for each in (CPU, MEMORY))
        return popen(["sh", "-c", f'for f in {files}; do echo $$ > $f; done; exec "$@"', "sh", *argv], **more)

    monkeypatch.setattr(subprocess, "Popen", inside)
    executor = start(qos=False)
    monkeypatch.undo()
    agent.launch("t1", "sleep", "60")
    agent.wait_for("t1", "TASK_RUNNING")

    own = where(executor.pid)
    assert own["cpu"] == f"/serenity-control-{agent.container_id}"
    assert own["memory"] == f"/{container}"
    assert int((CPU / own["cpu"].strip("/") / "cpu.shares").read_text()) > 10 * BE_SHARES_A_CPU
    (task,) = [
        pid for pid in executor.processes_of("sleep\x0060") if where(pid).get("cpu", "").startswith(f"/{container}")
    ]
    assert all(where(task)[each].startswith(f"/{container}") for each in ("cpu", "memory"))

    agent.shutdown()
    assert executor.wait() == 0
    assert executor.cgroups() == []
