"""What is true in a simulated world, and must be: checked at every launch and every call, and when all is quiet.

The truth are the processes of the tasks; what was accepted from users; and what the disk
holds in the moment in which Mesos is told something.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from serenity.framework.store.rows import Row
from serenity.wire.messages import api
from serenity.wire.messages.api import AttemptState
from serenity.wire.messages.kill_record import LABEL_REASON
from tests.fuzz.kernel import Run

if TYPE_CHECKING:
    from tests.fuzz.world import ExecutorProcess, World

Json = dict[str, Any]

_TERMINAL = ("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_LOST", "TASK_DROPPED", "TASK_GONE", "TASK_ERROR")
_NOT_YET = (AttemptState.PENDING, AttemptState.LAUNCHING)


class Truth:
    def __init__(self, world: World) -> None:
        self.accepted: list[str] = []  # Ids of the jobs that a user was told are accepted.
        self.kills_asked: set[str] = set()
        self._kills_taken: set[str] = set()  # Whose user was told that they will end.
        self.executors: list[ExecutorProcess] = []  # All that ever were.
        self.tracebacks: list[str] = []
        self._world = world
        self._violations: list[str] = []
        self._statuses: dict[str, Json] = {}  # Updates on their way to the framework, by uuid.
        self._ends: dict[str, Json] = {}  # The first update of each task that says that it has ended.
        self._forgotten: set[str] = set()

    @property
    def runs(self) -> Iterator[Run]:
        """Every process that a task ever was."""
        return (run for executor in self.executors for run in executor.kernel.runs)

    def check(self) -> None:
        """Raises AssertionError for the first thing that should not have happened."""
        for each in (*self._violations, *self.tracebacks):
            raise AssertionError(each)

    def violated(self, what: str) -> None:
        self._violations.append(what)

    # -- in every moment ---------------------------------------------------------------------

    def kill_taken(self, job: api.Job) -> None:
        """A user was told that it is as good as dead."""
        if not job.state.ended:
            self._kills_taken.add(job.id)

    def began(self, run: Run) -> None:
        """A task's process was started."""
        self._world.story.note(run.task_id, f"process {run.pid}")
        for other in self.runs:
            if other is run or other.key != run.key:
                continue
            if other.task_id == run.task_id:
                self.violated(f"{run.task_id} was run twice")
            elif other.alive:
                self.violated(f"{run.task_id} runs beside {other.task_id}")

    def reported(self, status: Json) -> None:
        """The agent has an update for the framework."""
        self._statuses[status["uuid"]] = status
        if status["state"] in _TERMINAL:
            self._ends.setdefault(status["task_id"]["value"], status)

    def framework_removed(self) -> None:
        """How its tasks end Mesos will not tell."""
        rows = self._world.disk.attempts
        self._forgotten.update(task_id for task_id, row in rows.items() if row["ended_at"] is None)

    def called(self, call: Json) -> None:
        """The framework calls the master."""
        if call["type"] == "ACCEPT":
            for operation in call["accept"]["operations"]:
                for task in operation["launch"]["task_infos"]:
                    self._launched(task["task_id"]["value"])
        elif call["type"] == "ACKNOWLEDGE":
            self._acknowledged(self._statuses[call["acknowledge"]["uuid"]])

    def _launched(self, task_id: str) -> None:
        row = self._world.disk.attempts.get(task_id)
        if row is None or row["state"] == AttemptState.PENDING:
            self.violated(f"{task_id} was launched, and nothing of that is stored")

    def _acknowledged(self, status: Json) -> None:
        task_id, state = status["task_id"]["value"], status["state"]
        row = self._world.disk.attempts.get(task_id)
        if row is None:
            self.violated(f"{state} of {task_id} was acknowledged, and no such task is stored")
        elif (state in _TERMINAL and row["ended_at"] is None) or (state == "TASK_RUNNING" and row["state"] in _NOT_YET):
            self.violated(f"{state} of {task_id} was acknowledged, and it is stored as {row['state']}")

    # -- when all is quiet -------------------------------------------------------------------

    def disagreements(self) -> Iterator[str]:
        """Where the framework is mistaken about what runs."""
        alive = {run.task_id for run in self._world.runs}
        for task_id, row in self._world.disk.attempts.items():
            if row["state"] == AttemptState.RUNNING and task_id not in alive:
                yield f"{task_id} does not run, and is stored as running"
            elif row["state"] in (AttemptState.LAUNCHING, AttemptState.KILLING, AttemptState.UNREACHABLE):
                yield f"{task_id} is {row['state']} for ever"
            elif task_id in alive and row["state"] != AttemptState.RUNNING:
                yield f"{task_id} runs, and is stored as {row['state']}"
        for task_id in alive - self._world.disk.attempts.keys():
            yield f"{task_id} runs, and is not stored"

    def left_over(self) -> Iterator[str]:
        """What has not come to its end."""
        for job_id in self.accepted:
            if job_id not in self._world.disk.jobs:
                yield f"job {job_id} was accepted, and is not stored"
        for job in self._world.disk.jobs.values():
            if job.id in self._kills_taken and job.kill_requested_at is None:
                yield f"job {job.id} was to be killed, and nothing of that is stored"
            if not job.state.ended:
                yield f"job {job.id} is {job.state}: {job.counts}"
        for framework in self._world.cluster.master.frameworks.values():
            for task in (*framework.tasks.values(), *framework.unreachable_tasks.values()):
                yield f"the master still has {task.task_id}, {task.state}, update {task.update_state}"
        for agent in self._world.cluster.agents:
            assert agent.machine is not None
            for agents_framework in agent.machine.frameworks.values():
                for executor in agents_framework.executors.values():
                    for task_id in (*executor.queued, *executor.launched, *executor.terminated):
                        yield f"agent {agent.id} still has {task_id}"

    def mistakes(self) -> Iterator[str]:
        """Where the story that is stored is not what happened."""
        rows = self._world.disk.attempts
        runs = {run.task_id: run for run in self.runs}
        for task_id, row in rows.items():
            yield from _of_attempt(task_id, row, runs.get(task_id))
        for task_id, status in self._ends.items():
            if task_id not in self._forgotten:
                yield from self._of_end(rows[task_id], status)
        by_instance: dict[str, list[Row]] = defaultdict(list)
        for task_id, row in rows.items():
            by_instance[task_id.rpartition(".")[0]].append(row)
        for job in self._world.disk.jobs.values():
            for instance in range(job.request.instances):
                attempts = sorted(by_instance[f"{job.id}.{instance}"], key=lambda row: row["number"])
                yield from self._of_instance(job.id, job.request.max_retries, attempts)

    def _of_end(self, row: Row, status: Json) -> Iterator[str]:
        """What the executor said is what is stored."""
        if status["source"] != "SOURCE_EXECUTOR":
            return
        said = {each["key"]: each["value"] for each in status["labels"]["labels"]}.get(LABEL_REASON)
        what = f"{status['task_id']['value']} has ended by {said}, and is stored as {row['state']}, {row['reason']}"
        if status["state"] == "TASK_FINISHED":
            if row["state"] != AttemptState.FINISHED:
                yield what
        elif row["reason"] != said and row["job_id"] not in self.kills_asked:
            yield what

    def _of_instance(self, job_id: str, max_retries: int, attempts: list[Row]) -> Iterator[str]:
        numbers = [row["number"] for row in attempts]
        if numbers != list(range(1, len(attempts) + 1)) or [row["is_current"] for row in attempts].count(True) != 1:
            yield f"job {job_id} has attempts {numbers}"
        charged = sum(_charged(row) for row in attempts)
        last = AttemptState(attempts[-1]["state"])
        if charged > max_retries + 1:
            yield f"job {job_id} was retried {charged - 1} times"
        if last is not AttemptState.FINISHED and job_id not in self.kills_asked and charged != max_retries + 1:
            yield f"job {job_id} was given up as {last} after {charged} charged attempts"
        if last is not AttemptState.FINISHED and attempts[-1]["ended_at"] is None:
            yield f"job {job_id} ended with its last attempt {last}"


def _charged(row: Row) -> bool:
    return row["retry"] is not None and '"charged":true' in row["retry"]


def _of_attempt(task_id: str, row: Row, run: Run | None) -> Iterator[str]:
    status = run.status if run is not None and not run.signalled else None  # Of a command that ended by itself.
    reason, story = row["reason"], f"{task_id} is stored as {row['state']}, {row['reason']}, {row['message']!r}: {run}"
    if row["state"] == AttemptState.FINISHED and status != 0:
        yield story
    if reason == "COMMAND_FAILED" and (not status or row["message"] != f"exited with {status >> 8}"):
        yield story
    # What ran too long is charged as well, although we have ended it.
    if _charged(row) and not status and reason != "MAX_RUNTIME":
        yield f"charged, {story}"
