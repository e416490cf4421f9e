"""All metrics of the estimator."""

from __future__ import annotations

from serenity.daemon.metrics import Metric, MetricsTable

_P = "serenity_estimator_"

SLACK_CPUS = _P + "slack_cpus"
SLACK_MEM = _P + "slack_mem_bytes"
TOLD_CPUS = _P + "told_cpus"
TOLD_MEM = _P + "told_mem_bytes"
HELD_CPUS = _P + "held_cpus"
HELD_MEM = _P + "held_mem_bytes"
OVER_CPUS = _P + "overcommitment_cpus"
OVER_MEM = _P + "overcommitment_mem_bytes"
FRESH = _P + "fresh"
CONTAINERS = _P + "containers"
FRAMES = _P + "frames_total"
MISSED_TICKS = _P + "missed_ticks_total"
FAILED_TICKS = _P + "failed_ticks_total"
SAMPLE_CPU = _P + "sample_cpu_seconds"
SOURCE_FAILURES = _P + "source_failures_total"
READING = _P + "reading"
AGENT_FAILURES = _P + "agent_failures_total"
SUBSCRIBED = _P + "subscribed"
SUBSCRIPTIONS = _P + "subscriptions_total"
REPORTS = _P + "reports_total"
REPORT_FAILURES = _P + "report_failures_total"
PUBLISHES = _P + "publishes_total"
VALVE_CLOSED = _P + "valve_closed"
VALVE_CHANGES = _P + "valve_changes_total"
LEASES = _P + "leases"
LEASE_CHANGES = _P + "lease_changes_total"
EXECUTORS = _P + "executors"
DROPPED_READERS = _P + "dropped_readers_total"


# Shown as 0 before the first event: Prometheus sees no increase in a series that begins with that event.
_FROM_THE_START = (
    *((name, {}) for name in (SUBSCRIBED, SUBSCRIPTIONS, REPORTS, REPORT_FAILURES, PUBLISHES, FRAMES, DROPPED_READERS)),
    *((name, {}) for name in (VALVE_CLOSED, LEASES, AGENT_FAILURES, FAILED_TICKS)),
    *((VALVE_CHANGES, {"to": to}) for to in ("closed", "open")),
    *((LEASE_CHANGES, {"how": how}) for how in ("held", "prolonged", "released", "ran_out")),
)


def table() -> MetricsTable:
    made = MetricsTable(
        (
            Metric(SLACK_CPUS, "gauge", "Slack of the node, what best-effort holds included."),
            Metric(SLACK_MEM, "gauge", "Slack of the node, what best-effort holds included."),
            Metric(TOLD_CPUS, "gauge", "The total that the agent was last told."),
            Metric(TOLD_MEM, "gauge", "The total that the agent was last told."),
            Metric(HELD_CPUS, "gauge", "Allocated to best-effort."),
            Metric(HELD_MEM, "gauge", "Allocated to best-effort."),
            Metric(OVER_CPUS, "gauge", "By how much best-effort holds more than the slack."),
            Metric(OVER_MEM, "gauge", "By how much best-effort holds more than the slack."),
            Metric(FRESH, "gauge", "1 while the estimate rests on current data, 0 while no new slack is given."),
            Metric(CONTAINERS, "gauge", "Rows in the last frame, by role."),
            Metric(FRAMES, "counter", "Frames sampled."),
            Metric(MISSED_TICKS, "counter", "Samples that were left out because the one before took too long."),
            Metric(FAILED_TICKS, "counter", "Samples that failed as nobody had foreseen, and gave no new slack."),
            Metric(SAMPLE_CPU, "gauge", "CPU time that the last sample cost."),
            Metric(SOURCE_FAILURES, "counter", "Readings that failed, by what was read."),
            Metric(READING, "gauge", "The node's own values in the last frame (docs/sources.md); NaN: not measured."),
            Metric(AGENT_FAILURES, "counter", "Questions that the agent did not answer."),
            Metric(SUBSCRIBED, "gauge", "1 while the agent knows this estimator as a resource provider."),
            Metric(SUBSCRIPTIONS, "counter", "Subscriptions as a resource provider."),
            Metric(REPORTS, "counter", "Totals told to the agent."),
            Metric(REPORT_FAILURES, "counter", "Totals that could not be told."),
            Metric(PUBLISHES, "counter", "Launches on slack that the agent announced."),
            Metric(VALVE_CLOSED, "gauge", "1 while the valve is closed."),
            Metric(VALVE_CHANGES, "counter", "Openings and closings of the valve."),
            Metric(LEASES, "gauge", "Leases that hold the valve closed."),
            Metric(LEASE_CHANGES, "counter", "Leases that were taken, prolonged, released, or ran out, by which."),
            Metric(EXECUTORS, "gauge", "Executors on the node's socket."),
            Metric(DROPPED_READERS, "counter", "Executors disconnected because they did not read."),
        )
    )
    for name, labels in _FROM_THE_START:
        made.add(name, 0.0, **labels)
    return made
