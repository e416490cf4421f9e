"""The paths of both ports, and what is behind each."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from serenity.localmesos import agent_view, files, master_view, view
from serenity.localmesos.http import Answer, Application, Handler, Request
from serenity.localmesos.master import HEARTBEAT_S
from serenity.localmesos.messages import CallRefused

if TYPE_CHECKING:
    from serenity.localmesos.embedded import EmbeddedMesos

EXECUTOR_HEARTBEAT_S = 1800.0
_STREAM_ID = "mesos-stream-id"
_ACCEPTED = Answer(202)


def master_application(mesos: EmbeddedMesos) -> Application:
    master, flags = mesos.master, mesos.master_flags

    def scheduler(request: Request) -> Answer:
        call = request.call("scheduler::Call")
        stream_id = request.headers.get(_STREAM_ID)
        if call["type"] == "SUBSCRIBE":
            _refuse_stream_id(stream_id)
            return _subscribed(mesos, master.subscribe, call, HEARTBEAT_S)
        return _called(mesos, lambda: master.call(stream_id, call))

    def api(request: Request) -> Answer:
        call = request.call("master::Call")
        return _read_v1(master_view.api_v1(master, call["type"], flags), "master::Call")

    routes: dict[str, Handler] = {
        "/api/v1": api,
        "/api/v1/scheduler": scheduler,
        "/flags": lambda _: Answer.json({"flags": flags}),
        "/health": lambda _: Answer(),
        "/redirect": lambda _: Answer(307, headers={"Location": f"//{mesos.master_address}"}),
        "/slaves": lambda _: Answer.json(master_view.slaves(master)),
        "/state": lambda _: Answer.json(master_view.state(master, flags)),
        "/version": lambda _: Answer.json(view.version()),
    }
    return Application(_also_under("/master", routes))


def agent_application(mesos: EmbeddedMesos) -> Application:
    agent, flags = mesos.agent, mesos.agent_flags

    def executor(request: Request) -> Answer:
        call = request.call("Executor::Call")
        if call["type"] == "SUBSCRIBE":
            return _subscribed(mesos, agent.executor_calls.subscribe, call, EXECUTOR_HEARTBEAT_S)
        return _called(mesos, lambda: agent.executor_calls.call(call))

    def resource_provider(request: Request) -> Answer:
        call = request.call("resource_provider::Call")
        stream_id = request.headers.get(_STREAM_ID)
        if call["type"] == "SUBSCRIBE":
            _refuse_stream_id(stream_id)
            return _subscribed(mesos, agent.provider_subscribe, call, None)
        return _called(mesos, lambda: agent.provider_call(stream_id, call))

    def api(request: Request) -> Answer:
        call = request.call("agent::Call")
        return _read_v1(agent_view.api_v1(agent, call["type"], flags, mesos.statistics), "agent::Call")

    def read(request: Request) -> Answer:
        query = request.query
        executors = agent_view.all_executors(agent)
        return files.read(query.get("path"), query.get("offset"), query.get("length"), executors)

    routes: dict[str, Handler] = {
        "/api/v1": api,
        "/api/v1/executor": executor,
        "/api/v1/resource_provider": resource_provider,
        "/containers": lambda _: Answer.json(agent_view.containers(agent, mesos.statistics())),
        "/flags": lambda _: Answer.json({"flags": flags}),
        "/health": lambda _: Answer(),
        "/monitor/statistics": lambda _: Answer.json(agent_view.monitor_statistics(agent, mesos.statistics())),
        "/state": lambda _: Answer.json(agent_view.state(agent, flags)),
        "/version": lambda _: Answer.json(view.version()),
    }
    of_files: dict[str, Handler] = {
        "/files/browse": lambda request: files.browse(request.query.get("path"), agent_view.all_executors(agent)),
        "/files/download": lambda request: files.download(request.query.get("path"), agent_view.all_executors(agent)),
        "/files/read": read,
    }
    return Application(_also_under("/slave(1)", routes) | of_files)


def _also_under(prefix: str, routes: Mapping[str, Handler]) -> dict[str, Handler]:
    """Every endpoint is also there under its process' name, as in libprocess."""
    return {**routes, **{f"{prefix}{path}": handler for path, handler in routes.items()}}


def _subscribed(
    mesos: EmbeddedMesos,
    subscribe: Callable[[str, Mapping[str, Any]], None],
    call: Mapping[str, Any],
    heartbeat_s: float | None,
) -> Answer:
    """Subscribes by a new stream, and answers with it."""
    stream = mesos.open_stream(str(uuid.uuid4()), heartbeat_s)
    try:
        subscribe(stream.stream_id, call)
    except BaseException:
        stream.close()
        raise
    mesos.carry_out()
    return Answer(200, stream, {"Content-Type": "application/json", "Mesos-Stream-Id": stream.stream_id})


def _called(mesos: EmbeddedMesos, call: Callable[[], None]) -> Answer:
    try:
        call()
    finally:
        mesos.carry_out()
    return _ACCEPTED


def _refuse_stream_id(stream_id: str | None) -> None:
    if stream_id is not None:
        raise CallRefused(400, "Subscribe calls should not include the 'Mesos-Stream-Id' header")


def _read_v1(answer: object | None, api: str) -> Answer:
    if answer is None:
        return Answer.text(400, f"Failed to validate {api}: Expecting 'type' to be present")
    return Answer.json(answer)
