"""A Mesos for one machine: master, agent and resource provider manager, speaking Mesos' v1 HTTP API.

For the demo and the tests; not for production.  `cluster.Cluster` starts it, or a real Mesos, and makes either fail.

Decisions are apart from I/O.  Pure: `master` and `agent`, two state machines with their parts in modules of their
own, which they name; `allocator`, `protobuf_json` and `schema`, the `*validation` and `*_view` modules.  In the
world: `embedded` joins `master_process` and `agent_process`, which carry out what the two want done, by `port`,
`container`, `launcher`, `cgroups` and `meta_files`.

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
