"""memcached's ``stats``, as an exchange on a kept connection (memcached ``doc/protocol.txt``)."""

from __future__ import annotations

REQUEST = b"stats\r\n"
_END = (b"END\r\n", b"ERROR\r\n")


def names(metric: str) -> tuple[str, ...]:
    """Names of statistics, joined by +, that are summed.  Raises ValueError."""
    found = tuple(name.strip() for name in metric.split("+"))
    if not all(found):
        raise ValueError("write names joined by +")
    return found


def complete(answer: bytearray) -> bool:
    return answer.endswith(_END)


def value(answer: bytes, metric: str) -> float:
    """The sum of the named statistics.

    Raises:
        ValueError: a statistic is missing or no number, or `answer` is none to ``stats``.
    """
    if not answer.endswith(_END[0]):
        raise ValueError(f"it did not answer to stats: {answer[:80]!r}")
    found = dict(
        line.split(" ", 2)[1:] for line in answer.decode("ascii", "replace").split("\r\n") if line.count(" ") >= 2
    )
    wanted = names(metric)
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ValueError(f"it has no statistic {missing[0]!r}")
    return sum(float(found[name]) for name in wanted)
