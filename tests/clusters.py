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
# A stand-in for Mesos' command executor has a race: between the command's end and the update that tells it, an
# acknowledgement of an earlier one ends it ("Executor terminated": seen for 1 to 7 % of the tasks of a busy machine).
_ENDS_EARLY = "if update and self.terminated and not self.updates:"
_ENDS_LAST = """if update and not self.updates and update["status"]["state"] in (
                    "TASK_FINISHED", "TASK_FAILED", "TASK_KILLED"):"""


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


def with_patient_executor(mesos: Path, folder: Path) -> Path:
    """`mesos`, or where its executor is that stand-in, `folder` with links to its files and the race mended."""
    executor = mesos / "mesos-executor"
    text = executor.read_bytes() if executor.exists() else b""
    if _ENDS_EARLY.encode() not in text:
        return mesos
    for each in mesos.iterdir():
        if each != executor:
            (folder / each.name).symlink_to(each)
    mended = folder / executor.name
    mended.write_bytes(text.replace(_ENDS_EARLY.encode(), _ENDS_LAST.encode()))
    mended.chmod(0o755)
    return folder


def last_words(logs: Iterable[Path]) -> str:
    """The end of each log, for the report of a test that failed."""
    said = ((log, log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")) for log in logs)
    return "\n".join(f"-- {log}\n{text}" for log, text in said if text)
