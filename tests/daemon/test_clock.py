from __future__ import annotations

from serenity.daemon.clock import SystemClock


def test_the_system_s_clock_goes_on() -> None:
    clock = SystemClock()
    first = clock.monotonic_s()
    assert clock.monotonic_s() >= first
    assert clock.now_s() > 1.7e9
