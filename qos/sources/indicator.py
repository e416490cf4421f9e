"""The application's own indicator (`sli`), as a production task declares it in its labels.

    serenity.sli.kind       prometheus | json | memcached
    serenity.sli.address    127.0.0.1:31005             IP:PORT of the task itself
    serenity.sli.path       /metrics                    prometheus and json
    serenity.sli.metric     a series, a path into a document, or the name of a statistic
    serenity.sli.as         value | rate | p99          pNN: a quantile of a Prometheus histogram
    serenity.sli.better     higher | lower
    serenity.sli.unit       ms
    serenity.sli.objective  50                          a minimum where higher is better, else a maximum

The agent's configuration declares indicators by the same keys, and may also run a command.

Any framework may write labels, and this process, which follows them, may be root.  `reach` says
which addresses they may name; answers are bounded in size and time, and labels never run anything.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from serenity.qos.frame import Indicator
from serenity.qos.sources import json_document, memcached, prometheus
from serenity.wire.mesos.state import RunningTask

_PREFIX = "serenity.sli."
_KEYS = ("kind", "address", "path", "metric", "as", "better", "unit", "objective")
_PATHS = {"prometheus": "/metrics", "json": "/"}
# By kind.  Each raises ValueError for a metric that no answer could ever have.
_CHECKS: Mapping[str, Callable[[str], object]] = {
    "memcached": memcached.names,
    "prometheus": prometheus.Selector.parse,
    "json": json_document.paths,
}
KINDS = tuple(_CHECKS)
COMMAND = "command"
_MAX_TEXT = 256
_PATH = re.compile(r"/[!-~]*")  # Visible ASCII: nothing that could begin another header or request.
_QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,3})?)")
_COMMAND_NAME = "command"

Address = tuple[str, int]


class IndicatorError(ValueError):
    """A declaration that cannot be followed; the text says why."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """`address`: None for a command.  `network_of`: the process whose network the address is in, if not ours."""

    kind: str
    indicator: Indicator
    address: Address | None = None
    path: str = ""
    metric: str = ""
    reading: str = "value"  # Or rate, or pNN.
    command: tuple[str, ...] = ()
    network_of: int | None = None

    @property
    def quantile(self) -> float | None:
        """From 0 to 1."""
        match = _QUANTILE.fullmatch(self.reading)
        return float(match[1]) / 100 if match else None


def declaration(labels: Mapping[str, str]) -> Declaration | None:
    """What a task's labels declare; None when they declare nothing.  `reach` says whether it may be asked.

    Raises:
        IndicatorError
    """
    given = {key.removeprefix(_PREFIX): value for key, value in labels.items() if key.startswith(_PREFIX)}
    if not given:
        return None
    if given.get("kind") == COMMAND or COMMAND in given:
        raise IndicatorError(f"label {_PREFIX}{COMMAND}: a command is run only if the agent's configuration names it")
    return _declared(given, f"label {_PREFIX}")


@dataclass(frozen=True, slots=True)
class Rule:
    """An indicator from the agent's configuration, for production jobs whose name matches a shell pattern."""

    job: str
    declaration: Declaration

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> Rule:
        """Reads an entry of ``[[estimator.indicators]]``.  Raises IndicatorError."""
        fields = dict(entry)
        job = fields.pop("job", None)
        if not isinstance(job, str) or not job:
            raise IndicatorError(
                'an indicator has no job; write the name of a production task, or a pattern: job = "web*"'
            )
        where = f"indicator of job {job!r}: "
        command = fields.pop(COMMAND, None)
        if (fields.get("kind") == COMMAND) != (command is not None):
            raise IndicatorError(f'{where}kind = "command" and command = ["/path", …] go together')
        if command is not None and not (
            isinstance(command, list) and command and all(isinstance(word, str) for word in command)
        ):
            raise IndicatorError(f'{where}command = {command!r}; write ["/path/of/program", "argument", …]')
        declared = _declared({key: str(value) for key, value in fields.items()}, where)
        return cls(job, replace(declared, command=tuple(command or ())))

    def matches(self, job: str) -> bool:
        return fnmatch.fnmatchcase(job, self.job)


