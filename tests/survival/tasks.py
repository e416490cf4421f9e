"""What the tasks of a sequence do, and what they leave behind as witnesses: marks in a file, and a lock.

Every process of an attempt holds its instance's lock, for it inherits the open file: two attempts at the same time
cannot both have it, whatever anybody believes of them, and while it is held somebody of the instance lives.
"""

from __future__ import annotations

import enum
import fcntl
from dataclasses import dataclass
from pathlib import Path

_BEGIN = """\
cd {folder}
exec 9>>"${{SERENITY_TASK%.*}}.lock"
flock -n 9 || {{ echo "doubled $SERENITY_TASK" >> marks; exit 99; }}
echo "started $SERENITY_TASK" >> marks
"""
_END = 'echo "ended $SERENITY_TASK" >> marks; exit {code}'
_UNTIL_TOLD = "while [ ! -e word ]; do sleep 0.2; done"
# Neither goes by itself, or at a SIGTERM; the second has left the session as well, and its parent.
_RELATIVES = """\
sh -c 'trap "" TERM; while :; do sleep 0.5; done' &
(setsid sh -c 'trap "" TERM; while :; do sleep 0.5; done' &)
"""
# Uses enough of a cpu to be suspected of what production suffers, and leaves the machine to others.
_BURN = "while [ ! -e word ]; do i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 0.05; done"


class Way(enum.Enum):
    """How a task comes to its end.  The values are shell, after `_BEGIN`."""

    SHORT = "sleep {for_s}"
    LIVING = _UNTIL_TOLD
    FAMILY = _RELATIVES + _UNTIL_TOLD
    BURNING = _BURN
    STUBBORN = f"trap '' TERM\n{_RELATIVES}while :; do sleep 0.2; done"


@dataclass(frozen=True)
class Job:
    """`way` is what each of its instances does; then it exits with `code`."""

    name: str
    submitted_s: float
    way: Way
    for_s: float = 0.0
    code: int = 0
    instances: int = 1
    killed_s: float | None = None  # When its user wants it no more.

    def __str__(self) -> str:
        lasts = f" for {self.for_s:g} s" if self.way is Way.SHORT else ""
        end = "" if self.killed_s is None else f", killed by its user at {self.killed_s:g} s"
        return f"job {self.name}: {self.instances} x {self.way.name}{lasts}, exit {self.code}{end}"

    @property
    def waits(self) -> bool:
        """It ends when it is told to."""
        return self.killed_s is None and self.way is not Way.SHORT

    @property
    def end(self) -> str:
        """The state that it is to come to."""
        if self.killed_s is not None:
            return "killed"
        return "finished" if self.code == 0 else "failed"

    def command(self, folder: Path) -> tuple[str, ...]:
        body = self.way.value.format(for_s=self.for_s) if self.way is Way.SHORT else self.way.value
        return "sh", "-c", f"{_BEGIN.format(folder=folder)}{body}\n{_END.format(code=self.code)}"


class Traces:
    """What the tasks of one sequence have left in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)

    def tell(self) -> None:
        """Those that wait for it end."""
        (self.folder / "word").touch()

    def of(self, mark: str) -> list[str]:
        """The tasks that have left it, in order."""
        marks = self.folder / "marks"
        lines = marks.read_text().splitlines() if marks.exists() else []
        return [line.split()[1] for line in lines if line.startswith(f"{mark} ")]

    def alive(self) -> set[str]:
        """The instances, as JOB.NUMBER, of which some process lives."""
        return {each.stem for each in self.folder.glob("*.lock") if _held(each)}


def _held(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
