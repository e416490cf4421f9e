from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serenity.wire.messages import node
from serenity.wire.messages.kill_record import Candidate, Detector, Protected, Selection, Signal, Window
from serenity.wire.messages.node import (
    Accuse,
    Accused,
    HeldLease,
    Hello,
    History,
    Lease,
    Leases,
    LineReader,
    NodeProtocolError,
    Operator,
    Overcommitment,
    Release,
    Sample,
    TaskOnNode,
    Tasks,
    Unowned,
    Welcome,
    decode_to_estimator,
    decode_to_executor,
    encode_line,
)

TASK = TaskOnNode(task_id="t", job="j", pid=7, cpus=0.5, mem_bytes=1 << 20, started_at=1.0, cgroup="/a/b")
ACCUSE = Accuse(
    task_id="t",
    ttl_s=3.0,
    cause="llc",
    severity=0.5,
    protected_id="c1",
    protected=Protected(framework="web", executor="e", container="c1", task="api"),
    signal=Signal(name="CPI", unit="", observed=2.9, baseline=1.4, deviation=1.07, threshold=None),
    window=Window(start=1.0, end=2.0, samples=5, missing=1),
    detector=Detector(name="drop", parameters={"window": 5}),
    selection=Selection(strategy="combined", candidates=(Candidate(task="t", score=0.9),)),
)
TO_ESTIMATOR = [
    Hello(framework_id="f", executor_id="e", container_id="c", pid=1),
    Tasks(tasks=(TASK,)),
    Lease(holder="e", reason="llc", ttl_s=10.0),
    Release(holder="e"),
    ACCUSE,
    Operator(pid=3),
]
TO_EXECUTOR = [
    Welcome(agent_id="S0", hostname="h7", interval_s=1.0),
    Sample(frame={"t": 1.0, "containers": []}, overcommitment=Overcommitment(cpus=0.5)),
    History(frames=({"t": 0.0},)),
    Accused(by="c", accusation=ACCUSE),
    Unowned(task_id="t"),
    Leases(leases=(HeldLease(holder="operator ann", reason="disk", ends_in_s=59.5),), refused="no"),
]


def test_every_message_comes_through() -> None:
    assert [decode_to_estimator(encode_line(each)) for each in TO_ESTIMATOR] == TO_ESTIMATOR
    assert [decode_to_executor(encode_line(each)) for each in TO_EXECUTOR] == TO_EXECUTOR


def test_fields_and_types_of_a_newer_peer_are_ignored() -> None:
    assert decode_to_estimator(b'{"type":"release","holder":"e","mood":1}') == Release(holder="e")
    for decode in (decode_to_estimator, decode_to_executor):
        assert decode(b'{"type":"advice","text":"sleep"}') is None


def test_a_message_of_the_other_direction_is_one_that_this_side_does_not_know() -> None:
    assert decode_to_estimator(encode_line(TO_EXECUTOR[0])) is None
    assert decode_to_executor(encode_line(TO_ESTIMATOR[0])) is None


@pytest.mark.parametrize(
    "line",
    [
        *(b"{", b"", b"[]", b"1", b"{}", b'{"type":1}', b'{"type":"lease"}', b"\xff", b"[" * 100_000),
        b'{"type":"release","holder":"\xff"}',
    ],
)
def test_what_is_not_this_protocol(line: bytes) -> None:
    with pytest.raises(NodeProtocolError):
        decode_to_estimator(line)


def test_the_field_that_is_wrong_is_named() -> None:
    with pytest.raises(NodeProtocolError, match=r"ttl_s"):
        decode_to_estimator(b'{"type":"lease","holder":"e","reason":"x","ttl_s":"long"}')


@given(st.lists(st.binary(min_size=1, max_size=50).filter(lambda line: b"\n" not in line)), st.integers(1, 20))
def test_chunk_boundaries_mean_nothing(lines: list[bytes], size: int) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    reader = LineReader()
    found = [line for at in range(0, len(stream), size) for line in reader.feed(stream[at : at + size])]
    assert found == lines


def test_a_line_may_be_as_long_as_the_limit_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "MAX_LINE_BYTES", 10)
    assert list(LineReader().feed(b"0123456789\nab\n")) == [b"0123456789", b"ab"]
    for stream in (b"0123456789a", b"0123456789a\n", b"ab\n0123456789a\n"):
        with pytest.raises(NodeProtocolError, match="a line of more than 10 bytes"):
            list(LineReader().feed(stream))


def test_no_line_is_made_that_the_peer_would_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "MAX_LINE_BYTES", 100)
    with pytest.raises(NodeProtocolError, match="a Sample of"):
        encode_line(Sample(frame={"x": "y" * 100}))


@pytest.mark.parametrize(
    ("euid", "environ", "expected"),
    [
        (0, {}, "/run/serenity"),
        (0, {"XDG_RUNTIME_DIR": "/run/user/0"}, "/run/serenity"),
        (1000, {"XDG_RUNTIME_DIR": "/run/user/1000"}, "/run/user/1000/serenity"),
        (1000, {"SERENITY_RUN_DIR": "/x", "XDG_RUNTIME_DIR": "/run/user/1000"}, "/x"),
    ],
)
def test_where_the_socket_is(
    monkeypatch: pytest.MonkeyPatch, euid: int, environ: dict[str, str], expected: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    assert node.run_dir(environ) == Path(expected)


def test_no_two_messages_of_a_direction_have_one_type() -> None:
    def tags(messages: list[Any]) -> list[str]:
        return [each.__struct_config__.tag for each in messages]

    assert sorted(tags(TO_ESTIMATOR)) == ["accuse", "hello", "lease", "operator", "release", "tasks"]
    assert sorted(tags(TO_EXECUTOR)) == ["accused", "history", "leases", "sample", "unowned", "welcome"]


def test_a_long_folder_gets_a_short_name_for_the_socket() -> None:
    agent = "f5c12b08-a7cd-4c4d-8213-146dc85527ee-S0"
    roomy, tight = Path("/run/serenity"), Path("/" + "d" * 80)
    assert node.socket_path(agent, roomy) == roomy / f"{agent}.sock"
    shortened = node.socket_path(agent, tight)
    assert len(str(shortened)) <= 107
    assert shortened == node.socket_path(agent, tight) != node.socket_path("another", tight)
    with pytest.raises(OSError, match="SERENITY_RUN_DIR"):
        node.socket_path(agent, Path("/" + "d" * 100))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("mem_bytes", each) for each in ("-1", "1" + "0" * 330, "1e30")],
        *[("cpus", each) for each in ("-0.5", "1e30", "1" + "0" * 330, "1e999")],
        *[("pid", each) for each in ("0", "-1", "1" + "0" * 30)],
        *[("started_at", each) for each in ("-1", "1e300")],
    ],
    ids=lambda each: each[:20],
)
def test_a_task_with_a_number_that_no_machine_has_is_refused(name: str, value: str) -> None:
    line = encode_line(Tasks(tasks=(TASK,))).strip()
    said = json.loads(line)["tasks"][0][name]
    with pytest.raises(NodeProtocolError, match=name):
        decode_to_estimator(line.replace(f'"{name}":{said}'.encode(), f'"{name}":{value}'.encode()))


def test_a_folder_with_no_room_for_a_socket_is_named_as_any_folder_that_cannot_be_used(tmp_path):
    folder = tmp_path / ("x" * 100)
    with pytest.raises(OSError, match="shorter") as refused:
        node.socket_path("S0", folder)
    assert refused.value.filename == str(folder)