def reach(declared: Declaration, task: RunningTask, node_ip: str, pid: int, own_network: bool) -> Declaration:
    """`declared`, which is from `task`'s labels, if its address is the task's own.

    A task in a network namespace of its own (`own_network`) may name loopback and its own
    addresses: it is asked from inside that namespace, where a request reaches nothing that the task
    could not reach itself.  So it does no harm that executors report these addresses.

    On the node's addresses, loopback among them, a port must be one that Mesos has allocated
    to the task (resource `ports`).  Otherwise a framework could send root's requests to any
    service that listens on the node, first of all the agent.

    Raises:
        IndicatorError
    """
    assert declared.address is not None  # Labels declare no command.
    host, port = declared.address
    loopback = ipaddress.ip_address(host).is_loopback
    if own_network and host != node_ip and (loopback or host in task.addresses):
        return replace(declared, network_of=pid)
    if not (loopback or host == node_ip):
        raise IndicatorError(f"label {_PREFIX}address = {host}:{port} is no address of this task")
    if not any(begin <= port <= end for begin, end in task.ports):
        raise IndicatorError(
            f"label {_PREFIX}address: port {port} of the node is not allocated to this task; give it a resource ports"
        )
    return declared


def _declared(given: Mapping[str, str], where: str) -> Declaration:
    unknown = given.keys() - set(_KEYS)
    if unknown:
        raise IndicatorError(f"{where}{min(unknown)} is unknown; there are {', '.join(_KEYS)}")
    kind = given.get("kind", "")
    needed = {"kind"} if kind == COMMAND else {"kind", "address", "metric"}
    if missing := needed - given.keys():
        raise IndicatorError(f"{where}{min(missing)} is missing")
    if any(len(value) > _MAX_TEXT for value in given.values()):
        raise IndicatorError(f"{where}a value is longer than {_MAX_TEXT} characters")
    if not all(value.isprintable() for value in given.values()):
        raise IndicatorError(f"{where}a value has control characters")  # It is shown on terminals.
    if kind not in (*KINDS, COMMAND):
        raise IndicatorError(f"{where}kind = {kind!r}; there are {', '.join(KINDS)}")
    path = given.get("path", _PATHS.get(kind, ""))
    if path and (kind not in _PATHS or not _PATH.fullmatch(path)):
        raise IndicatorError(f"{where}path = {path!r}; kinds {' and '.join(_PATHS)} have one, such as /metrics")
    metric = given.get("metric", "")
    if kind != COMMAND:
        try:
            _CHECKS[kind](metric)
        except ValueError as error:
            raise IndicatorError(f"{where}metric = {metric!r}: {error}") from error
    return Declaration(
        kind=kind,
        indicator=_indicator(given, metric or _COMMAND_NAME, where),
        address=_address(given["address"], where) if kind != COMMAND else None,
        path=path,
        metric=metric,
        reading=_reading(given.get("as", "value"), kind, where),
    )


def _indicator(given: Mapping[str, str], name: str, where: str) -> Indicator:
    better, objective = given.get("better", "higher"), given.get("objective")
    if better not in ("higher", "lower"):
        raise IndicatorError(f"{where}better = {better!r}; write higher or lower")
    try:
        threshold = None if objective is None else float(objective)
    except ValueError:
        threshold = math.nan
    if threshold is not None and not math.isfinite(threshold):
        raise IndicatorError(f"{where}objective = {objective!r}; write a number")
    return Indicator(name, given.get("unit", ""), "higher" if better == "higher" else "lower", threshold)


def _reading(text: str, kind: str, where: str) -> str:
    match = _QUANTILE.fullmatch(text)
    if text not in ("value", "rate") and not (match and kind == "prometheus" and float(match[1]) > 0):
        raise IndicatorError(f"{where}as = {text!r}; write rate or value, or p99 for a Prometheus histogram")
    return text


def _address(text: str, where: str) -> Address:
    host, _, port = text.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.strip("[]")
    try:
        ip = ipaddress.ip_address(host)  # Names are not resolved: the name server would choose the address.
        number = int(port)
    except ValueError:
        raise IndicatorError(f"{where}address = {text!r}; write IP:PORT") from None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if not 0 < number < 65536:
        raise IndicatorError(f"{where}address = {text!r} has no valid port")
    return str(ip), number
