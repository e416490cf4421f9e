from __future__ import annotations

import json

import numpy as np
import pytest

from serenity.estimator.kept.predictor import KeptPredictor
from serenity.estimator.slack.pipeline import SlackPipeline, SlackStages
from serenity.qos import pipeline
from serenity.qos.frame import PRODUCTION, Container, Frame, Node
from tests.estimator.state_writers import Awaited

ROWS = tuple(Container(f"c{i}", PRODUCTION, "web", 2.0, 1e9) for i in range(4))


def made(tmp_path, text=""):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    return SlackPipeline(SlackStages.from_file(pipeline.read(file)))


def frame(t):
    use = 0.5 + 0.2 * np.sin(np.arange(4) + t / 60.0)
    return Frame(t, ROWS, {"cpu": use, "rss_bytes": use * 1e8}, Node(cpus=16.0, mem_bytes=1e10), {"agent_age_s": 0.0})


def run(a_pipeline, kept, first, last):
    kept.load()
    found = []
    for t in range(first, last, 10):
        found.append(a_pipeline.step(frame(float(t))))
        kept.look(float(t))
    return found


def test_after_a_restart_the_slack_is_what_it_was(tmp_path):
    path = tmp_path / "agent.predictor"
    first = made(tmp_path)
    before = run(first, kept := KeptPredictor(path, first, Awaited()), 0, 2000)
    kept.write()
    second = made(tmp_path)
    after = run(second, KeptPredictor(path, second, Awaited()), 2000, 2100)
    assert after[0].cpus == pytest.approx(before[-1].cpus, rel=0.05) and after[0].cpus > 2.0
    fresh = made(tmp_path)
    assert fresh.step(frame(2000.0)).cpus == 0.0


def test_it_is_written_once_a_minute_and_never_without_a_frame(tmp_path):
    path = tmp_path / "agent.predictor"
    one = made(tmp_path)
    kept = KeptPredictor(path, one, Awaited())
    kept.write()
    assert not path.exists()
    run(one, kept, 0, 60)
    assert not path.exists()
    run(one, kept, 60, 70)
    assert json.loads(path.read_bytes())["version"] == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b'{"version":1,"learnt_by":LEARNT,"state":{"a":' + b"[" * 100_000,
        b'{"version":2,"learnt_by":{},"state":{}}',
        b'{"version":1,"learnt_by":LEARNT,"state":{}}',
        b'{"version":1,"learnt_by":LEARNT,"state":{"t":1,"predictor":{"ids":["a"]}}}',
    ],
)
def test_a_broken_file_is_set_aside_with_one_line(tmp_path, caplog, content):
    path = tmp_path / "agent.predictor"
    one = made(tmp_path)
    path.write_bytes(content.replace(b"LEARNT", json.dumps(one.learnt_by).encode()))
    KeptPredictor(path, one, Awaited()).load()
    assert len(caplog.records) == 1 and str(path) in caplog.text
    assert not path.exists() and path.with_name("agent.predictor.broken").exists()
    assert one.step(frame(0.0)).cpus == 0.0


def kept_file(tmp_path):
    path = tmp_path / "agent.predictor"
    one = made(tmp_path)
    before = run(one, kept := KeptPredictor(path, one, Awaited()), 0, 2000)
    kept.write()
    return path, before[-1]


def test_no_byte_of_what_was_learnt_can_change_unseen(tmp_path, caplog):
    """Of base64 any letter is as good as another: such a file can be read, and says something else."""
    path, _ = kept_file(tmp_path)
    content, luck = path.read_bytes(), np.random.default_rng(1)
    first, last = content.index(b'"learnt_by"') + 12, content.index(b',"checksum"')
    for at in luck.integers(first, last, 200):
        path.write_bytes(content[:at] + (b"B" if content[at : at + 1] == b"A" else b"A") + content[at + 1 :])
        one = made(tmp_path)
        caplog.clear()
        KeptPredictor(path, one, Awaited()).load()
        assert [each.levelname for each in caplog.records] == ["ERROR"] and not path.exists()
        assert one.step(frame(2000.0)).cpus == 0.0


def test_a_file_of_before_there_was_a_checksum_is_read(tmp_path, caplog):
    path, before = kept_file(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b',"checksum"')] + b"}")
    one = made(tmp_path)
    assert run(one, KeptPredictor(path, one, Awaited()), 2000, 2010)[0].cpus == pytest.approx(before.cpus, rel=0.05)
    assert not caplog.records


@pytest.mark.parametrize("t", ["1e300", "-1", "null", "1" + "0" * 400])
def test_a_time_that_never_was_is_refused(tmp_path, caplog, t):
    path, _ = kept_file(tmp_path)
    content = path.read_bytes()
    kept = json.loads(content)["state"]["t"]
    content = content.replace(b'"t":%s' % json.dumps(kept).encode(), b'"t":%s' % t.encode())
    path.write_bytes(content[: content.index(b',"checksum"')] + b"}")
    one = made(tmp_path)
    KeptPredictor(path, one, Awaited()).load()
    assert len(caplog.records) == 1 and not path.exists() and one.step(frame(2000.0)).cpus == 0.0


def test_another_predictors_file_is_no_broken_one(tmp_path, caplog):
    path = tmp_path / "agent.predictor"
    one = made(tmp_path)
    run(one, kept := KeptPredictor(path, one, Awaited()), 0, 100)
    kept.write()
    other = made(tmp_path, "[slack.predictor]\nname = 'ahead'\nrisk = 0.01\n")
    KeptPredictor(path, other, Awaited()).load()
    assert path.exists() and not [each for each in caplog.records if each.levelname == "ERROR"]
    assert other.step(frame(100.0)).cpus == 0.0


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path, caplog):
    one = made(tmp_path)
    run(one, kept := KeptPredictor(tmp_path / "none" / "agent.predictor", one, Awaited()), 0, 600)
    kept.write()
    assert len(caplog.records) == 1 and "not kept" in caplog.text
