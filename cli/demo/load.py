"""An open-loop load on a memcached: requests leave when they are due, whether or not answers come.

A closed-loop client slows down with its service and so hides what it should show
("coordinated omission", Gil Tene).  Here every request has a due time, and its latency
counts from then.  A request that finds `GIVE_UP_S` worth of unanswered requests ahead of it
is given up at once, and counted, as by a client with a timeout: an ever longer queue would
make the service look slow long after it has recovered.

    python -m serenity.cli.demo.load --address HOST:PORT --rate OPS [--duration S]

One JSON object a line on stdout, one a second: ``{"t", "ops_per_s", "p99_ms", "given_up_per_s",
"latencies_ms"}``, the last a histogram, milliseconds to requests, so that seconds can be added up.
With ``--rate 0`` it asks for far more than can be answered, and prints the rate of the answers:
``{"capacity_ops_per_s"}``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

KEYS = 512
VALUE_BYTES = 32
CONNECTIONS = 8
# How often requests are sent and answers looked for, and so the resolution of the latencies.
# Waking up for every answer instead would cost more CPU than the service itself.
TURN_S = 0.002
GIVE_UP_S = 0.5
_REPORT_S = 1.0
_CAPACITY_S = 3.0  # How long the capacity is measured, after a first second to warm up.
# The rate that is asked for at first; it is doubled, up to the most, while nearly all of it is answered.
_ABSURD_RATE, _MOST_RATE, _FILLED = 4e6, 64e6, 0.9
_PATIENCE_S = 5.0
# The client must not be what is measured: where that is permitted, it goes before all other processes.
_NICE = -15


def key(number: int) -> str:
    return f"key{number % KEYS:06d}"


def value(number: int) -> bytes:
    return f"{number % KEYS:0{VALUE_BYTES}d}".encode()


# All keys and values are of one length, so answers can be counted by their bytes.
_REQUESTS = [f"get {key(n)}\r\n".encode() for n in range(KEYS)]
ANSWER_BYTES = len(f"VALUE {key(0)} 0 {VALUE_BYTES}\r\n") + VALUE_BYTES + len("\r\nEND\r\n")


class LoadError(Exception):
    """The service cannot be used; the text says why."""


@dataclass
class Batch:
    """Requests that were due together."""

    due_s: float
    unanswered: int


@dataclass
class Connection:
    """One pipelined connection: what is not sent yet, and what is not answered yet."""

    sock: socket.socket
    unsent: bytearray = field(default_factory=bytearray)
    batches: deque[Batch] = field(default_factory=deque)
    outstanding: int = 0
    answered_bytes: int = 0  # Received of an answer that is not whole yet.

    def send(self, requests: bytes, count: int, due_s: float) -> None:
        self.unsent += requests
        self.batches.append(Batch(due_s, count))
        self.outstanding += count
        self.flush()

    def flush(self) -> None:
        if self.unsent:
            try:
                sent = self.sock.send(self.unsent)
            except BlockingIOError:
                return  # The service does not keep up; the next turn tries again.
            del self.unsent[:sent]

    def receive(self, now_s: float, latencies_ms: Counter[int]) -> int:
        """Reads what has arrived, counts the answers by their latency, and returns how many there were."""
        answers, self.answered_bytes = divmod(self.answered_bytes + self._read(), ANSWER_BYTES)
        self.outstanding -= answers
        left = answers
        while left:
            batch = self.batches[0]
            taken = min(left, batch.unanswered)
            latencies_ms[_bucket_ms((now_s - batch.due_s) * 1000)] += taken
            batch.unanswered -= taken
            left -= taken
            if not batch.unanswered:
                self.batches.popleft()
        return answers

    def _read(self) -> int:
        total = 0
        while True:
            try:
                data = self.sock.recv(1 << 18)
            except BlockingIOError:
                return total
            if not data:
                raise LoadError("the service closed the connection")
            total += len(data)


def _bucket_ms(latency_ms: float) -> int:
    """Two significant digits: exact enough for a percentile, few enough to print every second."""
    step_ms = 1 if latency_ms < 100 else 10 if latency_ms < 1000 else 100
    return round(latency_ms / step_ms) * step_ms


def percentile_ms(latencies_ms: Mapping[int, int], share: float) -> int:
    """The latency that `share` of all requests did not exceed; 0 without any."""
    left = share * sum(latencies_ms.values())
    for latency_ms, count in sorted(latencies_ms.items()):
        left -= count
        if left <= 0:
            return latency_ms
    return 0


def fill(address: tuple[str, int]) -> None:
    """Stores every key, once the service is up.  Raises LoadError or OSError."""
    with _connect_patiently(address) as sock, sock.makefile("rb") as answers:
        for number in range(KEYS):
            sock.sendall(b"set %b 0 0 %d\r\n%b\r\n" % (key(number).encode(), VALUE_BYTES, value(number)))
            if answers.readline() != b"STORED\r\n":
                raise LoadError("the service does not speak memcached's protocol")


def _connect_patiently(address: tuple[str, int]) -> socket.socket:
    """Tries for `_PATIENCE_S`: the service may have been started just now.  Raises OSError."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return socket.create_connection(address, timeout=5)
        except ConnectionRefusedError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)


