from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.messages.descriptors import NotFetched, fetched_wheel
from tests.messages.schema import Schema
from tests.wire.conftest import Peer

FRAMEWORK = {"user": "nobody", "name": "test", "roles": ["*"], "capabilities": [{"type": "MULTI_ROLE"}]}
PROVIDER = {"type": "org.serenity.slack", "name": "slack"}


@pytest.fixture(scope="session")
def schema(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Schema:
    cache = getattr(request.config, "cache", None)  # None: pytest was told to keep none.
    folder = cache.mkdir("mesos-interface") if cache is not None else tmp_path_factory.mktemp("mesos-interface")
    try:
        return Schema(fetched_wheel(folder))
    except NotFetched as error:
        pytest.skip(f"Mesos' descriptors cannot be fetched with pip: {error}")


@pytest.fixture
def peer() -> Iterator[Peer]:
    """Who plays the master or the agent."""
    yield from started_peer()


def started_peer() -> Iterator[Peer]:
    made = Peer()
    made.start()
    yield made
    made.close()
