"""A Mesos master that answers at once: ``python -m bench.fake_master AGENTS CPUS MEM_MB [RUNNING_TASKS_FILE]``.

Speaks the v1 scheduler API over real HTTP to one framework, and has nothing behind it.  An accepted task runs
at once; its TASK_FINISHED follows when its TASK_RUNNING was acknowledged, as from an agent; its resources are
offered again when TASK_FINISHED was acknowledged, too.  With a file of ``task id <tab> agent number`` lines the
tasks in it run, and never end.  Prints its port.  ``GET /counts`` tells what has happened so far.
"""

from __future__ import annotations

import asyncio
import base64
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

_OFFER_EVERY_S = 0.02
_PROVIDER = '"provider_id":{"value":"p%d"},"revocable":{},"type":"SCALAR","allocation_info":{"role":"serenity"}'


class _Value(msgspec.Struct):
    value: str


class _Scalar(msgspec.Struct):
    value: float


class _Resource(msgspec.Struct):
    name: str
    scalar: _Scalar | None = None


class _Executor(msgspec.Struct):
    executor_id: _Value
    resources: list[_Resource] = []


class _Task(msgspec.Struct):
    task_id: _Value
    agent_id: _Value
    executor: _Executor
    resources: list[_Resource] = []


class _Launch(msgspec.Struct):
    task_infos: list[_Task] = []


class _Operation(msgspec.Struct):
    launch: _Launch


class _Accept(msgspec.Struct):
    offer_ids: list[_Value]
    operations: list[_Operation] = []


class _Decline(msgspec.Struct):
    offer_ids: list[_Value]


class _Acknowledge(msgspec.Struct):
    task_id: _Value
    agent_id: _Value
    uuid: str


class _AskedTask(msgspec.Struct):
    task_id: _Value


class _Reconcile(msgspec.Struct):
    tasks: list[_AskedTask] = []


class _Call(msgspec.Struct):
    type: str
    accept: _Accept | None = None
    decline: _Decline | None = None
    acknowledge: _Acknowledge | None = None
    reconcile: _Reconcile | None = None


_CALL = msgspec.json.Decoder(_Call)


@dataclass(slots=True)
class _Agent:
    number: int
    cpus: float  # Free, and not on offer.
    mem_mb: float
    executor: str | None = None


@dataclass(slots=True)
class _Running:
    agent: _Agent
    cpus: float
    mem_mb: float
    finishing: bool = False


@dataclass
class Counts:
    launched: int = 0
    finished: int = 0  # And acknowledged.
    reconciled: int = 0
    calls: int = 0
    subscribed_at: float = 0.0
    first_launch_at: float = 0.0
    last_finish_at: float = 0.0
    by_call: dict[str, int] = field(default_factory=dict)


