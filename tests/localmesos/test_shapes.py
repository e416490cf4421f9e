"""The same calls on the embedded Mesos and on a real one: everything that is answered has the same shape.

A shape is what there is and of which type, without the values; the elements of a list count as one.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serenity.localmesos.cluster.cluster import Cluster
from serenity.wire.transport import http
from tests.clusters import cluster_options

Shape = Any  # A dict of shapes by key, a list of one shape or none, or the name of a type.

# Where the two may differ, and why: regular expressions for what `differences` says.
ALLOWED = {
    r".*\.flags\.\w+ only of the real one": "the embedded one names those flags that it follows, or has fixed",
    r".*\.(build_date|build_time|git_sha) only of the real one": "nothing was built",
}


def shape(value: Any) -> Shape:
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        merged: list[Shape] = []
        for each in value:
            merged = [both(merged[0], shape(each)) if merged else shape(each)]
        return merged
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | float) else "string"


def both(one: Shape, other: Shape) -> Shape:
    """What either of two elements of a list has."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {
            key: both(one[key], other[key]) if key in one and key in other else one.get(key, other.get(key))
            for key in {**one, **other}
        }
    if isinstance(one, list) and isinstance(other, list):
        return [both(one[0], other[0])] if one and other else one or other
    return one if one == other else f"{one} or {other}"


def differences(embedded: Shape, real: Shape, path: str) -> Iterator[str]:
    if isinstance(embedded, dict) and isinstance(real, dict):
        for key in sorted({**embedded, **real}):
            if key not in embedded:
                yield f"{path}.{key} only of the real one"
            elif key not in real:
                yield f"{path}.{key} only of the embedded one"
            else:
                yield from differences(embedded[key], real[key], f"{path}.{key}")
    elif isinstance(embedded, list) and isinstance(real, list):
        if embedded and real:
            yield from differences(embedded[0], real[0], f"{path}[]")
    elif embedded != real:
        yield f"{path} is {embedded} of the embedded one, {real} of the real one"


def allowed(difference: str) -> bool:
    return any(re.fullmatch(each, difference) for each in ALLOWED)


# -- a session -------------------------------------------------------------------------------

READ = {
    "master": ("/state", "/slaves", "/version", "/flags"),
    "agent": ("/state", "/containers", "/monitor/statistics", "/version", "/flags"),
}
ASKED = {
    "master": ("GET_AGENTS", "GET_FRAMEWORKS", "GET_HEALTH", "GET_MASTER", "GET_TASKS", "GET_VERSION"),
    "agent": (
        "GET_AGENT", "GET_CONTAINERS", "GET_EXECUTORS", "GET_FRAMEWORKS", "GET_HEALTH", "GET_RESOURCE_PROVIDERS",
        "GET_STATE", "GET_TASKS", "GET_VERSION",
    ),
}  # fmt: skip
LABELS = {"labels": [{"key": "job", "value": "j"}]}


def session(cluster: Cluster, tools: Any) -> dict[str, Shape]:
    """A fixed sequence of calls.  The shapes of what came, by name."""
    scheduler, provider = tools.scheduler(cluster, roles=("be",)), tools.provider(cluster)
    provider.report(2, 512, role="be")
    tasks = _launch_all(scheduler, provider, tools)
    container = scheduler.update(tasks["long"], "TASK_RUNNING")["container_status"]["container_id"]["value"]
    scheduler.update(tasks["command"], "TASK_RUNNING")
    scheduler.update(tasks["short"], "TASK_FINISHED")
    scheduler.update(tasks["invalid"], "TASK_ERROR")
    scheduler.update(tasks["late"], "TASK_DROPPED")
    ids = {"agent_id": tasks["long"]["agent_id"], "executor_id": tasks["long"]["executor"]["executor_id"]}
    scheduler.call("MESSAGE", message={**ids, "data": data("hello")})
    scheduler.wait("MESSAGE")
    tools.eventually(lambda: len(tools.get(cluster.agent, "/containers")) == 2)
    # What is left is offered again in its own time; until then it has other fields.
    tools.eventually(lambda: "cpus_revocable" in tools.get(cluster.master, "/slaves")["slaves"][0]["offered_resources"])
    seen = dict(_read_all(cluster))
    sandbox = _sandbox(tools, cluster, container)

    asked = [{"task_id": tasks["long"]["task_id"]}, {"task_id": {"value": "nobody"}}]
    scheduler.call("RECONCILE", reconcile={"tasks": asked})
    scheduler.update({"task_id": {"value": "nobody"}}, "TASK_UNKNOWN")
    for name in ("command", "long"):
        scheduler.kill(tasks[name])
        scheduler.update(tasks[name], "TASK_KILLED")
    scheduler.offer(lambda resources: True)
    provider.report(1, 512, role="be")
    scheduler.wait("RESCIND")
    scheduler.call("SHUTDOWN", shutdown=ids)
    scheduler.wait("FAILURE")
    again = tools.scheduler(cluster, framework_id=scheduler.id, roles=("be",))
    scheduler.wait("ERROR")

    events = [json.loads(line) for line in (sandbox / "stdout").read_text().splitlines() if line.startswith("{")]
    streams = {"scheduler": scheduler.stream.history + again.stream.history, "provider": provider.stream.history}
    for of, stream in {**streams, "executor": events}.items():
        for event in stream:
            name = _name(of, event)
            seen[name] = both(seen[name], shape(event)) if name in seen else shape(event)
    return seen


