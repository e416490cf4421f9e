"""The core's rounds: what comes in, and what is stored and called for it, on a clock that is moved by hand."""

from __future__ import annotations

import base64

import msgspec
import pytest

from serenity.framework.core import UnknownJob
from serenity.framework.jobs.views import attempt_view
from serenity.framework.mesos.calls import Accept, Acknowledge, Decline, Kill, Reconcile, Revive, Suppress
from serenity.framework.mesos.whereabouts import DOUBT_S
from serenity.wire.messages.api import EventType, JobRequest, JobState
from serenity.wire.messages.corrections import Correction, Outcome
from serenity.wire.messages.kill_record import Agent, Killed, KillRecord, Step, TaskResources
from tests.framework.life import Life, labelled


@pytest.fixture
def life(tmp_path):
    return Life(tmp_path)


def test_the_intent_is_in_the_same_round_as_the_accept_and_so_is_stored_first(life):
    life.subscribe()
    job = life.core.submit(JobRequest(command=("true",)))
    life.offer()
    done = life.core.end_round()
    (accept,) = [each for each in done.calls if isinstance(each, Accept)]
    (task,) = accept.tasks
    assert task["task_id"]["value"] == f"{job.id}.0.1"
    assert done.changes.attempts[f"{job.id}.0.1"].state == "launching"
    assert (task["executor"]["executor_id"]["value"],) == tuple(key[1] for key in done.changes.executors)


def test_a_launch_that_was_stored_but_never_sent_is_made_again_for_free(life):
    life.subscribe()
    task = life.launch()
    life.restart()  # Killed before the ACCEPT went out.
    life.subscribe()
    assert Reconcile(((task, "S0"),)) in life.calls and Reconcile() in life.calls
    life.reconciled(task, "TASK_GONE")
    first, second = life.store.attempts(task.split(".")[0])
    assert (first.state, first.ending.reason.code, first.retry.charged) == ("lost", "LOST", False)
    assert (second.state, second.number) == ("pending", 2)


def test_a_launch_that_was_not_stored_was_not_made(life):
    life.subscribe()
    job = life.submit()
    life.offer()
    life.round(commit=False)
    life.restart()
    life.subscribe()
    life.offer()
    life.round()
    assert [each.tasks[0]["task_id"]["value"] for each in life.of_kind(Accept)] == [f"{job}.0.1"]


def test_an_update_with_a_uuid_is_acknowledged_in_the_round_that_stores_it(life):
    life.subscribe()
    task = life.launch()
    done = life.update(task, "TASK_RUNNING")
    assert done.changes.attempts[task].state == "running"
    assert [each.status["uuid"] for each in life.of_kind(Acknowledge)] == ["u1"]
    life.reconciled(task, "TASK_RUNNING")
    assert life.of_kind(Acknowledge) == []


def test_updates_sent_twice_or_in_the_wrong_order_change_nothing(life):
    life.subscribe()
    task = life.launch()
    life.update(task, "TASK_RUNNING")
    life.update(task, "TASK_FINISHED", uuid="u2")
    done = life.update(task, "TASK_FINISHED", uuid="u2")
    assert not done.changes and len(life.of_kind(Acknowledge)) == 1
    assert life.job(task).state is JobState.FINISHED


def test_a_task_that_was_given_up_and_still_runs_is_killed(life):
    life.subscribe()
    task = life.launch()
    life.update(task, "TASK_LOST")
    life.update(task, "TASK_RUNNING", uuid="u2")
    assert [each.task_id for each in life.of_kind(Kill)] == [task]
    life.update("nobodys.0.1", "TASK_RUNNING", uuid="u3")
    assert [each.task_id for each in life.of_kind(Kill)] == ["nobodys.0.1"]


