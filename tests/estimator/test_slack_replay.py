"""`serenity slack replay` as its users see it, and the judgement of hindsight."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from serenity.cli.main import main
from serenity.estimator.predictors import PREDICTORS
from serenity.estimator.slack.hindsight import judge


@pytest.fixture
def serenity(capfd):
    def run(*arguments):
        code = main([*map(str, arguments)])
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def trace(tmp_path):
    """A day of five minutes: ten containers of a node that is allocated wholly, without memory, as slackbench's are."""
    luck = np.random.default_rng(2)
    use = luck.gamma(1.0, 0.1, (288, 10)).clip(0, 1)
    path = tmp_path / "node.jsonl"
    lines = [{"trace": 1, "interval_s": 300.0, "node": {"cpus": 10.0}}]
    for t in range(288):
        rows = [{"id": f"vm{i}", "role": "production", "cpus": 1.0, "cpu": use[t, i]} for i in range(10)]
        if t % 50 == 7:
            del rows[3]["cpu"]
        lines.append({"t": t * 300.0, "containers": rows})
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


def test_a_line_a_frame_and_the_same_when_cut_short(serenity, trace, tmp_path):
    code, out, err = serenity("slack", "replay", trace, "--json")
    said = [json.loads(line) for line in out.splitlines()]
    assert (code, err, len(said)) == (0, "", 288)
    assert said[0] == {"t": 0.0, "cpus": 0.0, "mem_bytes": 0}
    assert all(5.0 < each["cpus"] < 9.0 for each in said[60:])
    cut = tmp_path / "cut.jsonl"
    cut.write_text("".join(trace.read_text().splitlines(keepends=True)[:151]))
    assert serenity("slack", "replay", cut, "--json")[1].splitlines() == out.splitlines()[:150]


def test_another_predictor_and_another_file(serenity, trace, tmp_path):
    last = [
        json.loads(line)["cpus"]
        for line in serenity("slack", "replay", trace, "--predictor", "last", "--json")[1].splitlines()
    ]
    assert last[100] > 8.0
    file = tmp_path / "mine.toml"
    file.write_text("[slack.predictor]\nname = 'last'\nmargin = 0.5\n[slack.limits]\ncpus = 1.0\n")
    mine = [
        json.loads(line)["cpus"]
        for line in serenity("slack", "replay", trace, "--config", file, "--json")[1].splitlines()
    ]
    assert mine[100] == pytest.approx(last[100] - 5.0, abs=1e-3)
    # The file's own parameters stay where it names the same predictor.
    again = serenity("slack", "replay", trace, "--config", file, "--predictor", "last", "--json")[1]
    assert json.loads(again.splitlines()[100])["cpus"] == mine[100]


def test_words_for_people(serenity, trace):
    code, out, err = serenity("slack", "replay", trace, "--predictor", "histogram")
    assert code == 0 and "10 of 10 production containers count at their allocation" in out and "288 frames" in err


@pytest.mark.parametrize("name", PREDICTORS)
def test_what_makes_no_sense_in_a_trace_is_told_in_words_and_not_in_warnings(serenity, trace, name):
    """Where the node's capacity is known, and, after it, where it is not."""
    header, *lines = trace.read_text().splitlines()
    for at, cpu in ((100, 64.0), (120, 1e300), (140, -50.0)):
        frame = json.loads(lines[at])
        frame["containers"][0]["cpu"] = cpu
        lines[at] = json.dumps(frame)
    for first, says in ((header, [100, 120, 140]), ('{"trace": 1}', [140])):
        trace.write_text("\n".join([first, *lines]))
        code, out, err = serenity("slack", "replay", trace, "--predictor", name)
        told = [t for t, line in enumerate(out.splitlines()) if "readings that make no sense" in line]
        assert (code, told, err) == (0, says, "288 frames\n")


def test_what_cannot_be_done_is_one_line(serenity, trace, tmp_path):
    (tmp_path / "x").write_text("hello\n")
    for arguments, says in (
        ((tmp_path / "x",), "header"),
        ((trace, "--predictor", "oracle"), "one of ahead"),
        ((trace, "--config", tmp_path / "none.toml"), "none.toml"),
    ):
        code, _, err = serenity("slack", "replay", *arguments)
        assert (code, err.count("\n")) == (2, 1) and says in err


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_plot(serenity, trace, tmp_path):
    assert serenity("slack", "replay", trace, "--plot", tmp_path / "node.png")[0] == 0
    assert (tmp_path / "node.png").read_bytes().startswith(b"\x89PNG")
    short = tmp_path / "short.jsonl"
    short.write_text("".join(trace.read_text().splitlines(keepends=True)[:2]))
    for file, into, says in (
        (trace, tmp_path / "no" / "node.png", "cannot be written"),
        (short, tmp_path / "s.png", "no production"),
    ):
        code, _, err = serenity("slack", "replay", file, "--plot", into)
        assert code == 2 and says in err and "Traceback" not in err


def test_hindsight_by_hand():
    """Ten cores, looked two frames ahead: what may be given is what the next two leave."""
    t = np.arange(5.0)
    use = np.array([1.0, 3.0, 2.0, 6.0, 1.0])
    found = judge(t, use, np.array([7.0, 7.0, 4.5, 4.0, 9.0]), np.full(5, 10.0), 2.0)
    assert found.possible == pytest.approx([7.0, 4.0, 4.0, np.nan, np.nan], nan_ok=True)
    assert found.violates.tolist() == [False, True, True, False, False]
    assert found.violation_rate == pytest.approx(2 / 3)
    assert found.captured == pytest.approx((7 + 4 + 4) / 15)
    assert found.excess[:3] == pytest.approx([0.0, 0.3, 0.05])
    assert not judge(t, use, np.zeros(5), np.full(5, 10.0), 2.0, warm_up_s=3.0).judged.any()
