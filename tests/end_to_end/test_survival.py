"""Executor, framework and estimator are killed in turn: no job is lost, none runs twice at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.conftest import Running, eventually

# Appends its pid when it starts, and runs until it is ended: whoever runs twice at once is seen.
MARK = "echo $$ >> {file}; exec sleep 600"


def pids(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def alive(found: list[int]) -> list[int]:
    return [pid for pid in found if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def marked_job(running: Running, tmp_path: Path) -> tuple[str, Path]:
    file = tmp_path / "pids"
    os.chmod(tmp_path, 0o777)
    job = running.submit("--cpus", "0.1", "--mem", "32M", "--", "sh", "-c", MARK.format(file=file))
    running.wait_for_running(job)
    eventually("the command's start", lambda: len(pids(file)) == 1)
    return job, file


def test_the_framework_is_killed_and_started_again(running: Running, marked_job: tuple[str, Path]) -> None:
    job, file = marked_job
    os.kill(running.daemon_pid("framework"), signal.SIGKILL)
    running.restart("framework")
    eventually("the framework's return", lambda: running.serenity("list", code=None).returncode == 0)
    assert [each["state"] for each in running.attempts(job)] == ["running"]
    second = running.submit("--cpus", "0.1", "--mem", "32M", "--", "true")
    running.serenity("wait", second, "--timeout", "60")
    assert len(pids(file)) == 1 and alive(pids(file)) == pids(file)
    running.serenity("kill", job)
    running.serenity("wait", job, "--timeout", "30", code=6)
    assert alive(pids(file)) == []


def test_the_estimator_is_killed_and_the_slack_goes_and_returns(running: Running, marked_job: tuple[str, Path]) -> None:
    job, file = marked_job
    before = running.slack_cpus()
    assert before > 0.5
    os.kill(running.daemon_pid("estimator"), signal.SIGKILL)
    eventually("the slack's end", lambda: running.slack_cpus() == 0, 10.0)
    assert alive(pids(file)) == pids(file), "a running task was hurt"
    running.restart("estimator")
    eventually("the slack's return", lambda: running.slack_cpus() > 0.5, 30.0)
    assert running.slack_cpus() <= before + 0.5, "slack of two providers"
    assert [each["state"] for each in running.attempts(job)] == ["running"]
    running.serenity("kill", job)
    running.serenity("wait", job, "--timeout", "30", code=6)


def test_the_executor_is_killed_and_its_tasks_run_again_elsewhere_or_later(
    running: Running, marked_job: tuple[str, Path]
) -> None:
    job, file = marked_job
    (executor,) = running.executor_processes()
    executor.kill()
    eventually("a second attempt", lambda: len(pids(file)) == 2, 60.0)
    assert alive(pids(file)) == pids(file)[1:], "the first attempt still ran when the second began"
    first, second = sorted(running.attempts(job), key=lambda each: int(each["attempt"]))
    assert first["reason"] == "EXECUTOR_LOST"
    assert second["state"] == "running"
    running.serenity("kill", job)
    running.serenity("wait", job, "--timeout", "30", code=6)
    assert alive(pids(file)) == []
