"""The framework as a process, against a Mesos over HTTP, with real executors and tasks."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from serenity.wire.transport.http import Endpoint, get_json, open_stream, request
from tests.polling import eventually


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_a_job_runs_on_the_slack_to_its_end_and_its_output_can_be_read(framework):
    job = framework.submit("sh", "-c", "echo hi; echo oops >&2", name="hello", instances=3)
    assert framework.wait_for(job, "finished")["counts"] == {"finished": 3}
    assert framework.request("GET", "/v1/jobs/hello/logs?instance=2")["text"] == "hi\n"
    assert framework.request("GET", "/v1/jobs/hello/logs?output=stderr")["text"] == "oops\n"


def test_output_is_read_piece_by_piece_without_cutting_characters(framework):
    job = framework.submit("sh", "-c", "for i in $(seq 9000); do printf 'häh-%05d\\n' $i; done", name="long")
    framework.wait_for(job, "finished")
    text, log = "", {"next_offset": 0, "ended": False}
    while not log["ended"]:
        log = framework.request("GET", f"/v1/jobs/long/logs?offset={log['next_offset']}")
        text += log["text"]
    assert text == "".join(f"häh-{i:05d}\n" for i in range(1, 9001))
    tail = framework.request("GET", "/v1/jobs/long/logs?lines=2")
    assert tail["text"] == "häh-08999\nhäh-09000\n"


def test_a_failing_command_is_retried_at_its_own_cost_and_then_given_up(framework):
    job = framework.submit("sh", "-c", "exit 7", max_retries=1)
    framework.wait_for(job, "failed")
    attempts = framework.attempts(job)
    assert [each["state"] for each in attempts] == ["failed", "failed"]
    assert [each["reason"] for each in attempts] == ["COMMAND_FAILED"] * 2
    assert attempts[0]["retry"]["charged"] and attempts[1]["retry"]["attempt"] is None


def test_a_kill_ends_all_instances(framework):
    job = framework.submit("sleep", "60", instances=2, max_retries=0)
    eventually(lambda: framework.job(job)["counts"].get("running") == 2, "both instances running")
    framework.request("POST", f"/v1/jobs/{job}/kill", {}, status=202)
    assert framework.wait_for(job, "killed")["counts"] == {"killed": 2}
    assert {each["reason"] for each in framework.attempts(job)} == {"KILLED_BY_USER"}


def test_an_eviction_is_free_leaves_its_record_and_lets_the_agent_cool_down(framework):
    job = framework.submit("evict", "0.1", max_retries=0)
    first = eventually(lambda: [each for each in framework.attempts(job) if each["killed"]], "the eviction")[0]
    assert (first["state"], first["reason"]) == ("killed", "QOS_CPU")
    assert first["record"]["killed"]["task"] == f"{job}.0.1"
    assert first["record"]["retry"] == first["retry"]
    assert not first["retry"]["charged"] and first["retry"]["attempt"] == 2
    assert first["retry"]["avoid"] == [first["hostname"]]
    assert first["line"].startswith("killed by QoS on here: ")
    reasons = framework.request("GET", f"/v1/jobs/{job}/why")["lines"]
    assert any("is avoided for another" in line for line in reasons)
    framework.request("POST", f"/v1/jobs/{job}/kill", {}, status=202)
    framework.wait_for(job, "killed")


def test_kill_9_loses_no_job_and_starts_none_twice(framework, tmp_path):
    started = tmp_path / "started"
    job = framework.submit("sh", "-c", f"echo $$ >> {started}; sleep 3", instances=3)
    for pause_s in (0.0, 0.15, 0.6):
        time.sleep(pause_s)
        framework.kill()
        framework.start()
    framework.wait_for(job, "finished")
    attempts = framework.attempts(job)
    assert len(_lines(started)) == 3, attempts
    assert len([each for each in attempts if each["running_at"] is not None]) == 3


def test_a_job_that_ended_while_the_framework_was_dead_is_found_to_have_ended(framework):
    job = framework.submit("sleep", "1")
    framework.wait_for(job, "running")
    framework.kill()
    time.sleep(1.5)
    framework.start()
    assert framework.wait_for(job, "finished", "failed")["state"] == "finished"
    assert len(framework.attempts(job)) == 1


def test_a_watcher_misses_nothing_over_a_restart(framework):
    stream = open_stream(Endpoint.parse(framework.url), "GET", "/v1/events", silence_s=30)
    first = next(stream.chunks()).decode()
    last_id = first.removeprefix("id: ").strip()
    framework.kill()
    framework.start()
    job = framework.submit("true")
    framework.wait_for(job, "finished")
    resumed = open_stream(
        Endpoint.parse(framework.url), "GET", f"/v1/jobs/{job}/events", headers={"Last-Event-ID": last_id}
    )
    seen = ""
    for chunk in resumed.chunks():
        seen += chunk.decode()
        if seen.count('"state":"finished"') == 2:
            break
    resumed.close()
    states = [part.split('"')[0] for part in seen.split('"state":"')[1:]]
    assert states == ["submitted", "launching", "running", "running", "finished", "finished"]


def test_one_executor_has_served_all_tasks_of_the_agent(framework, cluster):
    """After all the restarts above: the stored ExecutorInfo was sent again, unchanged."""
    framework_id = framework.request("GET", "/health")["framework_id"]
    state = get_json(Endpoint.parse(cluster.agent), "/state")
    ours = next(each for each in state["frameworks"] if each["id"] == framework_id)
    runs = [each["container"] for each in [*ours["executors"], *ours.get("completed_executors", [])]]
    assert len(runs) == 1


def test_an_executor_that_dies_costs_its_tasks_nothing_but_time(framework, cluster):
    job = framework.submit("sleep", "2", max_retries=0)
    framework.wait_for(job, "running")
    framework_id = framework.request("GET", "/health")["framework_id"]
    containers = get_json(Endpoint.parse(cluster.agent), "/containers")
    (pid,) = [each["status"]["executor_pid"] for each in containers if each["framework_id"] == framework_id]
    os.kill(pid, signal.SIGKILL)
    framework.wait_for(job, "finished")
    first, second = framework.attempts(job)
    assert (first["state"], first["reason"]) == ("lost", "EXECUTOR_LOST")
    assert first["line"].startswith("EXECUTOR_LOST on ") and ", free, in " in first["line"]
    assert second["state"] == "finished"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"cpus": 0}, "cpus"),
        ({"cpus": -1}, "cpus"),
        ({"cpus": 1e9}, "cpus"),
        ({"mem_bytes": 0}, "mem_bytes"),
        ({"mem_bytes": 1 << 60}, "mem_bytes"),
        ({"instances": 0}, "instances"),
        ({"instances": 10**9}, "instances"),
        ({"command": []}, "command"),
        ({"name": "a b"}, "name"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_request_is_refused_and_the_key_named(framework, change, complaint):
    body = {"command": ["true"], **change}
    assert complaint in framework.request("POST", "/v1/jobs", body, status=422)["error"]


def test_an_unknown_job_is_not_found_and_an_ambiguous_name_lists_its_jobs(framework):
    assert "no job 'nothing'" in framework.request("GET", "/v1/jobs/nothing", status=404)["error"]
    two = {framework.submit("true", name="twin") for _ in range(2)}
    assert set(framework.request("GET", "/v1/jobs/twin", status=409)["matches"]) == two


def test_a_framework_that_mesos_has_removed_registers_anew_and_loses_no_job(framework, cluster):
    job = framework.submit("sleep", "3", max_retries=0)
    framework.wait_for(job, "running")
    before = framework.request("GET", "/health")["framework_id"]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = request(Endpoint.parse(cluster.master), "POST", "/teardown", f"frameworkId={before}".encode(), form)
    assert answer.status == 200
    framework.wait_for(job, "finished")
    assert framework.request("GET", "/health")["framework_id"] not in (before, None)
    assert [each["state"] for each in framework.attempts(job)][-1] == "finished"
