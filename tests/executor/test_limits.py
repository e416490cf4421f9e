"""What a task may use, and what becomes of one that uses more: by the kernel in its cgroup, and by looking without."""

from __future__ import annotations

import base64
import os
import shlex
import signal
import subprocess
import sys

import pytest

from serenity.executor.tasks import processes
from serenity.executor.tasks.cgroups import OwnedCgroup, TaskCgroups, find_hierarchies
from serenity.executor.tasks.limits import TaskLimits
from serenity.wire.messages.kill_record import KillRecord
from serenity.wire.messages.reasons import Reason
from tests.executor.conftest import OtherUser, RunningExecutor
from tests.executor.made_up_agent import FakeAgent
from tests.polling import eventually

MIB = 1 << 20
LIMITS = {"task_disk": "20M", "task_output": "256K", "task_pids": 30}
HIERARCHIES = find_hierarchies()


def without_kernel():
    """Why there are no memory and pids cgroups for tasks here; None if there are."""
    cgroups = TaskCgroups(HIERARCHIES, f"limits-{os.getpid()}")
    if cgroups.unavailable is not None:
        return cgroups.unavailable
    made = cgroups.make()
    made.remove()
    missing = {"memory", "pids", "freezer"} - set(made.folders)
    return f"no {', '.join(missing)} controller" if missing else None


NO_KERNEL = without_kernel()
needs_kernel = pytest.mark.skipif(NO_KERNEL is not None, reason=f"task cgroups: {NO_KERNEL}")
KERNEL = pytest.param("kernel", marks=[pytest.mark.root, needs_kernel])


@pytest.fixture(scope="module", params=[KERNEL, "watched"])
def holder(request):
    """Who holds the limits."""
    return request.param


@pytest.fixture(scope="module")
def limited(holder, open_folder):
    """One executor for the module: as root, or as somebody who can make no cgroups."""
    try:
        other = OtherUser() if holder == "watched" and os.geteuid() == 0 else None
    except FileNotFoundError as error:
        pytest.skip(str(error))
    agent, folder = FakeAgent(), open_folder / holder
    folder.mkdir()
    for name in ("sandbox", "run"):
        (folder / name).mkdir()
        if other is not None:
            os.chown(folder / name, other.uid, other.uid)
    made = RunningExecutor(agent, folder / "sandbox", folder / "run", other, qos=False, **LIMITS)
    made.python = other.python if other is not None else sys.executable
    yield made
    made.stop()
    print(made.log.read_text())
    agent.stop()


@pytest.fixture
def executor(limited):
    yield limited
    limited.start_over()


@pytest.fixture
def agent(executor):
    return executor.agent


@pytest.fixture
def python(executor):
    """A command that runs this code."""
    return lambda code: (executor.python, "-S", "-c", code)


HOG = "b = bytearray(160 << 20); print('full', flush=True); import time; time.sleep(60)"


def record(status):
    return KillRecord.decode(base64.b64decode(status["data"]))


class TestMemory:
    def test_who_takes_more_than_it_asked_for_ends_and_its_neighbour_does_not(self, executor, agent, labels, python):
        agent.launch("modest", "sleep", "60")
        agent.launch("greedy", *python(HOG), mem_bytes=64 * MIB, grace_s=60.0)
        failed = agent.wait_for("greedy", "TASK_FAILED")
        assert labels(failed)["serenity.reason"] == "MEMORY_LIMIT"
        assert failed["reason"] == "REASON_CONTAINER_LIMITATION_MEMORY"
        assert "64M" in record(failed).detail and "64M" in failed["message"]
        assert record(failed).graceful is False
        assert [each["state"] for each in agent.updates("modest")] == ["TASK_RUNNING"]

    def test_a_child_that_does_ends_the_whole_task(self, executor, agent, labels, marker, python):
        agent.launch("t1", "sh", "-c", f"sleep {marker} & {shlex.join(python(HOG))}; sleep 60", mem_bytes=64 * MIB)
        failed = agent.wait_for("t1", "TASK_FAILED")
        assert labels(failed)["serenity.reason"] == "MEMORY_LIMIT"
        assert executor.processes_of(marker) == []

    @pytest.mark.parametrize("holder", ["watched"], indirect=True, scope="module")
    def test_what_processes_share_counts_once(self, executor, agent, python):
        share = "import os, time\nb = bytearray(60 << 20)\nfor _ in range(4):\n    if not os.fork(): time.sleep(60)\n"
        agent.launch("t1", *python(share + "print('shared', flush=True); time.sleep(3)"), mem_bytes=128 * MIB)
        executor.wait_for_output("t1", "shared")
        assert agent.wait_for("t1", "TASK_FINISHED", "TASK_FAILED")["state"] == "TASK_FINISHED"

    def test_what_it_has_used_stands_in_the_last_update(self, executor, agent, labels, python):
        busy = (
            "import time\nb = bytearray(80 << 20)\nend = time.process_time() + 0.3\nwhile time.process_time() < end: 0"
        )
        agent.launch("t1", *python(busy), mem_bytes=256 * MIB)
        used = labels(agent.wait_for("t1", "TASK_FINISHED"))
        assert 80 * MIB < int(used["serenity.peak_mem_bytes"]) < 200 * MIB
        assert 0.3 <= float(used["serenity.cpu_s"]) < 3
        assert used["serenity.exit_code"] == "0" and "serenity.signal" not in used


