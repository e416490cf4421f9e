"""Calls that Mesos refuses, and how: the same on the embedded one and on a real one."""

from __future__ import annotations

import pytest

from serenity.wire.transport import http

SCHEDULER, EXECUTOR, PROVIDER = "/api/v1/scheduler", "/api/v1/executor", "/api/v1/resource_provider"
JSON = {"Content-Type": "application/json", "Accept": "application/json"}
UUID = "dAQTlKiJTZy4NumW1hurZA=="
FRAMEWORK = {"user": "root", "name": "refused"}
CPUS = {"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.1}}
MISSING = "Failed to convert JSON into Call protobuf: Missing required fields: "
INVALID = "Failed to validate scheduler::Call: "


def post(address, path, body, headers=None, method="POST"):
    answer = http.request(http.Endpoint.parse(address), method, path, body, {**JSON, **(headers or {})})
    return answer.status, answer.body.decode()


def own(call, scheduler):
    """With the ids that are known only when the test runs."""
    return {**call, "framework_id": {"value": scheduler.id}} if call.get("framework_id") == "own" else call


# -- any API -------------------------------------------------------------------------------


@pytest.fixture(params=[SCHEDULER, EXECUTOR, PROVIDER])
def door(request, cluster):
    """An address and a path."""
    return cluster.master if request.param == SCHEDULER else cluster.agent, request.param


@pytest.mark.parametrize("body", [b"", b"{", b'{"type": NaN}'])
def test_a_body_that_is_no_json(door, body):
    status, text = post(*door, body)
    assert status == 400 and text.startswith("Failed to parse body into JSON: syntax error at line 1 near: ")


@pytest.mark.parametrize(
    "body, text",
    [
        (b"[]", "Expecting a JSON object"),
        ({"type": 1}, "Not expecting a JSON number for field 'type'"),
        ({"type": {}}, "Not expecting a JSON object for field 'type'"),
        ({"subscribe": "x"}, "Not expecting a JSON string for field 'subscribe'"),
        ({"subscribe": []}, "Not expecting a JSON array for field 'subscribe'"),
    ],
)
def test_json_that_is_no_call(door, body, text):
    assert post(*door, body) == (400, f"Failed to convert JSON into Call protobuf: {text}")


def test_another_method(door):
    text = "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'."
    assert post(*door, None, method="GET") == (405, text)


@pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=utf-8"])
def test_another_content_type(door, content_type):
    status, text = post(*door, b"{}", {"Content-Type": content_type})
    assert status == 415 and text.startswith("Expecting 'Content-Type' of application/json")


SUBSCRIPTIONS = {
    SCHEDULER: {"type": "SUBSCRIBE", "subscribe": {"framework_info": FRAMEWORK}},
    EXECUTOR: {
        "type": "SUBSCRIBE",
        "subscribe": {},
        "framework_id": {"value": "nobody"},
        "executor_id": {"value": "nobody"},
    },
    PROVIDER: {"type": "SUBSCRIBE", "subscribe": {"resource_provider_info": {"type": "a.b", "name": "refused"}}},
}


@pytest.mark.parametrize("accept", ["text/html", "text/html, application/xml", "application/json;q=0"])
def test_an_answer_in_a_format_that_there_is_not(door, accept):
    address, path = door
    status, text = post(address, path, SUBSCRIPTIONS[path], {"Accept": accept})
    assert (status, text) == (406, "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'")


@pytest.mark.parametrize("path", [SCHEDULER, PROVIDER])
def test_a_subscription_that_names_a_stream(cluster, path):
    address = cluster.master if path == SCHEDULER else cluster.agent
    status, text = post(address, path, SUBSCRIPTIONS[path], {"Mesos-Stream-Id": "q"})
    assert (status, text) == (400, "Subscribe calls should not include the 'Mesos-Stream-Id' header")


# -- the scheduler API ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, headers, status, text",
    [
        ({}, {}, 400, f"{INVALID}Expecting 'type' to be present"),
        ({"type": "NOPE"}, {}, 400, f"{INVALID}Expecting 'type' to be present"),
        ({"type": "REVIVE"}, {}, 400, f"{INVALID}Expecting 'framework_id' to be present"),
        ({"type": "REVIVE", "framework_id": {"value": "x"}}, {}, 400, "Framework cannot be found"),
        ({"type": "REVIVE", "framework_id": "own"}, {}, 400, "All non-subscribe calls should include the"),
        ({"type": "REVIVE", "framework_id": "own"}, {"Mesos-Stream-Id": "q"}, 400, "The stream ID 'q' included"),
        ({"type": "KILL", "framework_id": "own"}, {}, 400, f"{INVALID}Expecting 'kill'"),
        ({"type": "ACCEPT", "framework_id": "own"}, {}, 400, f"{INVALID}Expecting 'accept'"),
        ({"type": "REQUEST", "framework_id": "own"}, {}, 400, f"{INVALID}Expecting 'request'"),
        ({"type": "UPDATE_FRAMEWORK", "framework_id": "own"}, {}, 400, f"{INVALID}Expecting 'update_framework'"),
        ({"type": "SUBSCRIBE"}, {}, 400, f"{INVALID}Expecting 'subscribe' to be present"),
        ({"type": "SUBSCRIBE", "subscribe": None}, {}, 400, f"{INVALID}Expecting 'subscribe' to be present"),
        ({"type": "SUBSCRIBE", "subscribe": {}}, {}, 400, f"{MISSING}subscribe.framework_info"),
        ({"type": "SUBSCRIBE", "subscribe": {"framework_info": {}}}, {}, 400,
         f"{MISSING}subscribe.framework_info.user, subscribe.framework_info.name"),
        ({"type": "SUBSCRIBE", "framework_id": {"value": "x"}, "subscribe": {"framework_info": FRAMEWORK}}, {}, 400,
         f"{INVALID}'framework_id' differs from 'subscribe.framework_info.id'"),
        ({"type": "KILL", "framework_id": "own", "kill": {}}, {}, 400, f"{MISSING}kill.task_id"),
        ({"type": "ACKNOWLEDGE", "framework_id": "own", "acknowledge": {"agent_id": {"value": "x"}}}, {}, 400,
         f"{MISSING}acknowledge.task_id, acknowledge.uuid"),
        ({"type": "ACKNOWLEDGE", "framework_id": "own",
          "acknowledge": {"agent_id": {"value": "x"}, "task_id": {"value": "t"}, "uuid": "AAAA"}}, {}, 400,
         f"{INVALID}Not a valid UUID"),
        ({"type": "ACKNOWLEDGE", "framework_id": "own",
          "acknowledge": {"agent_id": {"value": "x"}, "task_id": {"value": "t"}, "uuid": "!!"}}, {}, 400,
         "Failed to convert JSON into Call protobuf: Failed to base64 decode bytes field 'uuid': Invalid character"),
        ({"type": "ACCEPT", "framework_id": "own",
          "accept": {"operations": [{"type": "LAUNCH", "launch": {"task_infos": [
              {"name": "x", "resources": [{"name": "cpus"}]}]}}]}}, {}, 400,
         MISSING + ", ".join(f"accept.operations[0].launch.task_infos[0].{field}"
                             for field in ("task_id", "agent_id", "resources[0].type"))),
        ({"type": "ACCEPT", "framework_id": "own", "accept": {"filters": {"refuse_seconds": "x"}}}, {}, 400,
         "Failed to convert JSON into Call protobuf: Failed to parse 'x' as a JSON number for field 'refuse_seconds'"),
    ],
)  # fmt: skip
def test_a_call_of_a_scheduler(scheduler, cluster, call, headers, status, text):
    answer = post(cluster.master, SCHEDULER, own(call, scheduler), headers)
    assert (answer[0], answer[1][: len(text)]) == (status, text)


