"""What may be declared of an indicator, by labels and in the agent's configuration, and whom labels may have asked."""

from __future__ import annotations

import pytest

from serenity.qos.sources.indicator import Declaration, Indicator, IndicatorError, Rule, declaration, reach
from serenity.wire.mesos.state import RunningTask

LABELS = {
    "serenity.sli.kind": "memcached",
    "serenity.sli.address": "127.0.0.1:31211",
    "serenity.sli.metric": "cmd_get+cmd_set",
    "serenity.sli.as": "rate",
    "serenity.sli.better": "higher",
    "serenity.sli.unit": "ops/s",
}
NODE = "10.0.0.7"
TASK = RunningTask("t", "t", ports=((31000, 31000), (31211, 31220)), addresses=("172.16.5.9", "fd00::9"))


def changed(**labels):
    return {**LABELS, **{f"serenity.sli.{key.rstrip('_')}": value for key, value in labels.items()}}


# --- what labels declare ---


def test_a_declaration():
    assert declaration({**LABELS, "team": "search"}) == Declaration(
        "memcached",
        Indicator("cmd_get+cmd_set", "ops/s", "higher"),
        ("127.0.0.1", 31211),
        metric="cmd_get+cmd_set",
        reading="rate",
    )
    assert declaration({"team": "search"}) is None


def test_an_objective_and_a_quantile():
    found = declaration(changed(kind="prometheus", metric='lat{a="b"}', as_="p99.9", better="lower", objective="0.25"))
    assert found is not None
    assert found.indicator == Indicator('lat{a="b"}', "ops/s", "lower", 0.25)
    assert found.path == "/metrics"
    assert found.quantile == pytest.approx(0.999)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (changed(kind="exec"), "kind"),
        (changed(as_="sum"), "as"),
        (changed(as_="p99"), "as"),  # Of memcached.
        (changed(kind="prometheus", metric="a", as_="p0"), "as"),
        (changed(better="bigger"), "better"),
        (changed(metric="a++b"), "metric"),
        (changed(kind="prometheus", metric='a{b="c}'), "metric"),
        (changed(kind="prometheus", metric="a{b=c}"), "metric"),
        (changed(kind="json", metric="a..b"), "metric"),
        (changed(objective="fast"), "objective"),
        (changed(objective="nan"), "objective"),
        (changed(objective="inf"), "objective"),
        (changed(path="/x"), "path"),  # memcached has none.
        (changed(kind="json", path="x"), "path"),
        (changed(kind="json", path="/x HTTP/1.1\r\nHost: other"), "control characters"),
        (changed(kind="json", path="/x HTTP/1.1"), "path"),
        (changed(kind="json", path="/" + "x" * 300), "longer"),
        (changed(unit="\x1b]0;owned\x07"), "control characters"),
        (changed(frequency="1"), "frequency is unknown"),
        ({"serenity.sli.kind": "memcached"}, "is missing"),
    ],
)
def test_what_cannot_be_followed_is_refused(labels, says):
    with pytest.raises(IndicatorError, match=says):
        declaration(labels)


@pytest.mark.parametrize(
    "labels", [changed(kind="command"), changed(command="rm -rf /"), {"serenity.sli.command": "x"}]
)
def test_a_command_is_never_run_for_a_label(labels):
    with pytest.raises(IndicatorError, match="agent's configuration"):
        declaration(labels)


# --- whom they may have asked ---


def reached(address, own_network=False, task=TASK):
    found = declaration(changed(address=address))
    assert found is not None
    asked = reach(found, task, NODE, 42, own_network)
    return asked.address, asked.network_of


@pytest.mark.parametrize(
    ("address", "is_asked"),
    [
        ("127.0.0.1:31211", ("127.0.0.1", 31211)),
        ("localhost:31000", ("127.0.0.1", 31000)),
        ("[::1]:31220", ("::1", 31220)),
        (f"{NODE}:31215", (NODE, 31215)),
        (f"[::ffff:{NODE}]:31215", (NODE, 31215)),
    ],
)
def test_an_allocated_port_of_the_node(address, is_asked):
    assert reached(address) == (is_asked, None)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.0.0.2", NODE, "[::ffff:127.0.0.1]"])
@pytest.mark.parametrize("own_network", [False, True])
def test_no_other_port_of_the_node(host, own_network):
    """Such as the agent's own; in the task's own network, loopback is not the node's."""
    if own_network and host != NODE:
        assert reached(f"{host}:5051", own_network)[1] == 42
        return
    for port in (5051, 22, 31001, 31221):
        with pytest.raises(IndicatorError, match="not allocated"):
            reached(f"{host}:{port}", own_network)


@pytest.mark.parametrize(
    "address", ["10.0.0.8:31211", "169.254.169.254:31211", "0.0.0.0:31211", "[::]:31211", "172.16.5.9:31211"]
)
def test_no_address_of_others(address):
    # The last one is reported by the executor, which may report anything, and there is no such network.
    with pytest.raises(IndicatorError, match="no address of this task"):
        reached(address)


def test_a_task_with_a_network_of_its_own_is_asked_in_there():
    assert reached("172.16.5.9:80", own_network=True) == (("172.16.5.9", 80), 42)
    assert reached("[fd00::9]:80", own_network=True) == (("fd00::9", 80), 42)
    assert reached("127.0.0.1:80", own_network=True) == (("127.0.0.1", 80), 42)
    assert reached(f"{NODE}:31000", own_network=True) == ((NODE, 31000), None)  # A mapped port.
    for other in ("172.16.5.10:80", "169.254.169.254:80"):
        with pytest.raises(IndicatorError, match="no address of this task"):
            reached(other, own_network=True)


@pytest.mark.parametrize(
    "address",
    ["example.org:80", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "", "a@127.0.0.1:80", "http://127.0.0.1:31000",
     "127.1:31000", "2130706433:31000", "unix:/run/x:1", "127.0.0.1:31000/x", "127.0.0.1:-1"],
)  # fmt: skip
def test_nothing_but_an_ip_and_a_port(address):
    with pytest.raises(IndicatorError, match="address"):
        declaration(changed(address=address))


# --- what the agent's configuration declares ---


def test_a_rule_by_job():
    rule = Rule.parse({"job": "web-*", "kind": "command", "command": ["p99", "x"], "unit": "ms", "better": "lower",
                       "objective": 20})  # fmt: skip
    assert rule.matches("web-1")
    assert not rule.matches("cache")
    assert rule.declaration.command == ("p99", "x")
    assert rule.declaration.indicator == Indicator("command", "ms", "lower", 20.0)
    assert Rule.parse({"job": "x", "kind": "json", "address": "10.1.2.3:80", "metric": "a.b"}).declaration.path == "/"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"kind": "json"}, "no job"),
        ({"job": "x", "kind": "command"}, "go together"),
        ({"job": "x", "kind": "json", "address": "1.2.3.4:5", "metric": "a", "command": ["x"]}, "go together"),
        ({"job": "x", "kind": "command", "command": "rm -rf"}, "write"),
        ({"job": "x", "kind": "json", "metric": "a"}, "address is missing"),
        ({"job": "x", "kind": "json", "metric": "a", "address": "db:80"}, "IP:PORT"),
    ],
)
def test_rules_that_cannot_be_followed(entry, says):
    with pytest.raises(IndicatorError, match=says):
        Rule.parse(entry)
