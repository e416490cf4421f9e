"""What tests of several rooms use: a Mesos to run against."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from serenity.localmesos.cluster import Cluster, ClusterOptions, find_mesos

KINDS = ["localmesos", pytest.param("real", marks=pytest.mark.real_mesos)]


def _mesos_bin(kind: str) -> Path | None:
    if kind == "localmesos":
        return None
    found = find_mesos(None)
    if found is None:
        pytest.skip("no mesos-master and mesos-agent: put them on PATH, or their folder into SERENITY_MESOS_BIN")
    return found


@contextlib.contextmanager
def _running(options: ClusterOptions) -> Iterator[Cluster]:
    cluster = Cluster(options)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session", params=KINDS)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Mesos that all tests share, each with frameworks of its own: the embedded one, then a real one."""
    work_dir = tmp_path_factory.mktemp(request.param)
    with _running(ClusterOptions(work_dir, _mesos_bin(request.param))) as running:
        yield running


@pytest.fixture(params=KINDS)
def own_cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """A Mesos of the test's own, whose executors have 2 s to register and 1 s to shut down."""
    flags: dict[str, str | None] = {
        "executor_registration_timeout": "2secs",
        "executor_shutdown_grace_period": "1secs",
    }
    with _running(ClusterOptions(tmp_path, _mesos_bin(request.param), agent_flags=flags)) as running:
        yield running
