"""What a new user does by hand, on both clusters: submit, look, wait, read, kill."""

from __future__ import annotations

import json

import pytest

from serenity.wire.mesos.state import AgentReader
from tests.end_to_end.running import Running
from tests.polling import eventually


def test_hello_from_submit_to_logs(running: Running) -> None:
    job = running.submit(
        "--name", "hello", "--instances", "3", "--cpus", "0.1", "--mem", "32M", "--", "sh", "-c", "echo hi; sleep 1"
    )
    assert "hello" in running.serenity("list").stdout
    running.serenity("wait", "hello", "--timeout", "60")
    detail = json.loads(running.serenity("show", job, "--json").stdout)
    assert detail["job"]["state"] == "finished"
    assert [each["attempt"] for each in detail["attempts"]] == [1, 1, 1]
    for instance in range(3):
        assert running.serenity("logs", f"hello/{instance}").stdout == "hi\n"


def test_best_effort_runs_on_revocable_resources_only(running: Running) -> None:
    job = running.submit("--cpus", "0.1", "--mem", "32M", "--", "sleep", "60")
    running.wait_for_running(job)
    containers = AgentReader(running.mesos.agent).containers()
    ours = [each for each in containers if any(task.task_id.startswith(job) for task in each.tasks)]
    assert len(ours) == 1 and ours[0].revocable
    assert [each.revocable for each in containers if each.framework_name == "web"] == [False]
    running.serenity("kill", job)
    running.serenity("wait", job, "--timeout", "30", code=6)


def test_a_killed_job_says_who_killed_it(running: Running) -> None:
    job = running.submit("--name", "sleeper", "--cpus", "0.1", "--mem", "32M", "--", "sleep", "60")
    running.wait_for_running(job)
    running.serenity("kill", "sleeper")
    running.serenity("wait", job, "--timeout", "30", code=6)
    (attempt,) = running.attempts(job)
    assert (attempt["state"], attempt["reason"]) == ("killed", "KILLED_BY_USER")
    assert attempt["record"]["killed"]["task"] == attempt["task"]


def test_a_command_that_does_not_exist_is_told(running: Running) -> None:
    job = running.submit("--max-retries", "0", "--cpus", "0.1", "--mem", "32M", "--", "no-such-command-anywhere")
    running.serenity("wait", job, "--timeout", "30", code=6)
    (attempt,) = running.attempts(job)
    assert attempt["reason"] == "LAUNCH_FAILED"
    assert "no-such-command-anywhere" in attempt["message"]
    assert "no-such-command-anywhere" in running.serenity("show", job).stdout


def test_retries_are_charged_to_a_job_that_fails_by_itself(running: Running) -> None:
    job = running.submit("--max-retries", "1", "--cpus", "0.1", "--mem", "32M", "--", "sh", "-c", "exit 7")
    running.serenity("wait", job, "--timeout", "60", code=6)
    attempts = running.attempts(job)
    assert [(each["attempt"], each["state"], each["reason"]) for each in attempts] == [
        (1, "failed", "COMMAND_FAILED"),
        (2, "failed", "COMMAND_FAILED"),
    ]


def test_wait_gives_up_after_its_timeout(running: Running) -> None:
    job = running.submit("--cpus", "0.1", "--mem", "32M", "--", "sleep", "60")
    assert running.serenity("wait", job, "--timeout", "1", code=None).returncode == 7
    running.serenity("kill", job)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("show", "no-such-job"), 3),
        (("kill", "no-such-job"), 3),
        (("logs", "no-such-job"), 3),
        (("submit", "--cpus", "0", "--", "true"), 2),
        (("submit", "--cpus", "-1", "--", "true"), 2),
        (("submit", "--mem", "lots", "--", "true"), 2),
        (("submit", "--instances", "0", "--", "true"), 2),
        (("submit",), 2),
        (("no-such-verb",), 2),
        (("submit", "--cpus", "1e9", "--", "true"), 4),
        (("submit", "--mem", "900T", "--", "true"), 4),
    ],
)
def test_bad_input_is_one_clear_line(running: Running, arguments: tuple[str, ...], code: int) -> None:
    done = running.serenity(*arguments, code=code)
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and done.stderr.startswith("serenity: "), done.stderr


def test_json_is_on_stdout_and_nothing_else(running: Running) -> None:
    for arguments in (("list", "--json"), ("nodes", "--json"), ("reasons", "--json")):
        done = running.serenity(*arguments)
        json.loads(done.stdout)
        assert done.stderr == ""


def test_why_tells_what_a_job_waits_for(running: Running) -> None:
    job = running.submit("--cpus", "500", "--mem", "32M", "--", "true")
    text = eventually(lambda: running.serenity("why", job).stdout, "a word on the slack", 10.0)
    assert "500" in text or "slack" in text
    running.serenity("kill", job)
