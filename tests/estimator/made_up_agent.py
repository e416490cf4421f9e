"""An agent that the test makes up, with one real production process on it, and what the estimator says to it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from typing import Any

from tests.polling import eventually
from tests.wire.conftest import Peer

# A report that is not taken keeps its thread for ten seconds.
_ANSWERED_WITHIN_S = 5.0
PROVIDER_ID = "2e8c9c5e-0d9d-4a8e-9b3c-7f6f1f0a0001"
PIPELINE = """
[slack.predictor]
name = "peak"
margin = 0.0
min_age_s = 0.0
[slack.limits]
stale_s = 3.0  # After a look that took two requests the roster waits for two seconds.
[slack.report]
rise_s = 0.0
grow_s = 0.0
"""
REVOCABLE = {"revocable": {}, "provider_id": {"value": PROVIDER_ID}}


def state(**executors: dict[str, float]) -> dict[str, Any]:
    found = [
        {"id": name, "container": name, "resources": resources, "tasks": []} for name, resources in executors.items()
    ]
    return {
        "id": "agent-1",
        "hostname": "h7",
        "version": "1.11.0",
        "pid": "slave(1)@127.0.0.1:5051",
        "resources": {"cpus": 8.0, "mem": 8192.0},
        "frameworks": [{"id": "F", "name": "web", "executors": found}],
    }


WEB = {"cpus": 2.0, "mem": 1024.0}


def agent_with(production: int, **pages: Any) -> Peer:
    """An agent that runs one production process."""
    made = Peer(greeting={"type": "SUBSCRIBED", "subscribed": {"provider_id": {"value": PROVIDER_ID}}})
    pid = {"framework_id": "F", "executor_id": "web", "container_id": "web", "status": {"executor_pid": production}}
    made.pages = {
        "/version": {"version": "1.11.0"},
        "/flags": {"flags": {}},
        "/state": state(web=WEB),
        "/containers": [pid],
        **pages,
    }
    made.start()
    return made


@contextlib.contextmanager
def running_agent() -> Iterator[Peer]:
    with subprocess.Popen(["sleep", "600"]) as production:
        made = agent_with(production.pid)
        yield made
        made.close()
        production.kill()


def told(agent: Peer) -> list[dict[str, float]]:
    """Each total that the agent was told."""
    updates = [each["update_state"]["resources"] for each in agent.sent("UPDATE_STATE")]
    return [{each["name"]: each["scalar"]["value"] for each in total} for total in updates]


def publish(agent: Peer, name: str, cpus: float = 0.0) -> None:
    resources = [{"name": "cpus", "type": "SCALAR", "scalar": {"value": cpus}, **REVOCABLE}] if cpus else []
    agent.streams[-1].event(
        {"type": "PUBLISH_RESOURCES", "publish_resources": {"uuid": {"value": name}, "resources": resources}}
    )


def answers(agent: Peer) -> dict[str, str]:
    said = [each["update_publish_resources_status"] for each in agent.sent("UPDATE_PUBLISH_RESOURCES_STATUS")]
    return {each["uuid"]["value"]: each["status"] for each in said}


def launch(agent: Peer, name: str, cpus: float = 0.0) -> None:
    """Is let go on, and soon: one that waits for anything else waits for longer than that."""
    publish(agent, name, cpus)
    eventually(lambda: name in answers(agent), f"{name} answered", within_s=_ANSWERED_WITHIN_S)
    assert answers(agent)[name] == "OK"
