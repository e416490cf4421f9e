"""What holds of the guard whatever happens: made-up contentions and ends of tasks, and machines that do not obey."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from serenity.executor.guarding.actions import Accuse, Evict, Freeze, OpenValve, Release, Throttle
from serenity.executor.guarding.guard import GuardParameters
from serenity.executor.guarding.ladder import HIGHEST, Rung, highest_rung
from tests.executor.guarded import Node, finding

TASKS = ("a", "b", "c", "d")
CAUSES = ("cpu", "slo", "memory")
SUSPECTS = st.one_of(
    st.just([(task, 0.25) for task in TASKS]),
    st.lists(
        st.tuples(st.sampled_from([*TASKS, "foreign-1", "foreign-2"]), st.sampled_from([-0.5, 0.0, 0.1, 0.5, 1.0])),
        max_size=6,
        unique_by=lambda each: each[0],
    ),
)
FINDINGS = st.builds(
    lambda suspects, cause, severity: finding(*suspects, cause=cause, severity=severity),
    SUSPECTS,
    st.sampled_from(CAUSES),
    st.sampled_from([0.3, 0.9, 0.0]),
)
# What is found for some seconds, and what becomes of a task as they begin; then the next.
STRETCHES = st.lists(
    st.tuples(
        st.integers(1, 15),
        st.one_of(st.just(()), st.lists(FINDINGS, min_size=1, max_size=2).map(tuple)),
        st.one_of(st.none(), st.tuples(st.sampled_from(TASKS), st.sampled_from(["leaves", "ends", "comes", "rests"]))),
    ),
    min_size=3,
    max_size=10,
)
PARAMETERS = st.builds(
    GuardParameters,
    hold_s=st.sampled_from([0.0, 3.0]),
    recover_s=st.sampled_from([1.0, 3.0]),
    absolve_s=st.sampled_from([4.0, 10.0]),
    relapses=st.integers(1, 2),
    evictions=st.integers(0, 3),
    eviction_window_s=st.sampled_from([5.0, 60.0]),
    policy=st.one_of(st.just({}), st.dictionaries(st.sampled_from(CAUSES), st.sampled_from(list(HIGHEST)), min_size=1)),
)
RUNG_OF = {Throttle: Rung.HALF, Freeze: Rung.FROZEN, Evict: Rung.EVICTED}


def run(parameters, stretches, obeys):
    """A node that has gone through all of it; each second's actions with the tasks that could be corrected then."""
    node = Node(dict.fromkeys(TASKS[:-1], 0.5), parameters, throttling_works=obeys, freezing_works=obeys)
    story = []
    for seconds, findings, event in stretches:
        if event is not None:
            happen(node, *event)
        for _ in range(seconds):
            could = {task for task in node.use if task not in node.being_ended}
            story.append((could, findings, node.tick(*findings)))
    return node, story


def happen(node, task, what):
    if what == "ends":
        node.use.pop(task, None)
        node.being_ended.discard(task)
    elif what == "comes" and task not in node.free_use:  # None comes again under its name.
        node.use[task] = node.free_use[task] = 0.5
    elif what == "leaves" and task in node.use:
        node.being_ended.add(task)
    elif what == "rests" and task in node.use:
        node.use[task] = node.free_use[task] = 0.0


made_up = given(PARAMETERS, STRETCHES, st.booleans())
often = settings(max_examples=100, deadline=None)


@often
@made_up
def test_never_more_evictions_than_the_budget_of_a_window(parameters, stretches, obeys):
    node, _ = run(parameters, stretches, obeys)
    evicted = [at for at, _ in node.of(Evict)]
    for at in evicted:
        assert sum(at <= each < at + parameters.eviction_window_s for each in evicted) <= parameters.evictions


@often
@made_up
def test_no_task_is_corrected_that_has_ended_or_is_ending(parameters, stretches, obeys):
    _, story = run(parameters, stretches, obeys)
    for could, _, actions in story:
        corrected = [each.task for each in actions if isinstance(each, Throttle | Freeze | Evict | Release)]
        assert set(corrected) <= could
        # One correction a task and tick; a release beside nothing else.
        assert max(Counter(corrected).values(), default=0) <= 1


@often
@made_up
def test_a_foreign_top_suspect_never_leads_to_a_correction_here(parameters, stretches, obeys):
    _, story = run(parameters, stretches, obeys)
    held_before: set[str] = set()
    for _, findings, actions in story:
        tops = [next(iter(each.suspects), None) for each in findings]
        if findings and all(
            top is not None and top.container.id.startswith("foreign") and top.score > 0 for top in tops
        ):
            if all(each.contention.cause != "memory" for each in findings):
                assert [each for each in actions if isinstance(each, Accuse)]
            # Only what was being given back may be taken back.
            taken = {each.task for each in actions if isinstance(each, Throttle | Freeze | Evict)}
            assert taken <= held_before
        held_before |= {each.task for each in actions if isinstance(each, Throttle | Freeze)}
        held_before -= {each.task for each in actions if isinstance(each, Release)}


@often
@made_up
def test_the_policy_is_never_exceeded(parameters, stretches, obeys):
    _, story = run(parameters, stretches, obeys)
    for _, _, actions in story:
        for each in actions:
            if isinstance(each, Throttle | Freeze) and not getattr(each, "easing", False):
                assert RUNG_OF[type(each)] <= highest_rung(parameters.policy, each.finding.contention.cause)
            elif isinstance(each, Evict):
                cause = each.decision.finding.contention.cause
                assert highest_rung(parameters.policy, cause) is Rung.EVICTED


@often
@made_up
def test_in_the_end_everything_is_released_and_the_valve_open(parameters, stretches, obeys):
    node, _ = run(parameters, stretches, obeys)
    for _ in range(400):
        node.tick()
    held: dict[str, bool] = {}
    closed = False
    for _, each in node.story:
        if isinstance(each, Throttle | Freeze):
            held[each.task] = True
        elif isinstance(each, Release | Evict):
            held.pop(each.task, None)
        closed = False if isinstance(each, OpenValve) else closed or type(each).__name__ == "CloseValve"
    assert not [task for task in held if task in node.use and task not in node.being_ended]
    assert not closed
