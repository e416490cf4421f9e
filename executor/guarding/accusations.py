"""What executors on one node tell each other: whose task is suspected of what a production container suffers from.

The executor that owns the top suspect acts.  It sees the same frames, but may not see the same:
it is younger, runs another pipeline, or has learnt another baseline.  So an executor that watches tells it,
at every tick for as long as it holds, and what is not said again is forgotten.

Two executors that accuse each other's tasks would both act, or neither.  Then, on both sides, the word
of the executor whose container has the lesser id counts.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from serenity.daemon.clock import Clock
from serenity.executor.guarding.wire_finding import (
    detector_of,
    finding_of,
    protected_of,
    selection_of,
    signal_of,
    window_of,
)
from serenity.qos.contention import CAUSES, Finding
from serenity.qos.frame import Container
from serenity.wire.messages import node

logger = logging.getLogger(__name__)

TTL_S = 3.0
_LONGEST_TTL_S = 30.0
_ABSOLVED_S = 600.0
_MOST_KEPT = 100  # Protected containers that others speak of; for one more the oldest goes.
_MOST_SUSPECTS = 16


def accusation(suspect: Container, finding: Finding) -> node.Accuse:
    """A finding whose top suspect is `suspect`, for the executor that runs it."""
    contention = finding.contention
    return node.Accuse(
        task_id=suspect.id,
        ttl_s=TTL_S,
        cause=contention.cause,
        severity=contention.severity,
        protected_id=contention.protected.id,
        protected=protected_of(contention.protected),
        signal=signal_of(contention.evidence),
        window=window_of(contention.evidence),
        detector=detector_of(contention),
        selection=selection_of(finding, _MOST_SUSPECTS),
    )


@dataclass(frozen=True, slots=True)
class _Told:
    by: str  # The accuser's container.
    task: str
    finding: Finding
    until_s: float


class Accusations:
    """`received` and `unowned` are called by the node's thread, the rest by the tick's."""

    def __init__(self, clock: Clock, container: str) -> None:
        """`container`: our own."""
        self._clock = clock
        self._container = container
        self._told: dict[tuple[str, str], _Told] = {}  # By protected container and accuser.
        self._absolved: dict[str, float] = {}  # Protected containers, and until when nobody is believed.
        self._unowned: set[str] = set()
        self._unknown: set[tuple[str, str]] = set()  # Accusers and causes that were said: they come at every tick.
        self._lock = threading.Lock()

    def received(self, message: node.Accused) -> None:
        accuse = message.accusation
        if accuse.cause not in CAUSES:
            if (message.by, accuse.cause) not in self._unknown and len(self._unknown) < _MOST_KEPT:
                self._unknown.add((message.by, accuse.cause))
                logger.warning(
                    "%s accuses %s of %.50r, which this version does not know", message.by, accuse.task_id, accuse.cause
                )
            return
        until_s = self._clock.monotonic_s() + min(_LONGEST_TTL_S, max(0.0, accuse.ttl_s))
        told = _Told(message.by, accuse.task_id, finding_of(accuse), until_s)
        with self._lock:
            self._told.pop((accuse.protected_id, message.by), None)
            self._told[accuse.protected_id, message.by] = told
            while len(self._told) > _MOST_KEPT:
                del self._told[next(iter(self._told))]

    def unowned(self, message: node.Unowned) -> None:
        """No executor on the node runs that task."""
        with self._lock:
            self._unowned.add(message.task_id)

    def take_unowned(self) -> set[str]:
        with self._lock:
            unowned, self._unowned = self._unowned, set()
        return unowned

    def absolved(self, protected_id: str) -> None:
        """Our tasks were not the cause of what that container suffers from, whatever others go on to say."""
        self._absolved[protected_id] = self._clock.monotonic_s() + _ABSOLVED_S

    def with_own(self, own: Sequence[Finding], ours: Collection[str]) -> list[Finding]:
        """Our own findings, and those of others that count.  `ours`: our tasks."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            self._told = {key: each for key, each in self._told.items() if each.until_s > now_s}
            told = sorted((each for each in self._told.values() if each.task in ours), key=lambda each: each.by)
        self._absolved = {name: until_s for name, until_s in self._absolved.items() if until_s > now_s}
        found = {each.contention.protected.id: each for each in own}
        for each in told:
            protected = each.finding.contention.protected.id
            if protected in self._absolved:
                continue
            mine = found.get(protected)
            if mine is None or (each.by < self._container and not _accuses_one_of(mine, ours)):
                found[protected] = each.finding
        return list(found.values())


def _accuses_one_of(finding: Finding, ours: Collection[str]) -> bool:
    return bool(finding.suspects) and finding.suspects[0].container.id in ours
