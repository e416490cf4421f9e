"""How services do."""

from __future__ import annotations

import pytest

from serenity.framework.cluster.services import BIN_S, HISTORY_S, Services
from serenity.wire.messages.statistics import Slo


def slo(now=10.0, met_s=60.0, measured_s=60.0, better="lower", objective=20.0):
    return Slo(
        indicator="p99", unit="ms", better=better, now=now, measured_s=measured_s, objective=objective, met_s=met_s
    )


def test_now_is_the_worst_of_those_that_tell():
    services = Services()
    services.told("F", "web", "a1", slo(now=10.0), 0.0)
    services.told("F", "web", "a2", slo(now=30.0), 100.0)
    (web,) = services.current(150.0)
    assert web.now(150.0) == 30.0
    assert web.now(200.0) == 30.0 and web.now(300.0) is None
    services.told("F", "ops", "a1", slo(now=10.0, better="higher"), 0.0)
    services.told("F", "ops", "a2", slo(now=30.0, better="higher"), 0.0)
    assert services.current(0.0)[0].now(0.0) == 10.0


def test_the_share_of_time_met_is_over_all_that_was_measured():
    services = Services()
    services.told("F", "web", "a1", slo(met_s=60.0), 0.0)
    services.told("F", "web", "a2", slo(met_s=0.0), 0.0)
    services.told("F", "web", "a1", slo(met_s=30.0), 3600.0)
    (web,) = services.current(3600.0)
    assert web.share_met(3600.0) == pytest.approx(0.5)
    assert web.share_met(3600.0, last_s=600.0) == 0.5
    services.told("F", "free", "a1", slo(objective=None), 0.0)
    assert services.current(0.0)[0].share_met(0.0) is None


def test_what_was_corrected_for_it():
    services = Services()
    services.corrected("F", "web", 0.0)
    services.told("F", "web", "a1", slo(), 0.0)
    services.corrected("F", "web", 10.0)
    services.corrected("F", "web", 7200.0)
    (web,) = services.current(7200.0)
    assert (web.corrections(7200.0), web.corrections(7200.0, last_s=600.0)) == (2, 1)


def test_history_is_a_day_and_a_silent_service_goes():
    services = Services()
    for at in range(0, 3 * int(HISTORY_S), int(BIN_S)):
        services.told("F", "web", "a1", slo(met_s=0.0 if at < HISTORY_S else 60.0), float(at))
    end = 3 * HISTORY_S - BIN_S
    (web,) = services.current(end)
    assert len(web.bins) == HISTORY_S / BIN_S and web.share_met(end) == 1.0
    assert services.current(end + HISTORY_S + 2 * BIN_S) == []


def test_another_indicator_begins_anew():
    services = Services()
    services.told("F", "web", "a1", slo(met_s=0.0), 0.0)
    services.told("F", "web", "a1", slo(better="higher"), 60.0)
    assert services.current(60.0)[0].share_met(60.0) == 1.0


def test_what_was_kept_is_history_again():
    services = Services()
    services.told("F", "web", "a1", slo(met_s=30.0), 0.0)
    services.told("F", "web", "a1", slo(met_s=60.0), 3600.0)
    services.corrected("F", "web", 3610.0)
    kept = services.changed(10)
    again = Services(reversed(kept))
    (web,) = again.current(3700.0)
    assert (web.share_met(3700.0), web.corrections(3700.0), web.objective) == (0.75, 1, 20.0)
    assert web.now(3700.0) is None, "how it does now nobody has said since"
    assert again.changed(10) == []
    again.told("F", "web", "a1", slo(met_s=60.0), 3660.0)
    (period,) = again.changed(10)
    assert (period.start, period.measured_s) == (3600.0, 120.0)


def test_periods_that_have_changed_are_handed_out_in_parts_and_once():
    services = Services()
    for service in ("web", "db", "mail"):
        services.told("F", service, "a1", slo(), 0.0)
    assert [[each.service for each in services.changed(2)] for _ in range(3)] == [["web", "db"], ["mail"], []]
