"""A command that writes down each of its starts: whoever runs twice, or twice at once, is seen."""

from __future__ import annotations

from pathlib import Path

import psutil

from tests.polling import eventually


class Witness:
    def __init__(self, folder: Path, name: str = "witness") -> None:
        self.starts = folder / f"{name}.pids"
        self._word = folder / f"{name}.word"

    def command(self, then: str) -> tuple[str, ...]:
        """A job's command: `then` is what the shell does next, in the process that was written down."""
        return "sh", "-c", f"echo $$ >> {self.starts}; {then}"

    def until_told(self, code: int = 0) -> tuple[str, ...]:
        """Runs until `tell`, and exits with `code`."""
        return self.command(f"while [ ! -e {self._word} ]; do sleep 0.1; done; exit {code}")

    def tell(self) -> None:
        self._word.touch()

    def wait(self, count: int = 1) -> None:
        """Until so many have started: Mesos says that a task runs before its command has written anything."""
        eventually(lambda: len(self.started) == count, f"{count} starts of {self.starts.stem}")

    @property
    def started(self) -> list[int]:
        """The pids, in the order of their starts."""
        return [int(line) for line in self.starts.read_text().split()] if self.starts.exists() else []

    @property
    def alive(self) -> list[int]:
        return [pid for pid in self.started if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
