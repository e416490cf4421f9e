"""The paths of both ports, and what is behind each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from serenity.localmesos import view
from serenity.localmesos.agent import files
from serenity.localmesos.agent import view as agent_view
from serenity.localmesos.agent.executor_calls import NOT_RECOVERED
from serenity.localmesos.agent.state import AgentState
from serenity.localmesos.master import agent_registry
from serenity.localmesos.master import view as master_view
from serenity.localmesos.master.master import HEARTBEAT_S, Master
from serenity.localmesos.messages import CallRefused
from serenity.localmesos.web.http import Answer, Handler, Request
from serenity.wire.mesos.resources import Json

if TYPE_CHECKING:
    from serenity.localmesos.agent.agent import Agent
    from serenity.localmesos.agent.process import AgentProcess
    from serenity.localmesos.master.process import MasterProcess

    Process = AgentProcess | MasterProcess

EXECUTOR_HEARTBEAT_S = 1800.0
_STREAM_ID = "mesos-stream-id"
_ACCEPTED = Answer(202)


def master_routes(process: MasterProcess) -> dict[str, Handler]:
    master, flags = process.master, process.flags

    def scheduler(request: Request) -> Answer:
        call = request.call("scheduler::Call")
        stream_id = request.headers.get(_STREAM_ID)
        if call["type"] == "SUBSCRIBE":
            return _subscribed(process, "scheduler", request, master.subscribe, call, HEARTBEAT_S)
        _called(process, lambda: master.call(stream_id, call))
        return Answer() if call["type"] == "UPDATE_FRAMEWORK" else _ACCEPTED

    def api(request: Request) -> Answer:
        call = request.call("master::Call")
        request.require_json_accepted()
        if call["type"] == "MARK_AGENT_GONE":
            _called(process, lambda: _mark_gone(master, call))
            return Answer()
        return _read_v1(master_view.api_v1(master, call["type"], flags), "master::Call")

    def teardown(request: Request) -> Answer:
        request.require_post()
        _called(process, lambda: _tear_down(master, request.body))
        return Answer()

    routes: dict[str, Handler] = {
        "/api/v1": api,
        "/api/v1/scheduler": scheduler,
        "/flags": lambda _: Answer.json({"flags": flags}),
        "/health": lambda _: Answer(),
        "/redirect": lambda _: Answer(307, headers={"Location": f"//{process.address}"}),
        "/slaves": lambda _: Answer.json(master_view.slaves(master)),
        "/state": lambda _: Answer.json(master_view.state(master, flags)),
        "/teardown": teardown,
        "/version": lambda _: Answer.json(view.version()),
    }
    return _also_under("/master", routes)


def _mark_gone(master: Master, call: Json) -> None:
    if "mark_agent_gone" not in call:
        raise CallRefused(400, "Failed to validate master::Call: Expecting 'mark_agent_gone' to be present")
    agent_id = call["mark_agent_gone"]["agent_id"]["value"]
    if not agent_registry.mark_gone(master, agent_id):
        raise CallRefused(404, f"Agent '{agent_id}' not found")


def _tear_down(master: Master, body: bytes) -> None:
    """Teardown by an operator, of any framework, by its id."""
    framework_id = parse_qs(body.decode("utf-8", "replace")).get("frameworkId")
    if framework_id is None:
        raise CallRefused(400, "Missing 'frameworkId' query parameter in the request body")
    framework = master.frameworks.get(framework_id[0])
    if framework is None:
        raise CallRefused(400, "No framework found with specified ID")
    master.remove(framework)


def agent_routes(process: AgentProcess, master_address: str) -> dict[str, Handler]:
    agent = process.agent

    def executor(request: Request) -> Answer:
        call = request.call("Executor::Call")
        if call["type"] == "SUBSCRIBE":
            subscribe = agent.executor_calls.subscribe
            return _subscribed(process, "executor", request, subscribe, call, EXECUTOR_HEARTBEAT_S)
        _called(process, lambda: agent.executor_calls.call(call))
        return _ACCEPTED

    def resource_provider(request: Request) -> Answer:
        call = request.call("resource_provider::Call")
        stream_id = request.headers.get(_STREAM_ID)
        if call["type"] == "SUBSCRIBE":
            return _subscribed(process, "provider", request, agent.provider_subscribe, call, None)
        _called(process, lambda: agent.provider_call(stream_id, call))
        return _ACCEPTED

    routes: dict[str, Handler] = {
        "/api/v1/executor": executor,
        "/api/v1/resource_provider": resource_provider,
        **_readable_of_agent(process, agent_view.flags(agent, master_address)),
    }
    return _also_under("/slave(1)", routes) | _files(agent)


def _readable_of_agent(process: AgentProcess, flags: Mapping[str, str]) -> dict[str, Handler]:
    agent = process.agent

    def recovered(handler: Handler) -> Handler:
        """`handler`, but 503 until the agent has recovered."""

        def handle(request: Request) -> Answer:
            if agent.state is AgentState.RECOVERING:
                raise CallRefused(503, NOT_RECOVERED)
            return handler(request)

        return handle

    def api(request: Request) -> Answer:
        call = request.call("agent::Call")
        request.require_json_accepted()
        return _read_v1(agent_view.api_v1(agent, call["type"], flags, process.statistics), "agent::Call")

    return {
        "/api/v1": recovered(api),
        "/containers": lambda _: Answer.json(agent_view.containers(agent, process.statistics())),
        "/flags": lambda _: Answer.json({"flags": flags}),
        "/health": lambda _: Answer(),
        "/monitor/statistics": lambda _: Answer.json(agent_view.monitor_statistics(agent, process.statistics())),
        "/state": recovered(lambda _: Answer.json(agent_view.state(agent, flags))),
        "/version": lambda _: Answer.json(view.version()),
    }


def _files(agent: Agent) -> dict[str, Handler]:
    def read(request: Request) -> Answer:
        query = request.query
        executors = agent_view.all_executors(agent)
        return files.read(query.get("path"), query.get("offset"), query.get("length"), executors)

    return {
        "/files/browse": lambda request: files.browse(request.query.get("path"), agent_view.all_executors(agent)),
        "/files/download": lambda request: files.download(request.query.get("path"), agent_view.all_executors(agent)),
        "/files/read": read,
    }


def _also_under(prefix: str, routes: Mapping[str, Handler]) -> dict[str, Handler]:
    """Every endpoint is also there under its process' name, as in libprocess."""
    return {**routes, **{f"{prefix}{path}": handler for path, handler in routes.items()}}


def _subscribed(
    process: Process,
    kind: str,
    request: Request,
    subscribe: Callable[[str, Mapping[str, Any]], None],
    call: Mapping[str, Any],
    heartbeat_s: float | None,
) -> Answer:
    """Subscribes with a new stream, the answer.  An executor is not told the stream's id: its calls name none."""
    request.require_json_accepted()
    if kind != "executor" and _STREAM_ID in request.headers:
        raise CallRefused(400, "Subscribe calls should not include the 'Mesos-Stream-Id' header")
    stream = process.port.open_stream(kind, heartbeat_s)
    try:
        subscribe(stream.stream_id, call)
    except BaseException:
        stream.close()
        raise
    process.carry_out()
    told = {} if kind == "executor" else {"Mesos-Stream-Id": stream.stream_id}
    return Answer(200, stream, {"Content-Type": "application/json", **told})


def _called(process: Process, call: Callable[[], None]) -> None:
    try:
        call()
    finally:
        process.carry_out()


def _read_v1(answer: object | None, api: str) -> Answer:
    if answer is None:
        return Answer.text(400, f"Failed to validate {api}: Expecting 'type' to be present")
    return Answer.json(answer)
