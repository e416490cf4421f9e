"""`serenity qos replay` and what it is made of, on small made-up traces."""

from __future__ import annotations

import gzip
import importlib
import json
import sys

import numpy as np
import pytest

from serenity.qos import gunzip
from serenity.qos.frame import COLUMNS
from serenity.qos.pipeline import Pipeline
from serenity.qos.replay import Replay
from serenity.qos.trace import TraceError, read_trace

NODE = {"cpus": 36, "mem_bytes": 2**38, "llc_bytes": 36 * 2**20, "mem_bw": 60e9}
ONSET, END, SECONDS = 130, 160, 200
WEB = {"id": "w", "role": "production"}
UP = {"indicator": {"name": "ops", "better": "up"}}


def lines(kind, seconds=SECONDS, seed=5):
    """A service and three best-effort tasks; from ONSET to END task hog presses on one resource."""
    luck = np.random.default_rng(seed)
    yield json.dumps({"trace": 1, "interval_s": 1.0, "node": NODE})
    for t in range(seconds):
        on = ONSET <= t < END
        slow = 1.5 if on and kind in ("llc", "memory_bandwidth") else 1.0
        misses = {"llc": 1.75, "memory_bandwidth": 1.2}.get(kind, 1.0) if on else 1.0
        waits = 0.4 if on and kind == "cpu" else 0.0
        cpi = 1.2 * slow * np.exp(luck.normal(0, 0.02))
        service = {
            "cpu": 2.0,
            "cycles": 6e9,
            "instructions": 6e9 / cpi,
            "llc_misses": 6e9 / cpi * 3e-3 * misses * np.exp(luck.normal(0, 0.05)),
            "llc_bytes": 4e6 / (1.5 if on and kind == "llc" else 1.0) * np.exp(luck.normal(0, 0.05)),
            "run_delay": 2.0 * (0.02 * np.exp(luck.normal(0, 0.3)) + waits),
            "psi_io": 0.01 * np.exp(luck.normal(0, 0.3)) + (0.2 if on and kind == "io" else 0.0),
            "psi_memory": 0.002 * np.exp(luck.normal(0, 0.3)),
        }
        if t % 50 == 7:
            service["instructions"] = service["cycles"] = None
        rows = [row("web-0", "production", service)]
        for name in ("hog", "calm", "steady"):
            mine = on and name == "hog"
            active = 1.0 if name != "hog" or mine else 0.05
            wobble = active * np.exp(luck.normal(0, 0.05))
            columns = {
                "cpu": 1.5 * wobble * (2.0 if mine and kind == "cpu" else 1.0),
                "llc_bytes": 1e6 * wobble * (10.0 if mine and kind == "llc" else 1.0),
                "mem_bw": 5e8 * wobble * (15.0 if mine and kind == "memory_bandwidth" else 1.0),
                "io_bytes": 5e6 * wobble * (40.0 if mine and kind == "io" else 1.0),
                "rss_bytes": 1e9,
            }
            rows.append(row(name, "best_effort", columns))
        yield json.dumps({"t": float(t), "containers": rows})


def row(name, role, columns):
    return {"id": name, "role": role, "job": name, "cpus": 4.0, "mem_bytes": 2.0**32, **columns}


@pytest.fixture
def trace(tmp_path):
    def write(kind, seconds=SECONDS):
        path = tmp_path / f"{kind}-{seconds}.jsonl.gz"
        path.write_bytes(gzip.compress("\n".join(lines(kind, seconds)).encode() + b"\n"))
        return path

    return write


def decisions(path):
    replay = Replay(Pipeline.load())
    return [each for frame in read_trace(path) for each in replay.step(frame)]


@pytest.mark.parametrize("kind", ["llc", "memory_bandwidth", "cpu", "io"])
def test_interference_is_found_with_its_cause_and_culprit_and_ends(trace, kind):
    found = decisions(trace(kind))
    begun = [each for each in found if each.action != "release"]
    assert [each.protected for each in found] == ["web-0"] * len(found)
    assert ONSET <= begun[0].t <= ONSET + 3
    assert (begun[-1].cause, begun[-1].suspects[0]) == (kind, "hog")
    assert begun[-1].scores == sorted(begun[-1].scores, reverse=True)
    assert begun[-1].parts[0]["onset"] > 0.5
    assert found[-1].action == "release" and END <= found[-1].t <= END + 25


def test_quiet_when_nothing_happens(trace):
    assert decisions(trace("nothing")) == []


@pytest.mark.parametrize("cut", [ONSET + 1, ONSET + 4, END + 5])
def test_a_trace_cut_short_gives_the_same_decisions_up_to_the_cut(trace, cut):
    whole = decisions(trace("llc"))
    assert decisions(trace("llc", cut)) == [each for each in whole if each.t < cut]


@pytest.mark.parametrize("kind", ["llc", "memory_bandwidth", "cpu", "io"])
def test_columns_that_no_stage_looks_at_need_not_be_read(trace, kind):
    pipeline = Pipeline.load()
    replay = Replay(pipeline)
    found = [each for frame in read_trace(trace(kind), pipeline.reads) for each in replay.step(frame)]
    assert pipeline.reads < set(COLUMNS) and found == decisions(trace(kind)) != []


