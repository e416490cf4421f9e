"""The journal on a real disk, and outcomes that follow their records."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import threading

import pytest

from serenity.executor import journal
from serenity.executor.journal import Journal
from serenity.executor.outcomes import Outcomes
from serenity.wire.messages import from_executor
from serenity.wire.messages.corrections import Correction, Outcome
from serenity.wire.messages.kill_record import Agent, Killed, KillRecord, TaskResources
from tests.manual_clock import ManualClock
from tests.polling import eventually

RESOURCES = TaskResources(cpus=0.5, mem_bytes=1 << 20)
RECORD = KillRecord(
    id="k1",
    decided_at=1.0,
    agent=Agent(id="S0", hostname="h7"),
    killed=Killed(task="t", job="j", attempt=1, ran_for_s=1.0, resources=RESOURCES),
    reason="QOS_CPU",
)


def correction(at):
    return Correction(at=float(at), action="throttle", task="t", outcome="cpu quota, 0.45 of 0.90 cores", cause="cpu")


def lines(path):
    return [json.loads(each) for each in path.read_text().splitlines()]


def test_what_is_done_and_what_comes_of_it_is_a_line_each_and_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    made = Journal(tmp_path)
    made.append(correction(1))
    made.append(Outcome(at=2.0, task="t", action="throttle to 0.45 cores", outcome="no recovery in 3.0 s"))
    made.append(RECORD)
    made.close()
    written = lines(made.path)
    assert [each["type"] for each in written] == ["correction", "outcome", "kill"]
    assert (written[0]["action"], written[1]["outcome"]) == ("throttle", "no recovery in 3.0 s")
    assert written[2]["record"]["id"] == "k1"
    assert len(synced) == 3 and synced[-1] == made.path.stat().st_size
    assert made.path.stat().st_mode & 0o777 == 0o600


def test_it_is_bounded_and_the_one_before_is_kept(tmp_path):
    made = Journal(tmp_path, max_bytes=1000)
    for n in range(40):
        made.append(correction(n))
    made.close()
    before = made.path.with_name(f"{journal.NAME}.1")
    assert made.path.stat().st_size <= 1000 and before.stat().st_size <= 1000
    kept = [each["at"] for each in lines(before) + lines(made.path)]
    assert kept == [float(n) for n in range(40 - len(kept), 40)] and len(kept) >= 6
    assert sorted(each.name for each in tmp_path.iterdir()) == [journal.NAME, f"{journal.NAME}.1"]


def test_half_a_line_of_one_that_was_killed_spoils_no_other(tmp_path):
    (tmp_path / journal.NAME).write_text('{"type":"corr')
    made = Journal(tmp_path)
    made.append(correction(1))
    made.close()
    half, whole = made.path.read_text().splitlines()
    assert half == '{"type":"corr' and json.loads(whole)["at"] == 1.0


def test_a_journal_that_cannot_be_written_stops_nobody_and_is_said_once(tmp_path, caplog):
    made = Journal(tmp_path / "nowhere")
    for n in range(3):
        made.append(correction(n))
    made.close()
    assert [each.levelname for each in caplog.records] == ["ERROR", "ERROR"]
    assert "cannot be written" in caplog.text and caplog.messages[1].startswith("3 lines were lost")


def test_a_file_that_cannot_be_begun_is_closed_once(tmp_path, monkeypatch):
    """The second time its number may be another thread's file."""
    opened, closed = [], []
    open_, close = os.open, os.close

    def full_disk(path, flags, mode=0o777):
        if flags & os.O_EXCL:
            raise OSError(errno.ENOSPC, "No space left on device")
        opened.append(open_(path, flags, mode))
        return opened[-1]

    def close_once(file):
        closed.append(file)
        close(file)

    made = Journal(tmp_path, max_bytes=10)
    made.append(correction(1))
    made.close()
    monkeypatch.setattr(os, "open", full_disk)
    monkeypatch.setattr(os, "close", close_once)
    with pytest.raises(OSError, match="No space left"):
        made._write(b"more than there is room for\n")
    assert len(opened) == 1 and closed == opened


def test_how_many_lines_a_disk_that_hangs_has_cost_is_said_once_it_goes_on_each_time(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(journal, "_WAITING_LINES", 2)
    may_go_on, hanging = threading.Semaphore(0), threading.Semaphore(0)

    def hang(_file):
        hanging.release()
        may_go_on.acquire()

    monkeypatch.setattr(os, "fsync", hang)
    made = Journal(tmp_path)
    for lost in (3, 1):
        made.append(correction(0))
        hanging.acquire()
        for n in range(2 + lost):
            made.append(correction(n))
        for _ in range(3):
            may_go_on.release()
        eventually(lambda lost=lost: f"{lost} lines were lost" in caplog.text, "the count")
        for _ in range(2):
            hanging.acquire()
    made.close()
    said = ["the journal's disk hangs: lines are lost", "lines were lost to the journal"]
    assert [each.lstrip("0123456789 ") for each in caplog.messages] == 2 * said


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk to be filled")
def test_a_full_disk_costs_the_lines_that_do_not_fit_and_no_other(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs may be mounted: {mounted.stderr.decode().strip()}")
    try:
        (tmp_path / "ballast").write_bytes(b"x" * 40_000)
        made = Journal(tmp_path)
        for n in range(400):
            made.append(correction(n))
        made.close()
        (tmp_path / "ballast").unlink()
        again = Journal(tmp_path)
        again.append(correction(1000))
        again.close()
        read = [_whole(each) for each in again.path.read_text().splitlines()]
        assert read[0]["at"] == 0.0 and read[-1]["at"] == 1000.0
        assert sum(each is None for each in read) <= 1
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def _whole(line):
    try:
        return json.loads(line)
    except ValueError:
        return None


class Executor:
    def __init__(self):
        self.clock = ManualClock(1000.0)
        self.said = []  # (second, outcome)
        self.outcomes = Outcomes(self.clock, self._say)

    def _say(self, data):
        self.said.append((self.clock.monotonic_s(), from_executor.decode(data)))

    def run(self, seconds):
        for _ in range(seconds):
            self.clock.advance(1.0)
            if self.outcomes.next_s is not None and self.clock.monotonic_s() >= self.outcomes.next_s:
                self.outcomes.due()


def test_an_outcome_follows_its_record_and_is_said_again_for_mesos_may_lose_it():
    executor = Executor()
    assert executor.outcomes.recorded("t", "k1") is None
    executor.outcomes.known("t", "recovered after 3.2 s")
    executor.run(1000)
    assert [at for at, _ in executor.said] == [0.0, 5.0, 30.0, 300.0]
    assert {(each.task, each.record, each.outcome) for _, each in executor.said} == {
        ("t", "k1", "recovered after 3.2 s")
    }
    assert executor.outcomes.next_s is None


def test_an_outcome_that_is_known_before_the_task_has_ended_is_in_the_record():
    executor = Executor()
    executor.outcomes.known("t", "recovered after 0.5 s")
    assert executor.outcomes.recorded("t", "k1") == "recovered after 0.5 s"
    executor.run(400)
    assert executor.said == []
