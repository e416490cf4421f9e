from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from serenity.daemon.clock import Clock
from serenity.qos.frame import PRODUCTION
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.files import KeptFiles
from serenity.qos.sources.rates import Members, Rates
from serenity.qos.sources.residents import Residents
from serenity.qos.sources.taskstats import Taskstats
from serenity.qos.sources.turns import Turns


class _Reader(Protocol):
    """`what`: the kind of ids, processes or threads, that have a counter each."""

    what: str

    def ids(self, row: Row, draft: Draft) -> list[int]:
        """Raises OSError when the container is gone."""

    def delay_s(self, row_id: str, number: int) -> float:
        """Run delay since it began.  Raises FileNotFoundError or ProcessLookupError: it has ended."""

    def forget(self, row_id: str, gone: Collection[int]) -> None: ...
    def close(self) -> None: ...


class RunDelay:
    """Fills ``run_delay`` of production: how long its threads were ready to run and did not, per second.

    Not of best-effort: it costs more than all else in a sample, and best-effort's waiting is used nowhere.

    Source: taskstats, one question a process, where this process may ask it; else the second
    field of ``/proc/TID/schedstat`` (Linux ``Documentation/scheduler/sched-stats.rst``), a file
    to read for each thread.  A sample makes at most `max_readings` of either: a container that was
    left out comes first the next time, with a rate over the longer time.  A container that needs
    more readings than that is never measured, and this is reported.
    """

    def __init__(
        self,
        clock: Clock,
        faults: Faults,
        files: KeptFiles,
        residents: Residents,
        max_readings: int = 2000,
        proc: Path = Path("/proc"),
        open_taskstats: Callable[[], Taskstats] = Taskstats,
    ) -> None:
        self._clock = clock
        self._residents = residents
        self._faults = faults
        self._files = files
        self._max_readings = max_readings
        self._proc = proc
        self._open_taskstats = open_taskstats
        self._reader: _Reader | None = None
        self._rates = Rates()
        self._members: dict[str, Members] = {}
        self._read_at_s: dict[str, float] = {}
        self._left_out: set[str] = set()
        self._present = (proc / "self/schedstat").exists()

    def read(self, draft: Draft) -> None:
        if not self._present:
            self._faults.lacks("this kernel tells no run delay (no CONFIG_SCHED_INFO)")
            return
        reader = self._reader = self._reader or self._best_reader()
        order = sorted(
            (i for i, row in enumerate(draft.rows) if row.pid is not None and row.container.role == PRODUCTION),
            key=lambda i: draft.rows[i].id not in self._left_out,
        )
        left, self._left_out = self._max_readings, set()
        for i in order:
            row = draft.rows[i]
            draft.turns.give()
            try:
                ids = reader.ids(row, draft)
                if len(ids) > left:
                    self._left_out.add(row.id)
                    if len(ids) > self._max_readings:
                        raise OSError(f"{len(ids)} {reader.what}; {self._max_readings} are read")
                    continue
                left -= len(ids)
                if ids:
                    now_s = self._clock.monotonic_s()
                    waited_s = self._waited_s(reader, row.id, now_s, ids, draft.turns)
                    draft.fill("run_delay", i, self._rates.rate(row.id, "run_delay", now_s, waited_s))
            except (OSError, ValueError) as error:
                self._faults.count("run_delay", row.id, error)

    def keep(self, row_ids: Collection[str]) -> None:
        self._rates.keep(row_ids)
        for gone in self._members.keys() - set(row_ids):
            del self._members[gone], self._read_at_s[gone]

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def _best_reader(self) -> _Reader:
        try:
            return _Processes(self._residents, self._open_taskstats())
        except OSError as error:
            self._faults.lacks(f"run delay is read thread by thread, for want of taskstats: {error}")
            return _Threads(self._residents, self._files, self._proc)

    def _waited_s(self, reader: _Reader, row_id: str, now_s: float, ids: Collection[int], turns: Turns) -> float:
        delays_s = {}
        for each in ids:
            turns.give()
            try:
                delays_s[each] = reader.delay_s(row_id, each)
            except (FileNotFoundError, ProcessLookupError):
                continue  # It has ended meanwhile.
        members = self._members.setdefault(row_id, Members())
        if gone := members.gone(delays_s):
            reader.forget(row_id, gone)
        # A new thread or process counts with no more delay than the time since the last reading: an older one
        # that only now joins the container must not bring its past along.
        elapsed_s = now_s - self._read_at_s.get(row_id, now_s)
        self._read_at_s[row_id] = now_s
        return members.take(delays_s, most_new=elapsed_s)


class _Processes:
    what = "processes"

    def __init__(self, residents: Residents, taskstats: Taskstats) -> None:
        self._taskstats = taskstats
        self.ids = residents.pids

    def delay_s(self, row_id: str, number: int) -> float:
        return self._taskstats.run_delay_s(number)

    def forget(self, row_id: str, gone: Collection[int]) -> None:
        """Nothing is kept of them."""

    def close(self) -> None:
        self._taskstats.close()


class _Threads:
    what = "threads"

    def __init__(self, residents: Residents, files: KeptFiles, proc: Path) -> None:
        self.ids = residents.threads
        self._files = files
        self._proc = proc

    def delay_s(self, row_id: str, number: int) -> float:
        return int(self._files.read(row_id, self._path(number)).split()[1]) / 1e9

    def forget(self, row_id: str, gone: Collection[int]) -> None:
        self._files.forget(row_id, map(self._path, gone))

    def close(self) -> None:
        """Nothing to do: the files belong to `KeptFiles`, which closes them."""

    def _path(self, thread: int) -> str:
        return f"{self._proc}/{thread}/schedstat"
