"""The benchmark's one line, over a run that is too small to tell anything."""

from __future__ import annotations

import functools
import json

import pytest

from bench import qos, qos_tick

KEYS = ["replay_frames_per_s", "live_tick_ms_p50", "live_tick_ms_p99", "rss_growth_bytes"]


@pytest.mark.parametrize("parts", [[], ["--parts"]])
def test_one_line_with_the_four_numbers(monkeypatch, capsys, parts):
    monkeypatch.setattr(qos_tick, "measure", functools.partial(qos_tick.measure, containers=2, ticks=3))
    arguments = ["--containers", "20", "--replay-frames", "3", "--growth-frames", "30", *parts]
    monkeypatch.setattr("sys.argv", ["bench.qos", *arguments])
    qos.main()
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert [key for key in told if key in KEYS] == KEYS and (len(told) == len(KEYS)) == (not parts)
    assert told["replay_frames_per_s"] > 0
    assert isinstance(told["rss_growth_bytes"], int)