def test_too_many_processes(executor, agent, labels, holder):
    """The kernel lets it make no more; without, it ends."""
    many = "i=0; while [ $i -lt 60 ]; do sleep 60 & i=$((i+1)); done; wait"
    agent.launch("t1", "sh", "-c", many)
    failed = agent.wait_for("t1", "TASK_FAILED")
    assert labels(failed)["serenity.reason"] == "COMMAND_FAILED"
    if holder == "watched":
        assert "processes and threads, 30 are allowed" in record(failed).detail
    else:
        assert "ork" in executor.output("t1", "stderr")  # "Cannot fork", as each shell has it.
    agent.launch("t2", "true")
    agent.wait_for("t2", "TASK_FINISHED")


class TestDisk:
    def test_who_has_too_much_in_its_sandbox_ends(self, executor, agent, labels):
        agent.launch("modest", "sleep", "60")
        fill = "mkdir -p a/b; dd if=/dev/zero of=a/b/big bs=1048576 count=30 2>/dev/null; sleep 60"
        agent.launch("t1", "sh", "-c", fill, grace_s=60.0)
        failed = agent.wait_for("t1", "TASK_FAILED")
        assert labels(failed)["serenity.reason"] == "DISK_LIMIT"
        assert failed["reason"] == "REASON_CONTAINER_LIMITATION_DISK"
        assert "20M in its sandbox" in record(failed).detail
        assert [each["state"] for each in agent.updates("modest")] == ["TASK_RUNNING"]

    @pytest.mark.parametrize("holder", ["watched"], indirect=True, scope="module")
    def test_holes_and_further_links_take_nothing(self, executor, agent):
        fill = "truncate -s 1G holes; dd if=/dev/zero of=a bs=1048576 count=8 2>/dev/null"
        fill += "; for i in 1 2 3 4 5; do ln a a$i; done; ln -s / everything"
        agent.launch("t1", "sh", "-c", f"{fill}; echo linked; sleep 4.5")
        assert agent.wait_for("t1", "TASK_FINISHED", "TASK_FAILED")["state"] == "TASK_FINISHED"
        assert "linked" in executor.output("t1")


@pytest.mark.parametrize("holder", [KERNEL], indirect=True, scope="module")
class TestKernel:
    """What only the kernel does, or is done only to what it holds."""

    def test_a_child_ended_by_the_kernel_and_coped_with(self, executor, agent, python):
        agent.launch("t1", "sh", "-c", f"{shlex.join(python(HOG))} || exit 0", mem_bytes=64 * MIB)
        assert agent.wait_for("t1", "TASK_FINISHED", "TASK_FAILED")["state"] == "TASK_FINISHED"

    def test_frozen_by_somebody_it_is_killed_all_the_same(self, executor, agent):
        agent.launch("t1", "sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")
        executor.wait_for_output("t1", "up")
        for each in executor.cgroups():
            for name, frozen in (("freezer.state", "FROZEN"), ("cgroup.freeze", "1")):
                if (each / name).exists():
                    (each / name).write_text(frozen)
        agent.kill("t1")
        assert record(agent.wait_for("t1", "TASK_KILLED")).graceful
        assert executor.output("t1") == "up\nbye\n"

    def test_without_its_cgroups_a_task_is_watched_and_killed(self, executor, agent, labels, python):
        """Somebody has moved all processes out of them, and removed them."""
        agent.launch("t1", "sleep", "60")
        wait = "import os, time\nprint('up', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.05)\n"
        agent.launch("t2", *python(wait + HOG), mem_bytes=64 * MIB)
        agent.wait_for("t1", "TASK_RUNNING")
        executor.wait_for_output("t2", "up")
        for folder in executor.cgroups():
            for pid in (folder / "cgroup.procs").read_text().split():
                (folder.parent / "cgroup.procs").write_text(pid)
            eventually(lambda folder=folder: removed(folder), f"{folder} is removed")
        (executor.sandbox / "tasks/t2/go").touch()
        assert labels(agent.wait_for("t2", "TASK_FAILED"))["serenity.reason"] == "MEMORY_LIMIT"
        agent.kill("t1")
        agent.wait_for("t1", "TASK_KILLED")
        agent.launch("t3", "true")
        agent.wait_for("t3", "TASK_FINISHED")

    def test_for_memory_that_others_used_up_it_does_not_pay(self, holder, marker):
        """The OOM killer of a cgroup above, or of the machine, picks best-effort first: nobody's fault."""
        top = OwnedCgroup(
            "/", {each: folder / f"serenity-test-{marker}" for each, folder in own_folders().items()}, v2()
        )
        inner = OwnedCgroup("/", {each: folder / "task" for each, folder in top.folders.items()}, v2())
        try:
            top.make()
            if v2():
                (top.folder / "cgroup.subtree_control").write_text("+memory")
            inner.make()
            TaskLimits(64 * MIB, 100, top).impose()
            limits = TaskLimits(512 * MIB, 100, inner)
            limits.impose()
            joined = "".join(f"open({each!r}, 'w').write('0')\n" for each in inner.procs_files)
            ended = subprocess.run([sys.executable, "-S", "-c", f"{joined}bytearray(160 << 20)"], check=False)
            assert ended.returncode == -signal.SIGKILL
            assert limits.after_exit().reason is Reason.QOS_MEMORY
        finally:
            for each in (inner, top):
                eventually(each.remove, "the cgroup is removed")


