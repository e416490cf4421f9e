"""`serenity nodes --estimators`: what there is on each agent, why that is not all well, and what to do."""

from __future__ import annotations

import time

import msgspec
import pytest

from serenity.cli.main import main
from serenity.wire.messages import api
from tests.cli.conftest import framework_that_says


def node(host, estimator):
    amounts = dict.fromkeys(("slack_cpus", "held_cpus"), 1.0) | dict.fromkeys(("slack_mem_bytes", "held_mem_bytes"), 1)
    return api.Node(id=f"S-{host}", hostname=host, active=True, tasks=0, estimator=estimator, **amounts)


def shown(capfd, nodes, *more):
    with framework_that_says(nodes) as url:
        code = main(["nodes", "--estimators", *more, "--url", url])
    assert code == 0
    return capfd.readouterr()


def test_each_agent_has_a_line_and_what_is_wrong_another(capfd):
    since = time.time() - 7200.5
    nodes = api.Nodes(
        nodes=(
            node("h1", api.Estimator(state="running", version="9cd92634", since=since)),
            node("h2", api.Estimator(state="running", version="2de7972e", outdated=True, since=since, why="waits")),
            node(
                "h3", api.Estimator(state="none", why="nothing is reserved there", remedy="curl -d x http://m/reserve")
            ),
            node("h4", None),
        ),
        roll_out="no other estimator is upgraded before h1's does well: its slack is not back",
    )
    assert shown(capfd, nodes).out.splitlines() == [
        "AGENT  ESTIMATOR  VERSION         SINCE",
        "h1     running    9cd92634        2h00m",
        "h2     running    2de7972e (old)  2h00m",
        "h3     none       -               -",
        "h2: waits",
        "h3: nothing is reserved there",
        "  to reserve it: curl -d x http://m/reserve",
        "no other estimator is upgraded before h1's does well: its slack is not back",
    ]


def test_a_framework_that_rolls_out_none_says_how_it_would(capfd):
    said = shown(capfd, api.Nodes(nodes=(node("h1", None),)))
    assert said.out == "" and "`serenity framework --roll-out-estimators`" in said.err


def test_where_the_master_knows_no_agents_it_does_not_matter_who_rolls_out(capfd):
    said = shown(capfd, api.Nodes(nodes=()))
    assert (said.out, said.err) == ("", "the master knows no agents\n")


def test_json_has_all_that_is_known_of_the_roll_out(capfd):
    nodes = api.Nodes(nodes=(node("h1", api.Estimator(state="running")),), roll_out="no other one is upgraded")
    assert msgspec.json.decode(shown(capfd, nodes, "--json").out, type=api.Nodes) == nodes


@pytest.mark.parametrize("other", ["--hold", "--release"])
def test_it_does_not_go_with_holding_an_agent(capfd, other):
    assert main(["nodes", "--estimators", other, "h1", "--url", "http://127.0.0.1:1"]) == 2
    assert "--estimators does not go with --hold or --release" in capfd.readouterr().err
