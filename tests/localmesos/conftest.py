"""A raw v1 client: what goes over the wire and nothing more, so that tests see exactly that."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import queue
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from serenity.localmesos.cluster.cluster import Cluster
from serenity.wire.mesos.resources import Resources
from serenity.wire.transport import http
from serenity.wire.transport.recordio import RecordReader
from tests.localmesos.machines import UUIDS, World

Json = dict[str, Any]
TIMEOUT_S = 45.0  # A real agent sends an update again after 10 s, then after 20 s more.
CAPABILITIES = (
    "REVOCABLE_RESOURCES", "PARTITION_AWARE", "TASK_KILLING_STATE", "MULTI_ROLE", "RESERVATION_REFINEMENT",
)  # fmt: skip
PROBE_EXECUTOR = Path(__file__).parent / "probe_executor.py"
_numbers = itertools.count()


class Stream:
    """A subscription, read by a thread into a queue."""

    def __init__(self, address: str, path: str, call: Json) -> None:
        self._stream = http.open_stream(http.Endpoint.parse(address), "POST", path, call)
        self.id = self._stream.headers.get("mesos-stream-id", "")
        self.events: queue.Queue[Json | None] = queue.Queue()  # None: the stream has ended.
        self.history: list[Json] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        reader = RecordReader()
        try:
            for chunk in self._stream.chunks():
                for record in reader.feed(chunk):
                    self.history.append(json.loads(record))
                    self.events.put(self.history[-1])
        except http.Unreachable:
            pass  # However it ends, the None below tells the test that it has.
        self.events.put(None)

    def next(self, timeout_s: float = TIMEOUT_S) -> Json | None:
        return self.events.get(timeout=timeout_s)

    def close(self) -> None:
        self._stream.close()


class Scheduler:
    """A framework."""

    def __init__(
        self,
        cluster: Cluster,
        framework_id: str | None = None,
        capabilities: tuple[str, ...] = CAPABILITIES,
        roles: tuple[str, ...] = ("*",),
        failover_timeout_s: float = 60.0,
        checkpoint: bool = True,
    ) -> None:
        self.cluster = cluster
        info: Json = {
            "user": "root",
            "name": "test",
            "roles": list(roles),
            "checkpoint": checkpoint,
            "failover_timeout": failover_timeout_s,
            "capabilities": [{"type": each} for each in capabilities],
        }
        call: Json = {"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}
        if framework_id is not None:
            info["id"] = call["framework_id"] = {"value": framework_id}
        self.acknowledges = True
        self.offers: list[Json] = []
        self.statuses: list[Json] = []
        self.stream = Stream(cluster.master, "/api/v1/scheduler", call)
        self.subscribed = self.wait("SUBSCRIBED")["subscribed"]
        self.id: str = self.subscribed["framework_id"]["value"]

    # -- calls

    def post(self, call: Json, headers: dict[str, str] | None = None) -> http.Response:
        endpoint = http.Endpoint.parse(self.cluster.master)
        return http.request(endpoint, "POST", "/api/v1/scheduler", call, headers)

    def call(self, kind: str, **body: Any) -> None:
        call = {"type": kind, "framework_id": {"value": self.id}, **body}
        answer = self.post(call, {"Mesos-Stream-Id": self.stream.id})
        assert (answer.status, answer.body) == (202, b"")

    def accept(self, offer: Json, *tasks: Json, refuse_s: float = 0.0) -> None:
        if offer in self.offers:
            self.offers.remove(offer)
        operations = [{"type": "LAUNCH", "launch": {"task_infos": list(tasks)}}]
        accept = {"offer_ids": [offer["id"]], "operations": operations, "filters": {"refuse_seconds": refuse_s}}
        self.call("ACCEPT", accept=accept)

    def decline(self, offer: Json, refuse_s: float) -> None:
        if offer in self.offers:
            self.offers.remove(offer)
        self.call("DECLINE", decline={"offer_ids": [offer["id"]], "filters": {"refuse_seconds": refuse_s}})

    def kill(self, task: Json, **kill: Any) -> None:
        self.call("KILL", kill={"task_id": task["task_id"], "agent_id": task["agent_id"], **kill})

    def acknowledge(self, status: Json) -> None:
        self.call(
            "ACKNOWLEDGE",
            acknowledge={name: status[name] for name in ("agent_id", "task_id", "uuid")},
        )

    # -- events

    def wait(self, kind: str, timeout_s: float = TIMEOUT_S) -> Json:
        """The next event of that kind.  Updates on the way are noted and acknowledged, offers kept."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                event = self.stream.next(max(0.001, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"no {kind} within {timeout_s} s") from None
            if event is None:
                raise EOFError(f"the stream ended before {kind}")
            self._note(event)
            if event["type"] == kind:
                return event

    def _note(self, event: Json) -> None:
        if event["type"] == "OFFERS":
            self.offers += event["offers"]["offers"]
        elif event["type"] == "RESCIND":
            gone = event["rescind"]["offer_id"]
            self.offers = [offer for offer in self.offers if offer["id"] != gone]
        elif event["type"] == "UPDATE":
            status = event["update"]["status"]
            self.statuses.append(status)
            if self.acknowledges and "uuid" in status:
                self.acknowledge(status)

    def silent(self, kind: str, for_s: float) -> bool:
        """Whether no event of that kind comes for that long."""
        try:
            self.wait(kind, for_s)
        except TimeoutError:
            return True
        return False

    def offer(self, enough: Callable[[Resources], bool] = lambda resources: resources.regular.cpus >= 1) -> Json:
        """An offer that has enough; others are declined so that their resources come again."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            for offer in list(self.offers):
                if enough(Resources.from_json(offer["resources"])):
                    return offer
                self.decline(offer, 0.0)
            self.wait("OFFERS", max(0.001, deadline - time.monotonic()))

    def update(self, task: Json, *states: str) -> Json:
        """The status with which the task gets into one of the states; earlier ones count too."""
        while True:
            for status in self.statuses:
                if status["task_id"] == task["task_id"] and status["state"] in states:
                    return status
            self.wait("UPDATE")

    def states(self, task: Json) -> list[str]:
        return [each["state"] for each in self.statuses if each["task_id"] == task["task_id"]]

    # -- tasks

    def task(self, offer: Json, cpus: float = 0.1, mem: float = 32, **fields: Any) -> Json:
        return {
            "name": "a task",
            "task_id": {"value": fields.pop("task_id", f"task-{next(_numbers)}")},
            "agent_id": offer["agent_id"],
            "resources": scalars(cpus, mem),
            **fields,
        }

    def run(self, command: str | Json, **fields: Any) -> Json:
        """Launches a task with a shell command or a CommandInfo, and returns its TaskInfo."""
        offer = self.offer()
        task = self.task(offer, command={"value": command} if isinstance(command, str) else command, **fields)
        self.accept(offer, task)
        return task

    def close(self, teardown: bool = True) -> None:
        teardown_call = {"type": "TEARDOWN", "framework_id": {"value": self.id}}
        with contextlib.suppress(http.Unreachable):  # The test may have stopped the whole cluster.
            if teardown:
                self.post(teardown_call, {"Mesos-Stream-Id": self.stream.id})
        self.stream.close()


class Provider:
    """A local resource provider.  Publications are answered only by `answer`, or at once with `status`."""

    def __init__(self, cluster: Cluster, provider_id: str | None = None, status: str | None = "OK") -> None:
        self.cluster = cluster
        self.status = status
        self.reservation = "STATIC"
        info: Json = {"type": "org.serenity.test", "name": "test"}
        if provider_id is not None:
            info["id"] = {"value": provider_id}
        call = {"type": "SUBSCRIBE", "subscribe": {"resource_provider_info": info}}
        self.stream = Stream(cluster.agent, "/api/v1/resource_provider", call)
        first = self.stream.next()
        self.id = None if first is None else first["subscribed"]["provider_id"]["value"]
        self.published: queue.Queue[Json] = queue.Queue()
        if first is not None:
            threading.Thread(target=self._answer_all, daemon=True).start()

    def _answer_all(self) -> None:
        while (event := self.stream.events.get()) is not None:
            publish = event["publish_resources"]
            if self.status is not None:
                self.answer(publish, self.status)
            self.published.put(publish)

    def answer(self, publish: Json, status: str) -> None:
        body = {"uuid": publish["uuid"], "status": status}
        self.call("UPDATE_PUBLISH_RESOURCES_STATUS", update_publish_resources_status=body)

    def post(self, kind: str, stream_id: str, **body: Any) -> http.Response:
        call = {"type": kind, "resource_provider_id": {"value": self.id}, **body}
        endpoint = http.Endpoint.parse(self.cluster.agent)
        return http.request(endpoint, "POST", "/api/v1/resource_provider", call, {"Mesos-Stream-Id": stream_id})

    def call(self, kind: str, **body: Any) -> None:
        answer = self.post(kind, self.stream.id, **body)
        assert answer.status == 202, answer.body

    def resources(self, cpus: float, mem: float, role: str | None = None) -> list[Json]:
        """Slack, such as a task may ask for."""
        reserved = {} if role is None else {"reservations": [{"type": self.reservation, "role": role}]}
        return scalars(cpus, mem, provider_id={"value": self.id}, revocable={}, **reserved)

    def report(self, cpus: float, mem: float, role: str | None = None, version: str | None = None) -> str:
        """UPDATE_STATE; returns the version."""
        version = version or base64.b64encode(uuid.uuid4().bytes).decode()
        state = {"resources": self.resources(cpus, mem, role), "resource_version_uuid": {"value": version}}
        self.call("UPDATE_STATE", update_state=state)
        return version

    def close(self) -> None:
        self.stream.close()

    def wait_until_gone(self) -> None:
        """After `close`: offers with its resources are rescinded a moment later, and must not be the next test's."""
        with contextlib.suppress(http.Unreachable):  # The test has stopped the cluster, or its agent.
            get(self.cluster.agent, "/version")
            eventually(lambda: not any("revocable" in name for name in self._amounts()))

    def _amounts(self) -> list[str]:
        slaves = get(self.cluster.master, "/slaves")["slaves"]
        return [name for slave in slaves for name in slave["resources"]]


