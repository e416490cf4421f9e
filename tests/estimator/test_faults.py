"""The estimator's process beside an agent that says nonsense, says nothing, or launches at the wrong moment."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.estimator.conftest import Estimator, lease
from tests.estimator.made_up_agent import (
    PIPELINE,
    PROVIDER_ID,
    WEB,
    agent_with,
    answers,
    launch,
    publish,
    running_agent,
    state,
    told,
)
from tests.polling import eventually
from tests.wire.conftest import Peer


@pytest.fixture(scope="module")
def agent() -> Iterator[Peer]:
    with running_agent() as made:
        yield made


@pytest.fixture(scope="module")
def estimator(agent: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estimator]:
    """One that has slack, for all tests: each leaves the agent as it was."""
    folder = tmp_path_factory.mktemp("e")
    (folder / "faults.toml").write_text(PIPELINE)
    made = Estimator(agent.address, folder, "--pipeline", str(folder / "faults.toml"), "--reserve", "cpus=0.25")
    made.start()
    yield made
    assert made.process is not None
    if made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def told_cpus(shown: dict[str, Any]) -> float | None:
    return (shown.get("told") or {}).get("cpus")


@pytest.fixture
def slack(agent: Peer, estimator: Estimator) -> dict[str, Any]:
    seen = eventually(lambda: seen if told_cpus(seen := estimator.slack) == 1.75 else {}, "slack")
    eventually(lambda: [each.get("cpus") for each in told(agent)][-1:] == [1.75], "the agent told of it")
    return seen


def test_slack_is_of_cpus_and_memory_alone_less_the_reserve(agent: Peer, slack: dict[str, Any]) -> None:
    total = eventually(lambda: told(agent), "a total that the agent was told")[-1]
    assert total.keys() == {"cpus", "mem"} and 1000 <= total["mem"] < 1024
    assert slack["why"] == ["cpus is bounded by this agent's reserve"]


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (state(web={"cpus": float("nan"), "mem": 1024.0}), "s old"),
        ({**state(web=WEB), "resources": {}}, "the node's capacity is not known"),
    ],
)
def test_what_makes_no_sense_gives_no_new_slack_and_accuses_nobody(
    agent: Peer, estimator: Estimator, slack: dict[str, Any], page: Any, says: str
) -> None:
    publish(agent, "before", cpus=0.5)
    eventually(lambda: estimator.slack["held"]["cpus"] == 0.5, "what is held by a launch")
    agent.pages["/state"] = page
    seen = eventually(lambda: estimator.slack if not estimator.slack["fresh"] else {}, "no fresh estimate")
    assert any(says in each for each in seen["why"]), seen["why"]
    assert seen["overcommitment"] == {"cpus": 0.0, "mem_bytes": 0}
    eventually(lambda: told_cpus(estimator.slack) <= 0.5, "the agent told of no more than is held")
    assert estimator.get("/health")[0] == 503
    agent.pages["/state"] = state(web=WEB)
    eventually(lambda: told_cpus(estimator.slack) == 1.75, "slack again")


def test_an_agent_that_does_not_answer_gives_no_new_slack(
    agent: Peer, estimator: Estimator, slack: dict[str, Any]
) -> None:
    agent.close()
    seen = eventually(lambda: estimator.slack if not estimator.slack["fresh"] else {}, "no fresh estimate")
    assert seen["told"] is None and seen["free"]["cpus"] == 0.0
    assert any("the agent's word is" in each for each in seen["why"])
    assert not seen["subscribed"]
    before = len(told(agent))
    agent.start(agent.port)
    eventually(lambda: estimator.slack["subscribed"] and told_cpus(estimator.slack) == 1.75, "slack again")
    eventually(lambda: [each.get("cpus") for each in told(agent)[before:]][-1:] == [1.75], "the agent told of it")
    ids = [each["subscribe"]["resource_provider_info"].get("id") for each in agent.sent("SUBSCRIBE")]
    assert ids == [None, {"value": PROVIDER_ID}]


def test_launches_are_let_go_on_and_the_total_does_not_move(
    agent: Peer, estimator: Estimator, slack: dict[str, Any]
) -> None:
    before = told(agent)
    for number in range(50):
        launch(agent, f"launch-{number}", cpus=0.01 * number)
    agent.pages["/state"] = state(web=WEB, be={"cpus_revocable": 1.5, "mem_revocable": 512.0})
    eventually(lambda: estimator.slack["held"]["cpus"] == 1.5, "what is held")
    time.sleep(0.5)  # Two more estimates.
    assert told(agent) == before
    agent.pages["/state"] = state(web=WEB)
    eventually(lambda: estimator.slack["held"]["cpus"] == 0, "nothing held")


def test_launches_are_let_go_on_while_the_agent_is_slow_to_take_a_report(
    agent: Peer, estimator: Estimator, slack: dict[str, Any]
) -> None:
    taken, reports = threading.Event(), len(told(agent))
    agent.calls.append(lambda answer: (taken.wait(60.0), answer.whole(202)))
    agent.pages["/state"] = state(web={"cpus": 1.0, "mem": 1024.0})
    eventually(lambda: len(told(agent)) > reports, "a report")
    for number in range(10):
        launch(agent, f"beside-{number}")
    assert len(told(agent)) == reports + 1 and not agent.calls
    taken.set()
    agent.pages["/state"] = state(web=WEB)
    eventually(lambda: told_cpus(estimator.slack) == 1.75 and told(agent)[-1]["cpus"] == 1.75, "slack again")


def test_stopping_lowers_the_total_first_and_answers_what_still_comes(
    agent: Peer, estimator: Estimator, slack: dict[str, Any]
) -> None:
    """The last one: it ends the process."""
    assert estimator.process is not None
    before = len(told(agent))
    with lease(estimator.socket) as executor, executor.makefile("rb") as lines:
        executor.settimeout(10.0)
        lines.readline()  # It is served.
        estimator.process.terminate()
        eventually(lambda: len(told(agent)) > before, "the total lowered")
        with contextlib.suppress(ConnectionResetError):
            lines.read()  # To the end, which comes first: an executor's release would raise the total again.
    assert told(agent)[-1] == {} and not agent.streams[-1].left
    publish(agent, "late", cpus=0.5)  # On an offer from before.
    assert estimator.process.wait(10.0) == 0
    assert answers(agent)["late"] == "OK"
    assert agent.streams[-1].left


def test_an_agent_that_cannot_have_slack_is_refused_in_one_line(tmp_path: Path) -> None:
    """By the daemon, and by one look, which else would show slack that there cannot be."""
    unfit = {
        "Mesos 1.7.3; resource providers can be relied on from 1.8.0 on": {"/version": {"version": "1.7.3"}},
        "--resource_estimator=org_example_Fixed": {"/flags": {"flags": {"resource_estimator": "org_example_Fixed"}}},
    }
    agents = [agent_with(os.getpid(), **pages) for pages in unfit.values()]
    command = [sys.executable, "-P", "-m", "serenity.estimator", "--listen", "127.0.0.1:0", "--run-dir", str(tmp_path)]
    command += ["--state-dir", str(tmp_path)]
    started = [
        subprocess.Popen([*command, "--agent", each.address], stderr=subprocess.PIPE, text=True) for each in agents
    ]
    for why, agent, process in zip(unfit, agents, started, strict=True):
        _, words = process.communicate(timeout=30)
        said = [line for line in words.splitlines() if line.startswith("serenity estimator: ")]
        assert process.returncode == 4 and len(said) == 1 and why in said[0]
        assert agent.sent("SUBSCRIBE") == []
    looks = [
        subprocess.Popen([*command, "--once", "--agent", each.address], stdout=-1, stderr=-1, text=True)
        for each in agents
    ]
    for why, agent, process in zip(unfit, agents, looks, strict=True):
        shown, words = process.communicate(timeout=30)
        assert (process.returncode, shown, words.count("\n")) == (4, "", 1) and why in words
        agent.close()
    assert list(tmp_path.iterdir()) == []


def test_what_was_learnt_of_an_agent_is_not_held_of_the_next_one_there(tmp_path: Path) -> None:
    (tmp_path / "learns.toml").write_text(PIPELINE)
    with running_agent() as agent:
        made = Estimator(agent.address, tmp_path, "--pipeline", str(tmp_path / "learns.toml")).start()
        assert made.process is not None
        try:
            eventually(lambda: made.slack.get("fresh"), "a sample")
            renamed_at = time.time()
            agent.pages["/state"] = {**state(web=WEB), "id": "agent-2"}
            eventually(lambda: made.slack.get("agent_id") == "agent-2" and made.slack["fresh"], "one of the second")
            assert made.end()[0] == 0
        finally:
            made.process.kill()
            made.process.wait()
    kept = json.loads((tmp_path / "s" / "agent-2.predictor").read_bytes())
    assert kept["state"]["predictor"]["cpu"]["web"]["first_t"] >= renamed_at
