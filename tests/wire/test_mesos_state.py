from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from serenity.wire.mesos.leader import leading_master
from serenity.wire.mesos.state import (
    AgentLook,
    AgentReader,
    Container,
    MasterReader,
    PerfSample,
    containers_of,
    decode_state,
    join_processes,
)
from serenity.wire.transport.http import HttpError, Unreachable

MIB = 1 << 20


@pytest.fixture
def state(shape: Callable[[str], Any]) -> Any:
    return shape("agent_state.json")


@pytest.fixture
def containers(shape: Callable[[str], Any]) -> Any:
    return shape("agent_containers.json")


def serve(peer: Any, *answers: Any) -> None:
    for each in answers:
        body = each if isinstance(each, bytes) else json.dumps(each).encode()
        peer.calls.append(lambda answer, body=body: answer.whole(200, body))


def joined(state: Any, containers: Any) -> tuple[Container, ...]:
    told = decode_state(json.dumps({"id": "A", "resources": {}, **state}))
    return join_processes(containers_of(told, {}).values(), containers)


def test_who_runs_with_which_resources(state: Any, containers: Any) -> None:
    best_effort, production = joined(state, containers)
    assert (production.executor_id, production.revocable, production.cpus) == ("memcached", False, 2.1)
    assert (production.mem_bytes, production.pid) == (288 * MIB, 29755)
    assert production.framework_name == "mesos-execute instance"
    assert [task.task_id for task in production.tasks] == ["memcached"]
    assert (best_effort.executor_id, best_effort.revocable, best_effort.cpus) == ("serenity-probe", True, 0.6)
    assert (best_effort.mem_bytes, best_effort.pid) == (96 * MIB, 29813)
    assert (best_effort.revocable_cpus, best_effort.revocable_mem_bytes) == (0.6, 96 * MIB)
    assert (production.revocable_cpus, production.revocable_mem_bytes) == (0.0, 0)
    assert best_effort.container_id == "d25bbdfb-c623-4833-a1cb-3b64b7b8b103"
    # Those that ended are not there.
    assert [(task.task_id, dict(task.labels)) for task in best_effort.tasks] == [("kill-me", {"job": "j1"})]


def test_revocable_cpus_and_regular_memory_in_one_executor(state: Any, containers: Any) -> None:
    """The usual shape where only cpus are oversubscribed."""
    state["frameworks"][0]["executors"][0]["resources"] = {"cpus_revocable": 1.0, "mem": 4096.0}
    best_effort = joined(state, containers)[0]
    assert (best_effort.cpus, best_effort.mem_bytes) == (1.0, 4096 * MIB)
    assert (best_effort.revocable, best_effort.revocable_cpus, best_effort.revocable_mem_bytes) == (True, 1.0, 0)


def test_an_executor_that_just_starts_has_no_pid_but_counts(state: Any, containers: Any) -> None:
    assert [each.pid for each in joined(state, [])] == [None, None]
    del containers[0]["status"]["executor_pid"]
    del containers[1]["status"]
    assert [(each.pid, each.cpus) for each in joined(state, containers)] == [(None, 0.6), (None, 2.1)]


def test_the_pid_of_an_earlier_life_of_the_executor_is_not_its_own(state: Any, containers: Any) -> None:
    containers[0]["container_id"] = "an-older-one"
    assert [each.pid for each in joined(state, containers)] == [None, 29755]


def test_reading_an_agent(peer: Any, state: Any, containers: Any) -> None:
    reader = AgentReader(peer.address)
    serve(peer, state, {"flags": {"isolation": "posix/cpu"}}, {"version": "1.12.0-rc1"}, state, containers)
    who = reader.look().identity
    assert who.agent_id.endswith("-S0") and (who.hostname, who.version) == ("127.0.0.1", "1.12.0")
    assert (who.cpus, who.mem_bytes, who.ip) == (4.0, 4096 * MIB, "127.0.0.1")
    assert reader.flags() == {"isolation": "posix/cpu"}
    assert reader.version() == "1.12.0-rc1"
    assert [each.executor_id for each in reader.containers()] == ["serenity-probe", "memcached"]
    assert [each.path for each in peer.requests] == ["/state", "/flags", "/version", "/state", "/containers"]