def test_a_call_of_a_framework_that_is_not_connected_is_forbidden(scheduler, cluster, tools):
    scheduler.stream.close()
    call = {"type": "REVIVE", "framework_id": {"value": scheduler.id}}
    headers = {"Mesos-Stream-Id": scheduler.stream.id}
    answer = tools.eventually(lambda: (got := post(cluster.master, SCHEDULER, call, headers))[0] != 202 and got)
    assert answer == (403, "Framework is not subscribed")


@pytest.mark.parametrize(
    "kind", ["REQUEST", "RECONCILE_OPERATIONS", "ACCEPT_INVERSE_OFFERS", "DECLINE_INVERSE_OFFERS", "SUPPRESS"]
)
def test_some_calls_change_nothing_and_are_accepted(scheduler, cluster, tools, kind):
    def shown():
        frameworks = tools.get(cluster.master, "/state")["frameworks"]
        return next(each for each in frameworks if each["id"] == scheduler.id)

    scheduler.offer()
    before = shown()
    scheduler.call(kind, **{kind.lower(): {}})
    assert shown() == before


@pytest.mark.parametrize(
    "info, error",
    [
        ({"roles": ["a"]}, "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"),
        ({"role": "a", "capabilities": [{"type": "MULTI_ROLE"}]},
         "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable"),
        ({"roles": ["a", "a"], "capabilities": [{"type": "MULTI_ROLE"}]},
         "'FrameworkInfo.roles' contains duplicate items: { a }"),
        ({"role": "a b"}, "'FrameworkInfo.role' is not a valid role: Role component 'a b' is invalid because it "
         "contains backspace or whitespace"),
        ({"role": "-a"}, "'FrameworkInfo.role' is not a valid role: Role component '-a' is invalid because it "
         "starts with a dash"),
        ({"role": "a//b"}, "'FrameworkInfo.role' is not a valid role: Role 'a//b' cannot contain two adjacent slashes"),
        ({"id": {"value": "a/b"}}, "'a/b' contains invalid characters"),
        ({"failover_timeout": 1e300}, "The framework failover_timeout (1e+300) is invalid"),
    ],
)  # fmt: skip
def test_a_framework_that_cannot_be(cluster, info, error):
    call = {"type": "SUBSCRIBE", "subscribe": {"framework_info": {**FRAMEWORK, **info}}}
    if "id" in info:
        call["framework_id"] = info["id"]
    status, text = post(cluster.master, SCHEDULER, call)
    assert status == 200
    assert text.partition("\n")[2] == f'{{"type":"ERROR","error":{{"message":"{error}"}}}}'


