from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serenity.wire.mesos.quantities import (
    format_duration,
    format_mem,
    parse_duration_s,
    parse_mem_bytes,
    parse_mesos_duration_s,
)

MIB = 1 << 20


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("512", 512 * MIB), ("512M", 512 * MIB), ("512MB", 512 * MIB), ("512MiB", 512 * MIB), ("1.5g", 1536 * MIB)),
        *(("64K", 65536), (" 2 T ", 2 << 40), ("0", 0)),
    ],
)
def test_memory(text: str, expected: int) -> None:
    assert parse_mem_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "M", "-1M", "512B", "512iB", "1e9", "12 34", "1,5G", "nan", "inf", "9" * 400])
def test_what_is_no_amount_of_memory(text: str) -> None:
    with pytest.raises(ValueError, match="is no amount of memory; write such as 512M or 2G"):
        parse_mem_bytes(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90.0), ("1.5", 1.5), ("90s", 90.0), ("10m", 600.0), ("2h", 7200.0), ("1h30m", 5400.0), ("250ms", 0.25)],
)
def test_durations(text: str, expected: float) -> None:
    assert parse_duration_s(text) == expected


@pytest.mark.parametrize("text", ["", "s", "-5s", "5 minutes", "1h 30m", "5x", "nan", "inf", "9" * 400, "1h-30m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration; write such as 30s, 10m or 2h"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5secs", 5.0), ("15mins", 900.0), ("0ns", 0.0), ("1weeks", 604800.0), ("1.5hrs", 5400.0), ("250ms", 0.25)],
)
def test_durations_of_mesos(text: str, expected: float) -> None:
    assert parse_mesos_duration_s(text) == expected


@pytest.mark.parametrize("text", ["", "5", "5s", "secs", "1.2.3secs", "-1secs", "5 secs"])
def test_what_is_no_duration_of_mesos(text: str) -> None:
    with pytest.raises(ValueError, match="is no Mesos duration"):
        parse_mesos_duration_s(text)


@pytest.mark.parametrize(
    ("mem_bytes", "expected"),
    [
        *((512 * MIB, "512M"), (1536 * MIB, "1.5G"), (1000 * MIB, "1000M"), (1023 * MIB, "1023M"), (1024 * MIB, "1G")),
        *((500, "500B"), (0, "0B"), (1 << 50, "1024T")),
    ],
)
def test_memory_for_people(mem_bytes: int, expected: str) -> None:
    assert format_mem(mem_bytes) == expected


@given(st.integers(1 << 10, 1 << 49))
def test_memory_for_people_can_be_read_again(mem_bytes: int) -> None:
    assert parse_mem_bytes(format_mem(mem_bytes)) == pytest.approx(mem_bytes, rel=0.01)


@pytest.mark.parametrize(
    ("duration_s", "expected"),
    [
        *((0.84, "0.8s"), (45, "45s"), (59.7, "1m00s"), (200, "3m20s"), (7500, "2h05m"), (180_000, "2d02h")),
        *((-1, "-"), (math.nan, "-"), (math.inf, "-")),
    ],
)
def test_durations_for_people(duration_s: float, expected: str) -> None:
    assert format_duration(duration_s) == expected
