"""The framework keeps an estimator on the agent: nobody else's is doubled, an upgrade harms no task, none is left."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from serenity.daemon.clock import SystemClock
from serenity.qos.sources.roster import Roster
from serenity.qos.sources.sampler import Sampler
from serenity.wire.mesos.state import AgentReader
from serenity.wire.transport.http import Endpoint, get_json
from tests.clusters import KINDS, KINDS_AND_CGROUPS
from tests.end_to_end.running import CPUS, Running, running_stack
from tests.end_to_end.witness import Witness
from tests.polling import eventually

ROLL_OUT = "[framework]\nroll_out_estimators = true\n"
RESERVED = ";cpus(serenity-estimator):0.1;mem(serenity-estimator):256"


@pytest.fixture(scope="module", params=[KINDS[0], KINDS_AND_CGROUPS[-1]])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = {
        "SERENITY_FRAMEWORK_ESTIMATOR_SETTLE": "500ms",
        "SERENITY_ESTIMATOR_LISTEN": "127.0.0.1:0",
        "SERENITY_ESTIMATOR_STATE_DIR": str(tmp_path_factory.mktemp("estimators")),
    }
    with running_stack(request.param, more_resources=RESERVED, **settings) as stack:
        yield stack


@pytest.mark.slow
def test_an_estimator_is_rolled_out_upgraded_and_removed(running: Running, tmp_path: Path) -> None:
    restart(running, ROLL_OUT, signal.SIGTERM)
    found = eventually(lambda: estimator(running, "foreign"), "what is known of somebody else's")
    assert found["why"] == "somebody else reports its slack, and is left alone"

    running.signal("estimator", signal.SIGTERM)
    first = eventually(lambda: estimator(running, "running"), "an estimator of the framework's own")
    eventually(lambda: running.slack_cpus() > 0.5, "its slack")
    (process,) = estimators(running)
    roster = Roster(AgentReader(running.mesos.agent), SystemClock())
    on_agent = {task.name for each in roster.ask().containers for task in each.tasks}
    sampler = Sampler(roster, SystemClock())
    in_frame = {each.job for each in sampler.sample(0.0).containers}
    sampler.close()
    assert on_agent - in_frame == {"serenity-estimator"}, "it is nobody's production"
    witness = Witness(tmp_path)
    job = running.run(*witness.until_told())
    running.wait_for_running(job)
    witness.wait()
    listed = get_json(Endpoint.parse(running.stack.url), "/v1/jobs")["jobs"]
    assert [each["id"] for each in listed] == [job]

    restart(running, ROLL_OUT + "estimator_cpus = 0.09\n", signal.SIGKILL)
    eventually(lambda: (estimator(running, "running") or first)["version"] != first["version"], "an upgrade")
    eventually(lambda: running.slack_cpus() > 0.5, "the slack, again")
    (upgraded,) = estimators(running)
    assert upgraded != process and running.slack_cpus() < CPUS, "slack of two providers"
    assert witness.alive == witness.started and len(witness.started) == len(running.attempts(job)) == 1
    witness.tell()
    running.wait_for(job, "finished")

    restart(running, "[framework]\nremove_estimators = true\n", signal.SIGTERM)
    eventually(lambda: nodes(running)[0]["estimator"] is None, "the end of the estimator")
    assert estimators(running) == []
    eventually(lambda: running.slack_cpus() == 0, "the end of its slack")


def restart(running: Running, configuration: str, by: signal.Signals) -> None:
    running.signal("framework", by)
    running.configure(configuration)
    running.start("framework")


def nodes(running: Running) -> list[dict[str, Any]]:
    return list(get_json(Endpoint.parse(running.stack.url), "/v1/nodes")["nodes"])


def estimator(running: Running, state: str) -> dict[str, Any] | None:
    """That of the one agent, if it is in that state."""
    (node,) = nodes(running)
    found = node["estimator"]
    return dict(found) if found is not None and found["state"] == state else None


def estimators(running: Running) -> list[psutil.Process]:
    return running.processes_of("serenity.estimator")
