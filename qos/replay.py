"""The decisions that the live loop would make on recorded frames.  Pure: depends on the frames alone.

The recorded containers do not react to decisions, so an episode has a beginning, a few seconds in
which more evidence may change cause and suspects, and an end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from serenity.qos.contention import Finding
from serenity.qos.frame import Frame
from serenity.qos.pipeline import Pipeline

# The live loop sees the effect of a correction after a few seconds.  Until then it may still choose otherwise, and
# replay reports each new choice; after that it has chosen, and another choice would be an escalation.
SETTLES_S = 10.0


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of `serenity qos replay --json`.  `t` and `onset`: seconds of the trace."""

    t: float
    protected: str
    action: str  # throttle, evict or release: the first step of the ladder.
    cause: str = ""
    suspects: list[str] = []
    scores: list[float] = []
    parts: list[dict[str, float]] = []  # What each part adds to a suspect's score.
    onset: float | None = None
    severity: float = 0.0
    signal: str = ""
    observed: float | None = None
    baseline: float | None = None
    detector: str = ""


@dataclass(slots=True)
class _Held:
    since: float
    cause: str
    top: str


class Replay:
    """Call `step` with every frame; it returns the decisions at that frame."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._held: dict[str, _Held] = {}

    def step(self, frame: Frame) -> list[Decision]:
        return list(self._decide(frame.t, self._pipeline.step(frame)))

    def _decide(self, t: float, findings: list[Finding]) -> Iterator[Decision]:
        suffering = {each.contention.protected.id for each in findings}
        for name in [name for name in self._held if name not in suffering]:
            del self._held[name]
            yield Decision(t, name, "release")
        for each in findings:
            name, cause = each.contention.protected.id, each.contention.cause
            top = each.suspects[0].container.id if each.suspects else ""
            held = self._held.get(name)
            if held is None:
                self._held[name] = _Held(t, cause, top)
            elif t - held.since > SETTLES_S or (held.cause, held.top) == (cause, top):
                continue
            else:
                held.cause, held.top = cause, top
            yield _decision(t, each)


def _decision(t: float, finding: Finding) -> Decision:
    contention, evidence = finding.contention, finding.contention.evidence
    return Decision(
        t=t,
        protected=contention.protected.id,
        action="evict" if contention.cause == "memory" else "throttle",  # Throttling frees no memory.
        cause=contention.cause,
        suspects=[each.container.id for each in finding.suspects],
        scores=[round(each.score, 4) for each in finding.suspects],
        parts=[{name: round(value, 4) for name, value in each.parts.items()} for each in finding.suspects],
        onset=evidence.window_start,
        severity=round(contention.severity, 4),
        signal=evidence.signal,
        observed=evidence.observed,
        baseline=evidence.baseline,
        detector=contention.detector,
    )
