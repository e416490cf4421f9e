"""The store on disk: what is committed is there again, and what cannot be opened says why."""

from __future__ import annotations

import dataclasses
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from serenity.framework import metrics
from serenity.framework.cluster.antagonists import Antagonist
from serenity.framework.estimators.agent import Deployed
from serenity.framework.jobs.book import Book
from serenity.framework.jobs.job import Job, Seen, first_attempt, step
from serenity.framework.placement.agents import Executor
from serenity.framework.placement.cooldowns import Cooldown
from serenity.framework.placement.holds import Hold
from serenity.framework.store import schema
from serenity.framework.store.changes import Changes
from serenity.framework.store.errors import StoreBusyError, StoreError
from serenity.framework.store.janitor import Janitor
from serenity.framework.store.store import Store
from serenity.wire.messages import api
from serenity.wire.messages.api import AttemptState, JobRequest, JobState
from tests.file_size import no_file_grows_beyond
from tests.framework.stored import CPI, PERIODS, filled_changes
from tests.manual_clock import ManualClock


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


def test_what_is_over_is_there_no_more_and_all_else_is(opened):
    store = opened()

    def kept():
        now = store.load()
        return now.executors, now.cooldowns, now.holds, now.estimators, now.antagonists

    changes, over = Changes(), Changes()
    for n in "12":
        changes.executors["S" + n, "E" + n] = Executor("S" + n, "E" + n, "digest", {"resources": []})
        changes.cooldowns["J" + n, "S" + n] = Cooldown("J" + n, "S" + n, "h7", 99.0)
        changes.holds["S" + n] = Hold("S" + n, "h7", "", 1.0, 99.0)
        changes.estimators["S" + n] = Deployed("S" + n, "h7", "estimator.v.1.S" + n)
        changes.antagonists["ann", "j" + n, "web"] = Antagonist("ann", "j" + n, "web", "cpu", 9.0, 2)
    store.commit(changes)
    committed = (changes.executors, changes.cooldowns, changes.holds, changes.estimators, changes.antagonists)
    assert kept() == tuple(tuple(each.values()) for each in committed)
    over.executors_gone, over.cooldowns_over = {("S1", "E1")}, {("J1", "S1")}
    over.holds_over, over.estimators_gone, over.antagonists_over = {"S1"}, {"S1"}, {("ann", "j1", "web")}
    store.commit(over)
    assert kept() == tuple(tuple(each.values())[1:] for each in committed)


def test_statistics_come_back_as_they_were_until_they_are_old(opened):
    store = opened()
    store.commit(filled_changes(store))
    again = store.load()
    assert (again.job_cpi, again.slo_periods) == (CPI, PERIODS)
    store.commit(Changes(statistics_over=(4000.0, 3900.0)))
    left = store.load()
    assert (left.job_cpi, left.slo_periods) == (CPI[1:], PERIODS[1:])


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
        "import sys, os\nfrom serenity.framework.store.store import Store\n"
        f"store = Store('sqlite:///{path}'); store.open(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    assert opened(path).load().jobs == ()


def test_a_path_that_can_hold_no_database_is_said_in_one_line(tmp_path):
    store = Store(f"sqlite:///{tmp_path}")
    with pytest.raises(StoreError, match=r"^cannot use /\S+: Is a directory; give another with --database$"):
        store.open()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_store_that_would_forget_everything_is_refused(url):
    with pytest.raises(StoreError, match=r"^database: \S+ names no file; write such as sqlite:////var/lib/x\.db$"):
        Store(url)


def test_a_store_of_a_newer_version_is_left_alone(opened, tmp_path):
    path = tmp_path / "f.db"
    opened(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE facts SET value = '99' WHERE key = 'schema_version'")
    with pytest.raises(StoreError, match=r"written by a newer Serenity \(schema 99"):
        opened(path)


@pytest.mark.parametrize("version", [1, 2])
def test_a_store_of_an_earlier_version_has_all_it_had_and_can_be_written(opened, tmp_path, version):
    """Written by the Serenity of then; version 1 is version 2 without a column."""
    path = tmp_path / "f.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(Path(__file__).with_name("store_of_schema_2.sql").read_text())
        if version == 1:
            connection.execute("ALTER TABLE attempts DROP COLUMN measured")
            connection.execute("UPDATE facts SET value = '1' WHERE key = 'schema_version'")
    store = opened(path)
    first = store.attempt("2q00001", 0, 1)
    assert (first.ending.record.id, first.ending.measured is None) == ("k1", version == 1)
    snapshot = store.load()
    assert (snapshot.framework_id, snapshot.last_job_id, snapshot.last_event_id) == ("F1", "2q00001", 4)
    assert [len(each) for each in (snapshot.jobs, snapshot.attempts, snapshot.executors, snapshot.cooldowns)] == [
        1,
        2,
        1,
        1,
    ]
    book = Book(snapshot)
    book.put(step(snapshot.jobs[0][0], book.current(("2q00001", 1)), Seen(AttemptState.RUNNING), 9.0).attempt, 9.0)
    store.commit(book.take_changes())
    store.close()
    assert {each.state.value for each in opened(path).load().attempts} == {"pending", "running"}


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
    [("rubbish", "is no database URL"), ("mysql://x/y", "not supported; use sqlite:///PATH or postgresql://")],
)
def test_what_is_no_store_is_said_in_one_line(url, complaint):
    with pytest.raises(StoreError, match=complaint) as error:
        Store(url)
    assert "\n" not in str(error.value)