def test_an_unknown_task_is_believed_lost_only_when_it_stays_unknown(life):
    """A master that lost its registry says so of every task until their agents are back."""
    life.subscribe()
    task = life.launch()
    life.update(task, "TASK_RUNNING")
    life.reconciled(task, "TASK_UNKNOWN")
    assert life.store.attempts(task.split(".")[0])[0].state == "running"
    life.clock.advance(DOUBT_S / 2)
    life.round()
    assert Reconcile(((task, "S0"),)) in life.calls
    life.clock.advance(DOUBT_S / 2)
    life.reconciled(task, "TASK_UNKNOWN")
    assert life.store.attempts(task.split(".")[0])[0].state == "lost"


def test_a_doubt_ends_when_the_agent_is_back(life):
    life.subscribe()
    task = life.launch()
    life.reconciled(task, "TASK_UNKNOWN")
    life.reconciled(task, "TASK_RUNNING")
    life.clock.advance(DOUBT_S)
    life.reconciled(task, "TASK_UNKNOWN")
    assert life.store.attempts(task.split(".")[0])[0].state == "running"


def test_what_one_master_does_not_know_is_doubted_anew_of_the_next(life):
    life.subscribe()
    task = life.launch()
    life.update(task, "TASK_RUNNING")
    life.reconciled(task, "TASK_UNKNOWN")
    life.clock.advance(DOUBT_S / 2)
    life.subscribe()
    life.reconciled(task, "TASK_UNKNOWN")
    life.clock.advance(DOUBT_S / 2)
    life.reconciled(task, "TASK_UNKNOWN")
    assert life.store.attempts(task.split(".")[0])[0].state == "running"
    life.clock.advance(DOUBT_S / 2)
    life.reconciled(task, "TASK_UNKNOWN")
    assert life.store.attempts(task.split(".")[0])[0].state == "lost"


def test_while_its_agent_is_unreachable_a_job_waits(life):
    life.subscribe()
    task = life.launch()
    life.update(task, "TASK_UNREACHABLE")
    life.offer("S1")
    life.round()
    assert life.of_kind(Accept) == []
    life.update(task, "TASK_RUNNING", uuid="u2")
    assert life.job(task).state is JobState.RUNNING


def test_after_a_qos_kill_the_agent_is_left_alone_by_that_job_until_it_has_cooled_down(life):
    life.subscribe()
    task = life.launch()
    life.update(task, "TASK_KILLED", **labelled("QOS_CPU"))
    life.clock.advance(60)
    life.restart()  # A cool-down outlives the process.
    life.subscribe()
    life.offer()
    life.round()
    assert life.of_kind(Accept) == [] and life.of_kind(Decline)
    other = life.submit()
    life.offer()
    life.round()
    assert [each.tasks[0]["task_id"]["value"] for each in life.of_kind(Accept)] == [f"{other}.0.1"]
    life.clock.advance(300)
    life.round()
    life.offer()
    life.round()
    assert [each.tasks[0]["name"] for each in life.of_kind(Accept)] == ["sleep.0"]


def test_an_offer_that_was_rescinded_before_its_round_is_not_used(life):
    life.subscribe()
    life.submit()
    life.offer()
    life.core.rescinded("O-S0")
    life.round()
    assert life.of_kind(Accept) == [] and life.of_kind(Decline) == []


def test_offers_are_suppressed_when_there_is_nothing_to_do_and_revived_when_there_is(life):
    life.subscribe()
    assert life.of_kind(Suppress)
    life.round()
    assert life.calls == []
    life.submit()
    assert life.of_kind(Revive)
    life.round()
    assert life.calls == [], "once is enough"
    life.clock.advance(31)
    life.round()
    assert life.of_kind(Revive), "the first may be lost"


def test_a_retry_that_comes_due_revives(life):
    life.subscribe()
    task = life.launch()
    assert life.of_kind(Suppress), "it was the only one"
    life.update(task, "TASK_FAILED", **labelled("COMMAND_FAILED"))
    assert life.of_kind(Revive) == []
    assert 0 < life.core.next_round_s() <= 1.0
    life.clock.advance(3)
    life.round()
    assert life.of_kind(Revive)


