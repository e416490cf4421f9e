"""A master and agents that the test makes up, with a roll-out."""

from __future__ import annotations

from serenity.framework.estimators.agent import AgentSeen
from serenity.framework.estimators.rollout import Aim, Plan, Rollout
from serenity.framework.estimators.task import EstimatorTemplate, TaskId
from serenity.framework.estimators.view import estimators
from serenity.framework.mesos.calls import Accept, Kill
from serenity.framework.mesos.updates import decode
from serenity.framework.placement.agents import Offer
from serenity.wire.mesos.resources import Resources
from tests.manual_clock import ManualClock

ROLE = "serenity-estimator"
OLD = EstimatorTemplate("serenity estimator", role=ROLE)
NEW = EstimatorTemplate("serenity estimator", role=ROLE, release="next")
SETTLE_S = 60.0


class Cluster:
    """Some agents with room for an estimator each; what Mesos does is said by the test, on a clock moved by hand."""

    def __init__(self, *agents: str, template: EstimatorTemplate = OLD) -> None:
        self.clock = ManualClock(now_s=1_800_000_000.0)
        self.agents = agents
        self.slack: set[str] = set()
        self.stored: dict = {}
        self.calls: list = []
        self.closed: set[str] = set()
        self.restart(template)

    def restart(self, template: EstimatorTemplate = OLD, aim: Aim = Aim.ROLL_OUT) -> None:
        """As after a crash: what is left is the store."""
        self.rollout = Rollout(Plan(aim, template, SETTLE_S), self.stored.values(), self.clock.monotonic_s())
        self.rollout.subscribed(self.clock.monotonic_s())
        self.after(3.0)

    def upgrade(self, *tasks: str) -> None:
        """Another version of the framework begins, finds these tasks, and has waited for what may be missing."""
        self.restart(NEW)
        self.look()
        for each in tasks:
            self.reconciled(each, "TASK_RUNNING")
        self.after(30.0)

    def after(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.round()

    def round(self) -> None:
        steps = self.rollout.end_round(lambda agent: agent in self.closed, *self.times_s)
        self.stored.update(steps.launched)
        for agent in steps.gone:
            self.stored.pop(agent, None)
        self.calls = list(steps.calls)

    def look(self, reserved: float = 1.0) -> None:
        seen = [AgentSeen(each, f"host-{each}", True, each in self.slack, reserved, 256.0) for each in self.agents]
        self.rollout.looked(seen, self.clock.monotonic_s())
        self.round()

    def offer(self, agent: str = "S0", cpus: float = 0.1, mem: float = 256.0) -> str | None:
        """Of what is reserved for estimators; the id of the task that is launched on it."""
        fields = {"reservations": [{"type": "STATIC", "role": ROLE}], "allocation_info": {"role": ROLE}}
        resources = Resources.scalar("cpus", cpus, **fields) + Resources.scalar("mem", mem, **fields)
        regular = Resources.scalar("cpus", 8.0) + Resources.scalar("mem", 8192.0)
        self.rollout.offered(Offer(f"O-{agent}", agent, f"host-{agent}", "http://10.0.0.1:5051", resources + regular))
        self.round()
        launched = [task["task_id"]["value"] for each in self.of_kind(Accept) for task in each.tasks]
        return launched[0] if launched else None

    def update(self, task_id: str, state: str, **fields: object) -> None:
        task = TaskId.parse(task_id)
        assert task is not None
        status = {"task_id": {"value": task_id}, "state": state, **fields}
        self.rollout.updated(decode(status), task, self.clock.monotonic_s())
        self.round()

    def reconciled(self, task_id: str, state: str) -> None:
        self.update(task_id, state, reason="REASON_RECONCILIATION", source="SOURCE_MASTER")

    def run(self, agent: str = "S0") -> str:
        """Launched, running, with slack, and settled."""
        self.look()
        task = self.offer(agent)
        assert task is not None
        self.come_up(task)
        return task

    def come_up(self, task_id: str) -> None:
        task = TaskId.parse(task_id)
        assert task is not None
        self.after(1.0)
        self.update(task_id, "TASK_RUNNING")
        self.slack.add(task.agent_id)
        self.settle()

    def settle(self) -> None:
        for seconds in (1.0, SETTLE_S):
            self.after(seconds)
            self.look()

    def of_kind(self, kind: type) -> list:
        return [each for each in self.calls if isinstance(each, kind)]

    @property
    def killed(self) -> list[str]:
        return [each.task_id for each in self.of_kind(Kill)]

    @property
    def times_s(self) -> tuple[float, float]:
        return self.clock.monotonic_s(), self.clock.now_s()

    def shown(self, agent: str = "S0"):
        return estimators(self.rollout, *self.times_s)[agent]
