from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest

from serenity.wire.messages.kill_record import (
    MAX_BYTES,
    Agent,
    Candidate,
    Detector,
    Exit,
    Killed,
    KillRecord,
    Protected,
    RecordError,
    Retry,
    Selection,
    Signal,
    Step,
    TaskResources,
    Window,
)
from serenity.wire.messages.reasons import REASON_OF_CAUSE, Payer, Reason

NOW = 1_800_000_000.0


def record(**changes: Any) -> KillRecord:
    """The design's example."""
    fields: dict[str, Any] = {
        "id": "k1",
        "decided_at": NOW,
        "agent": Agent(id="S0", hostname="h7"),
        "killed": Killed(
            task="batch-0-1", job="batch", attempt=1, ran_for_s=12.5, resources=TaskResources(cpus=1, mem_bytes=1 << 20)
        ),
        "reason": "QOS_CACHE",
        "cause": "llc",
        "protected": Protected(framework="web", executor="e", container="c", task="api"),
        "signal": Signal(name="CPI", unit="", observed=2.9, baseline=1.4, deviation=1.07, threshold=0.5),
        "window": Window(start=NOW - 5, end=NOW, samples=5, missing=1),
        "detector": Detector(name="drop", parameters={"window": 5, "strict": True}),
        "selection": Selection(
            strategy="combined",
            candidates=(Candidate(task="batch-0-1", score=0.9, parts={"onset": 0.7, "present": 0.2}),),
        ),
        "ladder": (Step(action="throttle", at=NOW - 3, outcome="no recovery"),),
        "graceful": True,
        "exit": Exit(code=None, signal=15),
    }
    return KillRecord(**{**fields, **changes})


RETRY = Retry(charged=False, attempt=2, not_before=NOW + 45, avoid=("h7",))


def test_the_line_that_people_read() -> None:
    evidence = "killed by QoS on h7: web/api CPI 2.9 vs 1.4 baseline (4 of 5 samples, 5 s)"
    assert record().line() == evidence
    assert record(retry=RETRY).line(NOW) == evidence + "; retry 2, free, in 45 s, avoiding h7"
    assert record(retry=RETRY).line(NOW + 60) == evidence + "; retry 2, free, avoiding h7"
    out = Retry(charged=True, attempt=None, not_before=None, avoid=())
    assert record(retry=out).line(NOW) == evidence + "; no retry left"


@pytest.mark.parametrize(
    ("observed", "baseline", "unit", "expected"),
    [
        (24_311.7, 61_234.2, "ops/s", "24312 vs 61234 baseline ops/s"),
        (99.96, 100.0, "", "100 vs 100 baseline"),
        (0.123456, 0.0, "s/s", "0.123 vs 0 baseline s/s"),
        (3.2e9, math.nan, "1/s", "3.2e+09 vs ? baseline 1/s"),
    ],
)
def test_numbers_as_people_write_them(observed: float, baseline: float, unit: str, expected: str) -> None:
    signal = Signal(name="sli", unit=unit, observed=observed, baseline=baseline, deviation=None, threshold=0.2)
    assert f"sli {expected} (" in record(signal=signal).line()


def test_without_evidence_the_reason_is_told() -> None:
    bare = {"protected": None, "signal": None}
    assert record(reason="MEMORY_LIMIT", **bare).line() == (
        "killed on h7 (MEMORY_LIMIT): the task used more memory than it had asked for"
    )
    assert record(reason="QOS_OF_TOMORROW", **bare).line() == "killed on h7 (QOS_OF_TOMORROW): reason QOS_OF_TOMORROW"
    assert record(reason="QOS_OF_TOMORROW").known_reason is None


def test_json_and_back() -> None:
    whole = record(retry=RETRY)
    assert KillRecord.decode(whole.encode()) == whole
    assert json.loads(whole.encode())["schema"] == 1


def test_what_is_not_finite_survives_as_unknown() -> None:
    """Seen: the deviation from a baseline of 0 made the record unreadable, and the kill one without a reason."""
    signal = Signal(name="run_delay", unit="s/s", observed=0.4, baseline=0.0, deviation=math.inf, threshold=math.nan)
    unknown = Candidate(task="t", score=math.nan, parts={"onset": math.nan})
    selection = Selection(strategy="combined", candidates=(unknown,))
    detector = Detector(name="drop", parameters={"limit": math.inf})
    back = KillRecord.decode(record(signal=signal, selection=selection, detector=detector).encode())
    assert back.signal is not None and back.signal.deviation is None and back.signal.threshold is None
    assert back.selection is not None and back.selection.candidates[0].score is None
    assert back.selection.candidates[0].parts == {"onset": None}


