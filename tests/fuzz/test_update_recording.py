"""The executor driver alone: its streams cut anywhere, its calls lost or late, and every update arrives, in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serenity.wire.mesos import executor as executor_driver
from serenity.wire.mesos import subscription
from serenity.wire.mesos.executor import ExecutorDriver
from tests.fuzz.examples import examples
from tests.fuzz.network import Answer, Fate, Json, Network
from tests.fuzz.streams import SimStream
from tests.fuzz.threads import Process, Threads
from tests.manual_clock import ManualClock


class TakingAgent:
    """Acknowledges every update, and keeps of each task the states in the order in which it first got them."""

    def __init__(self) -> None:
        self.states: dict[str, list[str]] = defaultdict(list)
        self._seen: set[str] = set()
        self._stream: SimStream | None = None

    def answer(self, path: str, call: Json, stream_id: str | None, open_stream: Callable[[], SimStream]) -> Answer:
        if call["type"] == "SUBSCRIBE":
            if self._stream is not None:
                self._stream.end()
            self._stream = open_stream()
            ids = {"executor_id": {"value": "e"}}, {"id": {"value": "f"}}, {"id": {"value": "a"}}
            infos = dict(zip(("executor_info", "framework_info", "agent_info"), ids, strict=True))
            self._stream.send({"type": "SUBSCRIBED", "subscribed": infos})
            for update in call["subscribe"]["unacknowledged_updates"]:
                self._take(update["status"])
            return Answer(200, stream=self._stream)
        self._take(call["update"]["status"])
        return Answer()

    def _take(self, status: Json) -> None:
        if status["uuid"] not in self._seen:
            self._seen.add(status["uuid"])
            self.states[status["task_id"]["value"]].append(status["state"])
        if self._stream is not None:
            acknowledged = {"task_id": status["task_id"], "uuid": status["uuid"]}
            self._stream.send({"type": "ACKNOWLEDGED", "acknowledged": acknowledged})

    def stream_closed(self, stream_id: str) -> None:
        if self._stream is not None and self._stream.id == stream_id:
            self._stream = None


class Nobody:
    """Callbacks that want nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


AGENT = "10.0.0.2:5051"
ENVIRONMENT = {
    "MESOS_AGENT_ENDPOINT": AGENT,
    "MESOS_FRAMEWORK_ID": "f",
    "MESOS_EXECUTOR_ID": "e",
    "MESOS_CHECKPOINT": "1",
}
HAPPENINGS = st.one_of(
    st.tuples(st.just("update"), st.sampled_from(["t1", "t2"])),
    st.tuples(st.just("act"), st.integers(0, 3)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 11.0])),
    st.tuples(st.just("cut"), st.integers(0, 300)),
    st.tuples(st.just("fate"), st.tuples(st.sampled_from(["SUBSCRIBE", "UPDATE"]), st.sampled_from(list(Fate)))),
)


class DriverWorld:
    """One executor driver and its agent."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.clock = ManualClock()
        self.threads = Threads(self.clock)
        self.network = Network(self.threads, self.clock.monotonic_s, (7, 100))
        self.network.hosts[AGENT] = self.agent = TakingAgent()
        for module in (subscription, executor_driver):
            patch.setattr(module, "threading", self.threads.threading)
        patch.setattr(executor_driver, "Client", self.network.client)
        patch.setattr(executor_driver, "open_stream", self.network.open_stream)
        self.made: dict[str, list[str]] = defaultdict(list)  # As in the agent.
        self.process = Process("executor")
        self.threads.run(self.process, self._start, "main")
        self.settle()

    def _start(self) -> None:
        self.driver = ExecutorDriver(Nobody(), dict(ENVIRONMENT), monotonic=self.clock.monotonic_s)
        self.driver.start()

    def act(self, choice: int = 0) -> bool:
        enabled = self.threads.runnable + len(self.network.busy)
        if enabled == 0:
            return False
        if choice % enabled < self.threads.runnable:
            self.threads.step(choice % enabled)
        else:
            list(self.network.busy)[choice % enabled - self.threads.runnable].deliver()
        return True

    def settle(self) -> None:
        while self.act():
            pass

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.threads.ring()
        self.network.ring()

    def _update(self, task_id: str, state: str) -> None:
        self.made[task_id].append(state)
        self.driver.sendStatusUpdate({"task_id": {"value": task_id}, "state": state})

    def happen(self, what: str, how: Any, state: str) -> None:
        if what == "update":
            self.threads.run(self.process, lambda: self._update(how, state), "sender")
        elif what == "act":
            self.act(how)
        elif what == "wait":
            self.wait(how)
        elif what == "cut":
            for stream in list(self.network.streams):
                stream.break_after(how)
        else:
            kind, fate = how
            self.network.fate(AGENT, kind, fate)


@examples(100, fuzzing=3000)
@given(st.lists(HAPPENINGS, max_size=40))
def test_the_executor_driver_loses_no_update_and_keeps_their_order(happenings: list[tuple[str, Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        world = DriverWorld(patch)
        for number, (what, how) in enumerate(happenings):
            world.happen(what, how, str(number))
        world.network.heal()
        for _ in range(30):
            world.settle()
            world.wait(1.0)
        world.settle()
        left = world.driver.unacknowledged
        world.threads.kill(world.process)
    assert world.agent.states == world.made
    assert left == 0
