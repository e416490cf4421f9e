from __future__ import annotations

from serenity.daemon.clock import ManualClock, SystemClock


def test_a_manual_clock_stands_still_until_told() -> None:
    clock = ManualClock(now_s=1000.0)
    assert (clock.now_s(), clock.monotonic_s()) == (1000.0, 0.0)
    clock.advance(2.5)
    assert (clock.now_s(), clock.monotonic_s()) == (1002.5, 2.5)


def test_the_wall_clock_may_jump_and_intervals_do_not_notice() -> None:
    clock = ManualClock(now_s=1000.0)
    clock.jump(-3600.0)
    assert (clock.now_s(), clock.monotonic_s()) == (-2600.0, 0.0)


def test_the_system_s_clock_goes_on() -> None:
    clock = SystemClock()
    first = clock.monotonic_s()
    assert clock.monotonic_s() >= first
    assert clock.now_s() > 1.7e9