def test_postgresql_without_its_driver_is_refused_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install 'serenity-mesos\[postgresql\]'"):
        Store("postgresql://x/y")


def test_a_file_that_is_no_database_is_said_in_one_line(opened, tmp_path):
    path = tmp_path / "f.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="not a database") as error:
        opened(path)
    assert "\n" not in str(error.value)


def test_a_disk_that_is_full_is_busy_and_nothing_of_the_commit_is_in_it(opened, tmp_path):
    path = tmp_path / "f.db"
    store = opened(path)
    store.commit(filled_changes(store))
    more = Changes(events=events(5, 500))
    with no_file_grows_beyond(path.with_name("f.db-wal").stat().st_size + 8192), pytest.raises(StoreBusyError):
        store.commit(more)
    assert store.last_event_id() == 4 and len(store.load().jobs) == 1
    store.commit(more)
    assert store.last_event_id() == 499


@pytest.mark.parametrize("field", dataclasses.fields(Changes), ids=lambda field: field.name)
def test_whatever_has_changed_is_a_change_that_is_stored(field):
    some = {"framework_id": "", "statistics_over": (0.0, 0.0), "events": [None]}
    collection = {"x"} if field.default_factory is set else {"x": None}
    changed = Changes(**{field.name: some.get(field.name, collection)})
    assert not Changes() and bool(changed) is (field.name != "superseded"), "which is of an attempt that is there, too"


def events(first, end, at=1.0, job=None):
    return [api.Event(id=n, at=at, type=api.EventType.JOB, job=job, text="x" * 100) for n in range(first, end)]


# -- what is forgotten -----------------------------------------------------------------------------


def test_what_ended_long_ago_is_forgotten_and_what_lives_or_is_young_is_not(opened):
    store = opened()
    store.commit(filled_changes(store))  # It lives.
    ended = Book(store.load())
    for job_id, ended_at in (("2q00002", 10.0), ("2q00003", 90.0), ("2q00004", 20.0)):
        job = Job(job_id, "old", JobRequest(command=("true",)), submitted_at=5.0, ended_at=ended_at)
        ended.add(job, [first_attempt(job, 0)])
    store.commit(ended.take_changes())
    assert store.clean_up(before_s=50.0, most=1) > 0
    while store.clean_up(before_s=50.0, most=1):
        pass
    # The newest job stays, for the ids after it follow from its; so does the newest event.
    assert [each.id for each in store.jobs(10).jobs] == ["2q00004", "2q00003", "2q00001"]
    assert store.attempts("2q00002") == [] and len(store.attempts("2q00003")) == 1
    assert [each.number for each in store.attempts("2q00001") if each.instance == 0] == [2], "the first has a successor"
    assert [each.id for each in store.events(0, 100)] == [store.last_event_id()]
    assert (store.load().last_job_id, len(store.load().attempts)) == ("2q00004", 2)


def test_the_janitor_forgets_all_that_is_old_enough_and_counts_it(opened):
    store, clock, counted = opened(), ManualClock(now_s=1000.0), metrics.table()
    store.commit(Changes(events=events(1, 2000, at=1.0) + events(2000, 2010, at=950.0)))
    janitor = Janitor(Direct(store), keep_s=100.0, clock=clock, metrics=counted)
    assert janitor.clean_up() == 1999 == counted.value("serenity_framework_forgotten_rows_total")
    assert janitor.clean_up() == 0
    assert [each.id for each in store.events(0, 100)] == list(range(2000, 2010))


class Direct:
    """A store worker without a thread."""

    def __init__(self, store):
        self._store = store

    def run(self, do):
        return do(self._store)


def test_a_million_events_cost_neither_start_nor_reading_nor_a_slice_of_cleaning_much(opened, tmp_path):
    path = tmp_path / "f.db"
    store = opened(path)
    store.commit(filled_changes(store))
    store.close()
    event = msgspec.json.encode(api.Event(id=0, at=1.0, type=api.EventType.JOB)).decode()
    with sqlite3.connect(path) as connection:
        for fast in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", "DROP INDEX ix_events_job_id"):
            connection.execute(fast)
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 5 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) "
            "INSERT INTO events SELECT i, printf('2q%05d', i / 20), ? FROM n",
            (event,),
        )
        connection.execute("CREATE INDEX ix_events_job_id ON events (job_id)")
        connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) "
            "INSERT INTO jobs (id, name, request, state, counts, kills, submitted_at, ended_at) "
            "SELECT printf('2p%05d', i), 'old' || i, '{\"command\":[\"true\"]}', 'finished', '{}', 0, 1.0, 2.0 FROM n"
        )
    began_s = time.thread_time()
    store = opened(path)
    assert store.load().last_event_id == 1_000_000
    assert len(store.events(999_000, 500)) == 500
    assert len(store.events(0, 500, job_id="2q00007")) == 20
    assert store.jobs(100, ended=False).jobs[0].id == "2q00001" and store.jobs(100).more
    assert [each.id for each in store.find("old777")] == ["2p00777"]
    assert store.clean_up(before_s=50.0, most=500) >= 1000
    store.commit(Changes(events=events(1_000_001, 1_000_100)))
    assert time.thread_time() - began_s < 0.5
