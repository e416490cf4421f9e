"""Machines declared as data: a /proc and cgroup hierarchies in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container
from serenity.qos.sources.draft import Draft, Row
from serenity.qos.sources.places import Places
from serenity.qos.sources.processes import ProcessTable


class Machine:
    """`v1` controllers, and v2 under the name ``v2``, are mounted below the folder."""

    def __init__(self, folder: Path, hierarchies: Iterable[str]) -> None:
        self.folder = folder
        self.proc = folder / "proc"
        self.hierarchies = tuple(hierarchies)
        (self.proc / "self").mkdir(parents=True)
        mounts = [
            f"{i} 1 0:{i} / {folder / name} rw - cgroup2 cgroup2 rw"
            if name == "v2"
            else f"{i} 1 0:{i} / {folder / name} rw - cgroup cgroup rw,{name}"
            for i, name in enumerate(self.hierarchies, 30)
        ]
        (self.proc / "self/mountinfo").write_text("\n".join(mounts) + "\n")

    @property
    def places(self) -> Places:
        return Places(self.proc)

    def container(self, name: str, pid: int, *, production: bool = True, own: Iterable[str] | None = None) -> Row:
        """A row with one process, in a cgroup ``/mesos/NAME`` of `own`, or of every hierarchy."""
        own = self.hierarchies if own is None else tuple(own)
        lines = []
        for i, each in enumerate(self.hierarchies):
            path = f"/mesos/{name}" if each in own else "/"
            lines.append(f"0::{path}" if each == "v2" else f"{i + 1}:{each}:{path}")
            (self.folder / each / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        (self.proc / str(pid)).mkdir(parents=True)
        (self.proc / str(pid) / "cgroup").write_text("\n".join(lines) + "\n")
        role = PRODUCTION if production else BEST_EFFORT
        return Row(Container(name, role, name, 1.0, 0.0, container=name), pid)

    def write(self, hierarchy: str, name: str, **files: str) -> None:
        """Files of a container's cgroup; ``__`` in a name stands for a dot."""
        for file, text in files.items():
            (self.folder / hierarchy / "mesos" / name / file.replace("__", ".")).write_text(text)

    def draft(self, *rows: Row) -> Draft:
        return Draft(rows, lambda: ProcessTable(()))


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Machine]:
    return lambda *hierarchies: Machine(tmp_path, hierarchies)
