"""Callers who hold more connections than a process may usually have files open."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from serenity.localmesos.cluster.cluster import Cluster, ClusterOptions
from tests.framework.conftest import FrameworkProcess
from tests.polling import eventually

_LIMIT, _CROWD = 200, 300


@pytest.mark.parametrize("limit", ["-S -n", "-n"], ids=["that may be raised", "that may not"])
def test_who_holds_connections_takes_no_files_from_mesos_and_the_store(tmp_path: Path, limit: str) -> None:
    under = ("sh", "-c", f'ulimit {limit} {_LIMIT}; exec "$@"', "sh")
    with Cluster(ClusterOptions(tmp_path / "cluster")) as cluster, contextlib.ExitStack() as stack:
        process = FrameworkProcess(tmp_path, cluster.master, under=under)
        process.start()
        stack.callback(process.stop)
        for _ in range(_CROWD):
            caller = stack.enter_context(socket.socket(socket.AF_UNIX))
            caller.settimeout(20.0)
            caller.connect(str(tmp_path / "api.sock"))
        assert process.health()["version"]  # All who came before have been taken, or sent away.
        cluster.drop_streams("scheduler")
        eventually(lambda: process.log.read_text().count("registered with the master") > 1, "a new subscription")
        assert "Too many open files" not in process.log.read_text()
