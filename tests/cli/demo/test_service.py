"""The built-in service and the load, as real processes over real sockets."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from serenity.cli.demo import production
from serenity.cli.demo.kv_service import Service
from serenity.cli.demo.load import percentile_ms, saturation
from serenity.cli.demo.load_process import LoadFailed, LoadProcess, capacity_of


@pytest.fixture
def address() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "serenity.cli.demo.kv_service", "--port", str(port)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, "the service did not come up"
                time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def handle(service: Service, request: bytes) -> tuple[bytes, bytes]:
    unread = bytearray(request)
    return service.handle(unread), bytes(unread)


def test_values_come_back_as_memcached_says_them() -> None:
    service = Service()
    assert handle(service, b"set k 7 0 3\r\nabc\r\n") == (b"STORED\r\n", b"")
    assert handle(service, b"get k\r\n") == (b"VALUE k 7 3\r\nabc\r\nEND\r\n", b"")
    assert handle(service, b"get other\r\n") == (b"END\r\n", b"")


def test_pipelined_requests_are_answered_in_order_and_counted() -> None:
    service = Service()
    handle(service, b"set k 0 0 1\r\nx\r\n")
    answer, _ = handle(service, b"get k\r\nget none\r\nversion\r\nget k\r\nstats\r\n")
    assert answer.split(b"\r\n")[:5] == [b"VALUE k 0 1", b"x", b"END", b"END", b"VERSION serenity-kv-1"]
    assert b"STAT cmd_get 3\r\n" in answer and b"STAT cmd_set 1\r\n" in answer


@pytest.mark.parametrize("cut", range(1, 30))
def test_requests_may_be_cut_anywhere(cut: int) -> None:
    whole = b"set k 0 0 4\r\na\r\nb\r\nget k\r\nget k\r\n"
    service, unread, answers = Service(), bytearray(), b""
    for part in (whole[:cut], whole[cut:]):
        unread += part
        answers += service.handle(unread)
    assert answers == b"STORED\r\n" + b"VALUE k 0 4\r\na\r\nb\r\nEND\r\n" * 2
    assert not unread


def test_what_it_does_not_know_is_an_error_and_not_the_end() -> None:
    assert handle(Service(), b"flush_all\r\nset k\r\n")[0] == b"ERROR\r\nCLIENT_ERROR bad command line format\r\n"


def test_the_load_sends_what_is_due_and_reports_every_second(address: str) -> None:
    load = LoadProcess(address, 5000.0)
    try:
        seconds = load.wait_for_next(1, timeout_s=15)
    finally:
        load.stop()
    assert len(seconds) == 2
    for second in seconds:
        assert second.ops_per_s + second.given_up_per_s == pytest.approx(5000, rel=0.3)
        assert sum(second.latencies_ms.values()) == second.ops_per_s


def test_a_load_without_a_service_says_so() -> None:
    with pytest.raises(LoadFailed, match="refused"):
        capacity_of(production.Service("nobody", ("sleep", "60"), 1, 64), "127.0.0.1:1")


def test_the_percentile_is_by_requests() -> None:
    assert percentile_ms({1: 98, 50: 1, 900: 1}, 0.99) == 50
    assert percentile_ms({}, 0.99) == 0


@pytest.mark.parametrize("capacity", [2e5, 3.9e6, 4.1e6, 30e6])
def test_a_service_faster_than_what_is_asked_for_is_asked_for_more(capacity: float) -> None:
    assert saturation(lambda rate: min(rate, capacity)) == capacity


def test_what_answers_everything_is_not_asked_for_ever() -> None:
    asked: list[float] = []

    def answered(rate: float) -> float:
        asked.append(rate)
        return rate

    saturation(answered)
    assert len(asked) < 8


def test_a_port_in_use_is_one_line(address: str) -> None:
    command = [sys.executable, "-m", "serenity.cli.demo.kv_service", "--port", address.rpartition(":")[2]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1 and "in use" in done.stderr


def test_the_load_prints_json_lines(address: str) -> None:
    command = [
        sys.executable,
        "-m",
        "serenity.cli.demo.load",
        "--address",
        address,
        "--rate",
        "100",
        "--duration",
        "1.2",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert json.loads(done.stdout.splitlines()[0]).keys() == {
        "t",
        "ops_per_s",
        "p99_ms",
        "given_up_per_s",
        "latencies_ms",
    }
