"""A Mesos for one machine: master, agent and resource provider manager, speaking Mesos' v1 HTTP API.

For the demo and the tests; not for production.  `cluster.Cluster` starts it, or a real Mesos.

Decisions are apart from I/O.  Pure: `master` and `agent` (state machines, with their parts
`launching`, `provider`, `executor_calls`, `updates`), `allocator`, `validation`, the `*_view` modules.
In the world: `embedded` carries out what they want done, by `streams`, `http`, `container`.

Knowingly different from a real Mesos:

* State is in memory, all of it; nothing is checkpointed, and no agent recovers.
* One agent, known at once; it is never lost, drained or deactivated.
* Calls are not checked against the protobuf schema: unknown fields pass, a field of the wrong type is
  a 400 in other words.  JSON only, no authentication, no TLS.
* Of the offer operations only LAUNCH; no task groups, volumes, health checks, images, or URIs.
* No isolation: limits are shown and not enforced.  But nothing of a container survives it.
* Two live streams of one resource provider id: the newer one replaces the older, where Mesos aborts.
"""
