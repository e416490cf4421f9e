"""The life of a task, without a process."""

from __future__ import annotations

from serenity.executor.tasks.task import Ending, Exit, Instruction, State, Task
from serenity.wire.messages.reasons import Reason
from serenity.wire.messages.task_spec import TaskSpec

SAY_RUNNING, SAY_KILLING, TERMINATE, KILL, FINISH = (
    Instruction.SAY_RUNNING,
    Instruction.SAY_KILLING,
    Instruction.TERMINATE,
    Instruction.KILL,
    Instruction.FINISH,
)
WELL = Exit(0, None, 0.1)


def task(**spec):
    fields = {"job_id": "j", "job_name": "j", "instance": 0, "attempt": 1, "argv": ("x",), "cpus": 1.0, "mem_bytes": 1}
    return Task("t1", TaskSpec(**{**fields, **spec}), 1000.0, 0.0)


def ending(reason=Reason.KILLED_BY_USER, grace_s=5.0):
    return Ending(reason, 1000.0, grace_s)


def test_by_itself():
    t = task()
    assert t.started() == (SAY_RUNNING,)
    assert t.leader_exited(WELL, 1.0) == (KILL,)
    assert t.tree_is_empty(1.0) == (FINISH,)
    assert (t.state, t.ending, t.ran_for_s(99.0)) == (State.ENDED, None, 1.0)


def test_an_empty_tree_means_nothing_before_the_leader_was_reaped():
    t = task()
    t.started()
    assert t.tree_is_empty(1.0) == ()
    t.end(ending(), 1.0)
    assert t.tree_is_empty(1.0) == ()


def test_failing_to_start_is_said_once():
    t = task()
    assert t.failed_to_start("command not found: x", 0.1) == (FINISH,)
    assert t.leader_exited(Exit(127, None, 0.0), 0.1) == ()
    assert t.failed_to_start("again", 0.2) == ()
    assert t.failure == "command not found: x"


def test_killed_while_starting_it_never_runs():
    t = task()
    assert t.end(ending(), 0.1) == (SAY_KILLING, TERMINATE)
    assert t.started() == ()
    assert t.leader_exited(Exit(None, 15, 0.0), 0.2) == ()
    assert t.tree_is_empty(0.2) == (FINISH,)
    assert t.graceful is True


def test_the_first_reason_stands_and_the_shorter_grace():
    t = task()
    t.started()
    t.end(ending(Reason.QOS_CPU, grace_s=10.0), 1.0)
    assert t.end(ending(grace_s=60.0), 2.0) == ()
    assert t.deadline_s == 11.0
    assert t.end(ending(grace_s=1.0), 3.0) == ()
    assert t.deadline_s == 4.0
    assert t.ending.reason is Reason.QOS_CPU
    assert t.due(3.9, 1003.9) == ()
    assert t.due(4.0, 1004.0) == (KILL,)
    assert t.graceful is False


def test_what_does_not_die_is_killed_again():
    t = task()
    t.started()
    t.end(ending(grace_s=0.0), 1.0)
    assert t.due(1.0, 1001.0) == (KILL,)
    assert t.due(1.5, 1001.5) == ()
    assert t.due(2.0, 1002.0) == (KILL,)


def test_the_longest_runtime_is_an_ending_like_others():
    t = task(max_runtime_s=60.0, grace_s=2.0)
    t.started()
    assert t.due(59.0, 1059.0) == ()
    assert t.due(60.0, 1060.0) == (SAY_KILLING, TERMINATE)
    assert (t.ending.reason, t.deadline_s) == (Reason.MAX_RUNTIME, 62.0)
