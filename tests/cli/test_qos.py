"""`serenity qos …` as its users see it."""

from __future__ import annotations

import importlib.util
import json
import shutil

import pytest

from serenity.cli.main import main
from serenity.qos.pipeline import DEFAULT_FILE


@pytest.fixture
def serenity(capfd):
    def run(*arguments):
        code = main([*map(str, arguments)])
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture
def trace(tmp_path):
    """Ninety seconds in which the declared indicator falls by half at 60."""
    path = tmp_path / "run.jsonl"
    web = {"id": "web", "role": "production", "job": "web", "cpus": 1, "mem_bytes": 1}
    web["indicator"] = {"name": "ops", "unit": "1/s", "better": "higher"}
    hog = {"id": "hog", "role": "best_effort", "job": "hog", "cpus": 1, "mem_bytes": 1}
    lines = [{"trace": 1, "interval_s": 1.0, "node": {"cpus": 4}}]
    for t in range(90):
        bad = t >= 60
        told = {
            "sli": (450.0 if bad else 1000.0) + t % 7,
            "cpu": 1.0,
            "run_delay": 0.9 if bad else 0.01 + 0.001 * (t % 5),
        }
        lines.append({"t": t, "containers": [web | told, hog | {"cpu": 1.0 if bad else 0.01}]})
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return path


def test_replay(serenity, trace):
    code, out, err = serenity("qos", "replay", trace, "--json")
    decisions = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert 60 <= decisions[0]["t"] <= 62
    assert (decisions[0]["protected"], decisions[0]["action"]) == ("web", "throttle")
    assert decisions[-1]["suspects"] == ["hog"] and decisions[-1]["cause"] in ("cpu", "slo")
    code, out, err = serenity("qos", "replay", trace)
    assert code == 0 and "throttle hog" in out and "90 frames" in err


def test_replay_of_what_is_no_trace_is_one_line(serenity, tmp_path):
    (tmp_path / "x").write_text("hello\n")
    for path, says in ((tmp_path / "x", "header"), (tmp_path / "nowhere", "nowhere cannot be read")):
        code, out, err = serenity("qos", "replay", path)
        assert (code, out, err.count("\n")) == (2, "", 1) and says in err


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_plot(serenity, trace, tmp_path):
    code, _, _ = serenity("qos", "replay", trace, "--plot", tmp_path / "run.png")
    assert code == 0 and (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    code, _, err = serenity("qos", "replay", trace, "--plot", tmp_path / "no" / "run.png")
    assert code == 2 and "cannot be written" in err


def test_check(serenity, tmp_path):
    assert serenity("qos", "check", DEFAULT_FILE)[0] == 0
    bad = tmp_path / "bad.toml"
    bad.write_text(DEFAULT_FILE.read_text().replace("phase_odds", "phase_ods"))
    code, out, err = serenity("qos", "check", bad)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert all(
        word in err for word in (str(bad), "[[qos.detectors]] number 1 (interference)", "'phase_ods'", "phase_odds")
    )


def test_draw(serenity, tmp_path):
    code, out, _ = serenity("qos", "draw")
    assert code == 0 and out.startswith("flowchart LR\n")
    assert (
        "detector1 --> strategy" in out and "false_alarm_days = 10" in out and "slack_filter1 --> slack_filter2" in out
    )
    code, out, _ = serenity("qos", "draw", DEFAULT_FILE, "--format", "dot")
    assert code == 0 and out.startswith("digraph") and "detector1 -> strategy;" in out
    code, _, err = serenity("qos", "draw", "--format", "svg", "--output", tmp_path / "p.svg")
    if shutil.which("dot"):
        assert code == 0 and "<svg" in (tmp_path / "p.svg").read_text()
    else:
        assert code == 2 and "install graphviz" in err and err.count("\n") == 1


def test_plugins(serenity):
    code, out, _ = serenity("qos", "plugins")
    assert code == 0
    for words in ("filter moving_average", "detector interference", "strategy combined", "phase_odds = 30.0 (ratio):"):
        assert words in out
    code, out, _ = serenity("qos", "plugins", "drop", "--json")
    (drop,) = json.loads(out)
    assert (drop["kind"], drop["parameters"][1]["name"], drop["parameters"][1]["default"]) == (
        "detector",
        "threshold",
        "0.25",
    )
    assert serenity("qos", "plugins", "drip")[0] == 3
