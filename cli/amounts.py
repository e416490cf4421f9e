"""Options that are amounts: ``0.5``, ``512M``, ``2h``.  As callbacks of click, so that errors name the option."""

from __future__ import annotations

import math
from collections.abc import Callable

import click

from serenity.wire.mesos.quantities import parse_duration_s, parse_mem_bytes

Callback = Callable[[click.Context, click.Parameter, str | None], float | None]


def _amount(parse: Callable[[str], float], least: float, least_text: str) -> Callback:
    def convert(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
        if value is None:
            return None
        try:
            amount = parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None
        if not math.isfinite(amount) or amount < least:
            raise click.BadParameter(f"{value} is not enough of it; the least is {least_text}", ctx, param)
        return amount

    return convert


def _parse_cpus(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number of cpus; write such as 0.5 or 2") from None


cpus = _amount(_parse_cpus, 0.01, "0.01")
mem = _amount(parse_mem_bytes, 1 << 20, "1M")
duration = _amount(parse_duration_s, 0.0, "0s")
positive_duration = _amount(parse_duration_s, 0.001, "1ms")