@pytest.mark.parametrize("named", ["mesos-execute instance", "Command Executor", "memcached"])
def test_a_name_that_is_no_utf_8_hides_nothing_else_on_the_agent(
    peer: Any, state: Any, containers: Any, named: str
) -> None:
    """Mesos hands on what a framework calls itself, its executors and its tasks, byte by byte."""
    strange = json.dumps(state).replace(f'"name": "{named}', '"name": "Bl\xfc').encode("latin-1")
    serve(peer, strange, containers, strange)
    reader = AgentReader(peer.address)
    best_effort, production = reader.containers()
    assert (best_effort.executor_id, production.executor_id) == ("serenity-probe", "memcached")
    assert ("Bl\ufffd" in (production.framework_name, production.tasks[0].name)) == (named != "Command Executor")
    assert reader.id_and_providers()[0] == state["id"]


def whole(reader: AgentReader) -> AgentLook:
    look = reader.look()
    return replace(look, containers=reader.with_processes(look.containers))


def test_a_look_is_one_request_and_knows_the_processes_of_an_earlier_one(
    peer: Any, state: Any, containers: Any
) -> None:
    reader = AgentReader(peer.address)
    serve(peer, state, containers, state)
    seen = reader.look()
    assert ([each.pid for each in seen.containers], seen.whole) == ([None, None], False)
    first = replace(seen, containers=reader.with_processes(seen.containers))
    second = reader.look(first.containers)
    assert ([each.pid for each in second.containers], second.whole) == ([29813, 29755], True)
    assert first == second
    assert [each.path for each in peer.requests] == ["/state", "/containers", "/state"]


def test_a_state_that_has_not_changed_is_not_taken_apart_again(peer: Any, state: Any, containers: Any) -> None:
    reader = AgentReader(peer.address)
    larger = copy.deepcopy(state)
    larger["frameworks"][0]["executors"][0]["resources"]["cpus"] = 7.0
    serve(peer, state, containers, state, larger, larger, state)
    first = whole(reader)
    same = reader.look(first.containers)
    assert all(one is other for one, other in zip(first.containers, same.containers, strict=True))
    grown = reader.look(same.containers)
    assert max(each.cpus for each in grown.containers) >= 7.0
    assert [each.pid for each in grown.containers] == [each.pid for each in first.containers]
    # What another look saw is not taken for this one's.
    assert reader.look(first.containers) == grown
    assert reader.look(grown.containers) == first


def test_an_executor_that_has_not_changed_is_not_taken_apart_again(peer: Any, state: Any) -> None:
    reader, larger = AgentReader(peer.address), copy.deepcopy(state)
    larger["frameworks"][0]["executors"][0]["resources"]["cpus"] = 7.0
    renamed = copy.deepcopy(larger)
    renamed["frameworks"][1]["name"] = "another"
    serve(peer, state, larger, renamed)
    first, second, third = (reader.look().containers for _ in range(3))
    assert (first[0] is second[0], first[1] is second[1]) == (False, True)
    assert (second[0] is third[0], second[1] is third[1]) == (True, False)
    assert (second[0].cpus, third[1].framework_name) == (7.6, "another")


def test_an_executor_that_is_told_without_a_pid_keeps_the_one_it_had(peer: Any, state: Any, containers: Any) -> None:
    reader, starting = AgentReader(peer.address), copy.deepcopy(containers)
    del starting[0]["status"]["executor_pid"]
    serve(peer, state, starting, containers, starting)
    known = reader.look().containers
    for pid in (None, 29813, 29813):
        known = reader.with_processes(known)
        assert known[0].pid == pid


def test_a_pid_that_docker_has_told_stays(peer: Any, state: Any) -> None:
    reader = AgentReader(peer.address)
    for each in (task for f in state["frameworks"] for e in f["executors"] for task in e["tasks"]):
        each["container"] = {"type": "DOCKER"}
    serve(peer, state, state)
    look = reader.look()
    told = tuple(replace(each, pid=77) for each in look.containers)
    assert [each.pid for each in reader.look(told).containers] == [77, 77]
    assert [each.path for each in peer.requests] == ["/state", "/state"]


def test_reading_a_master(peer: Any, shape: Callable[[str], Any]) -> None:
    serve(peer, shape("master_slaves.json"))
    (agent,) = MasterReader(leading_master(peer.address)).agents()
    assert agent["hostname"] == "127.0.0.1" and agent["active"]


def test_a_master_with_an_attribute_that_is_no_utf_8(peer: Any) -> None:
    serve(peer, b'{"slaves": [{"id": "A", "attributes": {"rack": "B\xfc"}}]}')
    assert MasterReader(leading_master(peer.address)).agents() == [{"id": "A", "attributes": {"rack": "B\ufffd"}}]


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b"{}", b'"x"', b"<html>", b'{"frameworks": [{}], "id": 1}', b"[" * 100_000]
)
def test_an_answer_that_is_not_mesos_own_is_an_http_error(peer: Any, body: bytes) -> None:
    agent, master = AgentReader(peer.address), MasterReader(leading_master(peer.address))
    reads = [agent.flags, agent.version, agent.look, master.agents]
    for read in reads:
        serve(peer, body, b"[]")
        with pytest.raises(HttpError):
            read()
        peer.calls.clear()


