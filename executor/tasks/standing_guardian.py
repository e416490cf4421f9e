"""A guardian for as long as the executor lives: when one is killed, another takes its place.

Without a guardian, tasks of an executor that is killed would run on until the next executor here, or the estimator,
undoes what was left; by then the framework may have started them again on another agent.
"""

from __future__ import annotations

import logging
import os
import select
import threading
import time
from collections.abc import Iterable

from serenity.executor.tasks.guardian import Guardian

logger = logging.getLogger(__name__)

# So that we are not kept busy where each guardian is killed at once.
_AGAIN_S = 0.2


class StandingGuardian:
    """`pid in` it: whether that child of the executor is the guardian."""

    def __init__(self, container_id: str, cgroup_parents: Iterable[str]) -> None:
        """As `Guardian`.  Raises OSError when the process cannot be started."""
        self._container_id = container_id
        self._cgroup_parents = tuple(cgroup_parents)
        self._lock = threading.Lock()  # Guards which process it is, and whether it was ended.
        self._ended = False
        self._guardian = Guardian(container_id, self._cgroup_parents)
        try:
            # Here, where nobody can have reaped it yet and given its pid away.
            pidfd = os.pidfd_open(self._guardian.pid)
        except OSError as error:
            logger.info("nobody sees when the guardian is killed: %s", error)
            return
        threading.Thread(target=self._stand, args=(pidfd,), name="guardian", daemon=True).start()

    def __contains__(self, pid: object) -> bool:
        return pid == self._guardian.pid

    def end(self) -> None:
        """As `Guardian.end`, and no other guardian follows."""
        with self._lock:
            self._ended = True
            self._guardian.end()

    def _stand(self, pidfd: int) -> None:
        while True:
            select.select([pidfd], [], [])
            os.close(pidfd)
            with self._lock:
                if self._ended:
                    return
                logger.warning("the guardian was killed; another takes its place")
                self._guardian.let_go()  # It is reaped in the main thread, as all children are.
                try:
                    self._guardian = Guardian(self._container_id, self._cgroup_parents)
                    pidfd = os.pidfd_open(self._guardian.pid)
                except OSError as error:
                    logger.error("there is no guardian any more: %s", error)
                    return
            time.sleep(_AGAIN_S)
