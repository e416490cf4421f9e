"""`serenity show JOB --records`: the kill record as it came, with what each part of the strategy gave."""

from __future__ import annotations

import json

from serenity.cli.main import main
from serenity.wire.messages import api
from serenity.wire.messages.kill_record import Agent, Candidate, Killed, KillRecord, Selection, TaskResources
from tests.cli.conftest import framework_that_says

RECORD = KillRecord(
    id="k1",
    decided_at=1.0,
    agent=Agent(id="S0", hostname="h7"),
    killed=Killed(task="t1", job="crunch", attempt=1, ran_for_s=2.0, resources=TaskResources(cpus=1.0, mem_bytes=1)),
    reason="QOS_CACHE",
    selection=Selection(
        strategy="combined",
        candidates=(
            Candidate(task="t1", score=1.2, parts={"onset": 0.9, "present": 0.15, "history": 0.15}),
            Candidate(task="t2", score=0.1),
        ),
    ),
)
ATTEMPTS = tuple(
    api.Attempt(task=task, instance=0, attempt=number, state=api.AttemptState.KILLED, created_at=1.0, not_before=0.0,
                record=record)
    for number, (task, record) in enumerate({"t0": None, "t1": json.loads(RECORD.encode())}.items())
)  # fmt: skip
DETAIL = api.JobDetail(
    job=api.Job(
        id="J1",
        name="crunch",
        state=api.JobState.RUNNING,
        request=api.JobRequest(name="crunch", command=("true",)),
        counts={},
        submitted_at=1.0,
    ),
    attempts=ATTEMPTS,
)


def test_a_record_is_a_line_with_the_parts_of_every_score(capfd):
    with framework_that_says(DETAIL) as url:
        code = main(["show", "J1", "--records", "--url", url])
    out, err = capfd.readouterr()
    (line,) = out.splitlines()
    assert (code, err) == (0, "")
    assert json.loads(line)["selection"] == {
        "strategy": "combined",
        "candidates": [
            {"task": "t1", "score": 1.2, "parts": {"onset": 0.9, "present": 0.15, "history": 0.15}},
            {"task": "t2", "score": 0.1},
        ],
    }
