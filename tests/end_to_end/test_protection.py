"""The heart of it: a production service suffers, and the best-effort task that does it is evicted, with the reason.

No speed of the machine is asserted here; `serenity demo` measures that.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serenity.cli.demo.production import Service, sli_labels
from serenity.cli.demo.report import complete
from serenity.cli.stack import free_agent_port
from serenity.wire.messages.node import qos_off_file
from serenity.wire.transport.http import Endpoint, request
from tests.clusters import KINDS_AND_CGROUPS
from tests.end_to_end.running import CPUS, MEM_MB, QUICK, Running, running_stack
from tests.polling import eventually

SERVICE = Path(__file__).with_name("touchy_service.py")
# Touches the file that hurts the service, and burns CPU, or it would not be suspected.
CULPRIT = "import os,sys\nwhile True:\n open(sys.argv[1], 'w').close()\n sum(range(200000))"
# Two a second: four while the service is new, ten for a baseline, four that are too young for it.
BASELINE_FRAMES = 18


@pytest.fixture
def hurt_file(tmp_path: Path) -> Path:
    return tmp_path / "hurt"


@pytest.fixture(params=KINDS_AND_CGROUPS)
def running(request: pytest.FixtureRequest, hurt_file: Path) -> Iterator[Running]:
    port = free_agent_port()
    command = (sys.executable, "-P", str(SERVICE), str(port), str(hurt_file))
    services = [
        Service("touchy", command, CPUS * 0.25, 256, sli_labels(f"127.0.0.1:{port}"), port),
        Service("idle", ("sleep", "3600"), CPUS * 0.6, MEM_MB * 0.6),
    ]
    settings = {
        "SERENITY_EXECUTOR_RUNG0": "false",
        "SERENITY_EXECUTOR_WATCH_S": "2",
        "SERENITY_EXECUTOR_RECOVER_S": "1",
        "SERENITY_EXECUTOR_HOLD_S": "1",
        "SERENITY_EXECUTOR_PIPELINE": str(QUICK),
    }
    with running_stack(request.param, services, **settings) as stack:
        yield stack


def frames(running: Running) -> int:
    """How many the estimator has taken."""
    text = request(Endpoint.parse(running.stack.estimator_address), "GET", "/metrics").body.decode()
    (line,) = [each for each in text.splitlines() if each.startswith("serenity_estimator_frames_total ")]
    return int(float(line.split()[-1]))


def test_the_culprit_goes_down_the_ladder_to_its_end_and_the_harmless_task_survives(
    running: Running, hurt_file: Path
) -> None:
    before = frames(running)
    switch = qos_off_file(running.stack.options.run_dir)
    switch.touch()
    harmless = running.submit("--name", "harmless", "--cpus", "0.1", "--mem", "32M", "--", "sleep", "600")
    running.wait_for_running(harmless)
    eventually(lambda: frames(running) >= before + BASELINE_FRAMES, "a baseline")

    culprit = running.submit(
        *("--name", "culprit", "--cpus", "0.2", "--mem", "64M", "--grace", "1s"),
        *("--", sys.executable, "-c", CULPRIT, str(hurt_file)),
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
