"""Which Mesos a test runs on: the embedded one, and the real one with either of its launchers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from serenity.cli.stack import can_isolate_by_cgroups
from serenity.localmesos.cluster.cluster import ClusterOptions, find_mesos

_REAL = pytest.param("real", marks=pytest.mark.real_mesos)
_REAL_WITH_CGROUPS = pytest.param("real-cgroups", marks=[pytest.mark.real_mesos, pytest.mark.root])
# `pytest.fixture(params=…)` of a fixture that asks `cluster_options` for its `request.param`.
KINDS = ["localmesos", _REAL]
# For what Mesos' own cgroups have a part in: how tasks, executors and agents end, and are found again.
KINDS_AND_CGROUPS = [*KINDS, _REAL_WITH_CGROUPS]

_TAIL_BYTES = 3000


def cluster_options(kind: str, work_dir: Path, **more: Any) -> ClusterOptions:
    """Skips the test, visibly, where that kind cannot run."""
    if kind == "localmesos":
        return ClusterOptions(work_dir, **more)
    mesos = find_mesos(None)
    if mesos is None:
        pytest.skip("no mesos-master and mesos-agent: put them on PATH, or their folder into SERENITY_MESOS_BIN")
    cgroups = kind == "real-cgroups"
    if cgroups and not can_isolate_by_cgroups():
        pytest.skip("the linux launcher needs root and cgroups v1 with cpu, cpuacct, memory and freezer")
    return ClusterOptions(work_dir, mesos, cgroups=cgroups, **more)


def last_words(logs: Iterable[Path]) -> str:
    """The end of each log, for the report of a test that failed."""
    said = ((log, log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")) for log in logs)
    return "\n".join(f"-- {log}\n{text}" for log, text in said if text)
