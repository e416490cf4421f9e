"""Who comes as an operator."""

from __future__ import annotations

from serenity.wire.messages import node
from tests.estimator.node_server.conftest import TASK


def test_an_operator_moves_the_valve_and_is_told_who_holds_it(server, heard, peer):
    operator = peer(hello=None)
    lease = node.Lease(holder="operator ann", reason="disk", ttl_s=60.0)
    held = (node.HeldLease(holder="operator ann", reason="disk", ends_in_s=60.0),)
    answers = []
    for word in (node.Operator(pid=1), lease, node.Release(holder="bob"), node.Release(holder="operator ann")):
        operator.say(word)
        answers.append(operator.hear())
    assert answers == [
        node.Leases(leases=()),
        node.Leases(leases=held),
        node.Leases(leases=held, refused="bob has no lease on the valve"),
        node.Leases(leases=()),
    ]
    server.publish(node.encode_line(node.Sample(frame={"t": 1.0})))
    operator.say(node.Lease(holder="", reason="", ttl_s=1.0))
    assert operator.hear().refused == "a lease needs a holder"  # And no sample before it: it is no executor.
    assert server.executors == 0


def test_an_operator_runs_no_tasks(server, heard, peer):
    operator = peer(hello=None)
    operator.say(node.Operator(pid=1))
    assert operator.hear() == node.Leases(leases=())
    operator.say(node.Tasks(tasks=(TASK,)))
    assert operator.socket.recv(100) == b""
    assert heard.words == []
