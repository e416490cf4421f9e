"""Finds what killed executors have left on the node, and runs `serenity executor --undo` to undo it.

Undoing is a separate process because it kills processes and waits, and the estimator's next sample must not wait.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path

from serenity.daemon.clock import Clock
from serenity.daemon.lock import is_held
from serenity.daemon.open_files import as_inherited
from serenity.wire.messages.node import originals_folder

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 10.0
# What could not be undone is tried again, but is not worth a process every few seconds.
_AGAIN_S = 300.0
_UNDONE_WITHIN_S = 120.0


class LeftOver:
    """Call `look` at every tick."""

    def __init__(self, run_folder: Path, clock: Clock) -> None:
        self._run_folder = run_folder
        self._clock = clock
        self._look_s = clock.monotonic_s()
        self._undoing: threading.Thread | None = None

    def look(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s < self._look_s or (self._undoing is not None and self._undoing.is_alive()):
            return
        self._look_s = now_s + _LOOK_EVERY_S
        if any(map(_is_abandoned, _records(originals_folder(self._run_folder)))):
            self._undoing = threading.Thread(target=self._undo, name="undo", daemon=True)
            self._undoing.start()

    def _undo(self) -> None:
        command = [sys.executable, "-P", "-m", "serenity.executor", "--undo", "--run-dir", str(self._run_folder)]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=_UNDONE_WITHIN_S,
                check=False,
                preexec_fn=as_inherited(),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            logger.error("what a killed executor has left is not undone: %s", error)
            self._look_s = self._clock.monotonic_s() + _AGAIN_S
            return
        for line in (done.stdout + done.stderr).splitlines():
            logger.warning("left by executors that were killed: %s", line)
        if done.returncode != 0:
            self._look_s = self._clock.monotonic_s() + _AGAIN_S


def _records(folder: Path) -> set[Path]:
    """Also records that have only a lock file, because their executor was killed before it wrote them."""
    return {each.with_suffix(".json") for each in folder.glob("*") if each.suffix in (".json", ".lock")}


def _is_abandoned(record: Path) -> bool:
    try:
        return not is_held(record.with_suffix(".lock"))
    except FileNotFoundError:
        return record.exists()  # True: undoing failed the last time.  False: the executor has just ended in order.
    except OSError:
        return False  # Not ours to see.
