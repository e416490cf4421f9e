"""Process trees, with real processes."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time

import pytest

from serenity.localmesos.containers import processes

MARK = "SERENITY_TEST_MARK"


def spawn(script: str) -> subprocess.Popen[str]:
    """A shell in a session of its own, marked in its environment, that tells a line when it is set up."""
    return subprocess.Popen(
        ["sh", "-c", script],
        env={"PATH": os.environ["PATH"], MARK: str(os.getpid())},
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )


def mark() -> bytes:
    return f"{MARK}={os.getpid()}".encode()


@pytest.mark.parametrize(
    "script",
    [
        "sleep 1000 & echo; wait",
        "setsid sleep 1000 & echo; wait",  # In another session, still a child.
        "(setsid sh -c 'echo; exec sleep 1000' &) ; exec sleep 1000",  # Of another session and nobody's child.
    ],
)
def test_all_of_a_tree_is_found_and_killed(script):
    with spawn(script) as root:
        root.stdout.readline()
        find = lambda: processes.members(processes.snapshot(), root.pid, mark())  # noqa: E731
        deadline = time.monotonic() + 5
        while len(find()) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(find()) >= 2 and root.pid in find()
        assert processes.kill_all(find) == set()
        assert find() == set()


def test_one_that_is_ending_is_waited_for_though_it_is_not_found_any_more(monkeypatch):
    """Its environment, by which it is found, is gone some time before it is."""
    with spawn("echo; exec sleep 1000") as root:
        root.stdout.readline()
        found, rounds = iter([{root.pid}]), itertools.count(1)
        monkeypatch.setattr(processes, "send", lambda *_: None)  # The kernel takes its time:
        monkeypatch.setattr(time, "sleep", lambda _: root.kill() if next(rounds) == 3 else None)
        try:
            assert processes.kill_all(lambda: next(found, set())) == set()
            assert root.pid not in processes.members(processes.snapshot(), root.pid)
        finally:
            root.kill()


def test_the_ended_do_not_count():
    with spawn("exit 3") as root:
        os.waitid(os.P_PID, root.pid, os.WEXITED | os.WNOWAIT)
        assert root.pid in processes.snapshot()
        assert processes.members(processes.snapshot(), root.pid, mark()) == set()


def test_one_process_is_read_right():
    me = processes.snapshot()[os.getpid()]
    assert (me.parent, me.session) == (os.getppid(), os.getsid(0))
    assert me.rss_bytes > 5_000_000 and me.user_s > 0 and me.threads >= 1


def test_what_is_frozen_goes_on_to_nothing_but_its_end():
    """Thawed before it is killed, an executor would still have heard of its shutdown, and ended well."""
    with spawn("echo; exec sleep 1000") as root:
        root.stdout.readline()
        ends = []
        left = processes.kill_all(
            lambda: processes.members(processes.snapshot(), root.pid), lambda: ends.append(root.wait(30.0))
        )
        assert left == set() and ends[0] == -signal.SIGKILL
