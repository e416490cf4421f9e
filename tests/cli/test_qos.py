"""`serenity qos …` as its users see it."""

from __future__ import annotations

import gzip
import html
import importlib.util
import json
import re
import shutil
import struct

import numpy as np
import pytest

from serenity.cli.main import main
from serenity.qos.detectors.threshold import NODE_CPU
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container, Frame, Indicator
from serenity.qos.pipeline import DEFAULT_FILE
from serenity.qos.replay import Decision


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
    quiet = tmp_path / "quiet.jsonl"
    quiet.write_text("".join(trace.read_text().splitlines(keepends=True)[:50]))
    assert serenity("qos", "replay", quiet, "--plot", tmp_path / "quiet.png")[0] == 0
    quiet.write_text('{"trace": 1}\n')
    for file, into, says in (
        (trace, tmp_path / "no" / "run.png", "cannot be written"),
        (trace, tmp_path / "run.zip", "cannot be written"),
        (quiet, tmp_path / "none.png", "no production container"),
    ):
        code, _, err = serenity("qos", "replay", file, "--plot", into)
        assert code == 2 and says in err and "Traceback" not in err


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
@pytest.mark.parametrize("pack", [lambda text: text.encode(), lambda text: gzip.compress(text.encode())])
def test_what_there_is_of_a_trace_that_was_cut_off_is_told_and_drawn(serenity, trace, tmp_path, pack):
    whole = pack(trace.read_text())
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(whole[: -len(whole) // 10])
    code, out, err = serenity("qos", "replay", cut, "--json", "--plot", tmp_path / "cut.png")
    assert (code, err.count("\n")) == (2, 1) and str(cut) in err
    assert json.loads(out.splitlines()[0])["protected"] == "web"
    assert (tmp_path / "cut.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = serenity("slack", "replay", cut, "--json", "--plot", tmp_path / "slack.png")
    assert code == 2 and len(out.splitlines()) > 60 and (tmp_path / "slack.png").exists()


def test_an_empty_line_is_no_frame_and_no_error(serenity, trace):
    trace.write_text(trace.read_text() + "\n  \n")
    assert serenity("qos", "replay", trace)[0] == 0


def test_a_file_with_the_mark_of_some_editors(serenity, tmp_path):
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbf" + DEFAULT_FILE.read_bytes())
    assert serenity("qos", "check", tmp_path / "marked.toml")[0] == 0


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_what_is_drawn_is_what_the_decision_went_by():
    """Seen: the service's latency, called the node's CPU use."""
    from serenity.cli.qos_plot import Drawing, baseline

    drawing = Drawing()
    told = Indicator("cpu", "ms", "lower")  # As a column is called.
    rows = (Container("web", PRODUCTION, "web", 1.0, 1.0, indicator=told), Container("hog", BEST_EFFORT, "h", 1.0, 1.0))
    for t in range(4):
        of_rows = {"sli": (50.0 + t, np.nan), "cpu": (1.0 + t, 2.0), "cycles": (4e9, 1.0), "instructions": (2e9, 1.0)}
        frame = Frame(float(t), rows, {name: np.array(values) for name, values in of_rows.items()})
        decided = Decision(float(t), "web", "throttle", "overload", onset=2.0, signal=NODE_CPU, baseline=3.5)
        drawing.add(frame, [decided] if t == 2 else [])
    assert drawing.signal("web", NODE_CPU).tolist() == [3.0, 4.0, 5.0, 6.0]
    assert drawing.signal("web", "cpu").tolist() == [50.0, 51.0, 52.0, 53.0]
    assert drawing.signal("web", "cpi").tolist() == [2.0] * 4
    times, values = np.arange(200.0), np.where(np.arange(200) < 50, 1.0, 9.0)
    of_another = [(Decision(50.0, "web", "throttle", "io", onset=48.0, signal="psi_io"), 199.0)]
    line = baseline(times, values, "cpi", of_another)
    assert line[50:199].tolist() == [1.0] * 149, "it does not follow what is not usual"


def test_check(serenity, tmp_path):
    assert serenity("qos", "check", DEFAULT_FILE)[0] == 0
    bad = tmp_path / "bad.toml"
    bad.write_text(DEFAULT_FILE.read_text().replace("phase_odds", "phase_ods"))
    code, out, err = serenity("qos", "check", bad)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert all(
        word in err for word in (str(bad), "[[qos.detectors]] number 1 (interference)", "'phase_ods'", "phase_odds")
    )


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ('[[slack.filters]]\nname = "pr_executor_pass"\n', 0, "is a pipeline"),
        ('[[slack.filters]]\nname = "ema"\ncolumns = ["rss"]\n', 2, "[[slack.filters]] number 1 (ema): columns"),
        ("[slack.limits]\ncpus = 0\n", 2, "[slack.limits]: cpus = 0.0; it must be above 0"),
        ("", 2, "no detectors"),
    ],
)
def test_check_of_a_file_for_the_estimator_alone(serenity, tmp_path, text, code, says):
    file = tmp_path / "slack.toml"
    file.write_text(text)
    found, _, err = serenity("qos", "check", file)
    assert (found, err.count("\n")) == (code, 1) and says in err


def test_draw(serenity, tmp_path):
    code, out, _ = serenity("qos", "draw")
    assert code == 0 and out.startswith("flowchart LR\n")
    assert (
        "detector1 --> strategy" in out and "false_alarm_days = 10" in out and "slack_filter1 --> slack_filter2" in out
    )
    code, out, _ = serenity("qos", "draw", DEFAULT_FILE, "--format", "dot")
    assert code == 0 and out.startswith("digraph") and "detector1 -> strategy;" in out
    assert "strategy: combined" in out and "mean_s = 10" in out, "what the file leaves at its default is told, too"


@pytest.mark.parametrize("file", sorted(DEFAULT_FILE.parent.glob("*.toml")), ids=lambda file: file.name)
def test_every_file_that_is_shipped_can_be_checked_and_drawn(serenity, file):
    assert serenity("qos", "check", file)[0] == 0
    code, out, err = serenity("qos", "draw", file)
    assert (code, err) == (0, "") and "    report --> slack\n" in out
    assert ("--> findings" in out) == (file == DEFAULT_FILE)


def test_a_drawing_has_no_word_that_mermaid_keeps_for_itself(serenity, tmp_path):
    """Seen: a class called `end` was a parse error."""
    odd = tmp_path / "odd.toml"
    odd.write_text(DEFAULT_FILE.read_text() + '\n[[qos.filters]]\nname = "valve"\nreading = \'a "b" <c> #d & e\'\n')
    code, out, _ = serenity("qos", "draw", odd)
    names = re.findall(r"^ +(\w+)\[|:::(\w+)$|classDef (\w+) ", out, re.MULTILINE)
    reserved = {"end", "default", "graph", "flowchart", "subgraph", "style", "class", "classDef", "click", "call"}
    assert code == 0 and len(names) > 20 and reserved.isdisjoint(word for each in names for word in each)
    assert "reading = a #quot;b#quot; #lt;c> #35;d #amp; e" in out


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_a_picture_by_graphviz(serenity, tmp_path):
    assert serenity("qos", "draw", "--format", "svg", "--output", tmp_path / "p.svg")[0] == 0
    svg = (tmp_path / "p.svg").read_text()
    for words in ("filter: ignore_new_executors", "age_s = 10", "detector: interference", "slack: limits"):
        assert words in html.unescape(svg).replace("\xa0", " ")
    assert svg.count('class="node"') == 12 and svg.count('class="edge"') == 12
    assert serenity("qos", "draw", "--format", "png", "--output", tmp_path / "p.png")[0] == 0
    png = (tmp_path / "p.png").read_bytes()
    width, height = struct.unpack(">II", png[16:24])
    assert png.startswith(b"\x89PNG") and width > 1000 and height > 300


def test_without_graphviz_a_picture_is_one_clear_line(serenity, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for wanted in ("svg", "png"):
        code, out, err = serenity("qos", "draw", "--format", wanted, "--output", tmp_path / "p")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "install graphviz" in err and "--format mermaid" in err and not (tmp_path / "p").exists()


def test_plugins(serenity):
    code, out, _ = serenity("qos", "plugins")
    assert code == 0
    for words in (
        "filter ema",
        "detector interference",
        "strategy combined",
        "phase_odds = 20.0 (ratio; above 0):",
        "predictor ahead",
    ):
        assert words in out
    code, out, _ = serenity("qos", "plugins", "drop", "--json")
    (drop,) = json.loads(out)
    assert (drop["kind"], drop["parameters"][1]["name"], drop["parameters"][1]["default"]) == (
        "detector",
        "threshold",
        "0.25",
    )
    assert [each["kind"] for each in json.loads(serenity("qos", "plugins", "ema", "--json")[1])] == [
        "filter",
        "predictor",
    ]
    assert serenity("qos", "plugins", "drip")[0] == 3
    for table, told in (("limits", "stale_s = 5.0 (s; above 0)"), ("report", "grow_s = 5.0 (s; at least 0)")):
        code, out, _ = serenity("qos", "plugins", table)
        assert code == 0 and out.startswith(f"slack {table}\n") and told in out