@pytest.mark.parametrize(
    "change, text",
    [
        ({"checkpoint": False}, "Updating 'FrameworkInfo.checkpoint' is unsupported; "
         "attempted to update from 'true' to 'false'"),
        ({"user": "nobody"}, "Updating 'FrameworkInfo.user' is unsupported; "
         "attempted to update from 'root' to 'nobody'"),
        ({"principal": "p"}, "Changing framework's principal is not allowed."),
    ],
)  # fmt: skip
def test_an_update_of_a_framework(scheduler, cluster, change, text):
    multi_role = {"roles": ["*"], "capabilities": [{"type": "MULTI_ROLE"}], "checkpoint": True}
    info = {**FRAMEWORK, **multi_role, "id": {"value": scheduler.id}, **change}
    call = {"type": "UPDATE_FRAMEWORK", "framework_id": info["id"], "update_framework": {"framework_info": info}}
    answer = post(cluster.master, SCHEDULER, call, {"Mesos-Stream-Id": scheduler.stream.id})
    assert answer == (400, f"FrameworkInfo update is not valid: {text}")
    for each in change:
        info[each] = {"user": "root", "checkpoint": True}.get(each)
    assert post(cluster.master, SCHEDULER, call, {"Mesos-Stream-Id": scheduler.stream.id}) == (200, "")


# -- the executor and the provider API -----------------------------------------------------

IDS = {"framework_id": {"value": "f"}, "executor_id": {"value": "e"}}


def status(**fields):
    whole = {"task_id": {"value": "t"}, "state": "TASK_RUNNING", "uuid": UUID, "source": "SOURCE_EXECUTOR", **fields}
    return {"type": "UPDATE", **IDS, "update": {"status": {key: each for key, each in whole.items() if each}}}


@pytest.mark.parametrize(
    "call, text",
    [
        ({"type": "SUBSCRIBE", "subscribe": {}}, f"{MISSING}executor_id, framework_id"),
        ({"type": "SUBSCRIBE", **IDS}, "Failed to validate Executor::Call: Expecting 'subscribe' to be present"),
        ({"type": "SUBSCRIBE", "subscribe": {}, **IDS}, "Framework cannot be found"),
        ({"type": "UPDATE", **IDS}, "Failed to validate Executor::Call: Expecting 'update' to be present"),
        ({"type": "UPDATE", "update": {}, **IDS}, f"{MISSING}update.status"),
        ({"type": "MESSAGE", "message": {}, **IDS}, f"{MISSING}message.data"),
        ({"type": "UNKNOWN", **IDS}, "Framework cannot be found"),
        (status(), "Framework cannot be found"),
        (status(uuid=None), "Failed to validate Executor::Call: Expecting 'uuid' to be present"),
        (status(uuid="AAAA"), "Failed to validate Executor::Call: Not a valid UUID"),
        (status(source=None), "Failed to validate Executor::Call: Received Call from executor e of framework f with "
         "invalid source, expecting 'SOURCE_EXECUTOR'"),
        (status(source="SOURCE_AGENT"), "Failed to validate Executor::Call: Received Call from executor e "),
        (status(state=None, task_id=None), f"{MISSING}update.status.task_id, update.status.state"),
        (status(state="NOPE"), "Failed to convert JSON into Call protobuf: Failed to find enum for 'NOPE'"),
        (status(state="TASK_STAGING"), "Failed to validate Executor::Call: Received TASK_STAGING from executor e of "
         "framework f which is not allowed"),
        (status(executor_id={"value": "q"}), "Failed to validate Executor::Call: ExecutorID in Call: e does not match "
         "ExecutorID in TaskStatus: q"),
    ],
)  # fmt: skip
def test_a_call_of_an_executor(cluster, call, text):
    answer = post(cluster.agent, EXECUTOR, call)
    assert (answer[0], answer[1][: len(text)]) == (400, text)