def scalars(cpus: float, mem: float, **fields: Any) -> list[Json]:
    return [
        {"name": name, "type": "SCALAR", "scalar": {"value": amount}, **fields}
        for name, amount in (("cpus", cpus), ("mem", mem))
    ]


def get(address: str, path: str) -> Any:
    return http.get_json(http.Endpoint.parse(address), path)


def eventually(condition: Callable[[], Any], timeout_s: float = TIMEOUT_S) -> Any:
    """Polls until the condition is true, and returns what it gave."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.02)
    return value


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def listener(address: str) -> int:
    """The process that listens there."""
    port = int(address.rpartition(":")[2])
    found = (each for each in psutil.net_connections("tcp4") if each.laddr.port == port)
    return next(each.pid for each in found if each.status == psutil.CONN_LISTEN)


class Toolbox:
    """Makes the above, and closes all of it when the test is over."""

    get = staticmethod(get)
    scalars = staticmethod(scalars)
    eventually = staticmethod(eventually)
    alive = staticmethod(alive)
    listener = staticmethod(listener)

    def __init__(self) -> None:
        self._made: list[Scheduler | Provider] = []

    def scheduler(self, cluster: Cluster, **options: Any) -> Scheduler:
        return self._keep(Scheduler(cluster, **options))

    def provider(self, cluster: Cluster, **options: Any) -> Provider:
        return self._keep(Provider(cluster, **options))

    def _keep(self, made: Any) -> Any:
        self._made.append(made)
        return made

    def executor(self, resources: list[Json], **fields: Any) -> Json:
        """An ExecutorInfo of the probe executor."""
        return {
            "type": "CUSTOM",
            "executor_id": {"value": f"executor-{next(_numbers)}"},
            "command": {"value": f"exec {sys.executable} -I {PROBE_EXECUTOR}"},
            "resources": resources,
            **fields,
        }

    def close(self) -> None:
        for each in reversed(self._made):
            each.close()
        for each in self._made:
            if isinstance(each, Provider):
                each.wait_until_gone()


def _toolbox() -> Iterator[Toolbox]:
    toolbox = Toolbox()
    yield toolbox
    toolbox.close()


tools = pytest.fixture(_toolbox)
module_tools = pytest.fixture(_toolbox, scope="module")


@pytest.fixture
def scheduler(cluster: Cluster, tools: Toolbox) -> Scheduler:
    made: Scheduler = tools.scheduler(cluster)
    return made


# -- the state machines --------------------------------------------------------------------


@pytest.fixture
def world() -> World:
    made = World()
    made.subscribe()
    return made


@pytest.fixture
def running(world: World) -> World:
    """One executor that runs the tasks a and b, whose first updates are acknowledged."""
    world.launch("a", "b", offer=world.offers()[0])
    world.executor_subscribe()
    for task_id, update_uuid in (("a", UUIDS[0]), ("b", UUIDS[1])):
        world.update(task_id, "TASK_RUNNING", update_uuid)
        world.acknowledge(task_id, update_uuid)
    world.agent.container_launched(world.launched[0].container_id, 4711)
    world.run()
    world.take("s")
    world.take("x")
    return world
