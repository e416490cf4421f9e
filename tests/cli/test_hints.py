"""Noisy neighbours as `serenity hints` shows them."""

from __future__ import annotations

import json
import time

import msgspec
import pytest

from serenity.cli.hints import _line, _print
from serenity.wire.messages.hints import Hint

NOW_S = time.time()
HINT = Hint(
    agent="S0",
    hostname="rack-7-machine-12.cluster.example.org",
    kind="memory_bandwidth",
    protected="checkout-service.instance-3",
    suspect="spark-executor-1",
    severity=0.625,
    since=NOW_S - 90.0,
    last_at=NOW_S,
    text="spark-executor-1 of spark is suspected first",
)


def test_the_table_leaves_room_for_the_suspect_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    _print((HINT, msgspec.structs.replace(HINT, severity=None, kind=None, hostname=None)), as_json=False)
    head, worst, unknown = capsys.readouterr().out.splitlines()
    assert head.split() == ["AGENT", "KIND", "SEVERITY", "FOR", "PROTECTED", "SUSPECT"]
    assert head.index("SUSPECT") <= 72
    assert worst.split()[1:3] == ["memory_bandwidth", "0.62"] and worst.endswith("spark-executor-1")
    assert unknown.split()[:3] == ["S0", "-", "-"]


def test_a_line_says_where_who_and_how_severe(capsys: pytest.CaptureFixture[str]) -> None:
    _line(HINT, as_json=False)
    assert "suffers (memory_bandwidth, severity 0.62)" in " ".join(capsys.readouterr().out.split())
    _line(msgspec.structs.replace(HINT, severity=None, protected=None), as_json=False)
    assert "production suffers (memory_bandwidth): " in " ".join(capsys.readouterr().out.split())


def test_json_is_the_hint_as_the_api_tells_it(capsys: pytest.CaptureFixture[str]) -> None:
    _print((HINT,), as_json=True)
    assert msgspec.convert(json.loads(capsys.readouterr().out), list[Hint]) == [HINT]
