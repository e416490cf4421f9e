"""The estimator's process, against the embedded Mesos and a real one."""

from __future__ import annotations

import itertools
import json
import signal
import socket
import subprocess
import sys
import time

import pytest

from serenity.cli.main import main as serenity
from serenity.estimator import command
from serenity.localmesos.cluster.cluster import Cluster, ClusterOptions
from serenity.wire.messages import node
from tests.estimator.conftest import PIPELINE, lease
from tests.polling import eventually

pytestmark = pytest.mark.slow


def test_slack_of_production_reaches_the_frameworks_of_its_role(own_cluster, estimator, framework):
    production = framework("*")
    no_port_of_its_own = {"kind": "memcached", "address": "127.0.0.1:1", "metric": "cmd_get"}
    labels = {f"serenity.sli.{key}": value for key, value in no_port_of_its_own.items()}
    production.run("sleep 600", cpus=1.0, mem_mb=256, **labels)
    best_effort = framework("be")
    made = estimator()
    offered = eventually(lambda: best_effort.slack.mem_mb > 150 and best_effort.slack, "slack on offer")
    assert {kind.role for kind in offered.kinds} == {"be"}
    assert {kind.provider_id for kind in offered.kinds} == {made.slack["provider_id"]}
    assert 0.8 < offered.cpus <= 1.1  # Mesos gives the command executor 0.1 cpus and 32 MiB on top.
    assert 150 < offered.mem_mb <= 288
    assert not production.slack  # Reserved to another role.
    shown = made.slack
    assert shown["fresh"] and shown["subscribed"] and shown["why"] == []
    assert made.get("/health")[0] == 200
    told = made.get("/metrics")[1]
    assert b"serenity_estimator_reports_total" in told
    assert b'serenity_estimator_source_failures_total{source="sli"}' in told
    assert made.get("/nothing")[0] == 404

    # Best-effort takes it, and uses it: the total stays, the rest is offered.
    before = shown["told"]
    task = best_effort.run("while :; do :; done", cpus=0.5, mem_mb=64, revocable=True)
    eventually(lambda: 0.5 <= made.slack["held"]["cpus"] <= 0.6, "what is held")
    eventually(lambda: 0.2 < best_effort.slack.cpus <= 0.6, "the rest on offer")
    assert made.slack["told"] == before
    assert made.slack["overcommitment"]["cpus"] == 0

    # The production task ends: best-effort now holds more than there is.
    best_effort.kill(task)
    eventually(lambda: made.slack["held"]["cpus"] == 0, "nothing held")
    production.stop()
    eventually(lambda: made.slack["cpus"] == 0, "no slack without production")
    eventually(lambda: not best_effort.slack, "nothing on offer")
    code, took_s = made.end()
    assert (code, took_s < 3.0) == (0, True)
    assert not list((made.folder / "r").glob("*.sock"))
    assert list((made.folder / "s").glob("*.predictor"))


def test_killed_and_started_again_it_is_the_same_provider_with_the_same_slack(own_cluster, estimator, framework):
    production = framework("*")
    production.run("sleep 600", cpus=1.0, mem_mb=256)
    best_effort = framework("be")
    made = estimator()
    eventually(lambda: best_effort.slack.cpus > 0.8, "slack on offer")
    task = best_effort.run("sleep 600", cpus=0.3, mem_mb=64, revocable=True)
    eventually(lambda: best_effort.slack.cpus > 0.4, "the rest on offer")
    provider = made.slack["provider_id"]
    made.end(signal.SIGKILL)
    eventually(lambda: not best_effort.slack, "the slack gone with the estimator")
    assert best_effort.states[task] == "TASK_RUNNING"
    made.start()
    offered = eventually(lambda: best_effort.slack if best_effort.slack.cpus > 0.4 else None, "the slack back")
    assert {kind.provider_id for kind in offered.kinds} == {provider}
    eventually(lambda: 0.3 <= made.slack.get("held", {}).get("cpus", 0) <= 0.4, "what is held, known again")
    # No double: what is offered and what is held make the total.
    assert best_effort.slack.cpus + 0.3 <= 1.1
    assert best_effort.states[task] == "TASK_RUNNING"


