"""Asking strangers: whatever they answer, the sample goes on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from serenity.daemon.clock import SystemClock
from serenity.qos.frame import PRODUCTION, Container
from serenity.qos.sources import command_indicator, http_answer, memcached, network_namespace
from serenity.qos.sources.command_indicator import Commands
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.exchange import MAX_ANSWER_BYTES, ExchangeError, Exchanges, Question
from serenity.qos.sources.indicator import Declaration, Indicator
from serenity.qos.sources.indicators import Indicators, question
from serenity.qos.sources.processes import ProcessTable
from tests.manual_clock import ManualClock
from tests.polling import eventually


class Service:
    """Answers each question on a connection by `behave(connection, number of the question)`."""

    def __init__(self, behave):
        self.behave = behave
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        number = 0
        with contextlib.suppress(OSError), connection:
            while connection.recv(4096):
                number += 1
                self.behave(connection, number)


@pytest.fixture
def service():
    services = []

    def start(behave):
        services.append(Service(behave))
        return services[-1]

    yield start
    for each in services:
        each.listener.close()


@pytest.fixture
def exchanges():
    made = Exchanges(SystemClock(), timeout_s=0.3)
    yield made
    made.close()


def ask(exchanges, address, name="a"):
    exchanges.ask(name, Question(address, memcached.REQUEST, memcached.complete))


def test_an_answer_on_a_kept_connection(service, exchanges):
    asked = service(lambda connection, number: connection.sendall(b"STAT n %d\r\nEND\r\n" % number))
    for number in (1, 2, 3):
        ask(exchanges, asked.address)
        assert exchanges.collect(2.0)["a"].content == b"STAT n %d\r\nEND\r\n" % number
    assert asked.connections == 1


def test_a_late_answer_is_in_the_next_collection_with_its_own_time(service, exchanges):
    def late(connection, number):
        time.sleep(0.15)
        connection.sendall(b"END\r\n")

    ask(exchanges, service(late).address)
    asked_at = time.monotonic()
    assert exchanges.collect(0.05) == {}
    assert time.monotonic() - asked_at < 0.13
    assert exchanges.collect(2.0)["a"].at_s - asked_at >= 0.1


def test_silence_ends_the_connection_and_a_new_question_comes_on_another(service, exchanges):
    silent = service(lambda connection, number: None)
    ask(exchanges, silent.address)
    assert exchanges.collect(0.01) == {}
    time.sleep(0.3)
    ask(exchanges, silent.address)
    answer = exchanges.collect(0.0)["a"].content
    assert isinstance(answer, ExchangeError)
    assert "no answer within 0.3 s" in str(answer)
    deadline = time.monotonic() + 5
    while silent.connections < 2:
        assert time.monotonic() < deadline
        exchanges.collect(0.01)


def test_one_bad_service_does_not_keep_the_others_from_answering(service, exchanges):
    ask(exchanges, service(lambda connection, number: connection.close()).address, "closes")
    ask(exchanges, service(lambda c, n: c.sendall(b"x" * (MAX_ANSWER_BYTES + 1))).address, "floods")
    ask(exchanges, service(lambda connection, number: None).address, "silent")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        refusing = nobody.getsockname()
    ask(exchanges, refusing, "refuses")
    ask(exchanges, service(lambda c, n: c.sendall(b"END\r\n")).address, "well")
    answers = exchanges.collect(0.3)
    assert answers["well"].content == b"END\r\n"
    assert "closed" in str(answers["closes"].content)
    assert str(MAX_ANSWER_BYTES) in str(answers["floods"].content)
    assert "refused" in str(answers["refuses"].content)
    assert "silent" not in answers


def test_what_is_gone_is_closed(service, exchanges):
    asked = service(lambda c, n: c.sendall(b"END\r\n"))
    ask(exchanges, asked.address)
    exchanges.collect(2.0)
    exchanges.keep([])
    ask(exchanges, asked.address)
    exchanges.collect(2.0)
    assert asked.connections == 2


def asked_over(service_behaviour, service, exchanges, wait_s=2.0):
    """An answer to an HTTP question."""
    behaving = service(service_behaviour)
    exchanges.ask("a", question(declared("json", behaving.address)))
    deadline = time.monotonic() + 10
    while not (answers := exchanges.collect(0.05)):
        assert time.monotonic() < deadline
        exchanges.ask("a", question(declared("json", behaving.address)))
    return answers["a"].content


def declared(kind, address, metric="a", **more):
    return Declaration(kind, Indicator(metric, "", "higher"), address, "/x", metric, **more)


def test_an_answer_that_ends_with_its_connection(service, exchanges):
    def behave(connection, number):
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n{}")
        connection.shutdown(socket.SHUT_RDWR)

    assert http_answer.body(asked_over(behave, service, exchanges)) == b"{}"


def test_an_answer_that_drips_is_given_up_as_a_whole(service, exchanges):
    """Each byte in time, the whole never: the deadline is for the exchange."""

    def drip(connection, number):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b" ")
            time.sleep(0.02)

    began_s = time.monotonic()
    content = asked_over(drip, service, exchanges)
    assert isinstance(content, ExchangeError)
    assert "no answer within 0.3 s" in str(content)
    assert time.monotonic() - began_s < 2


def test_an_answer_in_crumbs_is_given_up(service):
    def crumbs(connection, number):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            connection.sendall(b"x")

    made = Exchanges(SystemClock(), timeout_s=30.0)
    made.ask("a", Question(service(crumbs).address, memcached.REQUEST, memcached.complete))
    deadline, answers = time.monotonic() + 10, {}
    while not answers and time.monotonic() < deadline:
        answers = made.collect(0.1)
    made.close()
    assert isinstance(answers["a"].content, ExchangeError)
    assert "pieces" in str(answers["a"].content) or "bytes" in str(answers["a"].content)


def test_a_head_that_never_ends_is_given_up(service, exchanges):
    def bomb(connection, number):
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000)

    content = asked_over(bomb, service, exchanges)
    assert isinstance(content, ExchangeError)
    assert "HTTP head" in str(content)


def test_a_flood_is_cut_off_at_its_bound(service, exchanges):
    def flood(connection, number):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        while True:
            connection.sendall(b" " * 65536)

    content = asked_over(flood, service, exchanges)
    assert isinstance(content, ExchangeError)
    assert str(MAX_ANSWER_BYTES) in str(content)


# --- as a source ---


class Sampled:
    """One production row with an indicator, sampled until `value` has come or a fault was counted."""

    def __init__(self):
        self.faults = Faults()
        self.indicators = Indicators(SystemClock(), self.faults)

    def value(self, declaration, samples=2):
        row = Row(Container("c", PRODUCTION, "job", 1.0, 0.0, container="c"), os.getpid(), declaration=declaration)
        values = []
        deadline = time.monotonic() + 10
        while len(values) < samples and not self.faults.counts:
            assert time.monotonic() < deadline
            self.indicators.ask([row])
            draft = Draft([row], lambda: ProcessTable(()))
            self.indicators.read(draft)
            values += draft.frame(0.0, None).column("sli")[draft.frame(0.0, None).column("sli") > -1].tolist()
            time.sleep(0.01)
        return values


@pytest.fixture
def sampled():
    made = Sampled()
    yield made
    made.indicators.close()


def http(text):
    def behave(connection, number):
        body = text() if callable(text) else text
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body.encode()))

    return behave


def test_a_gauge_and_a_path(service, sampled):
    assert sampled.value(declared("prometheus", service(http("a 5\n")).address), 1) == [5.0]
    assert sampled.value(declared("json", service(http('{"a": 7}')).address), 1) == [7.0]
    assert sampled.faults.counts == {}


def test_a_quantile_of_a_histogram_that_grows(service, sampled):
    count = iter(range(0, 1000, 10))

    def grows():
        n = next(count)
        return f'a_bucket{{le="1"}} {n}\na_bucket{{le="+Inf"}} {n}\n'

    value = sampled.value(declared("prometheus", service(http(grows)).address, reading="p50"), 1)
    assert value == [0.5]


@pytest.mark.parametrize("number", ["NaN", "+Inf", "-Inf", "1e400", "x", ""])
def test_what_is_no_measurement_is_counted_and_not_taken(service, sampled, number):
    assert sampled.value(declared("prometheus", service(http(f"a {number}\n")).address)) == []
    assert sampled.faults.counts == {"sli": 1}


@pytest.mark.parametrize(
    ("reading", "texts"),
    [
        ("p50", [f'a_bucket{{le="-1e308"}} 0\na_bucket{{le="1e308"}} {n}\n' for n in (0, 10)]),
        ("p50", [f'a_bucket{{le="-Inf"}} 0\na_bucket{{le="1"}} {n}\n' for n in (0, 10)]),
        ("rate", ["a -1.7e308\n", "a 1.7e308\n"]),
    ],
)
def test_two_readings_too_far_apart_are_no_measurement(service, sampled, reading, texts):
    answers = iter(texts)
    asked = service(http(lambda: next(answers, texts[-1])))
    assert sampled.value(declared("prometheus", asked.address, reading=reading)) == []
    assert sampled.faults.counts == {"sli": 1}


def test_what_is_no_longer_declared_is_no_longer_asked(service, sampled):
    """A withdrawn declaration's question would be waited for in each sample, until the container goes."""
    silent = service(lambda connection, number: None)
    container = Container("c", PRODUCTION, "job", 1.0, 0.0, container="c")

    def sample(declaration):
        row = Row(container, os.getpid(), declaration=declaration)
        sampled.indicators.ask([row])
        sampled.indicators.read(Draft([row], lambda: ProcessTable(())))

    sample(declared("json", silent.address))
    open_sockets = len(sampled.indicators._exchanges._selector.get_map())
    sample(None)
    assert (open_sockets, len(sampled.indicators._exchanges._selector.get_map())) == (1, 0)
    sample(declared("command", None, command=("sleep", "600")))
    (run,) = sampled.indicators._commands._runs.values()
    sample(None)
    assert run.process.returncode == -signal.SIGKILL