def test_kills_are_sent_again_until_the_task_has_ended_also_after_a_restart(life):
    life.subscribe()
    task = life.launch()
    life.update(task, "TASK_RUNNING")
    life.core.kill(task.split(".")[0])
    life.round()
    assert len(life.of_kind(Kill)) == 1
    life.clock.advance(11)
    life.round()
    assert len(life.of_kind(Kill)) == 1
    life.restart()
    life.subscribe()
    assert [each.task_id for each in life.of_kind(Kill)] == [task]
    life.update(task, "TASK_KILLED", uuid="u2")
    life.clock.advance(700)
    life.round()
    assert life.of_kind(Kill) == []
    assert life.job(task).state is JobState.KILLED


def test_a_launch_without_news_is_asked_for(life):
    life.subscribe()
    task = life.launch()
    life.clock.advance(21)
    life.round()
    assert Reconcile(((task, "S0"),)) in life.calls


def test_a_framework_that_mesos_removed_starts_anew_and_loses_no_job(life):
    life.subscribe()
    task = life.launch()
    life.update(task, "TASK_RUNNING")
    life.core.framework_removed()
    life.round()
    life.restart()
    assert life.core.framework_id is None
    life.core.subscription_began("F2")
    life.round()
    life.clock.advance(10)
    life.offer()
    life.round()
    assert life.of_kind(Accept) == [], "its agent may still be ending the first attempt"
    life.clock.advance(5)
    life.offer()
    life.round()
    (accept,) = life.of_kind(Accept)
    assert accept.tasks[0]["task_id"]["value"] == task[:-1] + "2"
    assert accept.tasks[0]["executor"]["framework_id"] == {"value": "F2"}


def test_a_correction_becomes_an_event_of_its_job(life):
    life.subscribe()
    task = life.launch()
    sent = Correction(at=1.0, action="throttle", task=task, outcome="quota halved", protected="memcached", cause="cpu")
    life.core.message("S0", "e1", sent.encode())
    (event,) = life.round().changes.events
    assert (event.type, event.job, event.text) == (
        EventType.CORRECTION,
        task.split(".")[0],
        "throttle for memcached (cpu): quota halved",
    )
    life.core.message("S0", "e1", base64.b64encode(b'{"type":"gossip"}').decode())
    assert not life.round().changes


def evicted(life, task):
    """The task's update with a kill record, stored; the record's id."""
    record = KillRecord(
        id="k1",
        decided_at=1.0,
        agent=Agent(id="S0", hostname="h7"),
        killed=Killed(
            task=task, job="j", attempt=1, ran_for_s=1.0, resources=TaskResources(cpus=0.5, mem_bytes=1 << 20)
        ),
        reason="QOS_CPU",
        ladder=(Step(action="evict", at=1.0, outcome="ended on SIGTERM"),),
    )
    data = base64.b64encode(record.encode()).decode()
    life.update(task, "TASK_RUNNING", uuid="u1")
    life.update(task, "TASK_KILLED", uuid="u2", source="SOURCE_EXECUTOR", data=data)
    return record.id


def shown(life, task):
    job, instance, number = task.split(".")
    return attempt_view(life.store.attempt(job, int(instance), int(number)))


def outcome(task, record, text="recovered after 3.2 s"):
    return Outcome(at=2.0, task=task, action="evict", outcome=text, record=record).encode()


def test_what_an_eviction_has_led_to_reaches_its_record_though_a_successor_is_there_already(life):
    life.subscribe()
    task = life.launch()
    record = evicted(life, task)
    assert shown(life, task).line.endswith("outcome unknown")
    assert shown(life, task).record["outcome"] is None
    for _ in range(2):  # It may come again.
        life.core.message("S0", "e1", outcome(task, record))
    (event,) = life.round().changes.events
    assert (event.type, event.task, event.text) == (EventType.CORRECTION, task, "evict: recovered after 3.2 s")
    assert shown(life, task).record["outcome"] == "recovered after 3.2 s"
    assert shown(life, task).line.endswith("; recovered after 3.2 s")
    life.restart()
    assert shown(life, task).record["outcome"] == "recovered after 3.2 s"


