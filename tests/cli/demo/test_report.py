"""The report's figures, from seconds that are written down here."""

from __future__ import annotations

from typing import Any

import pytest

from serenity.cli.demo.report import (
    Correction,
    Figures,
    Measurements,
    Phase,
    Second,
    complete,
    detection_s,
    expectations,
    recovery_s,
    table,
    to_json,
)

RECORD: dict[str, Any] = {
    "protected": {"task": "memcached"},
    "signal": {"name": "cmd_get", "observed": 90.0, "baseline": 400.0},
    "selection": {"candidates": [{"task": "a", "score": 1.0}]},
}


def seconds(start: float, throughputs: list[float]) -> list[Second]:
    return [Second(start + i + 1, ops, 5.0, 0.0, {5: int(ops)}) for i, ops in enumerate(throughputs)]


def measurements(protected: list[float], **changes: Any) -> Measurements:
    """20 s alone at 400, 20 s unprotected at 80, then `protected`, whose aggressors began at its start."""
    phases = [Phase("alone", 0, 20), Phase("unprotected", 20, 40), Phase("protected", 40, 40 + len(protected))]
    fields: dict[str, Any] = {
        "setting": {"service": "memcached"},
        "phases": phases,
        "seconds": seconds(0, [400.0] * 20 + [80.0] * 20 + protected),
        "onset": 40.0,
        "corrections": [Correction(42.5, "throttle", "a", "")],
        "kills": [RECORD],
        "kill_lines": ["killed by QoS on h7: …"],
        "harmless_state": "running",
        "harmless_attempts": 1,
        **changes,
    }
    return Measurements(**fields)


def test_a_phase_is_judged_by_its_last_ten_seconds() -> None:
    measured = measurements([80.0] * 10 + [390.0] * 10)
    assert measured.figures("protected").ops_per_s == 390.0


def test_a_second_that_began_before_the_phase_does_not_count() -> None:
    assert [each.t for each in Phase("x", 0.5, 3.0).seconds(seconds(0, [1.0, 2.0, 3.0]))] == [2.0, 3.0]


def test_p99_is_that_of_all_requests_and_not_a_mean_of_percentiles() -> None:
    quick = Second(1.0, 990.0, 1.0, 0.0, {1: 990})
    slow = Second(2.0, 10.0, 900.0, 0.0, {900: 10})
    assert Figures.of([quick, slow]).p99_ms == 1.0
    assert Figures.of([quick, slow, slow]).p99_ms == 900.0


def test_a_phase_without_seconds_cannot_be_judged() -> None:
    with pytest.raises(ValueError, match="no second"):
        Figures.of([])


def test_detection_counts_from_the_aggressors_start() -> None:
    assert detection_s(measurements([400.0] * 20)) == 2.5
    before = [Correction(39.0, "release", "a", "")]
    assert detection_s(measurements([400.0] * 20, corrections=before)) is None


@pytest.mark.parametrize(
    ("protected", "expected_s"),
    [
        ([400.0] * 20, 0.0),  # No harm was done.
        ([400.0, 400.0, 80.0, 80.0] + [390.0] * 16, 5.0),
        ([80.0] * 4 + [390.0, 390.0, 80.0] + [390.0] * 13, 8.0),  # Two good seconds are no recovery yet.
        ([80.0] * 20, None),
        ([80.0] * 18 + [390.0] * 2, None),
    ],
)
def test_recovery_is_three_good_seconds_after_the_harm(protected: list[float], expected_s: float | None) -> None:
    assert recovery_s(measurements(protected)) == expected_s


def test_a_good_run_meets_every_expectation() -> None:
    assert [each.met for each in expectations(measurements([80.0] * 5 + [395.0] * 15))] == [True] * 5


@pytest.mark.parametrize(
    ("index", "changes"),
    [
        (1, {}),
        (2, {"corrections": [Correction(46.0, "throttle", "a", "")]}),
        (2, {"corrections": []}),
        (3, {"harmless_state": "killed"}),
        (3, {"harmless_attempts": 2}),
        (4, {"kills": []}),
        (4, {"kills": [{**RECORD, "signal": None}]}),
    ],
)
def test_a_bad_run_is_told(index: int, changes: dict[str, Any]) -> None:
    protected = [80.0] * 20 if not changes else [80.0] * 5 + [395.0] * 15
    assert not expectations(measurements(protected, **changes))[index].met


@pytest.mark.parametrize("part", ["protected", "signal", "selection"])
def test_a_record_without_its_evidence_is_not_complete(part: str) -> None:
    assert complete(RECORD)
    assert not complete({**RECORD, part: None})


def test_the_report_has_what_the_demo_promises() -> None:
    report = to_json(measurements([80.0] * 5 + [395.0] * 15))
    for phase in ("alone", "unprotected", "protected"):
        assert report["phases"][phase].keys() >= {"ops_per_s", "p99_ms"}
    assert report["detection_s"] == 2.5
    assert report["recovery_s"] == 6.0
    assert report["kills"] == [RECORD]


def test_the_table_fits_eighty_columns() -> None:
    text = table(measurements([80.0] * 5 + [395.0] * 15))
    assert max(map(len, text.splitlines())) <= 80
    assert "20%" in text
