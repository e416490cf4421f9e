"""The network of a simulation, in the place of `wire.http`: what is sent is under way until it is delivered.

What is under way on one connection keeps its order, as with TCP; which connection delivers
next is for the outside to choose.  Calls are lost, answered in vain or come late.
"""

from __future__ import annotations

import enum
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from serenity.wire.transport.http import Endpoint, HttpError, Response, Unreachable
from tests.fuzz.streams import SimStream
from tests.fuzz.threads import Process, SimThread, Threads

Json = dict[str, Any]

_TIMEOUT_S = 10.0


class Fate(enum.Enum):
    """What becomes of a call."""

    ARRIVES = "arrives"
    LOST = "is lost on the way"
    ANSWER_LOST = "is carried out, and its answer is lost"
    LATE = "arrives when its caller has given up"
    BUSY = "is answered 503"


@dataclass(frozen=True)
class Answer:
    """`stream`: of a subscription."""

    status: int = 202
    text: str = ""
    stream: SimStream | None = None


class Server(Protocol):
    def answer(self, path: str, call: Json, stream_id: str | None, open_stream: Callable[[], SimStream]) -> Answer: ...
    def stream_closed(self, stream_id: str) -> None: ...


class UnderWay(Protocol):
    def deliver(self) -> None:
        """The next of it arrives."""


class Channel:
    """Messages one way, in order."""

    def __init__(self, busy: dict[UnderWay, None]) -> None:
        self._busy = busy
        self._arrivals: deque[Callable[[], None]] = deque()
        self.held = False  # Nothing arrives for now.

    def send(self, arrive: Callable[[], None]) -> None:
        self._arrivals.append(arrive)
        self._note()

    def hold(self, held: bool) -> None:
        self.held = held
        self._note()

    def deliver(self) -> None:
        arrive = self._arrivals.popleft()
        self._note()
        arrive()

    def lose(self) -> None:
        self._arrivals.clear()
        self._note()

    def deliver_all(self) -> None:
        while self._arrivals:
            self.deliver()

    def _note(self) -> None:
        if self._arrivals and not self.held:
            self._busy[self] = None
        else:
            self._busy.pop(self, None)


class Network:
    def __init__(self, threads: Threads, now_s: Callable[[], float], sizes: Iterable[int]) -> None:
        """`sizes`: of the pieces in which streams arrive, over and over; 0: all there is."""
        self.busy: dict[UnderWay, None] = {}  # What can be delivered, the oldest first.
        self.hosts: dict[str, Server] = {}
        self.fates: dict[tuple[str, str], deque[Fate]] = {}  # Of the next calls, by host and type of call.
        self.streams: list[SimStream] = []
        self.threads = threads
        self.sizes = itertools.cycle([*sizes, 0])
        self._now_s = now_s
        self._calls: dict[_Call, None] = {}
        self._late: list[tuple[float, _Call]] = []
        self._stream_numbers = itertools.count(1)

    # -- the outside -----------------------------------------------------------------------

    def ring(self) -> None:
        """What is late comes into sight, once it is late enough."""
        due = [call for at_s, call in self._late if at_s <= self._now_s()]
        self._late = [each for each in self._late if each[0] > self._now_s()]
        self.busy.update(dict.fromkeys(due))

    def fate(self, host: str, kind: str, fate: Fate) -> None:
        """Of the next call of that type to that host for which none was chosen yet."""
        self.fates.setdefault((host, kind), deque()).append(fate)

    def heal(self) -> None:
        """From now on everything arrives."""
        self.fates.clear()
        for stream in self.streams:
            stream.break_after(None)

    def client_died(self, process: Process, lost: bool) -> None:
        """`lost`: and so are the calls that it has just made."""
        for stream in [each for each in self.streams if each.client is process]:
            stream.cut()
        for call in [each for each in self._calls if lost and each.thread.process is process]:
            call.broke()

    def server_died(self, host: str) -> None:
        del self.hosts[host]
        for stream in [each for each in self.streams if each.host == host]:
            stream.cut()
        for call in [each for each in self._calls if each.host == host]:
            call.broke()

    # -- what product code sees ----------------------------------------------------------------

    def client(self, endpoint: Endpoint, timeout_s: float = _TIMEOUT_S, access: object = None) -> SimClient:
        return SimClient(self, str(endpoint), timeout_s)

    def open_stream(
        self,
        endpoint: Endpoint,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        silence_s: float | None = None,
        timeout_s: float = _TIMEOUT_S,
        access: object = None,
    ) -> SimStream:
        answer = self.client(endpoint, timeout_s).call(path, body, headers)
        if answer.stream is None:
            raise HttpError(answer.status, answer.text.encode(), f"{method} {endpoint}{path}")
        answer.stream.silence_s = silence_s
        return answer.stream

    # -- of calls and streams ------------------------------------------------------------------

    def sent(self, call: _Call, timeout_s: float) -> None:
        self._calls[call] = None
        fates = self.fates.get((call.host, call.kind))
        call.fate = fates.popleft() if fates else Fate.ARRIVES
        if call.fate is Fate.LATE:
            self._late.append((self._now_s() + timeout_s, call))
        else:
            self.busy[call] = None

    def stream(self, host: str, client: Process) -> SimStream:
        stream = SimStream(self, f"stream-{next(self._stream_numbers)}", host, client)
        self.streams.append(stream)
        return stream

    def over(self, call: _Call) -> None:
        self._calls.pop(call, None)
        self.busy.pop(call, None)
        self._late = [each for each in self._late if each[1] is not call]

    def channel(self) -> Channel:
        return Channel(self.busy)


