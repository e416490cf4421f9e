"""The framework is killed, forgotten, or put back to what it was: no job is lost, and nothing runs twice at once."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

from serenity.wire.transport.http import Endpoint, get_json, request
from tests.end_to_end.running import Running
from tests.end_to_end.witness import Witness
from tests.polling import eventually

# What a task is told to be, once each.
TOLD = ["launching", "running"]


def test_what_happens_while_the_framework_is_dead_is_learnt_once(running: Running, tmp_path: Path) -> None:
    lives, ends, fails = (Witness(tmp_path, name) for name in ("lives", "ends", "fails"))
    living = running.run(*lives.until_told())
    ending = running.run(*ends.until_told())
    failing = running.run(*fails.until_told(7), max_retries=0)
    for job, each in ((living, lives), (ending, ends), (failing, fails)):
        running.wait_for_running(job)
        each.wait()
    known_as = running.health()["framework_id"]

    running.signal("framework", signal.SIGKILL)
    for each in (ends, fails):
        each.tell()
        eventually(lambda each=each: each.alive == [], "the task's end")
    running.start("framework")

    running.wait_for(ending, "finished")
    running.wait_for(failing, "failed")
    (attempt,) = running.attempts(failing)
    assert (attempt["reason"], attempt["message"]) == ("COMMAND_FAILED", "exited with 7")
    assert running.health()["framework_id"] == known_as
    lives.tell()
    running.wait_for(living, "finished")
    for job, end in ((living, "finished"), (ending, "finished"), (failing, "failed")):
        assert running.history(job) == {f"{job}.0.1": [*TOLD, end]}
    assert [len(each.started) for each in (lives, ends, fails)] == [1, 1, 1]


def test_a_store_from_a_backup_is_reconciled_with_what_runs(running: Running, tmp_path: Path) -> None:
    """Mesos does not know one task any more that the store has running, and the store none of one that runs."""
    gone, unknown = Witness(tmp_path, "gone"), Witness(tmp_path, "unknown")
    first = running.run(*gone.command("exec sleep 1000"), max_retries=0)
    running.wait_for_running(first)
    gone.wait()
    running.signal("framework", signal.SIGTERM)
    store = [running.work_dir / f"framework.db{end}" for end in ("", "-wal", "-shm")]
    backup = [shutil.copy2(each, tmp_path) for each in store if each.exists()]
    running.start("framework")
    running.end(first)
    second = running.run(*unknown.command("exec sleep 1000"))
    unknown.wait()

    running.signal("framework", signal.SIGKILL)
    for each in store:
        each.unlink(missing_ok=True)
    for each in backup:
        shutil.copy2(each, running.work_dir)
    running.start("framework")

    eventually(lambda: unknown.alive == [], "the end of what the store does not know")
    assert request(Endpoint.parse(running.stack.url), "GET", f"/v1/jobs/{second}").status == 404
    (lost,) = eventually(lambda: running.attempts(first, "lost"), "what Mesos does not know")
    assert (lost["reason"], lost["retry"]["charged"]) == ("LOST", False)
    gone.wait(2)
    running.wait_for_running(first)
    assert len(gone.alive) == len(unknown.started) == 1
    running.end(first)


def test_a_framework_that_returns_after_its_failover_timeout_is_a_new_one_with_its_old_jobs(
    running: Running, tmp_path: Path
) -> None:
    witness = Witness(tmp_path)
    job = running.run(*witness.command("exec sleep 1000"), max_retries=0)
    running.wait_for_running(job)
    witness.wait()
    # Mesos learns the timeout with the next subscription.
    running.signal("framework", signal.SIGTERM)
    running.configure('[framework]\nfailover_timeout = "1s"\n')
    running.start("framework")
    before = running.health()["framework_id"]
    assert [each["state"] for each in running.attempts(job)] == ["running"]

    running.signal("framework", signal.SIGKILL)
    eventually(lambda: _forgotten(running, before), "the end of Mesos' patience")
    eventually(lambda: witness.alive == [], "the end of the task with its framework")
    running.configure("")
    running.start("framework")

    assert running.health()["framework_id"] != before
    # It is run again, but not at once: Mesos leaves the executors of a framework that it removes a grace.
    first, second = running.attempts(job)
    assert (first["reason"], first["retry"]["charged"], second["state"]) == ("LOST", False, "pending")
    running.wait_for(running.run("true"), "finished")
    running.end(job)


def _forgotten(running: Running, framework_id: str) -> bool:
    state = get_json(Endpoint.parse(running.mesos.master), "/state")
    return framework_id in [each["id"] for each in state["completed_frameworks"]]