def test_only_the_columns_that_are_asked_for_are_read(tmp_path):
    path = tmp_path / "one.jsonl"
    rows = [row("w", "production", {"cpu": 0.5, "cycles": 2.0, "sli": 3.0})]
    path.write_text(f'{{"trace": 1}}\n{json.dumps({"t": 3.0, "containers": rows})}\n')
    (frame,) = read_trace(path, {"sli", "cpu"})
    assert {name: values.tolist() for name, values in frame.columns.items()} == {"cpu": [0.5], "sli": [3.0]}


def test_a_frame_read_is_the_frame_written(tmp_path):
    path = tmp_path / "one.jsonl"
    told = {"id": "w", "role": "production", "job": "w", "cpus": 2.0, "mem_bytes": 8.0, "cpu": 0.5, "sli": None}
    told["indicator"] = {"name": "ops", "unit": "1/s", "better": "higher"}
    path.write_text(f'{{"trace": 1, "node": {{"cpus": 4}}}}\n{json.dumps({"t": 3.0, "containers": [told]})}\n')
    (frame,) = read_trace(path)
    assert (frame.t, frame.node.cpus, frame.ids, frame.production.tolist()) == (3.0, 4.0, ["w"], [True])
    assert (frame.containers[0].cpus, frame.containers[0].indicator.better) == (2.0, "higher")
    assert frame.column("cpu").tolist() == [0.5]
    assert np.isnan(frame.column("sli")).all() and np.isnan(frame.column("cycles")).all()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "header"),
        ('{"trace": 1, "interval_s": "fast"}\n', "header .*Expected `float`.*interval_s"),
        ('{"trace": 1}\n' + json.dumps({"t": 1, "containers": [WEB | {"role": "Web"}]}), "line 2 .*'Web'.*role"),
        ('{"trace": 1}\n' + json.dumps({"t": 1, "containers": [WEB | UP]}), "line 2 .*'up'.*better"),
        ('{"trace": 1}\n' + json.dumps({"t": 1, "containers": [WEB, WEB]}), "line 2 .*several .* id 'w'"),
        ('{"trace": 2}\n', "format 2"),
        ('{"trace": 1}\n{"t": 1}\n', "line 2"),
        ('{"trace": 1}\n{"t": 1, "containers": []}\n{"t": 1, "containers": []}\n', "line 3"),
        ('{"trace": 1}\n{"t": 1, "containers": [{"id": "\udcff"}]}\n', "line 2 is no frame"),
        ('{"trace": 1, "platform": "\udcff"}\n', "header"),
    ],
)
def test_what_is_no_trace_is_told_with_its_line(tmp_path, text, says):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(TraceError, match=says):
        list(read_trace(path))


@pytest.fixture(params=["isal", "gzip"])
def unzipped_by(request, monkeypatch):
    """Both that may read gzipped traces."""
    if request.param == "isal":
        pytest.importorskip("isal")
    else:
        monkeypatch.setitem(sys.modules, "isal", None)
    importlib.reload(gunzip)
    yield
    monkeypatch.undo()
    importlib.reload(gunzip)


def test_a_gzipped_trace_is_the_trace(tmp_path, trace, unzipped_by):
    zipped, plain = trace("nothing", 20), tmp_path / "plain.jsonl"
    plain.write_bytes(gzip.decompress(zipped.read_bytes()))
    assert [each.to_json() for each in read_trace(zipped)] == [each.to_json() for each in read_trace(plain)]


@pytest.mark.parametrize("damage", [lambda whole: whole[:-40], lambda whole: whole[:99] + bytes(40) + whole[139:]])
def test_a_gzip_that_is_torn_or_damaged(tmp_path, trace, unzipped_by, damage):
    path = tmp_path / "torn.gz"
    path.write_bytes(damage(trace("nothing", 20).read_bytes()))
    with pytest.raises(TraceError, match="cannot be read"):
        list(read_trace(path))


def test_who_is_there_is_told_anew_when_anything_of_it_changes(tmp_path):
    """Frames share their containers only as long as these are the same."""
    told = {"indicator": {"name": "p99", "unit": "ms", "better": "lower"}}
    first = [row("a", "production", {"cpu": 1.0} | told), row("b", "best_effort", {"cpu": None})]
    grown = [{**first[0], "cpus": 8.0}, first[1]]
    other = [first[0] | {"indicator": told["indicator"] | {"better": "higher"}}, first[1]]
    path = tmp_path / "some.jsonl"
    frames = [first, first, grown, first[:1], [], first, other, other]
    lines = [json.dumps({"t": t, "containers": rows}) for t, rows in enumerate(frames)]
    path.write_text("\n".join(['{"trace": 1}', *lines]) + "\n")
    read = list(read_trace(path))
    assert [each.ids for each in read] == [["a", "b"], ["a", "b"], ["a", "b"], ["a"], [], *[["a", "b"]] * 3]
    assert read[1].containers is read[0].containers and read[7].containers is read[6].containers
    assert [each.containers[0].indicator.better for each in read[5:]] == ["lower", "higher", "higher"]
    assert [each.allocated_cpus.tolist()[:1] for each in read] == [[4.0], [4.0], [8.0], [4.0], [], *[[4.0]] * 3]
    assert read[5].column("cpu")[0] == 1.0 and np.isnan(read[5].column("cpu")[1])
