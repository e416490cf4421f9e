"""A finding as it goes over the wire, and back: in kill records, and from executor to executor."""

from __future__ import annotations

import math
from typing import cast

from serenity.executor.guarding.actions import name_of
from serenity.qos.contention import Cause, Contention, Evidence, Finding, Suspect
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container
from serenity.wire.messages import node
from serenity.wire.messages.kill_record import Candidate, Detector, Protected, Selection, Signal, Window

# Of each word that others have chosen (a task's id, a label): the message must fit, whatever they chose.
_WORD_CHARACTERS = 256
_DIGITS = 4  # Of scores, after the point: the more suspects fit.


def protected_of(container: Container) -> Protected:
    return Protected(
        framework=_cut(container.framework),
        executor=_cut(container.executor),
        container=_cut(container.container or container.id),
        task=_cut(name_of(container)),
        job=_cut(container.job),
    )


def signal_of(evidence: Evidence) -> Signal:
    return Signal(
        name=_cut(evidence.signal),
        unit=_cut(evidence.unit),
        observed=evidence.observed,
        baseline=evidence.baseline,
        deviation=evidence.deviation,
        threshold=evidence.threshold,
    )


def window_of(evidence: Evidence) -> Window:
    return Window(
        start=evidence.window_start,
        end=evidence.window_end,
        samples=evidence.samples,
        missing=evidence.missing,
    )


def detector_of(contention: Contention) -> Detector:
    return Detector(name=contention.detector, parameters=dict(contention.parameters))


def selection_of(finding: Finding, most: int | None = None) -> Selection:
    """`most`: so many of the suspects, the most suspicious."""
    return Selection(strategy=finding.strategy, candidates=tuple(map(_candidate, finding.suspects[:most])))


def finding_of(accuse: node.Accuse) -> Finding:
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
        # `Accusations.received` has checked that we know the cause.
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


def _candidate(suspect: Suspect) -> Candidate:
    return Candidate(
        task=_cut(suspect.container.id),
        score=round(suspect.score, _DIGITS),
        parts={name: round(value, _DIGITS) for name, value in suspect.parts.items()},
    )


def _cut(word: str) -> str:
    return word if len(word) <= _WORD_CHARACTERS else f"{word[:_WORD_CHARACTERS]}…"
