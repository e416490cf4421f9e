"""Several instances on one PostgreSQL: one leads, the others stand by; and what becomes of it when either dies."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from serenity.framework.cluster.antagonists import Antagonist
from serenity.framework.cluster.kept import LONGEST_KEY_BYTES
from serenity.framework.store.changes import Changes
from serenity.framework.store.errors import StoreBusyError, StoreError, StoreLostError
from serenity.framework.store.store import Store
from serenity.localmesos.cluster.cluster import Cluster
from serenity.wire.transport.http import Endpoint, Response, open_stream, request
from tests.framework.conftest import FrameworkProcess, Slack
from tests.framework.forked import ForkedFramework
from tests.framework.postgresql_server import PostgresqlServer, find_binaries
from tests.framework.stored import CPI, PERIODS, filled_changes
from tests.framework.zygote import Zygote
from tests.polling import eventually

# Of a leader's death, and of a database that is back.
TAKEN_OVER_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    pytest.importorskip("psycopg")
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL here: neither initdb on PATH nor Debian's postgresql")
    made = PostgresqlServer(binaries)
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture
def url(server: PostgresqlServer) -> str:
    return server.new_url()


@pytest.fixture
def opened(url: str) -> Iterator[Callable[[], Store]]:
    stores = []

    def open_store() -> Store:
        store = Store(url)
        store.open()
        stores.append(store)
        return store

    yield open_store
    for store in stores:
        store.close()


# -- the store ---------------------------------------------------------------------------------


def test_what_was_committed_is_there_after_opening_it_again(opened: Callable[[], Store]) -> None:
    store = opened()
    changes = filled_changes(store)
    for _ in range(2):  # A commit whose answer was lost is made again.
        store.commit(changes)
    store.close()
    store = opened()
    snapshot = store.load()
    assert (snapshot.framework_id, snapshot.last_job_id, snapshot.last_event_id) == ("F1", "2q00001", 4)
    ((job, kills),) = snapshot.jobs
    assert (job.request.env, kills) == ({"A": "ä"}, 1)
    assert snapshot.executors == tuple(changes.executors.values())
    assert (snapshot.job_cpi, snapshot.slo_periods) == (CPI, PERIODS)
    store.commit(Changes(statistics_over=(4000.0, 3900.0)))
    assert (store.load().job_cpi, store.load().slo_periods) == (CPI[1:], PERIODS[1:])
    found, expected = store.attempt("2q00001", 0, 1), changes.attempts["2q00001.0.1"]
    assert found is not None
    assert (found.ending, found.retry, found.place) == (expected.ending, expected.retry, expected.place)
    assert [each.id for each in store.find("web")] == ["2q00001"]
    assert [each.id for each in store.events(2, 2)] == [3, 4]
    assert store.clean_up(before_s=50.0, most=100) > 0
    assert [(each.instance, each.number) for each in store.attempts("2q00001")] == [(0, 2), (1, 1)]
    assert len(store.events(0, 10)) == 1 and len(store.load().jobs) == 1


def test_the_longest_names_that_are_kept_have_room_in_its_indexes(opened: Callable[[], Store]) -> None:
    incompressible = base64.b64encode(random.Random(7).randbytes(LONGEST_KEY_BYTES))
    name = incompressible.decode()[:LONGEST_KEY_BYTES]
    cpi = dataclasses.replace(CPI[0], cpu_type=name[:1000], job=name[1000:])
    period = dataclasses.replace(PERIODS[0], framework=name[:1000], service=name[1000:])
    hurt = Antagonist(name[:64], name[64:1000], name[1000:], "llc", 1.0)
    store, changes = opened(), Changes()
    changes.job_cpi[cpi.key], changes.slo_periods[period.key], changes.antagonists[hurt.key] = cpi, period, hurt
    store.commit(changes)
    kept = store.load()
    assert (kept.job_cpi, kept.slo_periods, kept.antagonists) == ((cpi,), (period,), (hurt,))


def test_nul_in_what_others_say_is_kept_as_what_the_database_can_have(opened: Callable[[], Store]) -> None:
    store, changes = opened(), Changes()
    base = filled_changes(store)
    ended = base.attempts["2q00001.0.1"]
    assert ended.ending is not None
    said = msgspec.structs.replace(ended.ending, message=r"cannot run a\u0000" + "\0b")
    base.attempts["2q00001.0.1"] = msgspec.structs.replace(ended, ending=said)
    hurt = Antagonist("root", "sort", "web\0", "llc", 1.0)
    base.antagonists[hurt.key] = hurt
    store.commit(base)
    kept = store.attempt("2q00001", 0, 1)
    assert kept is not None and kept.ending is not None and kept.ending.message == r"cannot run a\u0000" + "\ufffdb"
    assert store.find("a\0b") == []
    changes.antagonists_over.add(hurt.key)
    store.commit(changes)
    assert store.load().antagonists == ()


def test_one_leads_and_the_other_reads_until_it_is_gone(opened: Callable[[], Store]) -> None:
    first, second = opened(), opened()
    first.commit(filled_changes(first))
    assert (first.lead(), second.lead()) == (True, False)
    assert [each.id for each in second.jobs(10).jobs] == ["2q00001"]
    with pytest.raises(StoreError, match="does not lead"):
        second.commit(Changes(framework_id="F2"))
    first.close()
    eventually(second.lead, "the second in the lead")  # The server ends the first one's session a little later.
    second.commit(Changes(framework_id="F2"))


def test_each_schema_has_a_leader_of_its_own(opened: Callable[[], Store], server: PostgresqlServer) -> None:
    first, other = opened(), Store(server.new_url())
    other.open()
    assert (first.lead(), other.lead()) == (True, True)
    other.close()


def test_who_has_lost_the_connection_has_lost_the_lead_and_can_write_nothing(
    opened: Callable[[], Store], server: PostgresqlServer
) -> None:
    first, second = opened(), opened()
    server.run(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid IN "
        "(SELECT pid FROM pg_stat_activity WHERE application_name = 'serenity')"
    )
    eventually(second.lead, "the second in the lead")
    for _ in range(2):  # It does not come back by itself.
        with pytest.raises(StoreLostError) as error:
            first.commit(Changes(framework_id="F1"))
        assert "\n" not in str(error.value)
    first.open()
    assert not first.lead() and first.framework_id() is None


def test_a_table_that_somebody_holds_is_busy(opened: Callable[[], Store], server: PostgresqlServer, url: str) -> None:
    import psycopg

    store = opened()
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE jobs")
        other.execute("SET application_name = 'somebody'")
        with pytest.raises(StoreBusyError, match="lock timeout"):
            store.commit(filled_changes(store))
    store.commit(filled_changes(store))
    assert len(store.load().jobs) == 1


def test_a_newer_schema_is_refused_and_an_older_one_migrated(opened: Callable[[], Store], url: str) -> None:
    import psycopg

    store = opened()
    store.commit(filled_changes(store))
    store.close()
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE attempts DROP COLUMN measured")
        connection.execute("DROP TABLE job_cpi, slo_periods")
        connection.execute("UPDATE facts SET value = '1' WHERE key = 'schema_version'")
    migrated = opened()
    assert len(migrated.load().attempts) == 2
    migrated.commit(filled_changes(migrated))
    assert migrated.load().job_cpi == CPI
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE facts SET value = '99' WHERE key = 'schema_version'")
    with pytest.raises(StoreError, match=r"written by a newer Serenity \(schema 99"):
        opened()


def test_a_server_that_is_not_there_is_said_in_one_line_without_the_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError, match="cannot open postgresql://me:") as error:
        Store("postgresql://me:geheim@127.0.0.1:1/x").open()
    assert "\n" not in str(error.value) and "geheim" not in str(error.value)


# -- the framework -------------------------------------------------------------------------------


@pytest.fixture
def two(cluster: Cluster, url: str, zygote: Zygote, tmp_path: Path) -> Iterator[list[ForkedFramework]]:
    role = f"be-{tmp_path.parent.name}-{tmp_path.name}"
    provider, both = Slack(cluster.agent, role), []
    try:
        for name in ("a", "b"):
            folder = tmp_path / name
            folder.mkdir()
            more = ("--database", url, "--advertise", f"http://{name}.example:8640")
            both.append(ForkedFramework(zygote, folder, cluster.master, role, more))
            both[-1].start()
        yield both
    finally:
        for each in both:
            each.stop()
        provider.stop()


@pytest.mark.parametrize("cluster", ["localmesos"], indirect=True)
def test_the_leader_dies_and_the_other_takes_over_within_seconds(two: list[ForkedFramework], tmp_path: Path) -> None:
    leader, other = two
    started = tmp_path / "started"
    job = leader.submit("sh", "-c", f"echo $$ >> {started}; sleep 3", instances=2)
    eventually(lambda: leader.job(job)["counts"].get("running") == 2, "both instances running")
    assert [each.health()["leading"] for each in two] == [True, False]
    framework_id = leader.health()["framework_id"]

    # Who stands by reads, and sends those who want more to the leader.
    assert other.job(job)["counts"] == {"running": 2}
    assert len(other.attempts(job)) == 2
    assert next(chunk for chunk in events_of(other, job) if b'"state":"running"' in chunk)
    refused = other.request("POST", "/v1/jobs", {"command": ["true"]}, status=503)["error"]
    assert "does not lead: the one at http://a.example:8640 does" in refused

    leader.kill()
    killed_s = time.monotonic()
    health = eventually(lambda: (seen := other.health())["subscribed"] and seen, "the other in the lead")
    assert time.monotonic() - killed_s < TAKEN_OVER_WITHIN_S
    assert health["framework_id"] == framework_id
    later = other.submit("true")
    leader.start()  # It stands by now.
    assert not leader.health()["leading"]
    for each in (job, later):
        other.wait_for(each, "finished")
    assert len(started.read_text().splitlines()) == 2
    assert leader.job(job)["state"] == "finished"


@pytest.mark.parametrize("cluster", ["localmesos"], indirect=True)
def test_a_database_that_goes_away_and_comes_back_loses_nothing(
    two: list[ForkedFramework], server: PostgresqlServer, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    job = two[0].submit("sh", "-c", f"echo $$ >> {started}; sleep 1")
    two[0].wait_for(job, "running")
    server.stop()
    eventually(lambda: answer(two[0], f"/v1/jobs/{job}").status == 503, "what is not there")
    refused = answer(two[0], f"/v1/jobs/{job}").body.decode()
    assert "cannot" in refused or "is not open" in refused
    server.start()
    for each in two:
        eventually(lambda each=each: b'"state":"finished"' in answer(each, f"/v1/jobs/{job}").body, "the job's end")
    eventually(lambda: sorted(each.health()["leading"] for each in two) == [False, True], "one leader")
    assert len(started.read_text().splitlines()) == 1
    assert len(two[0].attempts(job)) == 1


def answer(process: FrameworkProcess, path: str) -> Response:
    return request(Endpoint.parse(process.url), "GET", path, timeout_s=TAKEN_OVER_WITHIN_S)


def events_of(process: FrameworkProcess, job: str) -> Iterator[bytes]:
    """All so far, and then what comes."""
    path, all_of_them = f"/v1/jobs/{job}/events", {"Last-Event-ID": "0"}
    with contextlib.closing(open_stream(Endpoint.parse(process.url), "GET", path, headers=all_of_them)) as stream:
        yield from stream.chunks()
