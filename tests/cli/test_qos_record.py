"""`serenity qos record`, against an agent that is a script, and with the estimator's socket."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from serenity.cli import qos_record
from serenity.daemon.clock import SystemClock
from serenity.estimator.settings import EstimatorSettings
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container, Frame
from serenity.qos.sources.roster import Roster
from serenity.qos.trace import read_trace
from serenity.wire.mesos.state import AgentReader
from serenity.wire.messages import node
from tests.answering import Answering
from tests.polling import eventually

STATE = {
    "id": "A1",
    "hostname": "h7",
    "pid": "slave(1)@127.0.0.1:5051",
    "resources": {"cpus": 4.0, "mem": 4096.0},
    "frameworks": [
        {
            "id": "F",
            "name": "web",
            "executors": [
                {"id": "e", "container": "C", "resources": {"cpus": 1.0}, "tasks": [{"id": "t", "name": "w"}]}
            ],
        }
    ],
}  # fmt: skip


@pytest.fixture
def agent():
    containers = [
        {"framework_id": "F", "executor_id": "e", "container_id": "C", "status": {"executor_pid": os.getpid()}}
    ]
    with Answering(lambda path, _: (200, STATE if path == "/state" else containers)) as server:
        yield server.address


@pytest.fixture
def record(agent, tmp_path):
    """Starts ``serenity qos record`` with these arguments."""
    environment = {**os.environ, "SERENITY_RUN_DIR": str(tmp_path / "run"), "HOME": str(tmp_path)}

    def start(*arguments, agent=agent):
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "serenity", "qos", "record", *map(str, arguments), "--agent", agent],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


def test_a_trace_that_can_be_replayed(record, tmp_path):
    file = tmp_path / "x.jsonl.gz"
    done = record(file, "--seconds", "0.5", "--interval", "0.1")
    _, err = done.communicate(timeout=60)
    assert done.returncode == 0, err
    assert "sampling by itself" in err
    header = json.loads(gzip.decompress(file.read_bytes()).splitlines()[0])
    frames = list(read_trace(file))
    assert (header["trace"], header["interval_s"], header["node"]["cpus"]) == (1, 0.1, 4.0)
    assert 3 <= len(frames) <= 8
    assert [each.t for each in frames] == sorted({each.t for each in frames})
    assert frames[0].t == 0.0
    (row,) = frames[-1].containers
    assert (row.id, row.role, row.job, row.cpus) == ("C", PRODUCTION, "w", 1.0)
    assert frames[-1].column("rss_bytes")[0] > 1e6
    assert frames[-1].column("cpu")[0] >= 0.0
    assert frames[-1].node.cpus == 4.0


def test_time_passes_in_a_trace_whatever_becomes_of_the_clock(agent, monkeypatch):
    class SetBack(SystemClock):
        def now_s(self):
            return super().now_s() - 1000.0 * self.monotonic_s()

    monkeypatch.setattr("serenity.daemon.clock.SystemClock", SetBack)
    lines = qos_record._sampled(Roster(AgentReader(agent), SetBack()), EstimatorSettings(agent=agent), 0.05)
    with contextlib.closing(lines):
        times = [next(lines)["t"] for _ in range(3)]
    assert times == sorted(set(times)), "a replay takes no other"


def test_it_ends_in_order_and_never_writes_over_a_file(record, tmp_path):
    file = tmp_path / "x.jsonl"
    recording = record(file, "--interval", "0.1")
    eventually(lambda: file.exists() and file.read_text().count("\n") > 2, "some frames")
    recording.send_signal(signal.SIGTERM)
    _, err = recording.communicate(timeout=30)
    assert recording.returncode == 0
    assert f"frames in {file}" in err
    before = file.read_text()
    assert len(list(read_trace(file))) >= 2
    again = record(file, "--seconds", "1")
    _, err = again.communicate(timeout=30)
    assert (again.returncode, err.count("\n")) == (2, 1)
    assert "exists" in err
    assert file.read_text() == before


def test_without_an_agent_there_is_no_file(record, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
    done = record(tmp_path / "x.jsonl", agent=address)
    _, err = done.communicate(timeout=30)
    assert done.returncode == 5
    assert "--agent HOST:PORT" in err
    assert not (tmp_path / "x.jsonl").exists()


def test_the_estimators_frames_where_one_runs(record, tmp_path):
    """Its rows are the tasks, which this command could not know."""
    path = node.socket_path("A1", tmp_path / "run")
    path.parent.mkdir()
    hellos = []

    def serve(listener):
        connection, _ = listener.accept()
        hellos.append(node.decode_to_estimator(connection.makefile("rb").readline()))
        welcome = node.Welcome(agent_id="A1", hostname="h7", interval_s=0.5)
        old = Frame(1.0, (), {})
        connection.sendall(node.encode_line(welcome) + node.encode_line(node.History(frames=(old.to_json(),))))
        for i in range(7):
            task = Container("task-1", BEST_EFFORT, "burn", 0.5, 0.0)
            frame = Frame(1000.0 + i * 0.5, (task,), {})
            connection.sendall(node.encode_line(node.Sample(frame=frame.to_json())))
        connection.close()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        done = record("-", "--interval", "1")
        out, err = done.communicate(timeout=30)
    assert hellos[0].executor_id == "serenity qos record"
    header, file = json.loads(out.splitlines()[0]), tmp_path / "x.jsonl"
    file.write_text(out)
    frames = list(read_trace(file))
    assert header["interval_s"] == 1.0
    assert [each.t for each in frames] == [0.0, 1.0, 2.0, 3.0]  # Every other one.
    assert frames[0].containers[0].id == "task-1"
    assert "the estimator has ended" in err


def test_the_folder_of_the_trace_must_be_there(record):
    done = record(Path("/no/such/folder/x.jsonl"), "--seconds", "1")
    _, err = done.communicate(timeout=30)
    assert done.returncode == 2
    assert "cannot write" in err
