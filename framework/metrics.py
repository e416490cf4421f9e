"""What the framework counts, in one table; shown at ``/metrics``."""

from __future__ import annotations

from serenity.daemon.metrics import Metric, MetricsTable

METRICS = (
    Metric("serenity_framework_subscribed", "gauge", "1 while there is a subscription to the Mesos master"),
    Metric("serenity_framework_leading", "gauge", "1 while this instance leads; of several, one does"),
    Metric("serenity_framework_jobs", "gauge", "jobs that have not ended"),
    Metric("serenity_framework_estimators", "gauge", "agents by what the roll-out of estimators has there"),
    Metric("serenity_framework_watchers", "gauge", "clients that follow the events"),
    Metric("serenity_framework_commits_total", "counter", "transactions, one a round that changed something"),
    Metric("serenity_framework_commit_seconds_total", "counter", "time spent in transactions"),
    Metric("serenity_framework_commit_retries_total", "counter", "transactions that had to be tried again"),
    Metric("serenity_framework_forgotten_rows_total", "counter", "rows of the store removed, of what ended long ago"),
    Metric("serenity_framework_messages_total", "counter", "what came in from users and Mesos"),
    Metric("serenity_framework_message_failures_total", "counter", "those whose handling raised: bugs"),
    Metric("serenity_framework_calls_total", "counter", "calls to Mesos, by type"),
    Metric("serenity_framework_calls_failed_total", "counter", "calls that were refused or not sent, by type"),
    Metric("serenity_framework_events_total", "counter", "events for watchers, by type"),
    Metric("serenity_framework_attempts_ended_total", "counter", "attempts that ended, by state and reason"),
)


def table() -> MetricsTable:
    return MetricsTable(METRICS)
