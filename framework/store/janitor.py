"""Has the store forget what ended long ago, while this instance leads."""

from __future__ import annotations

import logging
import threading

from serenity.daemon.clock import Clock
from serenity.daemon.metrics import MetricsTable
from serenity.framework.store.errors import StoreError
from serenity.framework.store.worker import StoreWorker

logger = logging.getLogger(__name__)

_EVERY_S = 60.0
_ROWS_A_SLICE = 500


class Janitor:
    """Works in slices between the framework's commits, with pauses, so that none of them waits for long."""

    def __init__(self, store: StoreWorker, keep_s: float, clock: Clock, metrics: MetricsTable) -> None:
        self._store = store
        self._keep_s = keep_s
        self._clock = clock
        self._metrics = metrics
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(_EVERY_S):
            try:
                self.clean_up()
            except StoreError as error:
                logger.info("old jobs are kept for now: %s", error)  # Whoever commits says it louder.

    def clean_up(self) -> int:
        """Everything that is due; returns how many rows went.  Raises StoreError."""
        before_s, gone = self._clock.now_s() - self._keep_s, 0
        while not self._stopping.is_set():
            slice_rows = self._store.run(lambda store: store.clean_up(before_s, _ROWS_A_SLICE))
            if slice_rows == 0:
                break
            gone += slice_rows
            self._metrics.add("serenity_framework_forgotten_rows_total", slice_rows)
        if gone:
            logger.info("forgot %d rows of what ended more than %.0f days ago", gone, self._keep_s / 86400)
        return gone