def _launch_all(scheduler: Any, provider: Any, tools: Any) -> dict[str, Any]:
    """Tasks of several kinds, all on one offer; and one that comes too late for it."""
    offer = scheduler.offer(lambda offered: offered.of_provider(provider.id).cpus >= 2 and offered.regular.cpus >= 1)
    slack = provider.resources(0.1, 32, role="be")
    second = {"nanoseconds": 10**9}
    executor = tools.executor(slack, name="probe", labels=LABELS, shutdown_grace_period=second)
    more = {
        "labels": LABELS,
        "discovery": {"visibility": "CLUSTER", "name": "d"},
        "kill_policy": {"grace_period": second},
    }
    probe = {"executor": executor, "resources": slack, **more}
    variables = {"variables": [{"name": "GREETING", "value": "hello"}]}
    tasks = {
        "long": scheduler.task(offer, data=data("run"), **probe),
        "short": scheduler.task(offer, data=data("finish"), **probe),
        "command": scheduler.task(offer, command={"value": "exec sleep 1000", "environment": variables}, **more),
        "invalid": scheduler.task(offer, command={"value": "true"}, cpus=1000),
    }
    scheduler.accept(offer, *tasks.values(), refuse_s=0.0)
    tasks["late"] = scheduler.task(offer, command={"value": "true"})
    scheduler.accept(offer, tasks["late"])
    return tasks


def data(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _read_all(cluster: Cluster) -> Iterator[tuple[str, Shape]]:
    addresses = {"master": http.Endpoint.parse(cluster.master), "agent": http.Endpoint.parse(cluster.agent)}
    for which, address in addresses.items():
        for path in READ[which]:
            yield f"{which} {path}", shape(http.get_json(address, path))
        for kind in ASKED[which]:
            yield f"{which} {kind}", shape(http.request(address, "POST", "/api/v1", {"type": kind}).json())


def _sandbox(tools: Any, cluster: Cluster, container: str) -> Path:
    for framework in tools.get(cluster.agent, "/state")["frameworks"]:
        for executor in framework["executors"]:
            if executor["container"] == container:
                return Path(executor["directory"])
    raise AssertionError("no such container")


def _name(of: str, event: dict[str, Any]) -> str:
    """Updates by what they say: each kind has fields of its own."""
    if event["type"] != "UPDATE":
        return f"{of} {event['type']}"
    status = event["update"]["status"]
    return f"{of} UPDATE {status['state']} {status.get('source')} {status.get('reason', '')}".strip()


@pytest.mark.real_mesos
def test_the_embedded_one_answers_in_the_shapes_of_a_real_one(tmp_path, tools):
    shapes = []
    for kind in ("localmesos", "real"):
        with Cluster(cluster_options(kind, tmp_path / kind)) as cluster:
            shapes.append(session(cluster, tools))
            tools.close()
    embedded, real = shapes
    found = [
        *(
            f"{name} is only of the {'real' if name in real else 'embedded'} one"
            for name in embedded.keys() ^ real.keys()
        ),
        *(each for name in embedded.keys() & real.keys() for each in differences(embedded[name], real[name], name)),
    ]
    assert [each for each in sorted(found) if not allowed(each)] == []
