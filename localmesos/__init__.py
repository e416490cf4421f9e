"""A Mesos for one machine: master, agent and resource provider manager, speaking Mesos' v1 HTTP API.

For the demo and the tests; not for production.

    cluster/     starts it, or a real Mesos, as processes, and makes either fail
    master/      the master, a state machine with its parts in modules of their own, which it names
    agent/       the agent, likewise
    containers/  processes started, measured, limited and ended
    web/         ports, streams, and JSON that is a protobuf message

Decisions are apart from I/O: all of `master` and `agent` is pure but `process`, `files` and `meta_files`, and the
programs that they start.  `embedded` joins the two, `endpoints` says what is behind each path of theirs.  Between
them stand `messages`, and `tasks` as both know them.

It refuses what Mesos refuses, in the same words (``tests/localmesos/test_refused_*``), and what it says has the
same shape (``test_shapes``).  Knowingly different from a real Mesos:

* The master's state is in memory, as with ``--registry=in_memory``; the agent's is checkpointed.
* One agent; it is never drained or deactivated.
* JSON only, no authentication, no TLS.
* Of the offer operations only LAUNCH; no task groups, volumes, health checks, images, or URIs.
* Isolation by cgroups v1 if it is asked for, without a listener for memory pressure or the OOM killer; else none.
  Either way nothing of a container survives it.
* An agent that finds the checkpoint of one with other resources begins anew, where Mesos refuses to start.
* Two live streams of one resource provider id: the newer one replaces the older, where Mesos aborts.
"""
