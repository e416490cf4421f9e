"""What is held of another provider's slack, which the agent does not subtract from ours."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from serenity.estimator import metrics
from serenity.estimator.account.balance import Balance
from serenity.estimator.account.earlier import Earlier
from serenity.estimator.account.report import Amount, Report
from serenity.estimator.slack.formula import Slack
from serenity.estimator.slack.pipeline import ReportParameters
from serenity.wire.mesos.state import Container
from serenity.wire.messages.node import Overcommitment
from tests.manual_clock import ManualClock

MIB = 1 << 20


def holds(name: str, cpus: float, mem_mb: int) -> Container:
    return Container(name, "F", "be", "e", 1, cpus, mem_mb * MIB, cpus, mem_mb * MIB)


PRODUCTION = Container("web", "P", "web", "e", 2, 4.0, 512 * MIB)


def settled(path: Path, role: str | None, another_id: bool, *containers: Container) -> Earlier:
    """As it is for a process that has told its first total."""
    made = Earlier(path, role)
    made.settle(another_id, containers)
    return made


def test_under_another_id_all_that_is_held_is_another_ones_until_it_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "a.earlier"
    earlier = settled(path, "be", True, holds("c1", 0.3, 100), holds("c2", 0.5, 200), PRODUCTION)
    assert earlier.held([holds("c1", 0.3, 100), holds("c2", 0.5, 200)]) == Amount(0.8, 300 * MIB)
    # c1 has launched on our own slack, too, and c3 is new; one task of c2 has ended.
    now = [holds("c1", 0.9, 400), holds("c2", 0.2, 200), holds("c3", 1.0, 64)]
    assert earlier.held(now) == Amount(0.5, 300 * MIB)
    again = settled(path, "be", False, *now)  # After a restart.
    assert again.held(now) == Amount(0.5, 300 * MIB)
    assert again.held([holds("c3", 1.0, 64)]) == Amount()


def test_what_another_role_holds_is_not_offered_to_ours(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.earlier"
    assert settled(path, "be", True).held([holds("c1", 0.6, 100)]) == Amount()
    assert settled(path, "other", False, holds("c1", 0.6, 100)).held([holds("c1", 0.6, 100)]) == Amount(0.6, 100 * MIB)
    assert "what 1 containers hold" in caplog.text


def test_the_first_time_with_an_id_that_was_kept_before_all_is_ours(tmp_path: Path) -> None:
    """By a version that did not keep more."""
    path = tmp_path / "a.earlier"
    assert settled(path, "be", False, holds("c1", 0.6, 100)).held([holds("c1", 0.6, 100)]) == Amount()
    assert settled(path, None, False, holds("c1", 0.6, 100)).held([holds("c1", 0.6, 100)]) == Amount(0.6, 100 * MIB)


@pytest.mark.parametrize("content", [b"", b"{", b'{"held":{"c":[1]}}', b"\xff"])
def test_a_file_that_makes_no_sense_is_said_and_written_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path = tmp_path / "a.earlier"
    path.write_bytes(content)
    caplog.set_level(logging.ERROR)
    assert settled(path, "be", False, holds("c1", 0.6, 100)).held([holds("c1", 0.6, 100)]) == Amount()
    assert "a.earlier cannot be read" in caplog.text
    caplog.clear()
    Earlier(path, "be")
    assert caplog.text == ""


def test_it_is_taken_from_the_total_that_is_told_and_counts_as_held() -> None:
    told: list[Report] = []
    balance = Balance(ReportParameters(), ManualClock(), metrics.table(), told.append)
    slack = Slack(1.3, 1000 * MIB, at_most_cpus=1.3, at_most_mem_bytes=1000 * MIB)
    over = balance.estimated(slack, 0.0, Amount(0.5, 200 * MIB), Amount(0.3, 100 * MIB))
    assert told == [Report(Amount(1.0, 900 * MIB))] and over == Overcommitment()
    shown = balance.to_json(told[-1].total)
    assert (shown["held"], shown["free"]) == (Amount(0.5, 200 * MIB), Amount(0.8, 800 * MIB))
    over = balance.estimated(
        Slack(0.4, 1000 * MIB, at_most_cpus=0.4, at_most_mem_bytes=1000 * MIB), 1.0, Amount(0.5, 200 * MIB),
        Amount(0.3, 100 * MIB),
    )  # fmt: skip
    assert over == Overcommitment(cpus=pytest.approx(0.1), mem_bytes=0)