class _Call:
    """One call on its way there, and its answer on the way back."""

    def __init__(
        self, network: Network, thread: SimThread, host: str, path: str, body: Json, stream_id: str | None
    ) -> None:
        self.thread = thread
        self.host = host
        self.kind = str(body["type"])
        self.fate = Fate.ARRIVES
        self.reply: Answer | None = None  # None when it is over: the connection broke.
        self._network = network
        self._path = path
        self._body = json.dumps(body)
        self._stream_id = stream_id
        self._given_up = False  # The caller does not wait any more; the call may arrive all the same.

    def deliver(self) -> None:
        server = self._network.hosts.get(self.host)
        if self.reply is not None:
            self._return()
        elif self.fate is Fate.LOST or server is None:
            self.broke()
        elif self.fate is Fate.BUSY:
            self.reply = Answer(503, "Service Unavailable")
        else:
            self.reply = server.answer(self._path, json.loads(self._body), self._stream_id, self._open)
            if self.fate is Fate.ANSWER_LOST or self._nobody_waits:
                self.broke()

    def broke(self) -> None:
        self._hang_up()
        self._over()

    def give_up(self) -> None:
        """The caller does not wait any more; the call may arrive all the same."""
        self._given_up = True
        self._hang_up()
        self._network.threads.wake(self.thread)

    def _hang_up(self) -> None:
        if self.reply is not None and self.reply.stream is not None:
            self.reply.stream.cut()
        self.reply = None

    def _return(self) -> None:
        if self._nobody_waits:
            self.broke()
        else:
            self._over()

    def _over(self) -> None:
        self._network.over(self)
        if not self._given_up:
            self._network.threads.wake(self.thread)

    @property
    def _nobody_waits(self) -> bool:
        return self._given_up or self.thread.process.dead

    def _open(self) -> SimStream:
        return self._network.stream(self.host, self.thread.process)


class SimClient:
    """As `wire.http.Client`."""

    def __init__(self, network: Network, host: str, timeout_s: float) -> None:
        self._network = network
        self._host = host
        self._timeout_s = timeout_s
        self._call: _Call | None = None
        self._ended = False

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Response:
        answer = self.call(path, body, headers)
        return Response(answer.status, {}, answer.text.encode())

    def pipeline(
        self, method: str, path: str, bodies: Iterable[Any], headers: Mapping[str, str] | None = None
    ) -> list[Response]:
        """One after the other: whichever fails, those after it are lost."""
        return [self.request(method, path, body, headers) for body in bodies]

    def close(self) -> None:
        pass

    def end(self) -> None:
        self._ended = True
        if self._call is not None:
            self._call.give_up()

    def call(self, path: str, body: Any, headers: Mapping[str, str] | None) -> Answer:
        """Raises Unreachable."""
        network, thread = self._network, self._network.threads.current
        assert thread is not None
        if self._host not in network.hosts:
            raise Unreachable(f"cannot reach {self._host}: Connection refused")
        if self._ended:
            raise Unreachable(f"cannot reach {self._host}: ended by us", may_have_arrived=True)
        call = _Call(network, thread, self._host, path, body, (headers or {}).get("Mesos-Stream-Id"))
        network.sent(call, self._timeout_s)
        self._call = call
        in_time = network.threads.park(self._timeout_s)
        self._call = None
        if not in_time:
            call.give_up()
            raise Unreachable(f"{self._host} does not answer (timed out)", may_have_arrived=True)
        if call.reply is None or self._ended:
            raise Unreachable(f"cannot reach {self._host}: Connection reset by peer", may_have_arrived=True)
        return call.reply
