"""The read endpoints: the fields that a real Mesos has, with the values of one moment."""

from __future__ import annotations

import pytest

from serenity.wire.transport import http

# What Serenity may read; found in both clusters' answers, and in the recorded transcripts.
AGENT_STATE = {
    "version", "start_time", "id", "pid", "hostname", "capabilities", "resources", "reserved_resources",
    "unreserved_resources", "reserved_resources_full", "unreserved_resources_full", "reserved_resources_allocated",
    "unreserved_resources_allocated", "resource_providers", "attributes", "flags", "frameworks",
    "completed_frameworks",
}  # fmt: skip
AGENT_FRAMEWORK = {
    "id", "name", "user", "failover_timeout", "checkpoint", "hostname", "roles", "executors", "completed_executors",
}  # fmt: skip
AGENT_EXECUTOR = {
    "id",
    "name",
    "source",
    "container",
    "directory",
    "resources",
    "role",
    "tasks",
    "queued_tasks",
    "completed_tasks",
}
TASK = {
    "id", "name", "framework_id", "executor_id", "slave_id", "state", "resources", "role", "statuses",
}  # fmt: skip
MASTER_STATE = {
    "version", "start_time", "elected_time", "id", "pid", "hostname", "activated_slaves", "leader", "leader_info",
    "flags", "slaves", "recovered_slaves", "frameworks", "completed_frameworks",
}  # fmt: skip
MASTER_FRAMEWORK = {
    "id", "name", "used_resources", "offered_resources", "capabilities", "active", "connected", "user",
    "failover_timeout", "checkpoint", "registered_time", "resources", "roles", "tasks", "completed_tasks", "offers",
    "executors",
}  # fmt: skip
AGENT = {
    "id", "hostname", "port", "pid", "registered_time", "resources", "used_resources", "offered_resources",
    "reserved_resources", "unreserved_resources", "active", "version", "capabilities", "unreserved_resources_full",
    "used_resources_full", "offered_resources_full",
}  # fmt: skip
STATISTICS = {
    "cpus_soft_limit", "cpus_system_time_secs", "cpus_user_time_secs", "mem_limit_bytes", "mem_rss_bytes",
    "mem_soft_limit_bytes", "timestamp",
}  # fmt: skip


@pytest.fixture
def running(scheduler):
    task = scheduler.run("exec sleep 1000", cpus=0.5, mem=64, labels={"labels": [{"key": "job", "value": "j"}]})
    return task, scheduler.update(task, "TASK_RUNNING")["container_status"]["container_id"]["value"]


def of_framework(scheduler, frameworks):
    return next(each for each in frameworks if each["id"] == scheduler.id)


def test_the_agents_state(cluster, scheduler, running, tools):
    task, container_id = running
    state = tools.get(cluster.agent, "/state")
    assert state.keys() >= AGENT_STATE
    assert state["resources"]["cpus"] == 2.0 and state["resources"]["ports"] == "[31000-32000]"
    framework = of_framework(scheduler, state["frameworks"])
    assert framework.keys() >= AGENT_FRAMEWORK
    (executor,) = framework["executors"]
    assert executor.keys() >= AGENT_EXECUTOR
    assert executor["container"] == container_id
    assert executor["name"].startswith("Command Executor (Task: ")
    assert executor["resources"]["cpus"] == pytest.approx(0.6)
    (shown,) = executor["tasks"]
    assert shown.keys() >= TASK
    assert (shown["id"], shown["executor_id"], shown["state"]) == (task["task_id"]["value"], "", "TASK_RUNNING")
    assert shown["labels"] == [{"key": "job", "value": "j"}]


def test_the_masters_state(cluster, scheduler, running, tools):
    state = tools.get(cluster.master, "/state")
    assert state.keys() >= MASTER_STATE
    framework = of_framework(scheduler, state["frameworks"])
    assert framework.keys() >= MASTER_FRAMEWORK
    assert framework["used_resources"]["cpus"] == 0.5
    assert framework["tasks"][0].keys() >= TASK
    assert tools.get(cluster.master, "/master/state")["id"] == state["id"]


def test_the_masters_agents(cluster, running, tools):
    (agent,) = tools.get(cluster.master, "/slaves")["slaves"]
    assert agent.keys() >= AGENT
    assert f"{cluster.options.ip}:{agent['port']}" == cluster.agent
    assert {each["role"] for each in agent["unreserved_resources_full"]} == {"*"}


def test_slack_is_shown_as_revocable(cluster, tools):
    provider = tools.provider(cluster)
    # As soon as it is there, by which others like it know that they are too many.
    (shown,) = tools.eventually(lambda: tools.get(cluster.agent, "/state")["resource_providers"])
    assert shown["resource_provider_info"]["id"] == {"value": provider.id} and "total_resources" not in shown
    provider.report(1.5, 256)
    tools.eventually(lambda: "cpus_revocable" in tools.get(cluster.agent, "/state")["resources"])
    state = tools.get(cluster.agent, "/state")
    assert (state["resources"]["cpus"], state["resources"]["cpus_revocable"]) == (2.0, 1.5)
    (shown,) = state["resource_providers"]
    assert shown["resource_provider_info"]["id"] == {"value": provider.id}
    (agent,) = tools.get(cluster.master, "/slaves")["slaves"]
    assert agent["resources"]["cpus_revocable"] == 1.5


