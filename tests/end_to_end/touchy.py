"""The service that suffers as long as a file is touched, and who touches it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from serenity.cli.demo.production import Service, sli_labels
from serenity.cli.stack import free_agent_port
from serenity.wire.transport.http import Endpoint, request
from tests.end_to_end.running import CPUS, MEM_MB, Running

_SERVICE = Path(__file__).with_name("touchy_service.py")
# Touches the file that hurts the service, and burns CPU, or it would not be suspected.
_CULPRIT = "import os,sys\nwhile True:\n open(sys.argv[1], 'w').close()\n sum(range(200000))"
# Two a second: four while the service is new, ten for a baseline, four that are too young for it.
BASELINE_FRAMES = 18


def services(hurt_file: Path, **labels: str) -> Sequence[Service]:
    """What runs in production: the touchy one, with more `labels`, and one that does nothing and leaves slack."""
    port = free_agent_port()
    command = (sys.executable, "-P", str(_SERVICE), str(port), str(hurt_file))
    return (
        Service("touchy", command, CPUS * 0.25, 256, {**sli_labels(f"127.0.0.1:{port}"), **labels}, port),
        Service("idle", ("sleep", "3600"), CPUS * 0.6, MEM_MB * 0.6),
    )


def culprit(hurt_file: Path) -> tuple[str, ...]:
    """Its command."""
    return sys.executable, "-c", _CULPRIT, str(hurt_file)


def frames(running: Running) -> int:
    """How many the estimator has taken."""
    text = request(Endpoint.parse(running.stack.estimator_address), "GET", "/metrics").body.decode()
    (line,) = [each for each in text.splitlines() if each.startswith("serenity_estimator_frames_total ")]
    return int(float(line.split()[-1]))
