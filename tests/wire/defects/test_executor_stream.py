"""The executor's stream, its environment, and what it does when the agent goes."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.wire.defects.driven import FATAL, Died, NotSeen, Program, fails_on_plain


@pytest.fixture
def events(shape: Callable[[str], Any]) -> dict[str, Any]:
    """One recorded event of each type."""
    return {each["type"]: each for each in shape("executor.json")["events"]}


@fails_on_plain("an exception in a callback ends the executor, and with it every task", Died)
def test_a_callback_that_raises_does_not_cost_the_tasks(agent: Any, start: Callable[[], Program], events: Any) -> None:
    program = start()
    program.executor(raises_in=["launchTask"])
    program.set_up("registered")
    for event in (events["LAUNCH"], {"type": "LAUNCH", "launch": {}}, events["MESSAGE"]):
        agent.streams[0].event(event)
    program.eventually(lambda: "frameworkMessage" in program.names())
    assert len(agent.streams) == 1


@fails_on_plain("a second LAUNCH of a task is an assertion, which ends the executor, and with it every task", Died)
@pytest.mark.parametrize("second", ["alone", "in a group"])
def test_a_second_launch_of_a_task_is_ignored(
    agent: Any, start: Callable[[], Program], events: Any, second: str
) -> None:
    program = start()
    program.executor()
    program.set_up("registered")
    again = events["LAUNCH"]
    if second == "in a group":
        tasks = [again["launch"]["task"]]
        again = {"type": "LAUNCH_GROUP", "launch_group": {"task_group": {"tasks": tasks}}}
    for event in (events["LAUNCH"], again, events["MESSAGE"]):
        agent.streams[0].event(event)
    program.eventually(lambda: "frameworkMessage" in program.names())
    assert program.names() == ["registered", "launchTask", "frameworkMessage"]


@fails_on_plain("the kill policy of a KILL is dropped")
def test_a_kill_comes_with_its_grace_period(agent: Any, start: Callable[[], Program], events: Any) -> None:
    program = start()
    program.executor()
    program.set_up("registered")
    kill = {"task_id": {"value": "t"}, "kill_policy": {"grace_period": {"nanoseconds": 2_500_000_000}}}
    agent.streams[0].event({"type": "KILL", "kill": kill})
    program.eventually(lambda: "killTask" in program.names())
    assert program.told[-1] == ("killTask", {"value": "t"}, 2.5)


@fails_on_plain("select(): dead with more than 1024 open files, and hardware counters hold many", FATAL)
def test_more_than_1024_open_files_are_no_matter(agent: Any, start: Callable[[], Program]) -> None:
    program = start()
    if not program.order("open_files", count=1100):
        pytest.skip("this process may not open 1100 files")
    program.executor()
    assert program.eventually(lambda: "registered" in program.names())


# -- the environment ---------------------------------------------------------------------------


@fails_on_plain("the agent's bearer token is not sent")
def test_the_token_is_sent_with_everything(agent: Any, start: Callable[[], Program], environ: dict[str, str]) -> None:
    environ["MESOS_EXECUTOR_AUTHENTICATION_TOKEN"] = "geheim"
    program = start()
    program.executor()
    program.set_up("registered")
    program.call("sendStatusUpdate", {"task_id": {"value": "t"}, "state": "TASK_RUNNING"})
    assert [(each.type, each.headers.get("authorization")) for each in agent.requests] == [
        ("SUBSCRIBE", "Bearer geheim"),
        ("UPDATE", "Bearer geheim"),
    ]


@fails_on_plain("the agent's bearer token stays in the environment, and every task inherits it")
def test_no_task_inherits_the_token(agent: Any, start: Callable[[], Program], environ: dict[str, str]) -> None:
    environ["MESOS_EXECUTOR_AUTHENTICATION_TOKEN"] = "geheim"
    program = start()
    program.executor()
    assert program.order("environ", name="MESOS_EXECUTOR_AUTHENTICATION_TOKEN") is None


@fails_on_plain('MESOS_CHECKPOINT is read as bool("0"), which is true', NotSeen)
def test_without_checkpointing_a_lost_agent_is_the_end(
    agent: Any, start: Callable[[], Program], environ: dict[str, str]
) -> None:
    environ["MESOS_CHECKPOINT"] = "0"
    program = start()
    program.executor()
    program.set_up("registered")
    agent.streams[0].cut()
    program.eventually(lambda: "shutdown" in program.names())
    assert program.names() == ["registered", "disconnected", "shutdown"]
    assert len(agent.sent("SUBSCRIBE")) == 1


# -- the agent goes ----------------------------------------------------------------------------


@pytest.fixture
def impatient(agent: Any, environ: dict[str, str]) -> Any:
    """An agent whose executors' tasks are to end with it, and within 50 ms."""
    environ.update(MESOS_CHECKPOINT="", MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD="50ms")
    return agent


