"""What goes out together, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serenity.framework import metrics
from serenity.framework.mesos.calls import Acknowledge, Call, Decline, Revive
from serenity.framework.mesos.scheduler import Sender, make_calls, together


class Driver:
    def __init__(self) -> None:
        self.said: list[object] = []

    def acknowledgeStatusUpdate(self, status: dict[str, int]) -> None:  # noqa: N802
        self.said.append(status["n"])

    def acknowledgeStatusUpdates(self, statuses: list[dict[str, int]]) -> None:  # noqa: N802
        assert 1 < len(statuses) <= 100, "both sides' buffers must hold it"
        self.said += [each["n"] for each in statuses]

    def reviveOffers(self, roles: Sequence[str]) -> None:  # noqa: N802
        self.said.append("revive")

    def declineOffer(self, offer_ids: list[dict[str, str]], filters: dict[str, float]) -> None:  # noqa: N802
        self.said.append(offer_ids[0]["value"])


@given(st.lists(st.sampled_from([1, 3, 150, "revive", "O"]), max_size=12))
def test_every_call_is_made_once_and_in_order(kinds: list[object]) -> None:
    calls: list[Call] = []
    expected: list[object] = []
    for kind in kinds:
        if isinstance(kind, int):
            numbers = range(len(calls), len(calls) + kind)
            calls += [Acknowledge({"n": n}) for n in numbers]
            expected += numbers
        else:
            calls.append(Revive() if kind == "revive" else Decline(("O",), 5.0))
            expected.append(kind)
    driver = Driver()
    for each in together(calls):
        make_calls(driver, each)  # type: ignore[arg-type]
    assert driver.said == expected


def test_a_call_that_cannot_be_made_is_logged_and_the_others_go_out(caplog: pytest.LogCaptureFixture) -> None:
    driver, counts = Driver(), metrics.table()
    sender = Sender(driver, counts)  # type: ignore[arg-type]
    sender.start()
    sender.send([Acknowledge({"n": 1}), Decline((), 5.0), Revive()])  # No offer: an IndexError of the driver's.
    sender.stop()
    assert driver.said == [1, "revive"]
    assert counts.value("serenity_framework_calls_failed_total", type="decline") == 1
    assert "this is a bug in Serenity" in caplog.text and "IndexError" in caplog.text
