"""Applications' indicators in the agent's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from serenity.daemon.settings import SettingsError, resolve
from serenity.estimator.settings import EstimatorSettings

GOOD = """
[[estimator.indicators]]
job = "search-*"
kind = "command"
command = ["/usr/lib/site/p99", "search"]
better = "lower"
unit = "ms"
objective = 20

[[estimator.indicators]]
job = "web"
kind = "prometheus"
address = "127.0.0.1:9100"
metric = 'latency{path="/"}'
as = "p99"
"""


def settings_of(tmp_path: Path, text: str) -> EstimatorSettings:
    file = tmp_path / "serenity.toml"
    file.write_text(text)
    return resolve(EstimatorSettings, "estimator", {}, {}, file)[0]


def test_rules_from_the_file(tmp_path: Path) -> None:
    search, web = settings_of(tmp_path, GOOD).rules
    assert search.matches("search-7")
    assert search.declaration.command == ("/usr/lib/site/p99", "search")
    assert search.declaration.indicator.objective == 20.0
    assert (web.declaration.address, web.declaration.quantile) == (("127.0.0.1", 9100), 0.99)


def test_there_need_be_none(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "").rules == ()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('kind = "command"', 'kind = "shell"'), "job 'search-*'"),
        (("objective = 20", 'objective = "fast"'), "objective"),
        (('job = "web"', ""), "no job"),
        (('as = "p99"', 'ass = "p99"'), "ass is unknown"),
    ],
)
def test_a_slip_is_named(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=r"\[estimator\]") as told:
        settings_of(tmp_path, GOOD.replace(*change))
    assert says in str(told.value)
