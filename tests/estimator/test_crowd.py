"""The estimator's process beside a local user who connects to its HTTP port, and says nothing."""

from __future__ import annotations

import contextlib
import re
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.estimator.conftest import Estimator
from tests.estimator.made_up_agent import PIPELINE, launch, running_agent
from tests.polling import eventually
from tests.wire.conftest import Peer

_CROWD = 1200


@pytest.fixture
def agent() -> Iterator[Peer]:
    with running_agent() as made:
        yield made


@pytest.fixture
def crowd() -> Iterator[list[socket.socket]]:
    """Connections, for which this process has files enough."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 2 * _CROWD:
        pytest.skip(f"no more than {before[1]} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    with contextlib.ExitStack() as stack:
        made: list[socket.socket] = []
        yield made
        for each in made:
            stack.callback(each.close)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def counted(estimator: Estimator, name: str) -> int:
    status, text = estimator.get("/metrics")
    assert status == 200
    return sum(map(int, re.findall(rf"^serenity_estimator_{name}(?:{{.*}})? (\d+)$".encode(), text, re.MULTILINE)))


@pytest.mark.parametrize("limit", ["-S -n 1024", "-n 1024"], ids=["that may be raised", "that may not"])
def test_who_holds_connections_takes_neither_launches_nor_samples_nor_the_api_away(
    agent: Peer, crowd: list[socket.socket], tmp_path: Path, limit: str
) -> None:
    (tmp_path / "faults.toml").write_text(PIPELINE)
    estimator = Estimator(agent.address, tmp_path, "--pipeline", str(tmp_path / "faults.toml"))
    estimator.arguments = ["sh", "-c", f'ulimit {limit}; exec "$@"', "sh", *estimator.arguments]
    estimator.start()
    assert estimator.process is not None
    try:
        eventually(lambda: estimator.slack.get("fresh") and estimator.slack["subscribed"], "slack")
        failures = counted(estimator, "source_failures_total")
        crowd += [socket.create_connection(("127.0.0.1", estimator.port), timeout=20.0) for _ in range(_CROWD)]
        before = counted(estimator, "frames_total")
        for number in range(10):
            launch(agent, f"launch-{number}")
        eventually(lambda: counted(estimator, "frames_total") > before + 5, "frames go on")
        assert counted(estimator, "source_failures_total") == failures
        assert estimator.slack["fresh"] and len(list(Path(f"/proc/{estimator.process.pid}/fd").iterdir())) < 256
    finally:
        estimator.process.kill()
        estimator.process.wait()
