"""The applications' own indicators, as a source."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

from serenity.daemon.clock import Clock
from serenity.qos.sources import command_indicator, http_answer, json_document, memcached, prometheus
from serenity.qos.sources.command_indicator import Commands
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.exchange import Answer, ExchangeError, Exchanges, Question
from serenity.qos.sources.indicator import COMMAND, Declaration
from serenity.qos.sources.prometheus import Buckets, Selector
from serenity.qos.sources.rates import Rates

# How long a sample waits for indicators.  A service in good health answers within a few
# milliseconds; an answer that takes longer is in a later frame.
_INDICATOR_WAIT_S = 0.1

_VALUES: Mapping[str, Callable[[bytes, str], float]] = {
    "memcached": memcached.value,
    "json": lambda answer, metric: json_document.value(http_answer.body(answer), metric),
    "prometheus": lambda answer, metric: prometheus.value(_text(answer), Selector.parse(metric)),
    COMMAND: lambda answer, _metric: command_indicator.value(answer),
}

_CONTENT = {"prometheus": "text/plain;version=0.0.4", "json": "application/json"}  # By kind: what to accept.


class Indicators:
    """Fills ``sli``."""

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self._faults = faults
        self._exchanges = Exchanges(clock)
        self._commands = Commands(clock)
        self._declared: dict[str, Declaration] = {}  # By row, as of the last sample.
        self._rates = Rates()
        self._buckets: dict[str, Buckets] = {}  # By row: its histogram at the last reading.

    def ask(self, rows: Collection[Row]) -> None:
        declared = {row.id: row.declaration for row in rows if row.declaration is not None}
        if declared != self._declared:
            # If a declaration was withdrawn or has changed, drop its open question, and the counts to compare with.
            self.keep([row_id for row_id, each in declared.items() if each == self._declared.get(row_id)])
            self._declared = declared
        for row in rows:
            if row.declaration is None:
                continue
            if row.declaration.kind == COMMAND:
                self._commands.ask(row.id, row.declaration.command, _environment(row))
            else:
                self._exchanges.ask(row.id, question(row.declaration))

    def read(self, draft: Draft) -> None:
        answers = self._exchanges.collect(_INDICATOR_WAIT_S) | self._commands.collect()
        for i, row in enumerate(draft.rows):
            answer = answers.get(row.id)
            if answer is None or row.declaration is None:
                continue
            try:
                draft.fill("sli", i, self._value(row.id, row.declaration, answer))
            except (ExchangeError, ValueError) as error:
                self._faults.count("sli", row.id, error)

    def keep(self, row_ids: Collection[str]) -> None:
        self._exchanges.keep(row_ids)
        self._commands.keep(row_ids)
        self._rates.keep(row_ids)
        for gone in self._buckets.keys() - set(row_ids):
            del self._buckets[gone]

    def close(self) -> None:
        self._exchanges.close()
        self._commands.close()

    def _value(self, row_id: str, declared: Declaration, answer: Answer) -> float | None:
        """The indicator's value.  Raises ExchangeError or ValueError: there was no answer, or none that makes sense."""
        if isinstance(answer.content, ExchangeError):
            raise answer.content
        if declared.quantile is not None:
            now = prometheus.buckets(_text(answer.content), Selector.parse(declared.metric))
            before, self._buckets[row_id] = self._buckets.get(row_id), now
            return None if before is None else _finite(declared, prometheus.quantile(before, now, declared.quantile))
        value = _finite(declared, _VALUES[declared.kind](answer.content, declared.metric))
        if declared.reading == "value" or value is None:
            return value
        return _finite(declared, self._rates.rate(row_id, "sli", answer.at_s, value))


def question(declared: Declaration) -> Question:
    assert declared.address is not None
    if declared.kind == "memcached":
        return Question(declared.address, memcached.REQUEST, memcached.complete, network_of=declared.network_of)
    asked = http_answer.request(declared.address, declared.path, _CONTENT[declared.kind])
    return Question(declared.address, asked, http_answer.complete, closes=True, network_of=declared.network_of)


def _finite(declared: Declaration, value: float | None) -> float | None:
    """`value`.  Raises ValueError if it is not finite, such as the difference of two numbers that are too far apart."""
    if value is not None and not math.isfinite(value):
        raise ValueError(f"{declared.indicator.name} is {value}, which is no measurement")
    return value


def _text(answer: bytes) -> str:
    return http_answer.body(answer).decode("utf-8", "replace")


def _environment(row: Row) -> dict[str, str]:
    container = row.container
    return {
        "SERENITY_CONTAINER": container.container,
        "SERENITY_JOB": container.job,
        "SERENITY_PID": str(row.pid or ""),
    }
