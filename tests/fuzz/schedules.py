"""Strategies: schedules of everything that may happen, and the sizes of the pieces in which streams arrive."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import strategies as st

from tests.fuzz.agents import address_of
from tests.fuzz.kernel import BROKEN, STUBBORN, WORKS
from tests.fuzz.mesos import AGENTS, MASTER
from tests.fuzz.network import Fate
from tests.fuzz.steps import (
    Act,
    BreakStream,
    BusyDisk,
    Calm,
    CrashExecutor,
    CrashFramework,
    Evicted,
    Exit,
    JumpClock,
    Kill,
    NextCall,
    PowerCut,
    RemoveFramework,
    Schedule,
    Settle,
    Slack,
    StartFramework,
    Step,
    Submit,
    ToggleAgent,
    ToggleEstimator,
    ToggleLink,
    Wait,
)

_index = st.integers(0, 3)
_calm = st.builds(Calm, st.integers(1, 4))
_act = st.builds(Act, st.lists(st.integers(0, 5), min_size=1, max_size=12).map(tuple))
_wait = st.builds(Wait, st.sampled_from([0.5, 1.0, 3.0, 11.0, 25.0, 80.0, 130.0, 700.0]))
_submit = st.builds(
    Submit,
    st.sampled_from([WORKS, WORKS, STUBBORN, BROKEN]),
    st.integers(1, 3),
    st.integers(0, 2),
    st.sampled_from([0.5, 1.2]),
    st.sampled_from([None, None, None, 20.0]),
)
_bad_fates = st.sampled_from([Fate.LOST, Fate.ANSWER_LOST, Fate.LATE, Fate.BUSY])
_to_master = st.sampled_from(["SUBSCRIBE", "ACCEPT", "ACKNOWLEDGE", "KILL", "RECONCILE", "DECLINE", "REVIVE"])
_to_agent = st.sampled_from(["SUBSCRIBE", "UPDATE", "UPDATE"])
_agents = st.sampled_from([address_of(number) for number in range(AGENTS)])
_next_call = st.one_of(
    st.builds(NextCall, st.just(MASTER), _to_master, _bad_fates), st.builds(NextCall, _agents, _to_agent, _bad_fates)
)
_steps = st.one_of(
    *[_calm] * 3,
    *[_act] * 3,
    *[_wait] * 2,
    *[_submit] * 2,
    *[st.builds(Exit, _index, st.sampled_from([0, 0, 1, -6]))] * 2,
    *[st.builds(CrashFramework, st.booleans(), st.booleans())] * 2,
    *[_next_call] * 3,
    *[st.builds(BreakStream, _index, st.integers(0, 4000))] * 2,
    st.builds(Kill, _index),
    st.builds(Evicted, _index),
    st.builds(CrashExecutor, _index, st.booleans()),
    st.builds(Slack, _index, st.sampled_from([0.0, 1.0, 3.0])),
    st.builds(BusyDisk, st.integers(1, 3)),
    st.builds(JumpClock, st.sampled_from([-5.0, 5.0])),
    st.just(Settle()),
    st.just(StartFramework()),
    st.builds(ToggleEstimator, _index),
    st.builds(ToggleLink, _index),
    *[st.builds(ToggleAgent, _index)] * 2,
    st.just(RemoveFramework()),
    st.just(PowerCut()),
)
_calmly = st.sampled_from(((Calm(2),), ()))


def schedules_with(*episodes: st.SearchStrategy[Schedule]) -> st.SearchStrategy[Schedule]:
    """Jobs, and then anything; if there are `episodes`, mostly those."""
    anything = _steps.map(lambda step: (step,))
    parts = st.one_of(anything, *episodes * 3)
    # Several lists, for one alone is short most of the time.
    lists = (
        _calmly,
        st.lists(_submit, min_size=1, max_size=2),
        _calmly,
        *[st.lists(parts, max_size=12).map(_joined)] * 3,
    )
    return st.tuples(*lists).map(_joined)


def _joined(parts: Iterable[Iterable[Step]]) -> list[Step]:
    return [step for part in parts for step in part]


schedules = schedules_with()
sizes = st.lists(st.one_of(st.integers(0, 20), st.integers(20, 4000)), max_size=4)