def test_unknown_fields_are_ignored_and_unknown_schemas_named() -> None:
    fields = json.loads(record().encode())
    assert KillRecord.decode(json.dumps({**fields, "mood": "sour"}).encode()) == record()
    with pytest.raises(RecordError, match="schema 2; this version knows 1"):
        KillRecord.decode(json.dumps({**fields, "schema": 2}).encode())


@pytest.mark.parametrize(
    ("data", "message"), [(b"", "no kill record"), (b"\xff", "no kill record"), (b'{"id": "k"}', "decided_at")]
)
def test_what_is_no_record(data: bytes, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        KillRecord.decode(data)


def test_a_record_is_never_larger_than_the_limit_and_keeps_the_most_suspicious() -> None:
    parts = {"onset": 0.1234, "present": 0.1234, "history": 0.1234}
    many = tuple(Candidate(task=f"a-rather-long-task-name-{n}", score=1 / (n + 1), parts=parts) for n in range(2000))
    steps = tuple(Step(action="throttle", at=NOW + n, outcome="x" * 100) for n in range(300))
    data = record(selection=Selection(strategy="usage", candidates=many), ladder=steps).encode()
    assert len(data) <= MAX_BYTES
    back = KillRecord.decode(data)
    assert back.selection is not None and back.selection.candidates == many[: len(back.selection.candidates)]
    assert back.ladder == steps[-len(back.ladder) :]
    assert back.killed == record().killed


def test_a_record_that_cannot_be_made_small_enough_says_so() -> None:
    with pytest.raises(RecordError, match=r"the record of batch-0-1 is \d+ bytes; 16384 are the limit"):
        record(detector=Detector(name="x" * MAX_BYTES, parameters={})).encode()


def test_it_is_immutable() -> None:
    with pytest.raises(AttributeError):
        record().reason = "LOST"  # type: ignore[misc]
    assert msgspec.structs.replace(record(), retry=RETRY).retry == RETRY


# -- reasons ---------------------------------------------------------------------------------

DESIGN = """QOS_CPU QOS_CACHE QOS_MEMORY_BANDWIDTH QOS_MEMORY QOS_IO QOS_SLO QOS_OVERLOAD QOS_UNKNOWN MEMORY_LIMIT
DISK_LIMIT MAX_RUNTIME KILLED_BY_USER LAUNCH_REFUSED LAUNCH_FAILED COMMAND_FAILED COMMAND_SIGNALED EXECUTOR_LOST
AGENT_LOST AGENT_DRAINING PREEMPTED_BY_MESOS LOST"""


def test_the_reasons_are_the_designs_and_no_two_are_one() -> None:
    # An enum makes members of equal value aliases, which `list` would not show.
    assert [reason.code for reason in Reason] == DESIGN.split() == list(Reason.__members__)
    assert len({reason.text for reason in Reason}) == len(Reason)


def test_production_s_sake_is_never_charged_to_the_job() -> None:
    assert all(reason.payer is Payer.NOBODY and reason.avoid_s > 0 for reason in Reason if reason.by_qos)
    assert set(REASON_OF_CAUSE.values()) == {reason for reason in Reason if reason.by_qos}
    assert Reason.COMMAND_FAILED.payer is Payer.JOB


def test_who_kills_a_task_is_not_told_that_it_is_not_retried() -> None:
    line = record(
        reason="KILLED_BY_USER",
        protected=None,
        signal=None,
        retry=Retry(charged=False, attempt=None, not_before=None, avoid=()),
    ).line(now=0.0)
    assert line == "killed on h7 (KILLED_BY_USER): killed on request"


@pytest.mark.parametrize("data", [b'{"killed":{"task":"\xff"}}', b'{"x":' + b"[" * 100_000])
def test_what_msgspec_passes_on_is_no_kill_record_either(data: bytes) -> None:
    """The first had been told as bad base64; the second was no RecordError at all."""
    with pytest.raises(RecordError, match="no kill record"):
        KillRecord.decode(data)
