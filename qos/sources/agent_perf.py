"""Hardware counters sampled by the agent itself (``statistics.perf``), for machines where we cannot count."""

from __future__ import annotations

from collections.abc import Collection

from serenity.daemon.clock import Clock
from serenity.qos.sources.draft import Draft

# Column → fields of Mesos' ``PerfStatistics``; the first that is present counts.
_FIELDS = {
    "cycles": ("cycles",),
    "instructions": ("instructions",),
    "llc_misses": ("cache_misses", "llc_load_misses"),
    "stalls": ("stalled_cycles_backend",),
}
# By default the agent samples for ten seconds every minute, and is asked every ten seconds.
_MOST_AGE_S = 30.0


class AgentPerf:
    """Fills ``cycles``, ``instructions``, ``llc_misses`` and ``stalls``; each of the agent's samples fills one frame.

    Source: isolator ``cgroups/perf_event`` with ``--perf_events``.  Rates are over the sample's
    own duration.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._taken: dict[str, float] = {}  # Row → when the last sample taken began.

    def read(self, draft: Draft) -> None:
        for i, row in enumerate(draft.rows):
            perf = row.perf
            if perf is None or self._taken.get(row.id) == perf.began_at:
                continue
            self._taken[row.id] = perf.began_at
            if self._clock.now_s() - (perf.began_at + perf.duration_s) > _MOST_AGE_S:
                continue
            for column, names in _FIELDS.items():
                count = next((perf.counts[name] for name in names if name in perf.counts), None)
                draft.fill(column, i, None if count is None else count / perf.duration_s)

    def keep(self, row_ids: Collection[str]) -> None:
        for gone in self._taken.keys() - set(row_ids):
            del self._taken[gone]

    def close(self) -> None:
        """Nothing to undo."""
