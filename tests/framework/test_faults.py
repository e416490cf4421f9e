"""Named faults, each in a simulated world: what is lost, doubled, late or away costs no job and runs none twice."""

from __future__ import annotations

import pytest

from tests.fuzz.agents import address_of
from tests.fuzz.kernel import WORKS
from tests.fuzz.mesos import AGENTS, MASTER
from tests.fuzz.network import Fate
from tests.fuzz.steps import (
    Act,
    BreakStream,
    Calm,
    CrashFramework,
    Exit,
    NextCall,
    PowerCut,
    Schedule,
    Submit,
    Wait,
    play,
)

RUNNING: Schedule = (Calm(2), Submit(WORKS, 2, 1, 0.5), Calm(3))


def every_agent(fate: Fate) -> Schedule:
    return tuple(NextCall(address_of(number), "UPDATE", fate) for number in range(AGENTS))


FAULTS: dict[str, Schedule] = {
    "updates are dropped": (*RUNNING, *every_agent(Fate.LOST), Exit(0, 0), Exit(0, 1), Calm(15)),
    "updates come twice": (*RUNNING, *every_agent(Fate.ANSWER_LOST), Exit(0, 0), Exit(0, 1), Calm(15)),
    "updates come late, and after others": (*RUNNING, *every_agent(Fate.LATE), Exit(0, 0), Exit(0, 1), Calm(15)),
    "acknowledgements are dropped": (
        *(*RUNNING, NextCall(MASTER, "ACKNOWLEDGE", Fate.LOST), Exit(0, 0)),
        *(Calm(2), NextCall(MASTER, "ACKNOWLEDGE", Fate.LOST), Exit(0, 1), Calm(15)),
    ),
    "acknowledgements come late": (*RUNNING, NextCall(MASTER, "ACKNOWLEDGE", Fate.LATE), Exit(0, 0), Calm(15)),
    "an ACCEPT is dropped": (Calm(2), NextCall(MASTER, "ACCEPT", Fate.LOST), Submit(WORKS, 2, 0, 0.5), Calm(30)),
    "the answer to an ACCEPT is dropped": (
        *(Calm(2), NextCall(MASTER, "ACCEPT", Fate.ANSWER_LOST)),
        *(Submit(WORKS, 2, 0, 0.5), Calm(30)),
    ),
    "another master, which knows nobody": (*RUNNING, PowerCut(), Calm(5), Exit(0, 0), Calm(5)),
    "another master while tasks end": (*RUNNING, Exit(0, 0), Exit(0, 1), PowerCut(), Calm(5)),
    "another master while nobody listens": (
        *RUNNING,
        CrashFramework(lost=True, stays_down=True),
        PowerCut(),
        Wait(130.0),
    ),
    "the stream breaks in the middle of an update": (*RUNNING, BreakStream(0, 40), Exit(0, 0), Act((0,) * 8), Calm(15)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_it_costs_no_job_and_runs_none_twice(fault: str) -> None:
    truth = play(FAULTS[fault]).truth
    assert len(truth.accepted) == 1
    assert [*truth.left_over(), *truth.mistakes()] == []