def test_a_counter_is_not_compared_with_that_of_another_declaration(service, sampled):
    address = service(http("few 0\nmany 1000000\n")).address
    for metric in ("few", "many"):
        assert sampled.value(declared("prometheus", address, metric, reading="rate"), 1) == [0.0]


def test_commands_of_the_operator(sampled, tmp_path):
    program = tmp_path / "p99"
    program.write_text('#!/bin/sh\necho "$SERENITY_JOB" >> "$1"\necho 12.5\n')
    program.chmod(0o755)
    assert sampled.value(declared("command", None, command=(str(program), str(tmp_path / "asked"))), 2) == [12.5, 12.5]
    assert set((tmp_path / "asked").read_text().split()) == {"job"}


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("/no/such",), "No such file"),
        (("sh", "-c", "exit 3"), "ended with 3"),
        (("sh", "-c", "yes"), "more than 4096 bytes"),
        (("echo", "fast"), "no number"),
        (("echo", "nan"), "no measurement"),
        (("echo", "\0"), "null byte"),  # As a task's name may have one.
    ],
)
def test_commands_that_fail_are_counted(sampled, caplog, command, says):
    assert sampled.value(declared("command", None, command=command)) == []
    assert sampled.faults.counts == {"sli": 1}
    assert says in caplog.text


