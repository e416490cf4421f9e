"""The slack as a resource provider, beside an agent that is a peer of the test's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serenity.daemon.clock import SystemClock
from serenity.estimator import metrics
from serenity.estimator.account.report import Amount, Report
from serenity.estimator.agent import provider as module
from serenity.estimator.agent.provider import SlackProvider
from serenity.estimator.agent.provider_id import ProviderIdFile
from serenity.wire.transport.access import ANONYMOUS
from tests.polling import eventually
from tests.wire.conftest import Peer

SLACK = Amount(4.0, 1 << 30)


def state(agent_id: str = "agent-1", **providers: str) -> dict[str, Any]:
    """`providers`: ids by name."""
    shown = [
        {"resource_provider_info": {"type": "org.serenity.slack", "name": name, "id": {"value": provider_id}}}
        for name, provider_id in providers.items()
    ]
    return {"id": agent_id, "resource_providers": shown}


@pytest.fixture
def agent() -> Iterator[Peer]:
    made = Peer(greeting={"type": "SUBSCRIBED", "subscribed": {"provider_id": {"value": "p-1"}}})
    made.pages = {"/version": {"version": "1.11.0"}, "/flags": {"flags": {}}, "/state": state()}
    made.start()
    yield made
    made.close()


class Node:
    """Starts providers on one state folder, one after the other."""

    def __init__(self, agent: Peer, folder: Path) -> None:
        self.gave_up: list[str] = []
        self.launches: list[Amount] = []
        self.settled: list[bool] = []
        self.ids = ProviderIdFile(folder, "agent-1")
        self._agent = agent
        self._made: list[SlackProvider] = []

    def start(self) -> SlackProvider:
        made = SlackProvider(
            self._agent.address,
            "agent-1",
            ANONYMOUS,
            "be",
            self.ids,
            SystemClock(),
            metrics.table(),
            self.launches.append,
            self.settled.append,
            self.gave_up.append,
        )
        self._made.append(made)
        made.start()
        return made

    def close(self) -> None:
        for each in self._made:
            each.stop(Amount(), timeout_s=0.0)
        self.ids.close()


@pytest.fixture
def node(agent: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    monkeypatch.setattr(module, "_FORGOTTEN_WITHIN_S", 0.1)
    made = Node(agent, tmp_path)
    yield made
    made.close()


@pytest.fixture
def told(agent: Peer) -> Callable[[], list[float]]:
    """The cpus of each total that the agent was told."""

    def cpus() -> list[float]:
        totals = [each["update_state"]["resources"] for each in agent.sent("UPDATE_STATE")]
        return [sum(each["scalar"]["value"] for each in total if each["name"] == "cpus") for total in totals]

    return cpus


def tells(node: Node, told: Callable[[], list[float]]) -> SlackProvider:
    """One that has told the agent SLACK, and nothing else."""
    provider = node.start()
    provider.tell(Report(SLACK))
    eventually(lambda: told() == [SLACK.cpus], "the slack told")
    return provider


def ids(agent: Peer) -> list[str | None]:
    """The provider id of each SUBSCRIBE."""
    infos = [each["subscribe"]["resource_provider_info"] for each in agent.sent("SUBSCRIBE")]
    return [info.get("id", {}).get("value") for info in infos]


def asked_again(agent: Peer) -> None:
    """Returns when the agent was asked twice more who it is: after the first answer there was an attempt."""

    def asked() -> int:
        return [each.path for each in list(agent.requests)].count("/state")

    before = asked()
    eventually(lambda: asked() >= before + 2, "asked again")


def unknown(answer: Any) -> None:
    """As Mesos sends away who has an id that it does not know."""
    answer.begin_stream()
    answer.end()


def test_the_total_does_not_rise_again_once_it_stops(node: Node, agent: Peer, told: Callable[[], list[float]]) -> None:
    provider = tells(node, told)
    stopping = threading.Thread(target=provider.stop, args=(Amount(0.5, 1 << 28),))
    stopping.start()
    eventually(lambda: len(told()) == 2, "the total lowered")
    provider.tell(Report(SLACK, new_version=True))  # As when an executor releases its lease.
    stopping.join(10.0)
    assert not stopping.is_alive()
    assert told() == [4.0, 0.5] and agent.streams[-1].left


def test_what_is_told_while_nobody_hears_it_is_told_after_the_next_subscription(
    node: Node, agent: Peer, told: Callable[[], list[float]]
) -> None:
    tells(node, told)
    agent.streams[-1].cut()
    eventually(lambda: len(told()) == 2, "the slack told again")
    assert ids(agent) == [None, "p-1"] and told() == [4.0, 4.0]
    assert node.ids.read() == "p-1" and node.gave_up == []


def test_an_id_that_cannot_be_kept_ends_it_before_anything_is_told(node: Node, agent: Peer) -> None:
    node.ids.path.with_name("agent-1.provider.new").mkdir()  # Where it would be written.
    provider = node.start()
    provider.tell(Report(SLACK))
    (said,) = eventually(lambda: node.gave_up, "given up")
    assert f"cannot be kept in {node.ids.path}: " in said and "--state-dir" in said
    provider.tell(Report(Amount(1.0, 1 << 28)))
    provider.stop(Amount())
    assert agent.streams[-1].left and not provider.connected
    assert agent.sent("UPDATE_STATE") == [] and len(agent.streams) == 1


@pytest.mark.slow
@pytest.mark.parametrize("recovering", [False, True])
def test_an_agent_that_is_another_one_now_hears_nothing_of_the_old_ones_slack(
    node: Node, agent: Peer, told: Callable[[], list[float]], recovering: bool
) -> None:
    """Whether it says who it is at once, or sends away an id that it does not know first."""
    tells(node, told)
    agent.subscribes.append(unknown)
    if recovering:
        del agent.pages["/state"]  # What is no page gets an answer that is none of an agent's.
    else:
        agent.pages["/state"] = state("agent-2")
    agent.streams[-1].cut()
    if recovering:
        eventually(lambda: len(ids(agent)) == 2, "the old id sent away")
        asked_again(agent)
        agent.pages["/state"] = state("agent-2")
    asked_again(agent)
    assert ids(agent) == [None, "p-1"][: 2 if recovering else 1]
    assert told() == [4.0] and node.ids.read() == "p-1" and node.gave_up == []


def test_an_agent_that_has_lost_its_registry_of_providers_knows_a_new_one_then(
    node: Node, agent: Peer, told: Callable[[], list[float]]
) -> None:
    node.ids.write("p-0")
    agent.subscribes.append(unknown)
    provider = tells(node, told)
    assert ids(agent) == ["p-0", None] and node.ids.read() == "p-1" == provider.provider_id


def test_an_agent_that_returns_unfit_is_not_subscribed_to_again(
    node: Node, agent: Peer, told: Callable[[], list[float]]
) -> None:
    tells(node, told)
    agent.pages["/flags"] = {"flags": {"resource_estimator": "org_example_Fixed"}}
    agent.streams[-1].cut()
    (said,) = eventually(lambda: node.gave_up, "given up")
    assert "--resource_estimator=org_example_Fixed" in said
    assert ids(agent) == [None] and told() == [4.0]


@pytest.mark.parametrize("kept", [None, "p-1"])
def test_who_gives_slack_already_is_not_joined(node: Node, agent: Peer, kept: str | None) -> None:
    """Also under our own id, as from a folder that was copied: two streams with one id abort the agent."""
    if kept is not None:
        node.ids.write(kept)
    agent.pages["/state"] = state(slack="p-1")
    node.start()
    (said,) = eventually(lambda: node.gave_up, "given up")
    assert said.startswith("another estimator runs on this node: ") and "p-1" in said
    assert ids(agent) == []


def test_who_subscribes_at_the_same_moment_is_noticed_before_anything_is_told(node: Node, agent: Peer) -> None:
    def subscribe(answer: Any) -> None:
        agent.pages["/state"] = state(slack="p-2", gate="p-3")
        agent.streams.append(answer)
        answer.begin_stream()
        answer.event(agent.greeting)

    agent.subscribes.append(subscribe)
    node.start().tell(Report(SLACK))
    (said,) = eventually(lambda: node.gave_up, "given up")
    assert "p-2" in said and agent.sent("UPDATE_STATE") == [] and agent.streams[-1].left


def test_other_providers_and_an_earlier_stream_that_is_soon_forgotten_do_not_matter(
    node: Node, agent: Peer, told: Callable[[], list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FORGOTTEN_WITHIN_S", 60.0)
    node.ids.write("p-1")
    agent.pages["/state"] = state(slack="p-1", disks="p-7")
    node.start().tell(Report(SLACK))
    asked_again(agent)
    assert ids(agent) == []
    agent.pages["/state"] = state(disks="p-7")
    eventually(lambda: told() == [4.0], "the slack told")
    assert ids(agent) == ["p-1"]