@pytest.mark.parametrize("lost", ["the id", "the role"])
def test_what_is_held_of_the_provider_before_is_not_offered_again(own_cluster, estimator, framework, lost):
    """The agent takes from our total only what is held of this id and role."""
    production = framework("*")
    production.run("sleep 600", cpus=1.0, mem_mb=256)
    best_effort = framework("be")
    made = estimator()
    eventually(lambda: best_effort.slack.cpus > 0.8, "slack on offer")
    task = best_effort.run("sleep 600", cpus=0.3, mem_mb=64, revocable=True)
    eventually(lambda: 0.3 <= made.slack["held"]["cpus"] <= 0.4, "what is held, known")
    before = made.slack["provider_id"]
    made.end()
    other = best_effort
    if lost == "the id":
        next((made.folder / "s").glob("*.provider")).unlink()
    else:
        other = framework("other")
        made.arguments[made.arguments.index("--role") + 1] = "other"
    for again in (False, True):  # A restart forgets none of it.
        if again:
            made.end()
        made.start()
        eventually(lambda: other.slack.cpus > 0.4, "the rest on offer")
        eventually(lambda: made.slack.get("held", {}).get("cpus", 0) >= 0.3, "what is held, known again")
        total = made.slack
        assert other.slack.cpus + 0.3 <= total["cpus"] + 0.02
        assert total["free"]["cpus"] <= total["cpus"] - 0.3 + 0.02
        assert (total["provider_id"] == before) is (lost == "the role")
        assert best_effort.states[task] == "TASK_RUNNING"
    best_effort.kill(task)
    eventually(lambda: other.slack.cpus > 0.8, "all of it, when that has ended")


def test_the_valve_takes_the_offers_back_and_opens_by_itself(own_cluster, estimator, framework):
    production = framework("*")
    production.run("sleep 600", cpus=1.0, mem_mb=256)
    best_effort = framework("be")
    made = estimator()
    eventually(lambda: best_effort.slack.cpus > 0.8, "slack on offer")
    with lease(made.socket, node.Lease(holder="E", reason="contention", ttl_s=1.5)):
        eventually(lambda: made.slack["valve"]["closed"], "the valve closed")
        eventually(lambda: made.slack["told"]["cpus"] == 0, "the agent told so")
        said = b'serenity_estimator_reading{reading="valve_closed"} 1'
        eventually(lambda: said in made.get("/metrics")[1], "executors told by the frames")
        eventually(lambda: not best_effort.slack, "the offers rescinded")
        assert "rescinded" in best_effort.events
    eventually(lambda: not made.slack["valve"]["closed"], "the lease run out")
    eventually(lambda: best_effort.slack.cpus > 0.8, "slack on offer again")
    changes = made.get("/metrics")[1].decode()
    assert 'serenity_estimator_valve_changes_total{to="closed"} 1' in changes
    assert 'serenity_estimator_valve_changes_total{to="open"} 1' in changes


def test_operators_hold_the_valve_beside_executors_and_over_a_restart(embedded, estimator, framework, capsys):
    framework("*", embedded).run("sleep 600", cpus=1.0, mem_mb=256)
    best_effort = framework("be", embedded)
    made = estimator(agent=embedded.agent)

    def valve(*arguments):
        code = serenity(["estimator", *arguments, "--run-dir", str(made.folder / "r")])
        said = capsys.readouterr()
        return code, said.out + said.err

    code, said = valve("leases")
    assert code == 5 and "no estimator runs here" in said
    eventually(lambda: best_effort.slack.cpus > 0.8, "slack on offer")
    assert valve("leases") == (0, "the valve is open: nobody holds it\n")
    code, said = valve("hold", "--for", "10m", "--reason", "a new disk", "--holder", "ann")
    assert code == 0 and "held by ann for another 10m00s (a new disk)" in said
    eventually(lambda: not best_effort.slack, "the offers rescinded")
    with lease(made.socket, node.Lease(holder="E", reason="contention", ttl_s=60.0)):
        eventually(lambda: len(made.slack["valve"]["leases"]) == 2, "two holders")
    assert "ann holds it for 600 s (a new disk)" in made.log.read_text()
    assert b"serenity_estimator_leases 2" in made.get("/metrics")[1]
    made.end(signal.SIGKILL)
    made.start()
    shown = eventually(lambda: made.slack.get("valve", {}), "the valve, after a restart")
    assert [(each["holder"], each["reason"]) for each in shown["leases"]] == [
        ("ann", "a new disk"),
        ("E", "contention"),
    ]
    code, said = valve("release", "--holder", "bob")
    assert code == 3 and "bob has no lease on the valve; the valve is closed, held by ann" in said
    code, said = valve("release", "--holder", "ann", "--json")
    assert code == 0 and [each["holder"] for each in json.loads(said)] == ["E"]
    assert valve("release", "--holder", "E") == (0, "the valve is open: nobody holds it\n")
    eventually(lambda: best_effort.slack.cpus > 0.8, "slack on offer again")
    code, said = valve("hold", "--for", "2d")
    assert code == 4 and "at most 86400" in said


