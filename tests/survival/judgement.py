"""Whether a sequence has left what it should: looked at in quiet, from outside of Serenity.

What the framework says of a job is compared with what its tasks have left (`tasks.py`), and both with what was asked.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.end_to_end.left_over import our_cgroups, processes_with
from tests.end_to_end.running import Running
from tests.survival.sequence import Sequence
from tests.survival.tasks import Job, Traces

# Who was evicted with its executor waits for up to ten seconds, a launch that was lost for twenty, and
# whom Mesos has told of doubtfully for ninety; each of these can follow another.
_SETTLED_WITHIN_S = 150.0
_GONE_WITHIN_S = 20.0
_LOOK_EVERY_S = 0.2
_ENDED = ("finished", "failed", "killed", "lost")


class Judge:
    """Of one sequence that was played; `jobs`: their ids by their names."""

    def __init__(self, running: Running, sequence: Sequence, traces: Traces, jobs: Mapping[str, str]) -> None:
        self._running = running
        self._sequence = sequence
        self._traces = traces
        self._jobs = jobs

    def mistakes(self) -> list[str]:
        """Each in a line; none is as it should be.  Tells the tasks to end that wait for it."""
        waiting = [each for each in self._sequence.jobs if each.waits]
        ending = [each for each in self._sequence.jobs if not each.waits]
        found = _until_none(lambda: self._unsettled(waiting, ending), _SETTLED_WITHIN_S)
        self._traces.tell()
        found += _until_none(lambda: self._not(None, waiting), _SETTLED_WITHIN_S)
        found += [self._running.trouble] if self._running.trouble else []
        found += [f"{task} found its instance running already" for task in self._traces.of("doubled")]
        if found:
            return found  # What has not ended has no history yet.
        for job in self._sequence.jobs:
            found += self._mistakes_of(job)
        return [*found, *_until_none(self._left, _GONE_WITHIN_S)]

    def _unsettled(self, waiting: list[Job], ending: list[Job]) -> list[str]:
        """Nobody knows at once that an executor was killed; until then its tasks are said to run."""
        return [*self._not("running", waiting), *self._not(None, ending), *self._mistakes_of_the_living(waiting)]

    def _not(self, state: str | None, jobs: list[Job]) -> list[str]:
        """Those that are not in a state, the one that they should end with if None."""
        wrong = []
        for job in jobs:
            wanted, detail = state or job.end, self._running.detail(self._jobs[job.name])
            current = {each["instance"]: each for each in detail["attempts"]}.values()
            if detail["job"]["state"] != wanted or any(each["state"] != wanted for each in current):
                wrong.append(f"{job.name} is not {wanted}: {_story(detail['attempts'])}")
        return wrong

    def _mistakes_of_the_living(self, waiting: list[Job]) -> Iterator[str]:
        alive = self._traces.alive()
        for job in waiting:
            for instance in self._instances(job):
                if instance not in alive:
                    yield f"{instance} is said to run, and no process of it is there"
                alive.discard(instance)
        yield from (f"{each} has ended, and a process of it is there" for each in sorted(alive))

    def _mistakes_of(self, job: Job) -> Iterator[str]:
        attempts = self._running.attempts(self._jobs[job.name])
        started, ended = Counter(self._traces.of("started")), Counter(self._traces.of("ended"))
        for instance in self._instances(job):
            of_it = [each for each in attempts if each["task"].startswith(f"{instance}.")]
            numbers = [each["attempt"] for each in of_it]
            if numbers != list(range(1, len(numbers) + 1)):
                yield f"{instance} has the attempts {numbers}"
            for each in of_it[:-1]:
                if each["state"] not in _ENDED or each["retry"]["charged"]:
                    yield f"{each['task']} was to be free, and is over: {_story([each])}"
            yield from self._mistakes_of_the_last(job, of_it[-1], started, ended)
        known = {each["task"] for each in attempts}
        ours = {task for task in started if task.startswith(f"{self._jobs[job.name]}.")}
        yield from (f"{each} has run, and the framework has no such attempt" for each in sorted(ours - known))
        yield from (f"{each} was started {started[each]} times" for each in sorted(ours) if started[each] > 1)
        for task, states in self._running.history(self._jobs[job.name]).items():
            over = [each for each in states if each in _ENDED]
            if over != states[-1:] or ("unreachable" not in states and len(set(states)) != len(states)):
                yield f"{task} was told to be {states}"

    def _mistakes_of_the_last(
        self, job: Job, last: Mapping[str, Any], started: Counter[str], ended: Counter[str]
    ) -> Iterator[str]:
        task = last["task"]
        if job.end in ("finished", "failed") and (started[task], ended[task]) != (1, 1):
            yield f"{task} is {last['state']}, has started {started[task]} times and ended {ended[task]} times"
        if job.end == "failed" and last["message"] != f"exited with {job.code}":
            yield f"{task} is failed: {last['message']}"
        if job.end == "killed" and last["reason"] != "KILLED_BY_USER":
            yield f"{task} is killed: {last['reason']}"

    def _instances(self, job: Job) -> list[str]:
        return [f"{self._jobs[job.name]}.{number}" for number in range(job.instances)]

    def _left(self) -> list[str]:
        """Of tasks that have all ended: executors live on, with what is their own."""
        executors = {each.pid for each in self._running.executors()}
        cgroups = [each for each in our_cgroups(self._running.work_dir) if not _sits_in(executors, each)]
        return [
            *(f"a process of {each} is left" for each in sorted(self._traces.alive())),
            *(f"process {each} is left" for each in processes_with(str(self._traces.folder))),
            *(f"cgroup {each} is left" for each in cgroups),
        ]


def _sits_in(pids: set[int], cgroup: Path) -> bool:
    try:
        return bool(pids & set(map(int, (cgroup / "cgroup.procs").read_text().split())))
    except OSError:
        return True  # It is gone meanwhile.


def _until_none(look: Callable[[], list[str]], within_s: float) -> list[str]:
    deadline_s = time.monotonic() + within_s
    while (found := look()) and time.monotonic() < deadline_s:
        time.sleep(_LOOK_EVERY_S)
    return found


def _story(attempts: list[Any]) -> str:
    return ", ".join(f"{each['task']} {each['state']} {each['reason'] or ''}".rstrip() for each in attempts) or "none"
