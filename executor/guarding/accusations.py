"""What executors on one node tell each other: whose task is suspected of what a production container suffers from.

The executor that owns the top suspect acts.  It sees the same frames, but may not see the same:
it is younger, runs another pipeline, or has learnt another baseline.  So who watches tells it,
at every tick for as long as it holds, and what is not said again is forgotten.

Two that accuse each other's tasks would both act, or neither; then the word of the one whose
container's id is the lesser counts, on both sides.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from serenity.daemon.clock import Clock
from serenity.executor.guarding.evidence import detector_of, protected_of, selection_of, signal_of, window_of
from serenity.qos.contention import CAUSES, Cause, Contention, Evidence, Finding, Suspect
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container
from serenity.wire.messages import node
from serenity.wire.messages.kill_record import Candidate

logger = logging.getLogger(__name__)

TTL_S = 3.0
_LONGEST_TTL_S = 30.0
_ABSOLVED_S = 600.0
_MOST_KEPT = 100  # Protected containers that others speak of; one more makes room for itself.
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
        self._lock = threading.Lock()

    def received(self, message: node.Accused) -> None:
        accuse = message.accusation
        if accuse.cause not in CAUSES:
            logger.warning("%s accuses %s of %r, which this version does not know", message.by, accuse.task_id, accuse)
            return
        until_s = self._clock.monotonic_s() + min(_LONGEST_TTL_S, max(0.0, accuse.ttl_s))
        told = _Told(message.by, accuse.task_id, _finding(accuse), until_s)
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
        """Ours was not the cause of what that container suffers from, whatever others go on to say."""
        self._absolved[protected_id] = self._clock.monotonic_s() + _ABSOLVED_S

    def with_own(self, own: Sequence[Finding], ours: Collection[str]) -> list[Finding]:
        """Our own findings, and what others say where it counts.  `ours`: our tasks."""
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


def _finding(accuse: node.Accuse) -> Finding:
    """As our own pipeline would have made it; the accused is the top suspect, whatever the ranking says."""
    who = accuse.protected
    signal, window = accuse.signal, accuse.window
    evidence = Evidence(
        signal=signal.name,
        unit=signal.unit,
        observed=_number(signal.observed),
        baseline=_number(signal.baseline),
        deviation=_number(signal.deviation),
        threshold=_number(signal.threshold),
        window_start=window.start,
        window_end=window.end,
        samples=window.samples,
        missing=window.missing,
    )
    protected = Container(
        accuse.protected_id,
        PRODUCTION,
        who.job or who.task,
        math.nan,
        math.nan,
        who.framework,
        who.executor,
        who.task,
        who.container,
    )
    candidates = sorted(accuse.selection.candidates, key=lambda each: each.task != accuse.task_id)
    parameters = {name: value for name, value in accuse.detector.parameters.items() if value is not None}
    return Finding(
        # `received` has looked that the cause is one that we know.
        Contention(cast(Cause, accuse.cause), protected, accuse.severity, evidence, accuse.detector.name, parameters),
        accuse.selection.strategy,
        tuple(map(_suspect, candidates)),
    )


def _suspect(candidate: Candidate) -> Suspect:
    parts = {name: _number(value) for name, value in candidate.parts.items()}
    row = Container(candidate.task, BEST_EFFORT, "", math.nan, math.nan, task=candidate.task)
    return Suspect(row, _number(candidate.score), parts)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
