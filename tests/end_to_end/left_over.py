"""What a stack has left on the machine after its end: the answer should be nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import psutil

# Below a work directory, as Mesos has it: a folder for each container that ever was.
RUNS = "agent/slaves/*/frameworks/*/executors/*/runs"
# Stays, empty: whoever removed it could take it from under another executor that begins.
_EMPTY = "originals"
_CGROUPS = Path("/sys/fs/cgroup")
# As a real agent logs it among its flags.
_CGROUPS_ROOT = re.compile(r'--cgroups_root="(serenity-[^"]+)"')


def left_over(work_dir: Path, *folders: Path) -> list[str]:
    """Processes and cgroups of the stack in `work_dir`, and everything in `folders`, each in a word."""
    names = _containers(work_dir)
    for log in work_dir.glob("agent.log"):
        names += _CGROUPS_ROOT.findall(log.read_text(errors="replace"))
    return [
        *(f"process {each}" for each in processes_with(str(work_dir))),
        *(f"cgroup {each}" for each in _cgroups(names)),
        *(f"file {each}" for folder in folders for each in folder.rglob("*") if each.name != _EMPTY),
    ]


def our_cgroups(work_dir: Path) -> list[Path]:
    """Those that executors of the stack have made, and that are there."""
    return [Path(each) for each in _cgroups(_containers(work_dir)) if Path(each).name.startswith("serenity-")]


def _containers(work_dir: Path) -> list[str]:
    return [each.name for each in work_dir.glob(f"{RUNS}/*") if each.name != "latest"]


def processes_with(folder: str) -> Iterator[str]:
    """Who has it in its command line or environment; a work directory all have: daemons, Mesos, executors, tasks."""
    for each in psutil.process_iter():
        try:
            said = [*each.cmdline(), *each.environ().values()]
            if each.pid != os.getpid() and any(folder in word for word in said):
                yield f"{each.pid}: {' '.join(each.cmdline())}"
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue  # It has ended, or is another user's.


def _cgroups(names: list[str]) -> Iterator[str]:
    """Mesos' own are named for the container, ours have its name in theirs."""
    for folder, children, _ in os.walk(_CGROUPS):
        yield from (os.path.join(folder, each) for each in children if any(name in each for name in names))
