from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from serenity.daemon.clock import Clock
from serenity.qos.frame import PRODUCTION
from serenity.qos.sources.draft import Draft, Faults
from serenity.qos.sources.files import KeptFiles
from serenity.qos.sources.rates import Members, Rates
from serenity.qos.sources.residents import Residents


class RunDelay:
    """Fills ``run_delay``: how long a container's threads were ready to run and did not, per second.

    Source: the second field of ``/proc/TID/schedstat`` (Linux
    ``Documentation/scheduler/sched-stats.rst``), over all threads, each a file to read.  So at
    most `max_threads` are read a sample: production first, and who was left out comes first
    the next time, with a rate over the longer time.  A container with more threads than
    that is never measured, which is said.
    """

    def __init__(
        self,
        clock: Clock,
        faults: Faults,
        files: KeptFiles,
        residents: Residents,
        max_threads: int = 2000,
        proc: Path = Path("/proc"),
    ) -> None:
        self._clock = clock
        self._residents = residents
        self._faults = faults
        self._files = files
        self._max_threads = max_threads
        self._proc = proc
        self._rates = Rates()
        self._threads: dict[str, Members] = {}
        self._read_at_s: dict[str, float] = {}
        self._left_out: set[str] = set()
        self._present = (proc / "self/schedstat").exists()

    def read(self, draft: Draft) -> None:
        if not self._present:
            self._faults.lacks("this kernel tells no run delay (no CONFIG_SCHED_INFO)")
            return
        order = sorted(
            (i for i, row in enumerate(draft.rows) if row.pid is not None),
            key=lambda i: (draft.rows[i].container.role != PRODUCTION, draft.rows[i].id not in self._left_out),
        )
        left, self._left_out = self._max_threads, set()
        for i in order:
            row = draft.rows[i]
            try:
                threads = self._residents.threads(row, draft)
            except OSError as error:
                self._faults.count("run_delay", row.id, error)
                continue
            if len(threads) > left:
                self._left_out.add(row.id)
                if len(threads) > self._max_threads:
                    self._faults.count("run_delay", row.id, f"{len(threads)} threads; {self._max_threads} are read")
                continue
            left -= len(threads)
            if threads:
                now_s = self._clock.monotonic_s()
                waited_s = self._waited_s(row.id, now_s, threads)
                draft.fill("run_delay", i, self._rates.rate(row.id, "run_delay", now_s, waited_s))

    def keep(self, row_ids: Collection[str]) -> None:
        self._rates.keep(row_ids)
        for gone in self._threads.keys() - set(row_ids):
            del self._threads[gone], self._read_at_s[gone]

    def close(self) -> None:
        """It has changed nothing."""

    def _waited_s(self, row_id: str, now_s: float, threads: Sequence[int]) -> float:
        delays_s = {}
        for thread in threads:
            try:
                delays_s[thread] = int(self._files.read(row_id, self._path(thread)).split()[1]) / 1e9
            except (FileNotFoundError, ProcessLookupError):
                continue  # It ended meanwhile.
        members = self._threads.setdefault(row_id, Members())
        if gone := members.gone(delays_s):
            self._files.forget(row_id, map(self._path, gone))
        # A thread cannot have waited for longer than there was time: one that was there before,
        # and joins the container only now, brings no past along.
        elapsed_s = now_s - self._read_at_s.get(row_id, now_s)
        self._read_at_s[row_id] = now_s
        return members.take(delays_s, most=elapsed_s)

    def _path(self, thread: int) -> str:
        return f"{self._proc}/{thread}/schedstat"
