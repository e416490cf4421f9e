from __future__ import annotations

from collections.abc import Collection

from serenity.daemon.clock import Clock
from serenity.qos.sources import memcached
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.exchange import ExchangeError, Exchanges
from serenity.qos.sources.rates import Rates

# How long a sample waits for indicators.  A service in good health answers within a few
# milliseconds; whose answer takes longer is in the next frame.
_INDICATOR_WAIT_S = 0.1


class Indicators:
    """Fills ``sli``."""

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self._faults = faults
        self._exchanges = Exchanges(clock)
        self._rates = Rates()

    def ask(self, rows: Collection[Row]) -> None:
        for row in rows:
            if row.declaration is not None:
                self._exchanges.ask(row.id, row.declaration.address, memcached.REQUEST, memcached.complete)

    def read(self, draft: Draft) -> None:
        answers = self._exchanges.collect(_INDICATOR_WAIT_S)
        for i, row in enumerate(draft.rows):
            answer = answers.get(row.id)
            if answer is None or row.declaration is None:
                continue
            try:
                if isinstance(answer.content, ExchangeError):
                    raise answer.content
                value = memcached.value(answer.content, row.declaration.metrics)
            except (ExchangeError, ValueError) as error:
                self._faults.count("sli", row.id, error)
                continue
            if row.declaration.reading == "value":
                draft.fill("sli", i, value)
            else:
                draft.fill("sli", i, self._rates.rate(row.id, "sli", answer.at_s, value))

    def keep(self, row_ids: Collection[str]) -> None:
        self._exchanges.keep(row_ids)
        self._rates.keep(row_ids)

    def close(self) -> None:
        self._exchanges.close()