def test_an_executor_that_has_not_subscribed_is_forbidden(cluster, scheduler, tools):
    executor = tools.executor(tools.scalars(0.1, 32), command={"value": "exec sleep 1000"})
    offer = scheduler.offer()
    scheduler.accept(offer, scheduler.task(offer, executor=executor))
    tools.eventually(lambda: executor["executor_id"]["value"] in executors(tools, cluster))
    call = {**status(), "framework_id": {"value": scheduler.id}, "executor_id": executor["executor_id"]}
    assert post(cluster.agent, EXECUTOR, call) == (403, "Executor is not subscribed")


def executors(tools, cluster):
    """Ids of those that the agent has."""
    frameworks = tools.get(cluster.agent, "/state")["frameworks"]
    return {executor["id"] for framework in frameworks for executor in framework["executors"]}


@pytest.mark.parametrize(
    "call, code, text",
    [
        ({"type": "SUBSCRIBE", "subscribe": {"resource_provider_info": {"type": "a.b"}}}, 400,
         f"{MISSING}subscribe.resource_provider_info.name"),
        ({"type": "UPDATE_STATE"}, 400,
         "Failed to validate resource_provider::Call: Expecting 'resource_provider_id' to be present"),
        ({"type": "UPDATE_STATE", "of": "own"}, 400,
         "Failed to validate resource_provider::Call: Expecting 'update_state' to be present"),
        ({"type": "UPDATE_STATE", "of": "own", "update_state": {}}, 400,
         f"{MISSING}update_state.resource_version_uuid"),
        ({"type": "UPDATE_STATE", "of": "nobody", "update_state": {"resource_version_uuid": {"value": UUID}}}, 400,
         "Resource provider is not subscribed"),
        ({"type": "UPDATE_STATE", "of": "own",
          "update_state": {"resource_version_uuid": {"value": UUID}, "resources": [CPUS]}}, 400,
         "Inconsistent call: Inconsistent resource provider ID in 'update_state'"),
        ({"type": "UPDATE_PUBLISH_RESOURCES_STATUS", "of": "own",
          "update_publish_resources_status": {"uuid": {"value": UUID}, "status": "NOPE"}}, 400,
         "Failed to convert JSON into Call protobuf: Failed to find enum for 'NOPE'"),
        ({"type": "UNKNOWN", "of": "own"}, 501, "501 Not Implemented."),
        ({"type": "UPDATE_STATE", "of": "own", "stream": "q",
          "update_state": {"resource_version_uuid": {"value": UUID}}}, 400, "The stream ID 'q' included in this"),
    ],
)  # fmt: skip
def test_a_call_of_a_provider(cluster, tools, call, code, text):
    provider, call = tools.provider(cluster), dict(call)
    if (of := call.pop("of", None)) is not None:
        call["resource_provider_id"] = {"value": provider.id if of == "own" else of}
    answer = post(cluster.agent, PROVIDER, call, {"Mesos-Stream-Id": call.pop("stream", provider.stream.id)})
    assert (answer[0], answer[1][: len(text)]) == (code, text)


# -- operators -----------------------------------------------------------------------------


def test_teardown_by_an_operator(cluster, tools):
    scheduler = tools.scheduler(cluster)
    assert post(cluster.master, "/teardown", None, method="GET")[0] == 405
    text = "Missing 'frameworkId' query parameter in the request body"
    assert post(cluster.master, "/teardown", b"") == (400, text)
    assert post(cluster.master, "/teardown", b"frameworkId=q") == (400, "No framework found with specified ID")
    assert post(cluster.master, "/master/teardown", f"frameworkId={scheduler.id}".encode()) == (200, "")
    with pytest.raises(EOFError):
        scheduler.wait("ERROR")


def test_an_agent_that_cannot_be_marked_gone(cluster):
    call = {"type": "MARK_AGENT_GONE"}
    text = "Failed to validate master::Call: Expecting 'mark_agent_gone' to be present"
    assert post(cluster.master, "/api/v1", call) == (400, text)
    call["mark_agent_gone"] = {"agent_id": {"value": "q"}}
    assert post(cluster.master, "/api/v1", call) == (404, "Agent 'q' not found")
