from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from serenity.daemon.clock import Clock
from serenity.qos.frame import PRODUCTION
from serenity.qos.sources.draft import Draft, Faults
from serenity.qos.sources.places import Places
from serenity.qos.sources.rates import Rates


class RunDelay:
    """Fills ``run_delay``: how long a container's threads were ready to run and did not, per second.

    Source: the second field of ``/proc/PID/task/TID/schedstat`` (Linux
    ``Documentation/scheduler/sched-stats.rst``), over all threads, each a file to open.  So at
    most `max_threads` are read a sample: production first, and who was left out comes first
    the next time, with a rate over the longer time.  A container with more threads than
    that is never measured, which is said.
    """

    def __init__(
        self, clock: Clock, places: Places, faults: Faults, max_threads: int = 2000, proc: Path = Path("/proc")
    ) -> None:
        self._clock = clock
        self._places = places
        self._faults = faults
        self._max_threads = max_threads
        self._proc = proc
        self._rates = Rates()
        self._threads: dict[str, _Threads] = {}
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
                threads = list(self._files(self._places.of(row).pids(draft)))
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
                waited_s = self._threads.setdefault(row.id, _Threads()).take(now_s, _delays_s(threads))
                draft.fill("run_delay", i, self._rates.rate(row.id, "run_delay", now_s, waited_s))

    def keep(self, row_ids: Collection[str]) -> None:
        self._rates.keep(row_ids)
        for gone in self._threads.keys() - set(row_ids):
            del self._threads[gone]

    def _files(self, pids: Iterator[int]) -> Iterator[tuple[int, str]]:
        for pid in pids:
            folder = f"{self._proc}/{pid}/task"
            try:
                threads = os.listdir(folder)
            except (FileNotFoundError, ProcessLookupError):
                continue  # It ended meanwhile.
            yield from ((int(thread), f"{folder}/{thread}/schedstat") for thread in threads)


def _delays_s(files: list[tuple[int, str]]) -> Iterator[tuple[int, float]]:
    for thread, path in files:
        try:
            with open(path, "rb") as file:
                yield thread, int(file.read().split()[1]) / 1e9
        except (FileNotFoundError, ProcessLookupError):
            continue  # It ended meanwhile.


class _Threads:
    """Run delay of a changing set of threads, as one counter that never falls."""

    def __init__(self) -> None:
        self._before: dict[int, float] = {}
        self._at_s: float | None = None
        self._counter_s = 0.0

    def take(self, now_s: float, delays_s: Iterator[tuple[int, float]]) -> float:
        now = dict(delays_s)
        if self._at_s is not None:
            # A thread cannot have waited for longer than there was time: one that was there before,
            # and joins the container only now, brings no past along.
            elapsed_s = now_s - self._at_s
            for thread, delay_s in now.items():
                before_s = self._before.get(thread, 0.0)
                grown_s = delay_s - before_s if delay_s >= before_s else delay_s  # Lower: the id was used again.
                self._counter_s += min(grown_s, elapsed_s)
        self._before, self._at_s = now, now_s
        return self._counter_s
