"""The verbs a user lives with, from submit to logs, on a Mesos and with the real executor."""

from __future__ import annotations

import json
import time


def test_submit_wait_show_logs(serenity):
    submitted = serenity(
        "submit", "--name", "hello", "--instances", "3", "--cpus", "0.2", "--mem", "32M", "--", "sh", "-c", "echo hi"
    )
    assert submitted.code == 0
    job = submitted.out.strip()
    assert submitted.out == f"{job}\n" and len(job) == 7 and submitted.err == "", "the id alone, for scripts"
    waited = serenity("wait", "hello", "--timeout", "30s")
    assert (waited.code, waited.out) == (0, "") and f"hello ({job}) finished" in waited.err
    assert serenity("logs", "hello/1").out == "hi\n"
    shown = serenity("show", job).out
    assert "hello (" in shown and shown.count("finished") >= 4
    assert max(map(len, shown.splitlines())) <= 80
    assert [each["state"] for each in json.loads(serenity("show", job, "--json").out)["attempts"]] == ["finished"] * 3


def test_list_fits_80_columns_and_tells_ended_from_active(serenity):
    name = "a-name-that-is-much-longer-than-any-column-should-be"
    sleeper = serenity("submit", "--name", name, "--cpus", "0.1", "--mem", "32M", "--", "sleep", "60").out.strip()
    listed = serenity("list")
    assert sleeper in listed.out and max(map(len, listed.out.splitlines())) <= 80
    assert "\x1b" not in listed.out, "no colours off a terminal"
    assert serenity("kill", sleeper).code == 0
    assert serenity("wait", sleeper).code == 6
    assert sleeper not in serenity("list").out
    ended = json.loads(serenity("list", "--ended", "--json").out)
    assert [each["state"] for each in ended if each["id"] == sleeper] == ["killed"]


def test_wait_tells_by_its_code_how_the_worst_of_the_jobs_ended(serenity):
    common = ("submit", "--cpus", "0.1", "--mem", "32M", "--max-retries", "0", "--")
    good, bad = serenity(*common, "true").out.strip(), serenity(*common, "false").out.strip()
    assert serenity("wait", good).code == 0
    assert serenity("wait", good, bad).code == 6
    sleeper = serenity(*common, "sleep", "60").out.strip()
    waited = serenity("wait", sleeper, "--timeout", "0.2s")
    assert waited.code == 7 and "still not ended" in waited.err
    serenity("kill", sleeper)
    assert serenity("submit", "--wait", *common[1:], "false").code == 6


def test_a_command_that_does_not_exist_is_said_so(serenity):
    job = serenity("submit", "--mem", "32M", "--max-retries", "0", "--", "no-such-command").out.strip()
    assert serenity("wait", job).code == 6
    assert "LAUNCH_FAILED" in serenity("show", job).out and "no-such-command" in serenity("show", job).out


def test_watch_survives_a_restart_of_the_framework(serenity):
    watcher = serenity.start("watch", "--json")
    assert watcher.stdout is not None and watcher.stderr is not None
    common = ("submit", "--cpus", "0.1", "--mem", "32M", "--", "true")
    # Which events come first depends on when it has connected: send jobs until it shows one.
    first = None
    deadline = time.monotonic() + 30
    import selectors

    with selectors.DefaultSelector() as selector:
        selector.register(watcher.stdout, selectors.EVENT_READ)
        while first is None and time.monotonic() < deadline:
            serenity(*common)
            if selector.select(timeout=1.0):
                first = json.loads(watcher.stdout.readline())
    assert first is not None
    serenity.crash()
    serenity.serve()
    job = serenity(*common).out.strip()
    ids = [first["id"]]
    for line in watcher.stdout:
        event = json.loads(line)
        ids.append(event["id"])
        if event["job"] == job and event["type"] == "job" and event["state"] == "finished":
            break
    assert ids == list(range(ids[0], ids[0] + len(ids))), "none missed, none twice"
    watcher.send_signal(2)
    assert watcher.wait(10) == 130
    assert "the framework is back" in watcher.stderr.read()


