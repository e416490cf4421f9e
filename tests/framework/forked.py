"""Framework processes that cost no second each to start, and die wherever a test likes."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import cast

from serenity.framework.crash_points import CrashPoint
from tests.framework.conftest import FrameworkProcess
from tests.framework.zygote import Child, Zygote


class ForkedFramework(FrameworkProcess):
    def __init__(
        self,
        zygote: Zygote,
        folder: Path,
        master: str,
        role: str,
        more: tuple[str, ...] = (),
        patience_s: float | None = None,
    ) -> None:
        """`patience_s`: before what was lost with an executor, or with the framework, runs again; else as it is."""
        super().__init__(folder, master, role, more=more)
        self._zygote = zygote
        self._order = folder / "die-at"
        self._patience_s = patience_s

    def _begin(self) -> subprocess.Popen[bytes]:
        return cast("subprocess.Popen[bytes]", self._fork(self.log, *self._arguments))

    def _fork(self, log: Path, *arguments: str) -> Child:
        start = {"log": str(log), "arguments": arguments, "die_at": str(self._order), "patience_s": self._patience_s}
        return Child(self._zygote, self._zygote.ask({"start": start}))

    def run(self, *more: str) -> tuple[int, str]:
        """Another one with these arguments more, to its end; its exit code, and what it said."""
        log = self.log.with_name("once.log")
        log.unlink(missing_ok=True)
        return self._fork(log, *self._arguments, *more).wait(), log.read_text()

    def die_at(self, point: CrashPoint) -> None:
        """The next time it passes that."""
        self._order.write_text(point.name)

    def live_again(self) -> None:
        """After it has died there."""
        assert self.wait_until_dead() == -signal.SIGKILL
        assert not self._order.exists(), "it has died of something else"
        self.start()
