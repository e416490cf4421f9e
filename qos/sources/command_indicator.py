"""Indicators that a program of the operator's prints: one number on its standard output."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from serenity.daemon.clock import Clock
from serenity.daemon.open_files import as_inherited
from serenity.qos.sources.exchange import TIMEOUT_S, Answer, ExchangeError

MAX_OUTPUT_BYTES = 4096
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(slots=True)
class _Run:
    process: subprocess.Popen[bytes]
    name: str
    began_s: float
    output: bytearray = field(default_factory=bytearray)


class Commands:
    """Runs each at most once at a time; what one prints is taken at the sample after it has ended.

    It gets ``SERENITY_CONTAINER``, ``SERENITY_JOB`` and ``SERENITY_PID`` in its environment,
    and five seconds.
    """

    def __init__(self, clock: Clock, timeout_s: float = TIMEOUT_S) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._runs: dict[str, _Run] = {}
        self._failed: dict[str, Answer] = {}

    def ask(self, row_id: str, command: Sequence[str], environment: dict[str, str]) -> None:
        """Starts it, unless it is still running."""
        if row_id in self._runs:
            return
        now_s = self._clock.monotonic_s()
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"PATH": _PATH, **environment},
                start_new_session=True,
                preexec_fn=as_inherited(),
            )
        except OSError as error:
            self._failed[row_id] = Answer(now_s, ExchangeError(f"{command[0]}: {error.strerror}"))
            return
        except ValueError as error:  # A name that no environment can hold.
            self._failed[row_id] = Answer(now_s, ExchangeError(f"{command[0]}: {error}"))
            return
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._runs[row_id] = _Run(process, command[0], now_s)

    def collect(self) -> dict[str, Answer]:
        """Of those that have ended; never waits."""
        answers, self._failed = self._failed, {}
        now_s = self._clock.monotonic_s()
        for row_id, run in list(self._runs.items()):
            try:
                ended = self._go_on(run, now_s)
            except ExchangeError as error:
                answers[row_id] = Answer(now_s, error)
                self._end(row_id)
                continue
            if ended:
                answers[row_id] = Answer(now_s, bytes(run.output))
                self._end(row_id)
        return answers

    def keep(self, row_ids: Collection[str]) -> None:
        for gone in self._runs.keys() - set(row_ids):
            self._end(gone)

    def close(self) -> None:
        self.keep(())

    def _go_on(self, run: _Run, now_s: float) -> bool:
        """Whether it has ended well.  Raises ExchangeError when it has not, or is to be ended."""
        assert run.process.stdout is not None
        ended = _has_ended(run.process)  # First: what it has printed until then is all of it.
        with contextlib.suppress(BlockingIOError):  # It has not said more yet.
            while piece := os.read(run.process.stdout.fileno(), MAX_OUTPUT_BYTES):
                run.output += piece
                if len(run.output) > MAX_OUTPUT_BYTES:
                    raise ExchangeError(f"{run.name} printed more than {MAX_OUTPUT_BYTES} bytes")
        if not ended:
            if now_s - run.began_s >= self._timeout_s:
                raise ExchangeError(f"{run.name} did not end within {self._timeout_s:g} s")
            return False
        self._kill(run.process)
        if run.process.returncode != 0:
            raise ExchangeError(f"{run.name} ended with {run.process.returncode}")
        return True

    def _end(self, row_id: str) -> None:
        run = self._runs.pop(row_id)
        self._kill(run.process)
        assert run.process.stdout is not None
        run.process.stdout.close()

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        """With all that it has started and left behind: one each second would fill the machine.

        The kernel reuses no pid while a process group of that number has members.  So once our child has been reaped, a
        process with its pid is a stranger, and our group is gone.
        """
        reaped = process.returncode is not None
        if not (reaped and os.path.exists(f"/proc/{process.pid}")):
            with contextlib.suppress(ProcessLookupError):  # Nobody was left behind.
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Not waited for by that, if it can be helped: gevent waits for all children by itself."""
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return process.poll() is not None


def value(output: bytes) -> float:
    """Raises ValueError when it is not one number."""
    try:
        return float(output)
    except ValueError:
        raise ValueError(f"it printed {output[:40]!r}, which is no number") from None