def test_containers(cluster, scheduler, running, tools):
    _, container_id = running
    container = tools.eventually(
        lambda: next((c for c in tools.get(cluster.agent, "/containers") if c["container_id"] == container_id), None)
    )
    assert container["framework_id"] == scheduler.id
    assert container["status"]["container_id"] == {"value": container_id}
    assert tools.alive(container["status"]["executor_pid"])
    assert container["statistics"].keys() >= STATISTICS
    assert container["statistics"]["mem_rss_bytes"] > 1_000_000
    assert container["statistics"]["mem_limit_bytes"] == (64 + 32) * 1024 * 1024


def test_cpu_time_is_counted(cluster, scheduler, tools):
    task = scheduler.run("i=0; while [ $i -lt 30000000 ]; do i=$((i+1)); done")
    container_id = scheduler.update(task, "TASK_RUNNING")["container_status"]["container_id"]["value"]

    def cpu_s():
        for container in tools.get(cluster.agent, "/containers"):
            if container["container_id"] == container_id:
                return container["statistics"]["cpus_user_time_secs"]
        return 0

    first = tools.eventually(cpu_s)
    tools.eventually(lambda: cpu_s() > first + 0.1)
    assert cpu_s() > first > 0
    scheduler.kill(task)


@pytest.mark.parametrize(
    "kind",
    ["GET_AGENT", "GET_CONTAINERS", "GET_EXECUTORS", "GET_FLAGS", "GET_FRAMEWORKS", "GET_HEALTH", "GET_STATE",
     "GET_RESOURCE_PROVIDERS", "GET_TASKS", "GET_VERSION"],
)  # fmt: skip
def test_the_agents_operator_api(cluster, running, kind):
    answer = http.request(http.Endpoint.parse(cluster.agent), "POST", "/api/v1", {"type": kind}).json()
    assert answer["type"] == kind and isinstance(answer[kind.lower()], dict)


@pytest.mark.parametrize("kind", ["GET_AGENTS", "GET_FRAMEWORKS", "GET_HEALTH", "GET_MASTER", "GET_TASKS"])
def test_the_masters_operator_api(cluster, running, kind):
    answer = http.request(http.Endpoint.parse(cluster.master), "POST", "/api/v1", {"type": kind}).json()
    assert answer["type"] == kind and isinstance(answer[kind.lower()], dict)


def test_version_flags_and_what_is_not_there(cluster, tools):
    for address in (cluster.master, cluster.agent):
        assert tools.get(address, "/version")["version"].startswith("1.")
        assert isinstance(tools.get(address, "/flags")["flags"], dict)
        answer = http.request(http.Endpoint.parse(address), "GET", "/nope")
        assert (answer.status, answer.body) == (404, b"404 Not Found.")
        answer = http.request(http.Endpoint.parse(address), "POST", "/api/v1", {"type": "GET_NOPE"})
        assert answer.status == 400


# -- /files --------------------------------------------------------------------------------


@pytest.fixture
def sandbox(cluster, scheduler, tools):
    """The path of a sandbox with a few things in it that must not be read."""
    command = "echo 0123456789; mkdir sub; ln -s /etc/passwd out; ln -s loop loop; echo > done; exec sleep 1000"
    task = scheduler.run(command)
    scheduler.update(task, "TASK_RUNNING")
    framework = of_framework(scheduler, tools.get(cluster.agent, "/state")["frameworks"])
    directory = framework["executors"][0]["directory"]
    tools.eventually(lambda: read(cluster, f"{directory}/done", offset=0).body == b'{"data":"\\n","offset":0}')
    return directory


def files(cluster, what, **query):
    text = "&".join(f"{name}={value}" for name, value in query.items())
    return http.request(http.Endpoint.parse(cluster.agent), "GET", f"/files/{what}?{text}")


def read(cluster, path, **query):
    return files(cluster, "read", path=path, **query)


def test_files_are_read_in_parts(cluster, sandbox):
    assert read(cluster, f"{sandbox}/stdout", offset=2, length=3).json() == {"data": "234", "offset": 2}
    assert read(cluster, f"{sandbox}/stdout", offset=0).json() == {"data": "0123456789\n", "offset": 0}
    assert read(cluster, f"{sandbox}/stdout").json() == {"data": "", "offset": 11}
    assert read(cluster, f"{sandbox}/stdout", offset=100).json() == {"data": "", "offset": 100}
    assert files(cluster, "download", path=f"{sandbox}/stdout").body == b"0123456789\n"
    names = {each["path"].rpartition("/")[2] for each in files(cluster, "browse", path=sandbox).json()}
    assert names >= {"stdout", "stderr", "sub"}


def test_files_are_found_by_virtual_paths(cluster, scheduler, sandbox):
    executor_id = sandbox.split("/executors/")[1].split("/")[0]
    path = f"/frameworks/{scheduler.id}/executors/{executor_id}/runs/latest/stdout"
    assert read(cluster, path, offset=0, length=1).json()["data"] == "0"


@pytest.mark.parametrize(
    "path", ["out", "../../../../../../../../../../../../../etc/passwd", "sub/../../../latest/../../x", "loop", "nope"]
)
def test_nothing_outside_a_sandbox_is_read(cluster, sandbox, path):
    for what in ("read", "download"):
        answer = files(cluster, what, path=f"{sandbox}/{path}", offset=0)
        assert answer.status in (400, 404), answer.body


@pytest.mark.parametrize("path", ["/", "/etc", "/etc/passwd", "/frameworks"])
def test_only_sandboxes_are_served(cluster, path):
    for what in ("read", "download", "browse"):
        assert files(cluster, what, path=path, offset=0).status == 404


def test_bad_questions_about_files(cluster, sandbox):
    assert files(cluster, "read").status == 400
    assert read(cluster, f"{sandbox}/stdout", offset="x").status == 400
    assert read(cluster, f"{sandbox}/sub", offset=0).status == 400