@pytest.mark.parametrize(
    ("name", "amount"),
    [
        *itertools.product(["cpus", "mem_revocable"], [-0.5, float("nan"), float("inf"), 10**400]),
        ("mem", 1e300),  # Of several such a sum has no room in a float.
    ],
    ids=lambda each: str(each)[:20],
)
def test_an_allocation_that_is_no_amount_is_not_believed(
    peer: Any, state: Any, containers: Any, name: str, amount: float
) -> None:
    state["frameworks"][0]["executors"][0]["resources"][name] = amount
    peer.pages = {"/state": state, "/containers": containers}
    with pytest.raises(HttpError, match="does not answer as Mesos does"):
        AgentReader(peer.address).look()


def test_an_executor_of_an_odd_shape_is_not_taken_for_nothing(peer: Any, state: Any, containers: Any) -> None:
    broken = copy.deepcopy(state)
    del broken["frameworks"][0]["executors"][0]["resources"]
    serve(peer, broken, containers)
    with pytest.raises(HttpError, match="does not answer as Mesos does"):
        AgentReader(peer.address).containers()


def test_an_agent_that_is_away_or_not_ready(peer: Any) -> None:
    peer.calls.append(lambda answer: answer.whole(503, b"Agent has not finished recovery"))
    with pytest.raises(HttpError, match="Agent has not finished recovery"):
        AgentReader(peer.address).look()
    with pytest.raises(Unreachable):
        AgentReader("127.0.0.1:1").look()


def test_what_a_task_was_given_and_where_it_is() -> None:
    def status(at: float, *addresses: str) -> dict[str, Any]:
        infos = [{"ip_addresses": [{"protocol": "IPv4", "ip_address": each} for each in addresses]}, {}]
        return {"timestamp": at, "container_status": {"network_infos": infos}}

    task = {
        "id": "t",
        "resources": {"cpus": 1.0, "ports": "[31000-31002, 31005-31005]"},
        "statuses": [status(2.0, "172.16.5.9", "fd00::9"), status(1.0, "10.0.0.1")],
        "container": {"type": "DOCKER"},
    }
    executor = {"id": "e", "container": "C", "resources": {"cpus": 1.0}, "tasks": [task, {"id": "bare"}]}
    perf = {"timestamp": 5.0, "duration": 2.0, "cycles": 10}
    key = {"framework_id": "F", "executor_id": "e", "container_id": "C"}
    (container,) = joined(
        {"frameworks": [{"id": "F", "executors": [executor]}]}, [{**key, "statistics": {"perf": perf}}]
    )
    given, bare = container.tasks
    assert given.ports == ((31000, 31002), (31005, 31005))
    assert given.addresses == ("172.16.5.9", "fd00::9")  # Of the latest status.
    assert (given.docker, container.docker) == (True, True)
    assert (bare.ports, bare.addresses, bare.docker) == ((), (), False)
    assert container.perf == PerfSample(5.0, 2.0, {"cycles": 10.0})


@pytest.mark.parametrize(
    "perf",
    [{"duration": 2.0}, {"timestamp": 1.0, "duration": -5}, {"timestamp": 1.0}, {"timestamp": None, "duration": 2.0},
     {}, {"timestamp": float("nan"), "duration": 2.0}, {"timestamp": True, "duration": 2.0}],
)  # fmt: skip
def test_perf_statistics_that_make_no_sense_are_none_and_cost_nobody_else(perf: dict[str, Any]) -> None:
    executor = {"id": "e", "container": "C", "resources": {"cpus": 1.0}}
    key = {"framework_id": "F", "executor_id": "e", "container_id": "C"}
    state = {"frameworks": [{"id": "F", "executors": [executor]}]}
    (container,) = joined(state, [{**key, "statistics": {"perf": {**perf, "cycles": 10}}}])
    assert container.perf is None
    well = {"timestamp": 5.0, "duration": 2.0, "cycles": 10, "instructions": None, "branches": "many"}
    (container,) = joined(state, [{**key, "statistics": {"perf": well}}])
    assert container.perf == PerfSample(5.0, 2.0, {"cycles": 10.0})
