"""The application's own indicator (`sli`): what a production task declares of it in its labels.

    serenity.sli.kind     memcached
    serenity.sli.address  127.0.0.1:11211
    serenity.sli.metric   cmd_get+cmd_set
    serenity.sli.as       rate | value
    serenity.sli.better   higher | lower
    serenity.sli.unit     ops/s

Labels are any framework's word, and the reader may be root: an address must be one of this
node, answers are bounded in size and time, and nothing is ever run.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from serenity.qos.frame import Indicator

_PREFIX = "serenity.sli."
_KEYS = ("kind", "address", "metric", "as", "better", "unit")
KINDS = ("memcached",)
Address = tuple[str, int]


class IndicatorError(ValueError):
    """A declaration that cannot be followed; the text says why."""


@dataclass(frozen=True, slots=True)
class Declaration:
    kind: str
    address: Address
    metrics: tuple[str, ...]  # Summed.
    reading: Literal["rate", "value"]
    indicator: Indicator


def declaration(labels: Mapping[str, str], node_addresses: Collection[str]) -> Declaration | None:
    """What a task's labels declare; None when they declare nothing.

    `node_addresses` are the IP addresses, besides loopback, that are this node.

    Raises:
        IndicatorError
    """
    given = {key.removeprefix(_PREFIX): value for key, value in labels.items() if key.startswith(_PREFIX)}
    if not given:
        return None
    unknown = given.keys() - set(_KEYS)
    if unknown:
        raise IndicatorError(f"label {_PREFIX}{min(unknown)} is unknown; there are {', '.join(_KEYS)}")
    missing = {"kind", "address", "metric"} - given.keys()
    if missing:
        raise IndicatorError(f"label {_PREFIX}{min(missing)} is missing")
    if given["kind"] not in KINDS:
        raise IndicatorError(f"{_PREFIX}kind = {given['kind']!r}; there are {', '.join(KINDS)}")
    metrics = tuple(name.strip() for name in given["metric"].split("+"))
    if not all(metrics):
        raise IndicatorError(f"{_PREFIX}metric = {given['metric']!r}; write names joined by +")
    reading, better = given.get("as", "value"), given.get("better", "higher")
    if reading not in ("rate", "value"):
        raise IndicatorError(f"{_PREFIX}as = {reading!r}; write rate or value")
    if better not in ("higher", "lower"):
        raise IndicatorError(f"{_PREFIX}better = {better!r}; write higher or lower")
    return Declaration(
        kind=given["kind"],
        address=_address(given["address"], node_addresses),
        metrics=metrics,
        reading="rate" if reading == "rate" else "value",
        indicator=Indicator(
            name="+".join(metrics), unit=given.get("unit", ""), better="higher" if better == "higher" else "lower"
        ),
    )


def _address(text: str, node_addresses: Collection[str]) -> Address:
    host, _, port = text.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.strip("[]")
    try:
        ip = ipaddress.ip_address(host)  # Names are not looked up: who answers the look-up would choose the address.
        number = int(port)
    except ValueError:
        raise IndicatorError(f"{_PREFIX}address = {text!r}; write IP:PORT") from None
    if not (ip.is_loopback or str(ip) in node_addresses):
        raise IndicatorError(f"{_PREFIX}address = {text!r} is not an address of this node")
    if not 0 < number < 65536:
        raise IndicatorError(f"{_PREFIX}address = {text!r} has no valid port")
    return str(ip), number
