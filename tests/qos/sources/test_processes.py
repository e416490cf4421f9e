from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from serenity.qos.sources import processes
from serenity.qos.sources.processes import Process, ProcessTable, ProcessTree, TreeCpu
from serenity.qos.sources.rates import Members, Rates


def process(pid, parent=1, session=1, own=0.0, children=0.0, started=0, rss=0):
    return Process(pid, parent, session, own, children, started, rss)


def test_a_command_may_hold_anything():
    fields = ["S", "7", "8", "9"] + ["0"] * 7 + ["150", "50", "30", "20"] + ["0"] * 4 + ["777", "0", "3"] + ["0"] * 20
    stat = f"42 (a b) R 1 (x)) {' '.join(fields)}\n".encode()
    parsed = Process.parse(stat)
    tick = 1.0 / os.sysconf("SC_CLK_TCK")
    assert (parsed.pid, parsed.parent, parsed.session, parsed.started) == (42, 7, 9, 777)
    assert parsed.own_cpu_s == pytest.approx(200 * tick)
    assert parsed.children_cpu_s == pytest.approx(50 * tick)
    assert parsed.rss_bytes == 3 * os.sysconf("SC_PAGE_SIZE")


# --- who belongs to a container ---


def test_descendants_and_the_sessions_they_lead():
    table = ProcessTable(
        [
            process(10, session=10),
            process(11, parent=10, session=10),
            process(12, parent=11, session=12),  # setsid
            process(13, parent=1, session=12),  # An orphan of that session.
            process(14, parent=1, session=14),
            process(15, parent=1, session=1),
        ]
    )
    assert {each.pid for each in ProcessTree(10).members(table)} == {10, 11, 12, 13}


def test_an_orphan_is_remembered_by_its_session_when_its_leader_has_ended():
    tree = ProcessTree(10)
    tree.members(ProcessTable([process(10, session=10), process(11, parent=10, session=10)]))
    assert [each.pid for each in tree.members(ProcessTable([process(11, parent=1, session=10)]))] == [11]
    assert tree.members(ProcessTable([])) == []


def test_another_process_under_the_same_pid_is_not_the_container():
    tree = ProcessTree(10)
    tree.members(ProcessTable([process(10, session=10, started=5)]))
    assert tree.members(ProcessTable([process(20)])) == []
    assert tree.members(ProcessTable([process(10, session=10, started=99)])) == []


# --- a counter that survives exits ---


def test_a_child_that_was_waited_for_counts_once():
    cpu = TreeCpu()
    assert cpu.take([process(1, own=1.0), process(2, own=5.0)]) == 6.0
    assert cpu.take([process(1, own=1.5, children=5.25)]) == 6.75


def test_a_child_that_nobody_waited_for_is_kept():
    cpu = TreeCpu()
    assert cpu.take([process(1, own=1.0), process(2, own=5.0)]) == 6.0
    assert cpu.take([process(1, own=1.5)]) == 6.5
    assert cpu.take([process(1, own=2.0)]) == 7.0


def test_a_reused_pid_is_a_new_process():
    cpu = TreeCpu()
    assert cpu.take([process(1, own=1.0), process(2, own=5.0, started=1)]) == 6.0
    assert cpu.take([process(1, own=1.0), process(2, own=0.5, started=2)]) == 6.5


def test_short_lived_children_between_two_looks_are_counted():
    cpu = TreeCpu()
    assert cpu.take([process(1, own=1.0)]) == 1.0
    assert cpu.take([process(1, own=1.0, children=3.0)]) == 4.0


def test_a_real_tree_counts_what_its_children_burnt():
    burn = "import time\nend = time.process_time() + 0.25\nwhile time.process_time() < end: pass"
    shell = subprocess.Popen(["sh", "-c", f"'{sys.executable}' -S -c '{burn}'; exec sleep 60"], start_new_session=True)
    try:
        tree, seen = ProcessTree(shell.pid), [0.0]
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            members = tree.members(ProcessTable.look())
            rss_bytes = sum(each.rss_bytes for each in members)  # Of one that is about to become another program none.
            seen.append(tree.cpu_s(members))
            if len(members) == 1 and seen[-1] >= 0.2 and rss_bytes:
                break
            time.sleep(0.02)
        assert seen == sorted(seen)
        assert 0.2 <= seen[-1] < 1.0
        assert rss_bytes > 100_000
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()


# --- rates ---


def test_rates_by_hand():
    rates = Rates()
    assert rates.rate("a", "cpu", 10.0, 100.0) is None  # The first reading.
    assert rates.rate("a", "cpu", 12.0, 103.0) == 1.5
    assert rates.rate("a", "cpu", 12.0, 104.0) is None  # No time has passed.
    assert rates.rate("a", "cpu", 13.0, 1.0) is None  # A reset.
    assert rates.rate("a", "cpu", 14.0, 3.0) == 2.0
    assert rates.rate("b", "cpu", 14.0, 3.0) is None  # Another container.
    rates.keep(["b"])
    assert rates.rate("a", "cpu", 15.0, 4.0) is None


def test_members_that_come_and_go():
    threads = Members()
    assert threads.take({1: 100.0, 2: 50.0}) == 0.0
    assert threads.take({1: 100.5, 2: 50.25}) == 0.75
    assert threads.gone({1: 0.0, 3: 0.0}) == {2}
    # Thread 2 ended, 3 was born; 4 has waited for long somewhere else, and brings one second at most.
    assert threads.take({1: 100.5, 3: 0.25, 4: 900.0}, most_new=1.0) == 0.75 + 0.25 + 1.0
    # Thread id 3 was used again.
    assert threads.take({3: 0.125}) == 2.0 + 0.125


def test_what_is_hidden_is_left_out(monkeypatch):
    """With hidepid=1 the names of all processes are there, and their files are their owners'."""
    hidden = os.getppid()

    def of_somebody_else(path, *more):
        if path == f"/proc/{hidden}/stat":
            raise PermissionError(path)
        return open(path, *more)

    monkeypatch.setattr(processes, "open", of_somebody_else, raising=False)
    found = ProcessTable.look().by_pid
    assert os.getpid() in found and hidden not in found
