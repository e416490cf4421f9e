"""A framework whose database is locked, or its disk full: one clear line, nothing lost, and it goes on when it can."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.framework.conftest import FrameworkProcess
from tests.polling import eventually

Trouble = Callable[[FrameworkProcess, Path], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def framework(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrameworkProcess]:
    """Without a Mesos."""
    process = FrameworkProcess(tmp_path_factory.mktemp("framework"), "127.0.0.1:1")
    process.start()
    try:
        yield process
    finally:
        process.stop()


@contextmanager
def locked(_framework: FrameworkProcess, database: Path) -> Iterator[None]:
    with sqlite3.connect(database) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.rollback()


@contextmanager
def full(framework: FrameworkProcess, database: Path) -> Iterator[None]:
    soft, hard = resource.prlimit(framework.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(
        framework.pid, resource.RLIMIT_FSIZE, (database.with_name(f"{database.name}-wal").stat().st_size, hard)
    )
    yield
    resource.prlimit(framework.pid, resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("trouble", [locked, full])
def test_while_the_store_cannot_be_written_users_are_told_and_then_it_goes_on(
    framework: FrameworkProcess, trouble: Trouble
) -> None:
    lines, stored = len(framework.log.read_text().splitlines()), framework.request("GET", "/v1/jobs")
    with ThreadPoolExecutor() as pool:
        with trouble(framework, framework.log.with_name("framework.db")):
            waiting = pool.submit(framework.submit, "true")
            eventually(lambda: "cannot write" in framework.health()["trouble"], "trouble")
            said = framework.request("POST", "/v1/jobs", {"command": ["true"]}, status=503)["error"]
            assert said.startswith("cannot write ") and "\n" not in said
            assert framework.request("GET", "/v1/jobs") == stored, "it can be read"
            assert not waiting.done()
        job = waiting.result(timeout=30)
    assert framework.job(job)["state"] == "pending"
    log = [line for line in framework.log.read_text().splitlines()[lines:] if "store" in line or "cannot write" in line]
    assert [line.split()[1] for line in log] == ["ERROR", "WARNING"], log
    assert "trying again" in log[0] and "could be written again" in log[1]
