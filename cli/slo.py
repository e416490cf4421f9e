"""`serenity slo`: how production services do."""

from __future__ import annotations

import click

from serenity.cli.client import Framework, json_option, url_option
from serenity.cli.output import print_json, shorten, table, words
from serenity.daemon import exits
from serenity.wire.messages.slo import Service, Services

_NAME_COLUMNS = 24


@click.command("slo")
@json_option
@url_option
def command(as_json: bool, url: str | None) -> int:
    """Show production services: objective, now, the share of time in which it was met, what was corrected for it.

    Services are those whose tasks declare an indicator by label, on agents with best-effort tasks, and those
    that report their own (POST /v1/slo).
    """
    services = Framework(url).get("/v1/slo", Services).services
    if as_json:
        print_json(services)
    elif not services:
        words("no service has told of an indicator: label production tasks with serenity.sli… (docs/operating.md)")
    else:
        head = ("SERVICE", "INDICATOR", "NOW", "OBJECTIVE", "MET 1H", "MET 24H", "CORRECTED 24H")
        click.echo(table(head, [_row(each) for each in services], right=frozenset(head[2:])))
    return exits.OK


def _row(service: Service) -> tuple[str, ...]:
    unit = f" {service.unit}" if service.unit else ""
    sign = "≥" if service.better == "higher" else "≤"
    return (
        shorten(service.service, _NAME_COLUMNS),
        shorten(service.indicator, _NAME_COLUMNS),
        "-" if service.now is None else f"{service.now:.4g}{unit}",
        "-" if service.objective is None else f"{sign} {service.objective:g}",
        _share(service.met_last_hour),
        _share(service.met_last_day),
        str(service.corrected_last_day),
    )


def _share(share: float | None) -> str:
    """Never 100 % for an objective that was missed even once."""
    if share is None:
        return "-"
    return "100%" if share == 1.0 else f"{min(share, 0.9999):.2%}"
