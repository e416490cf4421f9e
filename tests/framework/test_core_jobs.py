"""The core's rounds, seen from the jobs: submitted twice, cut off, flapping, taken off by turns."""

from __future__ import annotations

import pytest

from serenity.framework.core import IdTaken
from serenity.framework.mesos.calls import Accept, Kill
from serenity.wire.messages.api import JobRequest, JobState
from tests.framework.life import Life, labelled


@pytest.fixture
def life(tmp_path):
    life = Life(tmp_path)
    life.subscribe()
    return life


def launched(life):
    return [task["task_id"]["value"] for each in life.of_kind(Accept) for task in each.tasks]


def test_the_same_id_and_request_are_the_same_job_and_another_request_is_refused(life):
    request = JobRequest(command="true", id="nightly-7")
    first = life.core.submit(request, "alice")
    assert life.core.submit(request, "alice").id == first.id
    life.round()
    assert life.core.submit(request, "alice").id == first.id and life.core.jobs_alive == 1
    for other, owner in ((JobRequest(command="false", id="nightly-7"), "alice"), (request, "mallory")):
        with pytest.raises(IdTaken, match=f"given to job {first.id}"):
            life.core.submit(other, owner)
    assert life.store.submitted_as("nightly-7") == life.store.find("nightly-7")[0] == first
    life.restart()
    assert life.core.submit(request, "alice").id == first.id


def test_an_instance_that_is_cut_off_is_run_elsewhere_after_its_time_also_over_a_restart(life):
    task = life.launch(rerun_unreachable_after_s=600.0)
    job = task.split(".")[0]
    life.update(task, "TASK_RUNNING")
    life.update(task, "TASK_UNREACHABLE", uuid="u2")
    life.clock.advance(599)
    life.restart()
    life.subscribe()
    life.offer("S1")
    life.round()
    assert launched(life) == []
    life.clock.advance(1)
    life.round()
    life.clock.advance(2)
    life.offer("S1")
    life.round()
    assert launched(life) == [f"{job}.0.2"]
    assert "may still run there" in life.store.attempts(job)[0].ending.message
    life.update(task, "TASK_RUNNING", uuid="u3")
    assert [each.task_id for each in life.of_kind(Kill)] == [task], "its agent is back: there must be one only"


def test_one_that_comes_back_in_time_is_left_alone(life):
    task = life.launch(rerun_unreachable_after_s=600.0)
    life.update(task, "TASK_UNREACHABLE")
    life.clock.advance(599)
    life.update(task, "TASK_RUNNING", uuid="u2")
    life.clock.advance(1000)
    life.round()
    assert life.job(task).state is JobState.RUNNING
    life.update(task, "TASK_UNREACHABLE", uuid="u3")
    life.clock.advance(599)
    life.round()
    assert [each.number for each in life.store.attempts(task.split(".")[0])] == [1], "its time begins anew"


def test_a_flapping_job_is_no_flood_and_holds_back_no_other(life):
    job = life.submit(instances=20, max_retries=1000)
    ended, launches_a_minute = set(), []
    for _ in range(8):
        count = 0
        for _ in range(60):
            life.offer(cpus=100.0)
            life.round()
            for task in launched(life):
                count += 1
                ended.add(task)
                life.update(task, "TASK_FAILED", uuid=task, **labelled("LAUNCH_REFUSED"))
            life.clock.advance(1)
        launches_a_minute.append(count)
    assert launches_a_minute[0] > launches_a_minute[-1] and launches_a_minute[-1] <= 2, launches_a_minute
    other = life.submit()
    life.offer(cpus=100.0)
    life.round()
    assert f"{other}.0.1" in launched(life) and all(task.startswith((job, other)) for task in launched(life))


def test_a_job_that_asks_for_a_shell_and_files_is_handed_on_so(life):
    from serenity.wire.mesos.scheduler import decode_data
    from serenity.wire.messages.task_spec import TaskSpec
    from serenity.wire.messages.uris import Uri

    life.core.submit(JobRequest(command="echo $HOME | wc", disk_bytes=1 << 30, uris=(Uri.parse("file:///a/b"),)))
    life.offer()
    life.round()
    spec = TaskSpec.decode(decode_data(life.of_kind(Accept)[0].tasks[0]["data"]))
    assert (spec.argv, spec.disk_bytes, spec.schema) == (("/bin/sh", "-c", "echo $HOME | wc"), 1 << 30, 2)
    assert [each.file_name for each in spec.uris] == ["b"]
