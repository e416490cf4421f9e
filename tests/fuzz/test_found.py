"""Counterexamples that the simulation has found, cut down to what matters: each was a bug, and stays mended."""

from __future__ import annotations

import pytest

from tests.fuzz.agents import address_of
from tests.fuzz.kernel import STUBBORN, WORKS
from tests.fuzz.mesos import MASTER
from tests.fuzz.network import Fate
from tests.fuzz.steps import (
    BusyDisk,
    Calm,
    CrashFramework,
    Evicted,
    Exit,
    NextCall,
    PowerCut,
    RemoveFramework,
    Schedule,
    Settle,
    StartFramework,
    Submit,
    ToggleAgent,
    Wait,
    play,
)

JOB = (Calm(2), Submit(WORKS, instances=1, max_retries=0, cpus=0.5), Calm(2))
FOUND: dict[str, Schedule] = {
    # The driver's thread waited for the store, gave up after 90 s, and nobody subscribed ever again.
    "a framework that was removed registers anew, however long its disk takes": (
        *JOB,
        CrashFramework(lost=False, stays_down=True),
        RemoveFramework(),
        StartFramework(),
        BusyDisk(1),
        Settle(),
        Wait(130.0),
    ),
    "what a removed framework ran is given the time to end": (
        Calm(2),
        Submit(STUBBORN, instances=1, max_retries=0, cpus=0.5),
        Calm(2),
        RemoveFramework(),
    ),
    # TASK_FAILED, REASON_AGENT_REREGISTERED: without a word why, and so it was charged.
    "what the master says of a task on an agent that is back is not the whole story": (*JOB, Exit(0, 1), PowerCut()),
    # localmesos: what had changed between the agent's registration and the master's answer.
    "the slack is back when all agents have been away": (*JOB[:2], ToggleAgent(0), ToggleAgent(1)),
    # localmesos as well.
    "an executor that did not come back to its agent is not expected there": (
        *JOB[:2],
        Submit(WORKS, instances=2, max_retries=0, cpus=0.5),
        Calm(2),
        NextCall(address_of(0), "SUBSCRIBE", Fate.LOST),
        PowerCut(),
        Evicted(0),
    ),
    # localmesos: the framework answers what the last master has sent, and the agent has yet to send it to this one.
    "an acknowledgement that this master knows nothing of is dropped": (
        *JOB,
        BusyDisk(3),
        Exit(0, 0),
        NextCall(MASTER, "ACKNOWLEDGE", Fate.ANSWER_LOST),
        Calm(1),
        PowerCut(),
    ),
    # The first, late, looks like another instance: the second goes, and whoever supervises it starts it again.
    "two subscriptions in the wrong order": (
        *JOB,
        NextCall(MASTER, "SUBSCRIBE", Fate.LATE),
        CrashFramework(lost=False, stays_down=False),
    ),
}


@pytest.mark.parametrize("schedule", FOUND.values(), ids=FOUND)
def test_it_stays_mended(schedule: Schedule) -> None:
    truth = play(schedule).truth
    assert [*truth.left_over(), *truth.mistakes()] == []
