"""The store on disk: what is committed is there again, and what cannot be opened says why."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest

from serenity.framework import schema
from serenity.framework.book import Book
from serenity.framework.cooldowns import Cooldown
from serenity.framework.jobs import Ended, Ending, Job, Launch, Place, first_attempt, step
from serenity.framework.placement import Executor
from serenity.framework.store import Changes, Store, StoreBusyError, StoreError
from serenity.wire.messages.api import AttemptState, JobRequest, JobState
from serenity.wire.messages.kill_record import Agent, Killed, KillRecord, TaskResources
from serenity.wire.messages.reasons import Reason
from serenity.wire.messages.task_end import TaskEnd

RECORD = KillRecord(
    id="k1",
    decided_at=1.0,
    agent=Agent(id="S0", hostname="h7"),
    killed=Killed(task="j.0.1", job="j", attempt=1, ran_for_s=1.0, resources=TaskResources(cpus=1.0, mem_bytes=1)),
    reason="QOS_MEMORY",
)


@pytest.fixture
def opened(tmp_path):
    stores = []

    def open_store(path=tmp_path / "state" / "f.db"):
        store = Store(f"sqlite:///{path}")
        store.open()
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        store.close()


def test_what_jobs_were_given_in_their_environments_is_for_nobody_else_to_read(opened, tmp_path):
    store = opened()
    store.commit(filled_changes(store))
    files = sorted((tmp_path / "state").iterdir())
    assert len(files) >= 3  # With its log and lock.
    assert {each.name: each.stat().st_mode & 0o077 for each in files} == {each.name: 0 for each in files}


def filled_changes(store):
    """A job of two instances: one evicted and pending again, one launching."""
    job = Job("2q00001", "web", JobRequest(command=("sh", "-c", "true"), instances=2, env={"A": "ä"}), submitted_at=1.0)
    book = Book(store.load())
    book.add(job, [first_attempt(job, 0), first_attempt(job, 1)])
    for instance in (0, 1):
        place = Place("S0", "h7", "http://h7:5051", "serenity-1")
        book.put(step(job, book.current((job.id, instance)), Launch(place), 2.0).attempt, 2.0)
    used = TaskEnd(signal=9, cpu_s=1.5, peak_mem_bytes=1 << 20)
    ending = Ending(AttemptState.KILLED, Reason.QOS_MEMORY, "because", RECORD, avoid_s=300.0, measured=used)
    done = step(job, book.current((job.id, 0)), Ended(ending), 3.0)
    book.put(done.attempt, 3.0, done.successor)
    changes = book.take_changes()
    changes.framework_id = "F1"
    changes.executors["S0", "serenity-1"] = Executor("S0", "serenity-1", "d", {"resources": []})
    changes.cooldowns[job.id, "S0"] = Cooldown(job.id, "S0", "h7", 99.0)
    return changes


def test_what_was_committed_is_there_after_opening_it_again(opened):
    store = opened()
    changes = filled_changes(store)
    store.commit(changes)
    store.close()
    snapshot = opened().load()
    assert (snapshot.framework_id, snapshot.last_job_id, snapshot.last_event_id) == ("F1", "2q00001", 4)
    ((job, kills),) = snapshot.jobs
    assert (job.request.env, kills) == ({"A": "ä"}, 1)
    assert {(each.task_id, each.state.value) for each in snapshot.attempts} == {
        ("2q00001.0.2", "pending"),
        ("2q00001.1.1", "launching"),
    }
    assert snapshot.executors == tuple(changes.executors.values())
    assert snapshot.cooldowns == tuple(changes.cooldowns.values())


def test_an_attempt_with_its_record_comes_back_as_it_was(opened):
    store = opened()
    changes = filled_changes(store)
    store.commit(changes)
    found = store.attempt("2q00001", 0, 1)
    expected = changes.attempts["2q00001.0.1"]
    assert (found.ending, found.retry, found.place) == (expected.ending, expected.retry, expected.place)
    assert found.ending.record.retry.avoid == ("h7",)


def test_without_a_number_the_newest_attempt_that_was_launched_is_meant(opened):
    store = opened()
    store.commit(filled_changes(store))
    assert store.attempt("2q00001", 0, None).number == 1
    assert store.attempt("2q00001", 7, None) is None


def test_jobs_are_found_by_id_or_name_and_listed_newest_first(opened):
    store = opened()
    store.commit(filled_changes(store))
    changes = Changes()
    book = Book(store.load())
    for job_id in ("2q00002", "2q00003"):
        job = Job(job_id, "web", JobRequest(command=("true",)), submitted_at=5.0, ended_at=6.0)
        book.add(job, [first_attempt(job, 0)])
    changes = book.take_changes()
    store.commit(changes)
    assert [each.id for each in store.find("web")] == ["2q00003", "2q00002", "2q00001"]
    assert [each.id for each in store.find("2q00002")] == ["2q00002"]
    assert store.find("nothing") == []
    listed = store.jobs(limit=2)
    assert ([each.id for each in listed.jobs], listed.more) == (["2q00003", "2q00002"], True)
    assert [each.id for each in store.jobs(10, ended=False).jobs] == ["2q00001"]
    assert store.find("2q00001")[0].state is JobState.PENDING


def test_events_are_read_from_an_id_on(opened):
    store = opened()
    store.commit(filled_changes(store))
    assert [each.id for each in store.events(2, 2)] == [3, 4]
    assert store.events(4, 10) == []
    assert store.events(0, 10, job_id="other") == []


def test_a_second_framework_on_the_same_store_is_refused(opened, tmp_path):
    opened()
    with pytest.raises(StoreError, match="in use by another framework"):
        opened()


def test_the_lock_of_a_killed_process_is_free(opened, tmp_path):
    path = tmp_path / "f.db"
    script = (
        "import sys, os\nfrom serenity.framework.store import Store\n"
        f"store = Store('sqlite:///{path}'); store.open(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert opened(path).load().jobs == ()


def test_a_store_of_a_newer_version_is_left_alone(opened, tmp_path):
    path = tmp_path / "f.db"
    opened(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE facts SET value = '99' WHERE key = 'schema_version'")
    with pytest.raises(StoreError, match=r"written by a newer Serenity \(schema 99"):
        opened(path)


def test_a_store_of_the_first_version_has_all_it_had(opened, tmp_path):
    path = tmp_path / "f.db"
    store = opened(path)
    store.commit(filled_changes(store))
    store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE attempts DROP COLUMN measured")
        connection.execute("UPDATE facts SET value = '1' WHERE key = 'schema_version'")
    store = opened(path)
    assert store.attempt("2q00001", 0, 1).ending.record.id == "k1"
    assert store.attempt("2q00001", 0, 1).ending.measured is None
    store.close()
    assert len(opened(path).load().attempts) == 2


def test_a_migration_that_fails_leaves_the_store_as_it_was(opened, tmp_path, monkeypatch):
    path = tmp_path / "f.db"
    store = opened(path)
    store.commit(filled_changes(store))
    store.close()

    def half_way(connection):
        connection.exec_driver_sql("CREATE TABLE half (a)")
        raise ZeroDivisionError

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, half_way))
    broken = Store(f"sqlite:///{path}")
    with pytest.raises(ZeroDivisionError):
        broken.open()
    broken.close()
    monkeypatch.undo()
    assert opened(path).load().last_job_id == "2q00001"
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall() == []


def test_a_store_that_is_locked_is_busy_and_nothing_of_the_commit_is_in_it(opened, tmp_path):
    path = tmp_path / "f.db"
    store = opened(path)
    changes = filled_changes(store)
    other = sqlite3.connect(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusyError, match="locked"):
        store.commit(changes)
    other.rollback()
    assert store.load().jobs == ()
    store.commit(changes)
    assert len(store.load().jobs) == 1


@pytest.mark.parametrize(
    ("url", "complaint"),
    [("rubbish", "is no database URL"), ("mysql://x/y", "not supported"), ("postgresql://x/y", "not supported")],
)
def test_what_is_no_store_is_said_in_one_line(url, complaint):
    with pytest.raises(StoreError, match=complaint) as error:
        Store(url)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_database_is_said_in_one_line(opened, tmp_path):
    path = tmp_path / "f.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="not a database") as error:
        opened(path)
    assert "\n" not in str(error.value)
