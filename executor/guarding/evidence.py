"""A finding as it goes over the wire: in kill records, and from executor to executor."""

from __future__ import annotations

from serenity.executor.guarding.actions import name_of
from serenity.qos.contention import Contention, Evidence, Finding, Suspect
from serenity.qos.frame import Container
from serenity.wire.messages.kill_record import Candidate, Detector, Protected, Selection, Signal, Window

# Of a word that others have chosen (a task's id, a label): the message must fit, whatever they chose.
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


def _candidate(suspect: Suspect) -> Candidate:
    return Candidate(
        task=_cut(suspect.container.id),
        score=round(suspect.score, _DIGITS),
        parts={name: round(value, _DIGITS) for name, value in suspect.parts.items()},
    )


def _cut(word: str) -> str:
    return word if len(word) <= _WORD_CHARACTERS else f"{word[:_WORD_CHARACTERS]}…"