def test_what_comes_before_the_record_is_taken_when_it_comes_again(life):
    life.subscribe()
    task = life.launch()
    life.core.message("S0", "e1", outcome(task, "k1"))
    life.round()
    assert evicted(life, task) == "k1"
    assert shown(life, task).record["outcome"] is None
    life.core.message("S0", "e1", outcome(task, "k1"))
    life.round()
    assert shown(life, task).record["outcome"] == "recovered after 3.2 s"


@pytest.mark.parametrize("task", ["j.0.99999999999999999999", f"j.0.{'9' * 5000}"])
def test_the_outcome_of_a_task_that_no_store_has_room_for_is_dropped(life, task):
    life.subscribe()
    life.core.message("S0", "e1", outcome(task, "k1"))
    assert not life.round().changes


def test_the_outcome_of_a_job_that_has_ended_is_kept_too(life):
    life.subscribe()
    task = life.launch()
    life.core.kill(task.split(".")[0])
    record = evicted(life, task)
    assert life.core.jobs_alive == 0
    life.core.message("S0", "e1", outcome(task, record, "no recovery in 3.0 s"))
    life.round()
    assert shown(life, task).record["outcome"] == "no recovery in 3.0 s"


@pytest.mark.parametrize(
    "wrong", [("no-task", "k1"), ("2q00001.0.99", "k1"), ("TASK", "k2"), ("TASK", None), ("a.0.1; drop table", "k1")]
)
def test_an_outcome_of_no_record_of_ours_changes_nothing(life, wrong):
    life.subscribe()
    task = life.launch()
    evicted(life, task)
    life.core.message("S0", "e1", outcome(wrong[0].replace("TASK", task), wrong[1]))
    life.round()
    assert shown(life, task).record["outcome"] is None


def test_an_outcome_in_somebody_elses_words_is_one_short_line(life):
    life.subscribe()
    task = life.launch()
    life.core.message("S0", "e1", outcome(task, evicted(life, task), "\x1b[2J\n" + "x" * 9000))
    life.round()
    assert len(shown(life, task).record["outcome"]) == 200 and "\x1b" not in shown(life, task).line


def test_events_are_numbered_without_a_gap_over_restarts(life):
    life.subscribe()
    life.submit()
    life.restart()
    life.submit()
    ids = [each.id for each in life.store.events(0, 100)]
    assert ids == list(range(1, len(ids) + 1)) and len(ids) == 2


def test_a_job_that_has_ended_leaves_the_memory_and_stays_in_the_store(life):
    life.subscribe()
    task = life.launch()
    life.update(task, "TASK_FINISHED")
    assert life.core.jobs_alive == 0
    with pytest.raises(UnknownJob):
        life.core.kill(task.split(".")[0])
    assert life.job(task).ended_at is not None


def test_why_names_the_obstacle(life):
    job = life.submit()
    assert "not connected" in life.core.why(job)[0]
    life.subscribe()
    assert any("no agent offers slack" in line for line in life.core.why(job))
    life.offer(cpus=0.2)
    life.round()
    assert any("largest slack offered last was 0.2 cpus and 4G on host-S0" in line for line in life.core.why(job))


def test_a_job_without_a_name_is_called_after_its_program(life):
    job = life.core.submit(JobRequest(command=("/usr/bin/my tool",)))
    assert job.name == "my-tool"
    assert msgspec.json.decode(msgspec.json.encode(job), type=type(job)) == job


def test_an_offer_that_cannot_be_read_does_not_spoil_the_others(life, caplog):
    life.subscribe()
    life.submit()
    life.core.offered([{"id": {"value": "bad"}}])
    life.offer()
    life.round()
    assert life.of_kind(Accept) and "cannot be read" in caplog.text
