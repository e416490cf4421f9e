"""The kill record: why one best-effort task was taken away, with the evidence.

It travels as JSON in ``TaskStatus.data``; its id and cause also as labels, and one line for people in ``message``.
The executor writes it.  The framework adds `Retry`, and what the eviction has led to, once the executor reports that
(wire/messages/corrections.py).
"""

from __future__ import annotations

import math

import msgspec

from serenity.wire.messages.reasons import Reason
from serenity.wire.transport.undecodable import UNDECODABLE

SCHEMA = 1
# Mesos carries the record in memory on agent and master until it is acknowledged.
MAX_BYTES = 16 * 1024

LABEL_ID = "serenity.kill.id"
LABEL_CAUSE = "serenity.kill.cause"
LABEL_REASON = "serenity.reason"


class RecordError(ValueError):
    """No kill record, or one of a schema that this version does not know."""


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    hostname: str


class TaskResources(msgspec.Struct, frozen=True, kw_only=True):
    cpus: float
    mem_bytes: int


class Killed(msgspec.Struct, frozen=True, kw_only=True):
    task: str
    job: str
    attempt: int
    ran_for_s: float
    resources: TaskResources


class Protected(msgspec.Struct, frozen=True, kw_only=True):
    """The production task that was suffering."""

    framework: str
    executor: str
    container: str
    task: str
    job: str = ""  # The task's job; empty in records of versions that did not report it.


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen on the protected task.  `deviation` is (observed - baseline) / baseline.

    JSON has no NaN and no infinity, such as the deviation from a baseline of 0: they are sent as None.
    """

    name: str
    unit: str
    observed: float | None
    baseline: float | None
    deviation: float | None
    threshold: float | None


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The samples that the decision rests on; times in seconds since the epoch."""

    start: float
    end: float
    samples: int
    missing: int


class Detector(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    parameters: dict[str, float | int | str | bool | None]


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`parts`: what each part of the strategy added to the score; empty if the strategy has only one part."""

    task: str
    score: float | None
    parts: dict[str, float | None] = {}


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Why this task and not another: all suspects, most suspicious first."""

    strategy: str
    candidates: tuple[Candidate, ...]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the ladder that was tried on this task.  `at`: seconds since the epoch."""

    action: str
    at: float
    outcome: str


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    code: int | None
    signal: int | None


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """What the framework does next; `not_before`: seconds since the epoch, None: not retried."""

    charged: bool
    attempt: int | None
    not_before: float | None
    avoid: tuple[str, ...]  # Hostnames.


class KillRecord(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    decided_at: float  # Seconds since the epoch.
    agent: Agent
    killed: Killed
    reason: str  # A code of `Reason`; a str, because a newer version's record must still be shown.
    detail: str = ""  # What the reason does not say, such as by how much a limit was exceeded.
    cause: str | None = None
    protected: Protected | None = None
    signal: Signal | None = None
    window: Window | None = None
    detector: Detector | None = None
    selection: Selection | None = None
    ladder: tuple[Step, ...] = ()
    graceful: bool | None = None  # Whether the task ended within its grace period.
    exit: Exit | None = None
    retry: Retry | None = None
    outcome: str | None = None  # What the eviction has led to; None: not reported, and never guessed.
    schema: int = SCHEMA

    def encode(self) -> bytes:
        """JSON of at most `MAX_BYTES`: the least suspicious candidates are left out first, then ladder steps."""
        record = self
        while True:
            data = msgspec.json.encode(record)
            if len(data) <= MAX_BYTES:
                return data
            if record.selection is not None and len(record.selection.candidates) > 1:
                kept = record.selection.candidates[: len(record.selection.candidates) // 2]
                record = msgspec.structs.replace(
                    record, selection=msgspec.structs.replace(record.selection, candidates=kept)
                )
            elif len(record.ladder) > 1:
                record = msgspec.structs.replace(record, ladder=record.ladder[-(len(record.ladder) // 2) :])
            else:
                raise RecordError(f"the record of {self.killed.task} is {len(data)} bytes; {MAX_BYTES} are the limit")

    @classmethod
    def decode(cls, data: bytes) -> KillRecord:
        """Raises RecordError, naming the field that is wrong."""
        try:
            record = msgspec.json.decode(data, type=cls)
        except UNDECODABLE as error:
            raise RecordError(f"no kill record: {error}") from error
        if record.schema > SCHEMA:
            raise RecordError(f"a kill record of schema {record.schema}; this version knows {SCHEMA}")
        return record

    @property
    def evicted(self) -> bool:
        """Whether the task was taken away for production's sake, so that its eviction has an outcome."""
        return self.known_reason is not None and self.known_reason.by_qos and bool(self.ladder)

    @property
    def known_reason(self) -> Reason | None:
        return Reason.__members__.get(self.reason)

    def line(self, now: float | None = None) -> str:
        """One line for people.  With `now` (seconds since the epoch) it includes the retry."""
        reason = self.known_reason
        if reason is not None and reason.by_qos:
            text = f"killed by QoS on {self.agent.hostname}: {self._evidence(reason)}"
        else:
            text = f"killed on {self.agent.hostname} ({self.reason}): {self._evidence(reason)}"
        return text + (self._retry_text(now) if now is not None else "")

    def _evidence(self, reason: Reason | None) -> str:
        if self.protected is None or self.signal is None:
            text = reason.text if reason is not None else f"reason {self.reason}"
            return f"{text} ({self.detail})" if self.detail else text
        signal, window = self.signal, self.window
        text = (
            f"{self.protected.framework}/{self.protected.task} {signal.name} "
            f"{_number(signal.observed)} vs {_number(signal.baseline)} baseline"
        )
        if signal.unit:
            text += f" {signal.unit}"
        if window is not None:
            seen = window.samples - window.missing
            text += f" ({seen} of {window.samples} samples, {window.end - window.start:.0f} s)"
        return text

    def _retry_text(self, now: float) -> str:
        if self.retry is None or self.known_reason is Reason.KILLED_BY_USER:
            return ""
        if self.retry.attempt is None:
            return "; no retry left"
        text = f"; retry {self.retry.attempt}, {'charged' if self.retry.charged else 'free'}"
        if self.retry.not_before is not None and self.retry.not_before > now:
            text += f", in {self.retry.not_before - now:.0f} s"
        if self.retry.avoid:
            text += f", avoiding {', '.join(self.retry.avoid)}"
        return text


def _number(value: float | None) -> str:
    """Three digits; from 100 up to a billion the whole number, without an exponent: 2.9, 61234."""
    if value is None or not math.isfinite(value):
        return "?"
    return f"{value:.0f}" if 100 <= abs(value) < 1e9 else f"{value:.3g}"
