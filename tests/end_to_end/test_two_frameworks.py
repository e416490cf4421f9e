"""Two frameworks of Serenity's on one agent, each in its role: each is told what the other sees, and places by that."""

from __future__ import annotations

import contextlib
import getpass
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serenity.cli.demo.production import Service
from serenity.wire.transport.http import Endpoint, get_json
from tests.clusters import KINDS_AND_CGROUPS
from tests.end_to_end import touchy
from tests.end_to_end.running import Running, running_stack
from tests.end_to_end.stranger import Stranger
from tests.polling import eventually

# Its work a second, of the 1000 that it does when all is well.
OBJECTIVE = 600
PIPELINE = """
[[qos.filters]]
name = "ignore_new_executors"
age_s = 1.0
[[qos.detectors]]
name = "slo"
margin = {margin}
votes = 1
window = 1
[qos.strategy]
name = "cpu_share"
"""
SEEING, BLIND = PIPELINE.format(margin=0.0), PIPELINE.format(margin=0.99)
QUICK = {
    "SERENITY_ESTIMATOR_INTERVAL_S": "0.25",
    "SERENITY_ESTIMATOR_ROLE": "*",
    "SERENITY_EXECUTOR_RUNG0": "false",
    "SERENITY_EXECUTOR_WATCH_S": "0.5",
    "SERENITY_EXECUTOR_RECOVER_S": "0.2",
    "SERENITY_EXECUTOR_HOLD_S": "0.2",
    "SERENITY_EXECUTOR_RELAPSES": "1",
}


@pytest.fixture
def hurt_file(tmp_path: Path) -> Path:
    return tmp_path / "hurt"


@pytest.fixture(params=KINDS_AND_CGROUPS)
def running(request: pytest.FixtureRequest, hurt_file: Path, tmp_path: Path) -> Iterator[Running]:
    """The framework whose executors see what production suffers from."""
    seeing = tmp_path / "seeing.toml"
    seeing.write_text(SEEING)
    services = touchy.services(hurt_file, **{"serenity.sli.objective": str(OBJECTIVE)})
    with running_stack(request.param, services, SERENITY_EXECUTOR_PIPELINE=str(seeing), **QUICK) as stack:
        yield stack


def asked(framework: Running, path: str) -> Any:
    return get_json(Endpoint.parse(framework.stack.url), path)


def why(framework: Running, job: str, words: str) -> str:
    """The line of `serenity why` that has these words, once there is one."""

    def line() -> str | None:
        lines = asked(framework, f"/v1/jobs/{job}/why")["lines"]
        return next((each for each in lines if words in each), None)

    return str(eventually(line, f"why {job} waits: {words}"))


@contextlib.contextmanager
def stranger(running: Running, *command: str) -> Iterator[None]:
    """A task that is none of Serenity's runs on the slack meanwhile."""
    scheduler = Stranger(running.mesos.master, getpass.getuser(), Service("spark", command, 0.2, 64.0))
    scheduler.start()
    try:
        yield
    finally:
        scheduler.stop()


@pytest.mark.slow
def test_antagonists_and_hints_change_where_the_work_of_both_goes(
    running: Running, hurt_file: Path, tmp_path: Path
) -> None:
    watching = running.run("sleep", "600")
    blind = tmp_path / "blind.toml"
    blind.write_text(BLIND)
    other = running.neighbour(
        "blind",
        SERENITY_EXECUTOR_PIPELINE=str(blind),
        SERENITY_FRAMEWORK_HINTS_FROM=running.stack.url,
        SERENITY_FRAMEWORK_ROLE="another",
    )
    running.wait_for_running(watching)

    # Who sees it has no part in it, and tells who has.
    culprit = other.run(*touchy.culprit(hurt_file), name="culprit", cpus=0.2, mem_bytes=64 << 20, grace_s=1.0)
    (evicted,) = eventually(lambda: other.attempts(culprit, "killed"), "the eviction by the other's word", 40.0)
    assert evicted["record"]["protected"]["job"] == "touchy"
    assert running.attempts(watching, "running"), "it paid for another's task"
    (known,) = eventually(lambda: asked(other, "/v1/antagonists")["antagonists"], "a confirmed antagonist")
    assert (known["job"], known["protected"]) == ("culprit", "touchy")
    other.end(culprit)

    again, welcome = other.run(*touchy.culprit(hurt_file), name="culprit"), other.run("sleep", "600")
    other.wait_for_running(welcome)
    assert other.state(again) == "pending"
    assert "touchy lives there, which it hurt" in why(other, again, "is avoided")
    other.end(again)

    # Somebody whom neither of them can correct.
    with stranger(running, *touchy.culprit(hurt_file)):
        (hint,) = eventually(lambda: asked(running, "/v1/hints")["hints"], "a hint", 40.0)
    assert (hint["agent"], hint["protected"]) == (evicted["record"]["agent"]["id"], "touchy")
    assert 0.0 < hint["severity"] <= 1.0
    assert asked(other, "/v1/hints")["hints"] == [], "its executors have not seen it"
    huge = other.run("true", cpus=500.0)
    assert f"{hint['suspect']}, whom nobody corrects, as {running.stack.url} says" in why(other, huge, "nothing new")
    other.end(huge)

    # All is quiet again.  There is slack, which neither of them takes, and somebody who has heard nothing does.
    eventually(lambda: running.slack_cpus() > 0.5, "slack")
    late = [(framework, framework.calls("decline"), framework.run("true")) for framework in (running, other)]
    for framework, declined, job in late:
        assert "touchy suffers there" in why(framework, job, "nothing new")
        eventually(lambda of=framework, then=declined: of.calls("decline") > then, "an offer that is not used")
    with stranger(running, "sleep", "600"):
        assert [framework.state(job) for framework, _, job in late] == ["pending", "pending"]
    for framework, _, job in late:
        framework.end(job)
