"""The class of service that resctrl gives best effort: one for this executor's throttled tasks together.

Processors have a handful of classes, so a task cannot have its own.  Its threads are moved in,
for a limit on their cache or their memory bandwidth, and back to where they were.
Source: Linux ``Documentation/filesystems/resctrl.rst``.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterable
from pathlib import Path

from serenity.executor.corrections.actuators import ActuatorError
from serenity.executor.corrections.kernel_files import Knob
from serenity.executor.corrections.originals import Originals

ROOT = Path("/sys/fs/resctrl")
# A tree that makes threads faster than we move them is met again at the next look.
_ROUNDS = 10


class ResctrlClass:
    """`threads_of`: the ids of a task's threads, now.  Everything raises ActuatorError."""

    def __init__(
        self,
        originals: Originals,
        name: str,
        threads_of: Callable[[str], Iterable[int]],
        root: Path = ROOT,
        proc: Path = Path("/proc"),
    ) -> None:
        self.kernel = originals.kernel
        self.originals = originals
        self.root = root
        self.folder = root / name
        self._threads_of = threads_of
        self._proc = proc
        self._wanted_by: dict[str, set[str]] = {}  # By task: the limits that it is in here for.
        self._home: dict[str, str] = {}  # By task: the class that it was in.

    def lacks(self, resources: Iterable[str]) -> str | None:
        """Why none of the resources can be limited; None when one can."""
        if not (self.root / "schemata").exists():
            return f"{self.root} is not mounted"
        if any((self.root / "info" / each).exists() for each in resources):
            return None
        return f"this processor limits no {' nor '.join(resources)}"

    def info(self, resource: str, name: str) -> str:
        try:
            return self.kernel.read(self.root / "info" / resource / name).strip()
        except OSError as error:
            raise ActuatorError.of(error) from error

    def number(self, resource: str, name: str, base: int = 10) -> int:
        text = self.info(resource, name)
        try:
            return int(text, base)
        except ValueError:
            raise ActuatorError(f"info/{resource}/{name} is {text}, and no number") from None

    def knobs(self, resources: Iterable[str]) -> dict[Knob, str]:
        """The class's knobs, one for each domain of those resources that this processor has, each with its resource."""
        found = {}
        try:
            text = self.kernel.read(self.root / "schemata")
        except OSError as error:
            raise ActuatorError.of(error) from error
        for line in text.splitlines():
            resource, _, values = line.strip().partition(":")
            if resource in resources:
                for each in values.split(";"):
                    knob = Knob(self.folder / "schemata", f"{resource}:{each.partition('=')[0].strip()}")
                    found[knob] = resource
        return found

    def default(self, knob: Knob) -> int:
        """What the default class has there: nobody may have more than production may."""
        try:
            return int(self.kernel.value(Knob(self.root / "schemata", knob.key)))
        except OSError as error:
            raise ActuatorError.of(error) from error
        except ValueError:
            raise ActuatorError(f"{knob.key} of {self.root} is no number") from None

    def foreign(self, resources: Iterable[str]) -> str | None:
        """What another writer has made of a limit that we set."""
        for knob in self.knobs(resources):
            found = self.originals.foreign(knob)
            if found is not None:
                return f"{knob} is {found}"
        return None

    def make(self) -> None:
        if self.folder.exists():
            return
        try:
            self.originals.make(self.folder)
        except ActuatorError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOSPC:
                raise ActuatorError("the processor has no class of service (CLOSID) left") from error
            raise

    def join(self, task_id: str, limit: str) -> str:
        """Moves the task in; says who else is in."""
        if task_id not in self._wanted_by:
            self._home[task_id] = self._home_of(task_id)
        self._wanted_by.setdefault(task_id, set()).add(limit)
        self.take_in(task_id)
        others = len(self._wanted_by) - 1
        return f"in class {self.folder.name}" + (f", shared with {others} more of ours" if others else "")

    def take_in(self, task_id: str) -> None:
        """Moves all threads of the task into the class, also those that were made meanwhile."""
        for _ in range(_ROUNDS):
            missing = set(self._threads_of(task_id)) - self._inside()
            if not missing:
                return
            self._move(missing, self.folder)
        raise ActuatorError(f"its threads do not stay in {self.folder}")

    def leave(self, task_id: str, limit: str) -> None:
        """Moves the task out when that was its last limit here; the class goes with the last task."""
        wanted = self._wanted_by.get(task_id, set())
        wanted.discard(limit)
        if not wanted and self._wanted_by.pop(task_id, None) is not None:
            home = self.root / self._home.pop(task_id)
            if self.folder.exists():
                inside = set(self._threads_of(task_id)) & self._inside()
                self._move(inside, home if home.exists() else self.root)
        if not self._wanted_by:
            self.originals.remove(self.folder)

    def _inside(self) -> set[int]:
        try:
            return set(map(int, self.kernel.read(self.folder / "tasks").split()))
        except OSError as error:
            raise ActuatorError.of(error) from error

    def _move(self, threads: Iterable[int], group: Path) -> None:
        for each in sorted(threads):
            try:
                with contextlib.suppress(ProcessLookupError):  # It ended meanwhile.
                    self.kernel.write(group / "tasks", f"{each}\n")
            except OSError as error:
                raise ActuatorError.of(error) from error

    def _home_of(self, task_id: str) -> str:
        """The class of its first thread; "" is the default one, also where the kernel does not tell."""
        first = min(self._threads_of(task_id), default=0)
        try:
            text = (self._proc / str(first) / "cpu_resctrl_groups").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        found = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return found.get("res", "").strip().strip("/")
