"""The roll-out's decisions: one estimator an agent whatever Mesos says when, and upgrades one by one."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from serenity.framework.estimators.agent import AgentSeen, Deployed
from serenity.framework.estimators.rollout import Aim, Plan, Rollout
from serenity.framework.estimators.task import EstimatorTemplate, TaskId
from serenity.framework.estimators.view import counts, estimators
from serenity.framework.mesos.calls import Accept, Decline, Kill, Reconcile
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


def test_one_is_launched_on_what_is_reserved_for_it_and_the_intent_is_stored_with_the_accept():
    cluster = Cluster("S0")
    assert cluster.offer() is None, "nobody knows yet who is there"
    cluster.look()
    task_id = cluster.offer()
    assert cluster.stored["S0"].task_id == task_id and TaskId.parse(task_id).agent_id == "S0"
    ((task,),) = [each.tasks for each in cluster.of_kind(Accept)]
    assert {each["name"]: each["reservations"][0]["role"] for each in task["resources"]} == {"cpus": ROLE, "mem": ROLE}
    assert "--agent http://10.0.0.1:5051 --role serenity" in task["command"]["value"]
    assert cluster.offer() is None


def test_what_is_not_reserved_for_it_is_not_touched_and_the_remedy_told():
    cluster = Cluster("S0")
    cluster.look(reserved=0.05)
    assert cluster.offer(cpus=0.05) is None
    assert [each.refuse_s for each in cluster.of_kind(Decline)] == [3600.0]
    shown = cluster.shown()
    assert (shown.state, shown.why) == ("none", f"less than 0.1 cpus and 256 MiB are reserved to {ROLE} there")
    assert shown.remedy.startswith('curl -d slaveId=S0 -d resources=\'[{"name":"cpus"')


def test_somebody_elses_estimator_is_left_alone_for_as_long_as_it_reports_slack():
    cluster = Cluster("S0")
    cluster.slack.add("S0")
    cluster.look()
    assert cluster.offer() is None and cluster.shown().state == "foreign"
    cluster.slack.clear()
    cluster.after(10.0)
    cluster.look()
    assert cluster.offer() is not None


def test_one_that_finds_the_node_taken_is_tried_again_rarely_and_said_to_be_foreign():
    cluster = Cluster("S0")
    cluster.look()
    first = cluster.offer()
    cluster.update(first, "TASK_FAILED", message="Command exited with status 4")
    assert [each.id for each in cluster.rollout.unexplained] == ["S0"]
    cluster.rollout.explained("S0", TaskId.parse(first), "another estimator runs on this node: process 7 holds it")
    assert (cluster.shown().state, cluster.shown().why) == (
        "foreign",
        "another estimator runs on this node: process 7 holds it; again in 5m00s",
    )
    assert cluster.offer() is None and cluster.of_kind(Decline)[0].refuse_s == 300.0
    cluster.after(301.0)
    cluster.look()
    assert cluster.offer() is not None


def test_one_that_fails_again_and_again_is_started_ever_more_rarely():
    cluster = Cluster("S0")
    pauses = []
    for _ in range(11):
        cluster.look()
        task = cluster.offer()
        cluster.update(task, "TASK_FAILED", message="Command exited with status 1")
        cluster.offer()
        pauses.append(cluster.of_kind(Decline)[0].refuse_s)
        cluster.after(pauses[-1])
    assert pauses[:4] == [10.0, 20.0, 40.0, 80.0] and pauses[-1] == 3600.0
    assert "11 times" in cluster.shown().why and counts(cluster.rollout, *cluster.times_s)["failed"] == 1


def test_only_an_exit_with_4_is_a_refusal_to_run_there():
    cluster = Cluster("S0")
    cluster.look()
    cluster.update(cluster.offer(), "TASK_FAILED", message="Command exited with status 42")
    assert cluster.offer() is None and cluster.of_kind(Decline)[0].refuse_s == 10.0


def test_one_that_is_launched_again_is_launching_since_then():
    cluster = Cluster("S0")
    cluster.look()
    cluster.update(cluster.offer(), "TASK_DROPPED", reason="REASON_INVALID_OFFERS")
    cluster.after(30.0)
    assert cluster.offer() is not None and cluster.shown().since == cluster.clock.now_s()
    cluster.clock.jump(-3600.0)
    assert cluster.shown().since == cluster.clock.now_s(), "people see how long ago it was"


def test_of_thousands_mesos_is_asked_in_parts():
    cluster = Cluster()
    tasks = [TaskId(OLD.version, 1, f"S{number}") for number in range(1001)]
    cluster.stored = {each.agent_id: Deployed(each.agent_id, "host", str(each)) for each in tasks}
    cluster.restart()
    assert [len(each.tasks) for each in cluster.of_kind(Reconcile)] == [1000, 1]


def test_a_launch_that_mesos_refuses_is_nobodys_fault():
    cluster = Cluster("S0")
    cluster.look()
    cluster.update(cluster.offer(), "TASK_DROPPED", reason="REASON_INVALID_OFFERS")
    cluster.after(1.5)
    assert cluster.offer() is not None and cluster.shown().state == "launching"


def test_after_a_restart_what_was_launched_is_asked_for_and_not_launched_again():
    cluster = Cluster("S0")
    task = cluster.run()
    cluster.slack.clear()
    cluster.restart()
    assert Reconcile(((task, "S0"),)) in cluster.calls
    cluster.look()
    assert cluster.offer() is None
    cluster.reconciled(task, "TASK_UNKNOWN")
    assert cluster.offer() is None, "a master that has just begun knows nothing of what runs"
    cluster.after(91.0)
    cluster.reconciled(task, "TASK_UNKNOWN")
    cluster.after(1.5)
    cluster.look()
    assert cluster.offer() not in (None, task)


def test_what_the_store_does_not_know_is_taken_up_and_a_second_one_killed():
    cluster = Cluster("S0")
    one, two = (str(TaskId(OLD.version, number, "S0")) for number in (1, 2))
    cluster.reconciled(one, "TASK_RUNNING")
    assert cluster.stored["S0"].task_id == one and cluster.killed == []
    cluster.reconciled(two, "TASK_RUNNING")
    assert cluster.killed == [two] and cluster.stored["S0"].task_id == one


def test_upgrades_go_one_by_one_and_wait_until_the_slack_is_back():
    cluster = Cluster("S0", "S1")
    first, second = cluster.run("S0"), cluster.run("S1")
    cluster.upgrade(first, second)
    assert cluster.rollout.agents["S0"].state == "killing"
    cluster.slack.discard("S0")
    cluster.update(first, "TASK_KILLED")
    successor = cluster.offer("S0")
    assert TaskId.parse(successor).version == NEW.version != OLD.version
    cluster.update(successor, "TASK_RUNNING")
    for _ in range(4):
        cluster.after(100.0)
        cluster.look()
        assert cluster.killed == [], "its slack is not back"
    assert cluster.rollout.halted == "no other estimator is upgraded before host-S0's does well: its slack is not back"
    cluster.slack.add("S0")
    cluster.look()
    for _ in range(2):
        assert cluster.killed == []
        cluster.after(SETTLE_S - 1)
        cluster.look()
    assert cluster.killed == [second] and cluster.rollout.halted is None


def test_nothing_is_upgraded_that_would_not_find_room_again():
    cluster = Cluster("S0")
    task = cluster.run()
    cluster.restart(EstimatorTemplate("serenity estimator", role=ROLE, cpus=2.0))
    cluster.reconciled(task, "TASK_RUNNING")
    cluster.look(reserved=1.0)
    cluster.after(600.0)
    assert cluster.killed == [] and cluster.shown().why.startswith("is of another version, and cannot be upgraded")
    cluster.look(reserved=2.0)
    assert cluster.killed == [task]


def test_an_upgraded_agent_that_vanishes_is_missed():
    """Two providers of one id abort an agent: what is done to one must not be done to all."""
    cluster = Cluster("S0", "S1")
    tasks = [cluster.run(each) for each in cluster.agents]
    cluster.upgrade(*tasks)
    cluster.update(tasks[0], "TASK_KILLED")
    cluster.agents = ("S1",)
    for _ in range(20):
        cluster.after(60.0)
        cluster.look()
        assert cluster.killed == []
    assert "host-S0's does well: the master knows the agent no longer" in cluster.rollout.halted


def test_a_restart_in_the_middle_of_an_upgrade_does_not_begin_the_next_one():
    cluster = Cluster("S0", "S1")
    first, second = (cluster.run(each) for each in cluster.agents)
    cluster.upgrade(first, second)
    assert cluster.killed == [first]
    cluster.slack.discard("S0")
    cluster.update(first, "TASK_KILLED")
    cluster.restart(NEW)
    cluster.look()
    cluster.reconciled(second, "TASK_RUNNING")
    for _ in range(4):
        cluster.after(5.0)
        assert cluster.killed == [], "the first one's place is not offered yet"
    successor = cluster.offer("S0")
    for _ in range(20):
        cluster.after(10.0)
        cluster.look()
        assert cluster.killed == [], "the first one is not back"
    cluster.update(successor, "TASK_FAILED", message="Command exited with status 1")
    cluster.agents = ("S1",)
    cluster.look()
    cluster.after(600.0)
    cluster.look()
    assert cluster.killed == [], "the first one's agent is gone"
    assert "host-S0's does well: the master knows the agent no longer" in cluster.rollout.halted


def test_a_late_word_that_it_runs_does_not_undo_a_kill():
    cluster = Cluster("S0")
    task = cluster.run()
    cluster.upgrade(task)
    cluster.reconciled(task, "TASK_RUNNING")
    assert cluster.shown().state == "killing"
    cluster.update(task, "TASK_UNREACHABLE")
    cluster.reconciled(task, "TASK_RUNNING")
    cluster.update(task, "TASK_KILLED")
    assert cluster.offer() is not None, "it has not failed"


def test_an_upgrade_that_fails_goes_no_further_and_says_so():
    cluster = Cluster("S0", "S1")
    tasks = [cluster.run(each) for each in cluster.agents]
    cluster.upgrade(*tasks)
    cluster.update(tasks[0], "TASK_KILLED")
    cluster.update(cluster.offer("S0"), "TASK_FAILED", message="Command exited with status 127")
    for _ in range(20):
        cluster.after(600.0)
        assert cluster.killed == []
    assert "before host-S0's does well: Command exited with status 127" in cluster.rollout.halted
    assert cluster.shown("S1").outdated and cluster.shown("S1").state == "running"


def test_nothing_is_launched_or_upgraded_where_an_operator_wants_nothing_new():
    cluster = Cluster("S0", "S1")
    task = cluster.run("S0")
    cluster.closed = {"S0", "S1"}
    cluster.look()
    assert cluster.offer("S1") is None
    cluster.restart(NEW)
    cluster.reconciled(task, "TASK_RUNNING")
    cluster.after(SETTLE_S)
    assert cluster.killed == []


def test_without_the_roll_out_they_are_left_and_on_request_removed():
    cluster = Cluster("S0")
    task = cluster.run()
    cluster.restart(NEW, Aim.LEAVE)
    cluster.reconciled(task, "TASK_RUNNING")
    cluster.after(SETTLE_S)
    assert cluster.killed == [] and cluster.shown().state == "running"
    cluster.restart(NEW, Aim.REMOVE)
    cluster.reconciled(task, "TASK_RUNNING")
    assert cluster.killed == [task]
    cluster.after(10.0)
    assert cluster.killed == [task], "it is said again until it has ended"
    cluster.update(task, "TASK_KILLED")
    assert cluster.stored == {} and estimators(cluster.rollout, *cluster.times_s) == {}


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
