"""A Mesos for one machine: master, agent and resource provider manager, speaking Mesos' v1 HTTP API.

For the demo and the tests; not for production.

    cluster/     starts it, or a real Mesos, as processes, and makes either fail
    master/      the master, a state machine with its parts in modules of their own, which it names
    agent/       the agent, likewise
    containers/  processes started, measured, limited and ended
    web/         ports, streams, and JSON that is a protobuf message

Decisions are apart from I/O: `master` and `agent` are pure but for their modules `process`, `files` and
`meta_files`, and the program `command_executor`.  `embedded` joins master and agent, `endpoints` says what is behind
each path of their ports.  Both share `messages`, and `tasks` as each of them knows them.

It refuses what Mesos refuses, in the same words (``tests/localmesos/test_refused_*``), and its answers have the
same shape (``test_shapes``).  Knowingly different from a real Mesos:

* The master's state is in memory, as with ``--registry=in_memory``; the agent's is checkpointed.
* One agent; it is never drained or deactivated.
* JSON only, no authentication, no TLS.
* Of the offer operations only LAUNCH; no task groups, volumes, health checks, images, or URIs.
* Isolation by cgroups v1 if it is asked for, without a listener for memory pressure or the OOM killer; else none.
  Either way no process survives its container.
* An agent that finds the checkpoint of an agent with another hostname or other resources begins anew, where Mesos
  refuses to start.
* Two live streams of one resource provider id: the newer one replaces the older, where Mesos aborts.
"""
