"""What holds for a roll-out whatever happens in whatever order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serenity.framework.estimators.task import TaskId
from serenity.framework.mesos.calls import Accept
from tests.framework.estimators.made_up_cluster import NEW, OLD, Cluster


class Mesos(RuleBasedStateMachine):
    """Whatever happens in whatever order, the framework's death included: never two on one agent."""

    agents = ("S0", "S1", "S2")

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster(*self.agents)
        self.alive: dict[str, str] = {}  # State by task id, as the agents have it.
        self.template = OLD

    def _settle_calls(self) -> None:
        for each in self.cluster.of_kind(Accept):
            for task in each.tasks:
                self.alive[task["task_id"]["value"]] = "TASK_STAGING"
        for task_id in self.cluster.killed:
            if task_id in self.alive:
                self.alive[task_id] = "TASK_KILLING"
        self.cluster.slack = {TaskId.parse(each).agent_id for each, state in self.alive.items() if "RUNN" in state}

    @rule(agent=st.sampled_from(agents))
    def offer(self, agent):
        self.cluster.offer(agent)

    @rule()
    def look(self):
        self.cluster.look()

    @rule(seconds=st.sampled_from([0.5, 5.0, 30.0, 100.0, 4000.0]))
    def time_passes(self, seconds):
        self.cluster.after(seconds)

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), state=st.sampled_from(["TASK_RUNNING", "TASK_FAILED", "TASK_KILLED", "TASK_LOST"]))
    def news(self, data, state):
        task_id = data.draw(st.sampled_from(sorted(self.alive)))
        if state == "TASK_RUNNING":
            self.alive[task_id] = state
        else:
            del self.alive[task_id]
        self.cluster.update(task_id, state)

    @rule(lost=st.booleans(), template=st.sampled_from([OLD, NEW]))
    def crash(self, lost, template):
        """`lost`: with its store."""
        if lost:
            self.cluster.stored.clear()
        self.cluster.restart(template)
        self._settle_calls()
        for task_id, state in sorted(self.alive.items()):
            self.cluster.reconciled(task_id, state)
            self._settle_calls()

    @invariant()
    def never_two(self):
        self._settle_calls()
        agents = [TaskId.parse(each).agent_id for each in self.alive]
        assert len(agents) == len(set(agents))

    @invariant()
    def one_upgrade_at_a_time(self):
        assert sum(each.upgrading for each in self.cluster.rollout.agents.values()) <= 1

    @invariant()
    def what_lives_is_stored(self):
        stored = {each.task_id for each in self.cluster.stored.values()}
        assert set(self.alive) <= stored


TestMesos = Mesos.TestCase
TestMesos.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