@fails_on_plain("a lost connection sends SIGKILL to the whole process group", Died)
def test_a_lost_agent_kills_nobody(impatient: Any, start: Callable[[], Program]) -> None:
    program = start()
    program.executor()
    program.set_up("registered")
    impatient.streams[0].cut()
    program.eventually(lambda: "shutdown" in program.names())
    program.survives(for_s=0.3)
    assert program.names() == ["registered", "disconnected", "shutdown"]


@fails_on_plain("SHUTDOWN sends SIGKILL to the whole process group", Died)
def test_a_shutdown_is_left_to_the_executor(impatient: Any, start: Callable[[], Program]) -> None:
    program = start()
    program.executor()
    program.set_up("registered")
    impatient.streams[0].event({"type": "SHUTDOWN"})
    program.eventually(lambda: "shutdown" in program.names())
    program.survives(for_s=0.3)
    assert program.names() == ["registered", "shutdown"]


@fails_on_plain("the recovery timeout is ignored: it waits a day for an agent that is gone for good", NotSeen)
def test_an_agent_that_is_gone_for_longer_than_the_recovery_timeout_is_the_end(
    agent: Any, start: Callable[[], Program], environ: dict[str, str]
) -> None:
    environ["MESOS_RECOVERY_TIMEOUT"] = "300ms"
    program = start()
    program.executor()
    program.set_up("registered")
    lost_s = time.monotonic()
    agent.close()
    program.eventually(lambda: "shutdown" in program.names())
    assert time.monotonic() - lost_s > 0.3
    assert program.names() == ["registered", "disconnected", "shutdown"]


@fails_on_plain("pauses of up to 15 s whatever MESOS_SUBSCRIPTION_BACKOFF_MAX says: the agent waits for 2 s", NotSeen)
def test_an_agent_that_is_back_is_found_within_the_longest_pause(
    agent: Any, start: Callable[[], Program], environ: dict[str, str]
) -> None:
    environ["MESOS_SUBSCRIPTION_BACKOFF_MAX"] = "100ms"
    program = start()
    program.executor()
    program.set_up("registered")
    agent.close()
    program.set_up("disconnected")
    program.survives(for_s=0.2)  # Time for some attempts.
    agent.start(agent.port)
    assert program.eventually(lambda: "reregistered" in program.names())


@fails_on_plain("a 503, which a starting agent gives, brings the next SUBSCRIBE at once")
def test_an_agent_that_recovers_is_given_pauses(agent: Any, start: Callable[[], Program]) -> None:
    agent.subscribes.extend([lambda answer: answer.whole(503, b"Agent has not finished recovery")] * 3)
    program = start()
    program.executor()
    program.set_up("registered")
    times_s = [each.at_s for each in agent.requests if each.type == "SUBSCRIBE"]
    pauses_s = [later - earlier for earlier, later in itertools.pairwise(times_s)]
    assert all(pause_s >= least_s for pause_s, least_s in zip(pauses_s, (0.025, 0.05, 0.1), strict=True))


@fails_on_plain("any answer but 200, 307 and 503 ends the executor, and with it every task", FATAL)
@pytest.mark.parametrize("status", [401, 404, 500])
def test_an_agent_that_refuses_is_asked_again(agent: Any, start: Callable[[], Program], status: int) -> None:
    program = start()
    program.executor()
    program.set_up("registered")
    agent.subscribes.append(lambda answer: answer.whole(status))
    agent.streams[0].cut()
    assert program.eventually(lambda: "reregistered" in program.names())


@fails_on_plain("an update that hangs holds up the next subscription: the agent waits for 2 s", NotSeen)
def test_an_update_that_hangs_does_not_hold_up_the_next_subscription(agent: Any, start: Callable[[], Program]) -> None:
    asked, go_on = threading.Event(), threading.Event()
    agent.calls.append(lambda answer: (asked.set(), go_on.wait(60)))
    program = start()
    program.executor()
    program.set_up("registered")
    program.begin("sendStatusUpdate", {"task_id": {"value": "t"}, "state": "TASK_RUNNING"})
    assert asked.wait(20)
    agent.streams[0].cut()
    cut_s = time.monotonic()
    program.eventually(lambda: "reregistered" in program.names())
    go_on.set()
    assert time.monotonic() - cut_s < 2.0
    (update,) = agent.sent("SUBSCRIBE")[1]["subscribe"]["unacknowledged_updates"]
    assert update["status"]["task_id"] == {"value": "t"}
