"""A made-up node for the guard: tasks with the CPU they use, and a clock that stands still until told to go on."""

from __future__ import annotations

from collections.abc import Mapping

from serenity.executor.guarding.actions import Action, Concluded, Evict, Freeze, Release, TaskView, Throttle
from serenity.executor.guarding.guard import Guard, GuardParameters
from serenity.qos.contention import Cause, Contention, Evidence, Finding, Suspect
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container
from tests.manual_clock import ManualClock

WEB = Container("web-c1", PRODUCTION, "web", cpus=1.0, mem_bytes=1e9, task="web.1")
OURS, ANOTHER = "our-container", "another-container"
REQUEST_BYTES = 1e8


def row(task: str, container: str = OURS) -> Container:
    return Container(task, BEST_EFFORT, "job", 0.5, REQUEST_BYTES, container=container)


def finding(
    *suspects: tuple[str, float], cause: Cause = "cpu", severity: float = 0.5, protected: Container = WEB
) -> Finding:
    """Suspects are tasks and scores; one whose name begins with "foreign" is another executor's."""
    evidence = Evidence("ops", "1/s", 50.0, 100.0, -0.5, -0.25, 0.0, 3.0, 3, 0)
    ranked = sorted(suspects, key=lambda each: -each[1])
    rows = tuple(Suspect(row(task, ANOTHER if task.startswith("foreign") else OURS), score) for task, score in ranked)
    return Finding(Contention(cause, protected, severity, evidence, "drop"), "combined", rows)


class Node:
    """The guard's actions take effect at once, unless `throttling_works` says no."""

    def __init__(
        self,
        use: Mapping[str, float],
        parameters: GuardParameters | None = None,
        throttling_works: bool = True,
        freezing_works: bool = True,
    ) -> None:
        self.clock = ManualClock(1000.0)
        self.guard = Guard(parameters or GuardParameters(), self.clock, OURS)
        self.use = dict(use)
        self.free_use = dict(use)
        self.rss_bytes: dict[str, float] = {}
        self.being_ended: set[str] = set()
        self.story: list[tuple[float, Action]] = []  # (second, action)
        self.throttling_works = throttling_works
        self.freezing_works = freezing_works

    def views(self) -> dict[str, TaskView]:
        return {task: TaskView(task, 0.5, task in self.being_ended, "cpu quota") for task in self.use}

    def tick(self, *findings: Finding) -> list[Action]:
        actions = self.guard.decide(findings, self.use, self.views(), self.rss_bytes)
        for each in actions:
            self.story.append((self.clock.monotonic_s(), each))
            self.take_effect(each)
        self.clock.advance(1.0)
        return actions

    def take_effect(self, action: Action) -> None:
        match action:
            case Throttle() if self.throttling_works:
                self.use[action.task] = min(action.cores, self.free_use[action.task])
            case Freeze() if self.freezing_works:
                self.use[action.task] = 0.0
            case Release():
                self.use[action.task] = self.free_use[action.task]
            case Evict():
                del self.use[action.task]

    def scores(self) -> list[tuple[str, float]]:
        total = sum(self.use.values()) or 1.0
        return [(task, use / total) for task, use in self.use.items()]

    def of(self, kind: type[Throttle | Freeze | Release | Evict | Concluded]) -> list[tuple[float, str]]:
        """When, and what task; steps of giving back left out."""
        return [
            (at, each.task)
            for at, each in self.story
            if isinstance(each, kind) and not (isinstance(each, Throttle) and each.easing)
        ]

    def outcomes(self, task: str) -> list[tuple[str, str]]:
        """What was done to it, and what that has led to, in order."""
        concluded = [each for _, each in self.story if isinstance(each, Concluded) and each.task == task]
        return [(each.step.action, each.step.outcome.removeprefix("cpu quota; ")) for each in concluded]
