"""A number in a JSON document."""

from __future__ import annotations

from typing import Any

import msgspec

from serenity.wire.transport.undecodable import UNDECODABLE


def paths(metric: str) -> tuple[tuple[str, ...], ...]:
    """Paths such as ``latency.p99`` or ``pools.0.busy``, joined by +.  Raises ValueError."""
    found = tuple(tuple(step.strip() for step in path.split(".")) for path in metric.split("+"))
    if not all(step for path in found for step in path):
        raise ValueError("write a path into the document such as latency.p99; several joined by + are summed")
    return found


def value(document: bytes, metric: str) -> float:
    """The sum of the numbers at the paths.

    Raises:
        ValueError: the document is no JSON, or has no number at a path.
    """
    try:
        root = msgspec.json.decode(document)
    except UNDECODABLE as error:
        raise ValueError(f"its answer is no JSON: {error}") from error
    return sum(_at(root, path) for path in paths(metric))


def _at(node: Any, path: tuple[str, ...]) -> float:
    for step in path:
        if isinstance(node, dict) and step in node:
            node = node[step]
        elif isinstance(node, list) and step.isascii() and step.isdecimal() and int(step) < len(node):
            node = node[int(step)]
        else:
            raise ValueError(f"its answer has no {'.'.join(path)}")
    if isinstance(node, bool) or not isinstance(node, int | float):
        raise ValueError(f"{'.'.join(path)} in its answer is no number")
    try:
        return float(node)
    except OverflowError as error:
        raise ValueError(f"{'.'.join(path)} in its answer is too large") from error