class OpenLoop:
    """Sends `rate` requests a second, spread evenly over time and connections."""

    def __init__(self, address: tuple[str, int], rate: float) -> None:
        self.rate = rate
        self._connections = [self._connect(address) for _ in range(CONNECTIONS)]
        self._most_outstanding = max(1, int(rate * GIVE_UP_S / CONNECTIONS))
        self._next_key = 0
        self._turn = 0
        self.answered = self.given_up = 0
        self.latencies_ms: Counter[int] = Counter()

    @staticmethod
    def _connect(address: tuple[str, int]) -> Connection:
        sock = socket.create_connection(address, timeout=5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        return Connection(sock)

    def run(self, duration_s: float, report: bool = True) -> None:
        """Sends for `duration_s`; prints a line of JSON a second if `report`."""
        due_s = begin_s = time.monotonic()
        owed = 0.0
        report_s = begin_s + _REPORT_S
        while due_s < begin_s + duration_s:
            owed += self.rate * TURN_S
            count = int(owed)
            owed -= count
            self._send(count, due_s)
            due_s += TURN_S
            self._receive(due_s)
            if report and due_s >= report_s:
                self._report()
                report_s += _REPORT_S

    def _send(self, count: int, due_s: float) -> None:
        connection = self._connections[self._turn % CONNECTIONS]
        self._turn += 1
        connection.flush()
        sent = min(count, max(0, self._most_outstanding - connection.outstanding))
        self.given_up += count - sent
        if sent:
            first = self._next_key % KEYS
            self._next_key += sent
            requests = (_REQUESTS[first:] + _REQUESTS * (sent // KEYS + 1))[:sent]
            connection.send(b"".join(requests), sent, due_s)

    def _receive(self, at_s: float) -> None:
        """Waits until `at_s`, then takes whatever has been answered."""
        time.sleep(max(0.0, at_s - time.monotonic()))
        now_s = time.monotonic()
        for connection in self._connections:
            connection.flush()
            if connection.outstanding:
                self.answered += connection.receive(now_s, self.latencies_ms)

    def _report(self) -> None:
        line = {
            "t": round(time.time(), 3),
            "ops_per_s": round(self.answered / _REPORT_S),
            "p99_ms": percentile_ms(self.latencies_ms, 0.99),
            "given_up_per_s": round(self.given_up / _REPORT_S),
            "latencies_ms": self.latencies_ms,
        }
        self.answered = self.given_up = 0
        self.latencies_ms = Counter()
        print(json.dumps(line), flush=True)


def capacity_ops_per_s(address: tuple[str, int]) -> float:
    """Answers a second when the service is asked for more than it can answer: its saturation throughput.

    Raises LoadError or OSError.
    """
    return saturation(lambda rate: _answered_ops_per_s(address, rate))


def saturation(answered: Callable[[float], float]) -> float:
    """The highest rate of answers, in ops/s; `answered` gives it for a rate of requests.

    A rate that is answered nearly in full says only that the service can do more: then twice that rate
    is tried.  With a capacity taken too low the demo would load its service so little that nobody hurts it.
    """
    rate = _ABSURD_RATE
    while (most := answered(rate)) >= _FILLED * rate and rate < _MOST_RATE:
        rate *= 2.0
    return most


def _answered_ops_per_s(address: tuple[str, int], rate: float) -> float:
    load = OpenLoop(address, rate)
    load.run(1.0, report=False)
    load.answered, begin_s = 0, time.monotonic()
    load.run(_CAPACITY_S, report=False)
    return load.answered / (time.monotonic() - begin_s)


def go_first() -> None:
    """Raises the client's own priority where that is allowed; without the right it stays as it is."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    except PermissionError:
        return
    if os.getsid(0) != os.getpid():
        return  # The session is somebody's terminal; what follows would raise all its processes.
    try:
        # With autogroup a session is scheduled as one, by a priority of its own.
        with open("/proc/self/autogroup", "w") as file:
            file.write(str(_NICE))
    except OSError:
        return  # A kernel without autogroup: the priority above is all there is.


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="An open-loop load on a memcached.")
    parser.add_argument("--address", required=True, metavar="HOST:PORT")
    parser.add_argument("--rate", type=float, metavar="OPS", help="requests a second; 0 measures the capacity")
    parser.add_argument("--duration", type=float, default=float("inf"), metavar="S")
    args = parser.parse_args(argv)
    host, _, port = args.address.rpartition(":")
    address = (host, int(port))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    go_first()
    try:
        fill(address)
        if not args.rate:
            print(json.dumps({"capacity_ops_per_s": round(capacity_ops_per_s(address))}), flush=True)
            return 0
        OpenLoop(address, args.rate).run(args.duration)
    except (LoadError, OSError) as error:
        print(f"load on {args.address}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