def test_an_agent_that_goes_away_and_returns_is_survived(own_cluster, estimator, framework):
    production = framework("*")
    production.run("sleep 600", cpus=1.0, mem_mb=256)
    best_effort = framework("be")
    made = estimator()
    eventually(lambda: best_effort.slack.cpus > 0.8, "slack on offer")
    provider = made.slack["provider_id"]
    own_cluster.kill_agent()
    eventually(lambda: not made.slack["subscribed"], "noticed")
    assert made.get("/health")[0] == 503
    own_cluster.start_agent()
    eventually(lambda: made.slack["subscribed"], "subscribed again")
    eventually(lambda: best_effort.slack.cpus > 0.8, "slack on offer again")
    assert made.slack["provider_id"] == provider
    code, took_s = made.end()
    assert (code, took_s < 3.0) == (0, True)


def test_an_agent_that_returns_under_a_new_id_is_another_node(tmp_path_factory, estimator, framework):
    first = Cluster(ClusterOptions(tmp_path_factory.mktemp("a")))
    first.start()

    def kept():
        return {each.name: each.read_text().strip() for each in (made.folder / "s").glob("*.provider")}

    try:
        made = estimator(agent=first.agent)
        eventually(lambda: kept(), "subscribed")
        before = made.slack
    finally:
        first.stop()
    # On the same port with an empty work directory, as after the loss of a disk.
    port = int(first.agent.rpartition(":")[2])
    second = Cluster(ClusterOptions(tmp_path_factory.mktemp("b"), agent_port=port))
    second.start()
    try:
        eventually(lambda: made.slack.get("agent_id") not in (before["agent_id"], None), "the new id")
        eventually(lambda: len(kept()) == 2, "subscribed again")
        after = made.slack
        assert after["provider_id"] != before["provider_id"]
        assert kept() == {f"{each['agent_id']}.provider": each["provider_id"] for each in (before, after)}
        assert made.socket.name == f"{after['agent_id']}.sock"
    finally:
        second.stop()


def test_executors_get_history_and_samples_with_the_rows_that_they_declared(embedded, estimator, framework):
    production = framework("*", embedded)
    production.run("sleep 600", cpus=1.0, mem_mb=256)
    made = estimator(agent=embedded.agent)
    eventually(lambda: made.slack.get("cpus"), "an estimate")
    with lease(made.socket) as connection:
        connection.settimeout(10)
        lines = connection.makefile("rb")
        welcome = node.decode_to_executor(lines.readline())
        assert isinstance(welcome, node.Welcome)
        assert welcome.interval_s == 0.2
        history = node.decode_to_executor(lines.readline())
        assert isinstance(history, node.History)
        assert history.frames
        samples = [node.decode_to_executor(lines.readline()) for _ in range(5)]
    made.end()
    made.start()
    eventually(lambda: made.slack.get("cpus"), "an estimate")
    with lease(made.socket) as connection, connection.makefile("rb") as lines:
        assert isinstance(node.decode_to_executor(lines.readline()), node.Welcome)
        after = node.decode_to_executor(lines.readline()).frames
    assert after[: len(history.frames)] == history.frames  # A restart costs no past.
    times = [each.frame["t"] for each in samples if isinstance(each, node.Sample)]
    assert times[0] > history.frames[-1]["t"]
    # Every 0.2 s, though the machine may be busy now and then.
    assert sorted(b - a for a, b in itertools.pairwise(times))[1] == pytest.approx(0.2, abs=0.1)
    rows = samples[-1].frame["containers"]
    assert [(each["role"], each["job"], each["cpus"]) for each in rows] == [
        ("production", "sleep", pytest.approx(1.0, abs=0.2))
    ]