def v2():
    return HIERARCHIES.v2


def own_folders():
    paths = {"memory": "memory", "cpu": "cpu"} if not v2() else {"memory": "", "cpu": ""}
    return {each: HIERARCHIES.folder(paths[each], HIERARCHIES.own[paths[each]]) for each in paths}


def removed(folder):
    try:
        folder.rmdir()
    except OSError:
        return not folder.exists()
    return True


class TestHiding:
    """What gets rid of session, parent and environment at once still ends with its task, and with no other."""

    def test_with_its_task_it_ends(self, executor, agent, marker):
        agent.launch("t1", "sh", "-c", f"{hidden(marker)}; exit 7")
        assert agent.wait_for("t1", "TASK_FAILED")["message"] == "exited with 7"
        eventually(lambda: executor.processes_of(marker) == [], "what was sent SIGKILL has ended")

    def test_with_another_it_does_not(self, executor, agent, marker):
        agent.launch("t1", "sh", "-c", f"{hidden(marker)}; echo up; sleep 60")
        executor.wait_for_output("t1", "up")
        agent.launch("t2", "true")
        agent.wait_for("t2", "TASK_FINISHED")
        agent.kill("t2")  # Heard after all that the end of a task leads to.
        agent.launch("t3", "true")
        agent.wait_for("t3", "TASK_FINISHED")
        assert len(executor.processes_of(f"sleep\0{marker}")) == 1
        agent.kill("t1")
        agent.wait_for("t1", "TASK_KILLED")
        eventually(lambda: executor.processes_of(marker) == [], "it has ended with its own")

    @pytest.mark.parametrize("how", ["killed", "finished"])
    def test_what_forks_and_exits_all_the_time(self, executor, agent, marker, python, how):
        """No signal reaches it in time, and in most looks at its tree nothing lives there."""
        last = "time.sleep(60)" if how == "killed" else "sys.exit()"
        agent.launch("t1", *python(FLEETING.format(marker=marker, last=last)), mem_bytes=512 * MIB)
        if how == "killed":
            executor.wait_for_output("t1", "up")
            agent.kill("t1", grace_s=0.0)
        agent.wait_for("t1", "TASK_KILLED", "TASK_FINISHED")
        assert not any(executor.processes_of(marker) for _ in range(30))

    def test_a_process_whose_first_thread_has_ended_is_no_zombie(self, executor, agent, python):
        ends = "import ctypes, os, threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n"
        ends += "print(os.getpid(), flush=True)\nctypes.CDLL(None).pthread_exit(None)"
        wait = "until grep -qs ^State:.Z /proc/$!/status; do sleep 0.05; done"
        agent.launch("t1", "sh", "-c", f"{shlex.join(python(ends))} & {wait}; exit 7")
        assert agent.wait_for("t1", "TASK_FAILED")["message"] == "exited with 7"
        pid = int(executor.output("t1"))
        eventually(lambda: processes.read(pid) is None, "what was sent SIGKILL has ended")


FLEETING = """
import os, signal, sys, time  # {marker}
if os.fork():
    print("up", flush=True)
    {last}
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    try:
        if os.fork():
            os._exit(0)
        os.setsid()
    except OSError:
        pass
"""


def hidden(marker):
    """A command for a shell: starts one, and waits until its parent has ended."""
    begins = f"(env -i PATH=$PATH setsid sh -c 'echo $$ > pid; exec sleep {marker}' &)"
    return begins + "; until grep -qs ^PPid:.$PPID$ /proc/$(cat pid)/status; do sleep 0.05; done"
