"""What strangers say (commands, labels, messages, names of tasks) reaches a terminal as text, and a pipe as it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import msgspec
import pytest

from serenity.cli.main import main
from serenity.wire.messages import api
from serenity.wire.messages.hints import Hint, Hints
from tests.cli.conftest import framework_that_says

# Clears the screen, names the window, turns the text red, and goes back to the line's beginning.
HOSTILE = "so\x1b[2J it \x1b]0;root\x07 \x9b31m\rends"
REQUEST = api.JobRequest(
    name="crunch",
    command=("echo", HOSTILE),
    labels={HOSTILE: HOSTILE},
    constraints=(msgspec.convert({"attribute": "os", "operator": "==", "values": [HOSTILE]}, api.Constraint),),
)
JOB = api.Job(id="J1", name="crunch", state=api.JobState.RUNNING, request=REQUEST, counts={}, submitted_at=1.0)
ATTEMPT = api.Attempt(
    task="t", instance=0, attempt=1, state=api.AttemptState.KILLED, created_at=1.0, not_before=0.0, ended_at=2.0,
    hostname=HOSTILE, reason="LOST", message=HOSTILE, killed=True, line=HOSTILE,
)  # fmt: skip
NODE = api.Node(
    id="S0", hostname=HOSTILE, active=True, slack_cpus=1.0, slack_mem_bytes=1, held_cpus=0.0, held_mem_bytes=0, tasks=0,
    hold=api.Hold(reason=HOSTILE, since=0.0, until=time.time() + 1e4),
)  # fmt: skip
HINT = Hint(
    agent="S0",
    hostname="h7",
    kind="llc",
    protected=HOSTILE,
    suspect=HOSTILE,
    text=HOSTILE,
    since=1.0,
    last_at=1.0,
    severity=0.5,
)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("show", "J1"), api.JobDetail(job=JOB, attempts=(ATTEMPT,))),
        (("why", "J1"), api.Why(job=JOB, lines=(HOSTILE,))),
        (("nodes",), api.Nodes(nodes=(NODE,))),
        (("hints",), Hints(hints=(HINT,))),
        (("list",), api.Problem(error=HOSTILE)),
    ],
    ids=lambda each: each[0] if isinstance(each, tuple) else "",
)
def test_they_do_nothing_to_a_terminal(arguments, answer):
    master, slave = os.openpty()
    with framework_that_says(answer) as url:
        run = [sys.executable, "-P", "-m", "serenity", *arguments, "--url", url]
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "400"}
        subprocess.run(run, stdout=slave, stderr=slave, env=environment, check=False)
    os.close(slave)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert not {"\x1b", "\x07", "\x9b"} & set(shown) and "\r" not in shown.replace("\r\n", "")
    assert arguments == ("list",) or "ends" in shown


def test_a_log_is_piped_as_it_was_written(capfd):
    log = api.Log(task="J1.0.1", text=HOSTILE + "\n", next_offset=9, ended=True)
    with framework_that_says(log) as url:
        assert main(["logs", "J1", "--url", url]) == 0
    assert capfd.readouterr().out == HOSTILE + "\n"


def test_json_has_all_of_it(capfd):
    with framework_that_says(api.Why(job=JOB, lines=(HOSTILE,))) as url:
        assert main(["why", "J1", "--json", "--url", url]) == 0
    assert json.loads(capfd.readouterr().out)["lines"] == [HOSTILE]
