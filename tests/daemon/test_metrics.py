from __future__ import annotations

import math
import threading

import pytest

from serenity.daemon.metrics import Metric, MetricsTable

TABLE = (
    Metric("serenity_kills_total", "counter", "Best-effort tasks killed."),
    Metric("serenity_slack_cpus", "gauge", "Slack reported."),
)


@pytest.fixture
def table() -> MetricsTable:
    return MetricsTable(TABLE)


def test_the_text_that_prometheus_reads(table: MetricsTable) -> None:
    table.add("serenity_kills_total", reason="QOS_CPU", agent="h7")
    table.add("serenity_kills_total", 2, agent="h7", reason="QOS_CPU")
    table.add("serenity_kills_total", reason='odd "reason"\\\n', agent="h7")
    table.set("serenity_slack_cpus", 2.25)
    assert table.prometheus() == (
        "# HELP serenity_kills_total Best-effort tasks killed.\n"
        "# TYPE serenity_kills_total counter\n"
        'serenity_kills_total{agent="h7",reason="QOS_CPU"} 3\n'
        'serenity_kills_total{agent="h7",reason="odd \\"reason\\"\\\\\\n"} 1\n'
        "# HELP serenity_slack_cpus Slack reported.\n"
        "# TYPE serenity_slack_cpus gauge\n"
        "serenity_slack_cpus 2.25\n"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((12_345_678.0, "12345678"), (0.1, "0.1"), (1 / 3, "0.3333333333333333"), (-0.5, "-0.5")),
        *((math.nan, "NaN"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (17, "17")),
    ],
)
def test_no_digit_is_lost(table: MetricsTable, value: float, text: str) -> None:
    """Seen: six digits, so that a counter beyond a million stood still."""
    table.set("serenity_slack_cpus", value)
    assert table.prometheus().splitlines()[-1] == f"serenity_slack_cpus {text}"


def test_what_is_not_in_the_table_is_not_counted(table: MetricsTable) -> None:
    for act in (table.add, lambda name: table.set(name, 1), table.value):
        with pytest.raises(KeyError, match="serenity_kils_total"):
            act("serenity_kils_total")


def test_threads_count_together(table: MetricsTable) -> None:
    def count() -> None:
        for _ in range(1000):
            table.add("serenity_kills_total")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert table.value("serenity_kills_total") == 4000
    assert table.value("serenity_kills_total", agent="nobody") == 0