# --- on the command line ---


def run(*arguments, timeout_s=30.0):
    process = [sys.executable, "-m", "serenity.estimator", *arguments]
    return subprocess.run(process, capture_output=True, text=True, timeout=timeout_s)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--bogus"], "--bogus"),
        (["--interval", "soon"], "--interval"),
        (["--interval", "0"], "interval_s = 0"),
        (["--agent", "no address"], "no address"),
        (["--listen", "5055"], "5055"),
        (["--json"], "add --once"),
        (["--role", ""], "role is empty"),
        (["--pipeline", "/nowhere.toml"], "/nowhere.toml"),
    ],
)
def test_bad_arguments_end_with_one_line_and_2(arguments, says, capsys):
    try:
        code = command.main(arguments)
    except SystemExit as error:  # argparse's own.
        code = error.code
    assert code == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_a_port_in_use_ends_with_one_line_and_4():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("--listen", f"127.0.0.1:{port}")
    assert ended.returncode == 4
    assert ended.stderr.count("\n") == 1
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "--listen" in ended.stderr


def test_it_waits_for_its_agent_says_so_once_and_stops_when_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "serenity.estimator", "--agent", f"127.0.0.1:{nobody}", "--listen", "127.0.0.1:0",
         "--run-dir", str(tmp_path), "--state-dir", str(tmp_path)],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(3.0)
    process.terminate()
    stopping_s = time.monotonic()
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - stopping_s < 3.0
    assert process.returncode == 0
    assert said.count("waiting for the agent") == 1
    assert "Traceback" not in said


def test_one_look_at_an_agent_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()[1]
    ended = run("--once", "--agent", f"127.0.0.1:{nobody}")
    assert ended.returncode == 5
    assert str(nobody) in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_one_look(embedded, framework, tmp_path):
    framework("*", embedded).run("sleep 600", cpus=1.0, mem_mb=256)
    file = tmp_path / "pipeline.toml"
    file.write_text(PIPELINE)
    ended = run("--once", "--json", "--agent", embedded.agent, "--interval", "0.2", "--pipeline", str(file))
    assert (ended.returncode, ended.stderr) == (0, "")
    seen = json.loads(ended.stdout)
    assert 0.7 < seen["cpus"] <= 1.0
    assert [each["job"] for each in seen["containers"]] == ["sleep"]
    ended = run("--once", "--agent", embedded.agent, "--interval", "0.2")
    assert "slack" in ended.stdout.splitlines()[0]
    assert "production" in ended.stdout.splitlines()[-1]


def test_a_second_estimator_on_the_same_agent_is_refused(embedded, estimator):
    first = estimator(agent=embedded.agent)
    eventually(lambda: first.slack.get("subscribed"), "subscribed")
    ended = run("--agent", embedded.agent, "--listen", "127.0.0.1:0", "--run-dir", str(first.folder / "r"),
                "--state-dir", str(first.folder / "s"))  # fmt: skip
    assert ended.returncode == 4
    assert f"process {first.process.pid} holds" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert first.slack["subscribed"]


def test_a_second_estimator_is_refused_that_shares_no_folder_with_the_first(own_cluster, estimator, tmp_path):
    first = estimator()
    before = eventually(lambda: first.slack if first.slack.get("told") else None, "subscribed")
    ended = run("--agent", own_cluster.agent, "--listen", "127.0.0.1:0", "--run-dir", str(tmp_path / "r"),
                "--state-dir", str(tmp_path / "s"))  # fmt: skip
    (said,) = [line for line in ended.stderr.splitlines() if line.startswith("serenity estimator: ")]
    assert ended.returncode == 4
    assert said.startswith(f"serenity estimator: {node.ANOTHER_ESTIMATOR}") and before["provider_id"] in said
    assert "Traceback" not in ended.stderr
    assert first.slack["subscribed"] and first.slack["provider_id"] == before["provider_id"]
    first.end(signal.SIGKILL)
    # And one that comes at once after another's sudden end is not.
    first.start()
    eventually(lambda: first.slack.get("subscribed"), "subscribed again")