def test_follow_prints_what_comes_until_the_task_has_ended(serenity):
    common = ("submit", "--name", "talker", "--cpus", "0.1", "--mem", "32M", "--")
    job = serenity(*common, "sh", "-c", "echo one; sleep 1; echo two").out.strip()
    deadline = time.monotonic() + 30
    while "running" not in serenity("show", job).out and time.monotonic() < deadline:
        pass
    assert serenity("logs", "-f", job).out == "one\ntwo\n"


def test_logs_of_what_never_ran_are_not_found(serenity):
    job = serenity("submit", "--cpus", "900", "--", "true").out.strip()
    logs = serenity("logs", job)
    assert logs.code == 3 and "has not been started" in logs.err
    why = serenity("why", job).out
    assert "waiting for 900 cpus" in why
    serenity("kill", job)


def test_a_node_is_held_and_released(serenity):
    (node,) = json.loads(serenity("nodes", "--json").out)
    held = serenity("nodes", "--hold", node["hostname"], "--for", "10m", "--reason", "new disk")
    assert held.code == 0 and f"{node['hostname']} gets nothing new for " in held.err
    assert serenity("nodes").out.splitlines()[-1].endswith(": new disk")
    assert json.loads(serenity("nodes", "--release", node["id"], "--json").out)["hold"] is None
    assert "was not held" in serenity("nodes", "--release", node["id"]).err
    unknown = serenity("nodes", "--hold", "h9")
    assert unknown.code == 3 and "the master knows no agent 'h9'" in unknown.err


def test_nodes_show_the_slack(serenity):
    (node,) = json.loads(serenity("nodes", "--json").out)
    assert node["slack_cpus"] >= 1.5 and node["slack_mem_bytes"] >= 1 << 30
    assert "SLACK CPUS" in serenity("nodes").out


SMALL = ("--cpus", "0.1", "--mem", "32M")


def test_a_file_of_jobs_a_shell_line_and_files_of_the_agent(serenity, tmp_path):
    words = tmp_path / "words"
    words.write_text("one two\n")
    jobs = tmp_path / "jobs.toml"
    jobs.write_text(
        f"""
[defaults]
cpus = 0.1
mem = "64M"
uri = "file://{words}#as=input"

[[job]]
name = "count"
id = "count-1"
command = "wc -w < input"

[[job]]
name = "show"
command = ["cat", "input"]
disk = "1M"
"""
    )
    submitted = serenity("submit", "--wait", str(jobs))
    assert submitted.code == 0, submitted.err
    count, show = submitted.out.split()
    assert serenity("logs", "count-1").out.strip() == "2" and serenity("logs", show).out == "one two\n"
    shown = serenity("show", count).out
    assert "wc -w < input" in shown and f"file://{words}" in shown and "count-1" in shown


def test_a_resubmission_is_the_same_job_and_other_content_is_refused(serenity):
    common = ("submit", *SMALL, "--id", "nightly")
    first, again = (serenity(*common, "--", "true").out for _ in range(2))
    assert first == again != ""
    other = serenity(*common, "--", "false")
    assert (
        other.code == 2 and "nightly" in other.err and first.strip() in other.err and len(other.err.splitlines()) == 1
    )


def test_why_names_the_constraint_that_no_agent_satisfies(serenity):
    job = serenity("submit", *SMALL, "--constraint", "rack == r9", "--", "true").out.strip()
    ran = serenity("submit", *SMALL, "--wait", "--constraint", "rack != r9", "--", "true")
    assert ran.code == 0, "its agent has no rack"
    assert "no agent satisfies rack == r9: rack is not set on 1 agent" in serenity("why", job).out
    assert json.loads(serenity("show", job, "--json").out)["job"]["request"]["constraints"] == [
        {"attribute": "rack", "operator": "==", "values": ["r9"]}
    ]
    assert "rack == r9" in serenity("show", job).out
    serenity("kill", job)


def test_why_says_what_became_of_the_attempts(serenity):
    job = serenity("submit", *SMALL, "--max-retries", "0", "--uri", "file:///no/such/file", "--", "true").out.strip()
    assert serenity("wait", job, "--timeout", "30s").code == 6
    why = serenity("why", job).out
    assert "it has failed" in why and "LAUNCH_FAILED: cannot fetch file:///no/such/file: No such file" in why