class Master:
    def __init__(self, agents: int, cpus: float, mem_mb: float, running: dict[str, int]) -> None:
        self.counts = Counts()
        self._agents = [_Agent(number, cpus, mem_mb) for number in range(agents)]
        self._forever = running
        self._running: dict[str, _Running] = {}
        self._on_offer: dict[str, tuple[_Agent, float, float]] = {}
        self._free = dict.fromkeys(range(agents))  # Agents that have something to offer; ordered.
        self._offers = 0
        self._updates = 0
        self._suppressed = False
        self._outbox: list[str] = []
        self._stream: asyncio.WriteTransport | None = None

    # -- calls -----------------------------------------------------------------------------------

    def call(self, body: bytes) -> None:
        call = _CALL.decode(body)
        self.counts.calls += 1
        self.counts.by_call[call.type] = self.counts.by_call.get(call.type, 0) + 1
        if call.acknowledge is not None:
            self._acknowledged(call.acknowledge)
        elif call.accept is not None:
            self._accept(call.accept)
        elif call.decline is not None:
            for each in call.decline.offer_ids:
                self._on_offer.pop(each.value, None)  # Refused for longer than anybody waits here: never offered again.
        elif call.type == "REVIVE":
            self._suppressed = False
            for agent in self._agents:
                if agent.cpus > 0:
                    self._free[agent.number] = None
        elif call.type == "SUPPRESS":
            self._suppressed = True
        elif call.reconcile is not None:
            asked = [each.task_id.value for each in call.reconcile.tasks] or [*self._forever, *self._running]
            for task_id in asked:
                self._reconcile(task_id)

    def subscribe(self, stream: asyncio.WriteTransport) -> None:
        self._stream = stream
        self._suppressed = False
        self._on_offer.clear()
        self.counts.subscribed_at = time.time()
        self._say(
            '{"type":"SUBSCRIBED","subscribed":{"framework_id":{"value":"bench-F"},"heartbeat_interval_seconds":15,'
            '"master_info":{"id":"m","ip":0,"port":5050,"hostname":"bench","version":"1.11.0"}}}'
        )

    def _accept(self, accept: _Accept) -> None:
        if not self.counts.first_launch_at:
            self.counts.first_launch_at = time.time()
        offers = [self._on_offer.pop(each.value) for each in accept.offer_ids if each.value in self._on_offer]
        for agent, cpus, mem_mb in offers:
            agent.cpus += cpus
            agent.mem_mb += mem_mb
        for task in [task for each in accept.operations for task in each.launch.task_infos]:
            agent = self._agents[int(task.agent_id.value[1:])]
            if agent.executor is None:
                agent.executor = task.executor.executor_id.value
                _use(agent, task.executor.resources)
            cpus, mem_mb = _use(agent, task.resources)
            self._running[task.task_id.value] = _Running(agent, cpus, mem_mb)
            self.counts.launched += 1
            self._update(task.task_id.value, agent, "TASK_RUNNING")
        # What is left of an offer counts as refused for some seconds: it is offered again when a task there ends.

    def _acknowledged(self, acknowledge: _Acknowledge) -> None:
        task_id = acknowledge.task_id.value
        task = self._running.get(task_id)
        if task is None:
            return
        if not task.finishing:
            task.finishing = True
            self._update(task_id, task.agent, "TASK_FINISHED")
            return
        del self._running[task_id]
        task.agent.cpus += task.cpus
        task.agent.mem_mb += task.mem_mb
        self._free[task.agent.number] = None
        self.counts.finished += 1
        self.counts.last_finish_at = time.time()

    def _update(self, task_id: str, agent: _Agent, state: str) -> None:
        self._updates += 1
        uuid = base64.b64encode(self._updates.to_bytes(16, "big")).decode()
        self._say(
            f'{{"type":"UPDATE","update":{{"status":{{"task_id":{{"value":"{task_id}"}},"state":"{state}",'
            f'"source":"SOURCE_EXECUTOR","agent_id":{{"value":"S{agent.number}"}},"executor_id":{{"value":'
            f'"{agent.executor}"}},"uuid":"{uuid}","timestamp":{time.time()},"container_status":{{"container_id":'
            f'{{"value":"c-{agent.number}"}}}}}}}}}}'
        )

    def _reconcile(self, task_id: str) -> None:
        number = self._forever.get(task_id)
        if number is None and task_id in self._running:
            number = self._running[task_id].agent.number
        state = "TASK_UNKNOWN" if number is None else "TASK_RUNNING"
        agent = "" if number is None else f'"agent_id":{{"value":"S{number}"}},'
        self._say(
            f'{{"type":"UPDATE","update":{{"status":{{"task_id":{{"value":"{task_id}"}},"state":"{state}",{agent}'
            f'"source":"SOURCE_MASTER","reason":"REASON_RECONCILIATION","timestamp":{time.time()}}}}}}}'
        )
        self.counts.reconciled += 1

    # -- events ----------------------------------------------------------------------------------

    def offer(self) -> None:
        if self._stream is None or self._suppressed or not self._free:
            return
        offers = []
        for number in list(self._free):
            agent = self._agents[number]
            del self._free[number]
            if agent.cpus <= 0.001 or agent.mem_mb <= 0.001:
                continue
            self._offers += 1
            offer_id = f"O{self._offers}"
            offers.append(_offer(offer_id, agent))
            self._on_offer[offer_id] = (agent, agent.cpus, agent.mem_mb)
            agent.cpus = agent.mem_mb = 0.0
        if offers:
            self._say(f'{{"type":"OFFERS","offers":{{"offers":[{",".join(offers)}]}}}}')

    def heartbeat(self) -> None:
        self._say('{"type":"HEARTBEAT"}')

    def flush(self) -> None:
        if self._stream is not None and self._outbox:
            records = "".join(f"{len(each)}\n{each}" for each in self._outbox).encode()  # All of it is ASCII.
            self._outbox.clear()
            self._stream.write(b"%x\r\n%b\r\n" % (len(records), records))

    def _say(self, event: str) -> None:
        self._outbox.append(event)


def _use(agent: _Agent, resources: list[_Resource]) -> tuple[float, float]:
    amounts = {each.name: each.scalar.value for each in resources if each.scalar is not None}
    cpus, mem_mb = amounts.get("cpus", 0.0), amounts.get("mem", 0.0)
    agent.cpus -= cpus
    agent.mem_mb -= mem_mb
    return cpus, mem_mb


def _offer(offer_id: str, agent: _Agent) -> str:
    kind = _PROVIDER % agent.number
    executors = f'{{"value":"{agent.executor}"}}' if agent.executor else ""
    return (
        f'{{"id":{{"value":"{offer_id}"}},"framework_id":{{"value":"bench-F"}},"agent_id":{{"value":"S{agent.number}"}},'
        f'"hostname":"h{agent.number}","url":{{"scheme":"http","address":{{"ip":"10.0.0.1","port":5051}}}},'
        f'"resources":[{{"name":"cpus",{kind},"scalar":{{"value":{agent.cpus:.3f}}}}},'
        f'{{"name":"mem",{kind},"scalar":{{"value":{agent.mem_mb:.3f}}}}}],"executor_ids":[{executors}]}}'
    )


class Connection(asyncio.Protocol):
    def __init__(self, master: Master) -> None:
        self._master = master
        self._buffer = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answers = []
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                break
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            answers.append(self._answer(head, body))
        self._transport.write(b"".join(answers))
        self._master.flush()

    def _answer(self, head: bytes, body: bytes) -> bytes:
        if head.startswith(b"get"):
            counts = msgspec.json.encode(self._master.counts)
            return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
                len(counts),
                counts,
            )
        if b'"SUBSCRIBE"' in body[:200]:
            self._master.subscribe(self._transport)
            return (
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMesos-Stream-Id: bench\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
        self._master.call(body)
        return b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


async def serve(master: Master) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(master), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    beat_s = time.monotonic()
    while True:
        await asyncio.sleep(_OFFER_EVERY_S)
        master.offer()
        if time.monotonic() - beat_s > 10.0:
            beat_s = time.monotonic()
            master.heartbeat()
        master.flush()


def main(agents: str, cpus: str, mem_mb: str, running: str = "") -> None:
    lines = Path(running).read_text().splitlines() if running else []
    tasks = {task_id: int(number) for task_id, number in (line.split("\t") for line in lines)}
    asyncio.run(serve(Master(int(agents), float(cpus), float(mem_mb), tasks)))


if __name__ == "__main__":
    main(*sys.argv[1:])
