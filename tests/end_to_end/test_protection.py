"""The heart of it: a production service suffers, and the best-effort task that does it is evicted, with the reason.

No speed of the machine is asserted here; `serenity demo` measures that.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serenity.cli.demo.report import complete
from serenity.wire.messages.node import qos_off_file
from tests.clusters import KINDS_AND_CGROUPS
from tests.end_to_end import touchy
from tests.end_to_end.running import QUICK, Running, running_stack
from tests.polling import eventually


@pytest.fixture
def hurt_file(tmp_path: Path) -> Path:
    return tmp_path / "hurt"


@pytest.fixture(params=KINDS_AND_CGROUPS)
def running(request: pytest.FixtureRequest, hurt_file: Path) -> Iterator[Running]:
    settings = {
        "SERENITY_EXECUTOR_RUNG0": "false",
        "SERENITY_EXECUTOR_WATCH_S": "2",
        "SERENITY_EXECUTOR_RECOVER_S": "1",
        "SERENITY_EXECUTOR_HOLD_S": "1",
        "SERENITY_EXECUTOR_PIPELINE": str(QUICK),
    }
    with running_stack(request.param, touchy.services(hurt_file), **settings) as stack:
        yield stack


@pytest.mark.slow
def test_the_culprit_goes_down_the_ladder_to_its_end_and_the_harmless_task_survives(
    running: Running, hurt_file: Path
) -> None:
    before = touchy.frames(running)
    switch = qos_off_file(running.stack.options.run_dir)
    switch.touch()
    harmless = running.submit("--name", "harmless", "--cpus", "0.1", "--mem", "32M", "--", "sleep", "600")
    running.wait_for_running(harmless)
    eventually(lambda: touchy.frames(running) >= before + touchy.BASELINE_FRAMES, "a baseline")

    culprit = running.submit(
        *("--name", "culprit", "--cpus", "0.2", "--mem", "64M", "--grace", "1s"),
        *("--", *touchy.culprit(hurt_file)),
    )
    running.wait_for_running(culprit)
    unprotected_until = time.monotonic() + 6
    while time.monotonic() < unprotected_until:
        assert running.attempts(culprit, "killed") == [], "evicted although corrections are switched off"

    switch.unlink()
    (evicted,) = eventually(lambda: running.attempts(culprit, "killed"), "the eviction", 40.0)
    assert (evicted["reason"], evicted["retry"]["charged"]) == ("QOS_CPU", False) or evicted["reason"] == "QOS_SLO"
    record = evicted["record"]
    assert complete(record)
    assert record["protected"]["task"] == "touchy"
    assert record["signal"]["observed"] < 0.5 * record["signal"]["baseline"]
    # It hurts however slowly it runs, not while it is frozen, and again as soon as it is thawed.
    steps = [step["action"].split()[0] for step in record["ladder"]]
    assert steps[:3] == ["throttle", "throttle", "freeze"] and steps[-2:] == ["thaw", "evict"]
    assert record["selection"]["candidates"][0]["task"] == evicted["task"]
    assert [each["state"] for each in running.attempts(harmless)] == ["running"]

    told = [json.loads(line) for line in running.serenity("show", culprit, "--json").stdout.splitlines()]
    assert "killed by QoS" in json.dumps(told)
    assert "touchy" in running.serenity("show", culprit).stdout
    eventually(lambda: "recovered after" in running.serenity("show", culprit).stdout, "what the eviction has led to")
    assert running.attempts(culprit, "killed")[0]["record"]["outcome"].startswith("recovered after")
    for job in (culprit, harmless):
        running.serenity("kill", job)
        running.serenity("wait", job, "--timeout", "30", code=6)