def test_a_command_that_does_not_end_is_ended_with_its_children(tmp_path):
    clock, pid_file = ManualClock(), tmp_path / "pid"
    commands = Commands(clock, timeout_s=5.0)
    commands.ask("c", ("sh", "-c", f"sleep 600 & echo $! > {pid_file}; wait"), {})
    deadline = time.monotonic() + 10
    while not (pid_file.exists() and pid_file.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert commands.collect() == {}
    clock.advance(5.0)
    assert "did not end within 5 s" in str(commands.collect()["c"].content)
    child = Path(f"/proc/{pid_file.read_text().strip()}/cmdline")
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while child.read_text():  # A killed one that waits for init has none.
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_what_a_command_prints_last_is_read_though_it_ends_meanwhile(tmp_path, monkeypatch):
    """It ends after it was read and before it was looked at: a machine that is busy has such moments."""
    go_on = tmp_path / "go on"
    commands = Commands(ManualClock())
    commands.ask("c", ("sh", "-c", f"until [ -e '{go_on}' ]; do sleep 0.01; done; echo 5"), {})
    read = os.read

    def ends_behind_our_back(*of):
        try:
            return read(*of)
        finally:
            go_on.touch()
            time.sleep(0.3)

    with monkeypatch.context() as patched:
        patched.setattr(command_indicator.os, "read", ends_behind_our_back)
        assert commands.collect() == {}
    assert eventually(commands.collect)["c"].content == b"5\n"


def test_what_a_command_leaves_running_is_ended(tmp_path):
    commands = Commands(ManualClock())
    commands.ask("c", ("sh", "-c", f"sleep 600 & echo $! > '{tmp_path / 'pid'}'; echo 5"), {})
    assert eventually(commands.collect)["c"].content == b"5\n"
    left = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    eventually(lambda: not left.exists() or left.read_text().rpartition(") ")[2][0] == "Z", "its end")


# --- a network of its own ---


IN_ITS_OWN_NETWORK = """
import fcntl, socket, struct
probe = socket.socket()
fcntl.ioctl(probe, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS: up
listener = socket.create_server(("127.0.0.1", 31999))
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    connection.recv(4096)
    connection.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 8\\r\\n\\r\\n{"a": 3}')
    connection.close()
"""


@pytest.mark.root
def test_a_task_in_its_own_network_is_asked_in_there(sampled):
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0:
        pytest.skip("needs root")

    def unshare():
        if libc.unshare(0x4000_0000) != 0:
            os._exit(9)

    process = subprocess.Popen([sys.executable, "-c", IN_ITS_OWN_NETWORK], preexec_fn=unshare, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            pytest.skip("no network namespaces here")
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.1", 31999), timeout=1)  # From here it cannot be reached.
        assert network_namespace.has_own(process.pid)
        assert not network_namespace.has_own(os.getpid())
        ours = os.stat("/proc/thread-self/ns/net").st_ino
        value = sampled.value(declared("json", ("127.0.0.1", 31999), network_of=process.pid), 1)
        assert value == [3.0]
        assert os.stat("/proc/thread-self/ns/net").st_ino == ours
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    # The process is gone, and its pid somebody's in our network: nobody is asked.
    sampled.value(declared("json", ("127.0.0.1", 31999), network_of=os.getpid()), 1)
    assert sampled.faults.counts == {"sli": 1}
