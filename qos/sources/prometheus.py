"""Values in Prometheus' text format (its ``docs/instrumenting/exposition_formats.md``)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
# No match begins inside a name: the text is not trusted, and a long name without a value would be tried at each letter.
_LABEL = re.compile(r'(?<![a-zA-Z0-9_])([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
# Labels up to their closing brace: braces inside a value, or in an exemplar behind the number, do not count.
_BRACES = re.compile(r'\{(?:[^"}]|"(?:[^"\\]|\\.)*")*\}')
_SELECTOR = re.compile(rf"({_NAME})(?:\{{(.*)\}})?", re.DOTALL)

# Upper bound (le) → how many observations are at most that: cumulative, as Prometheus writes it.
Buckets = Mapping[float, float]


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric's name and the labels that a series must have; it may have more."""

    name: str
    labels: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Reads ``name{label="value",…}``.  Raises ValueError."""
        match = _SELECTOR.fullmatch(text.strip())
        if match is None or _LABEL.sub("", match[2] or "").strip(", "):
            raise ValueError('write name or name{label="value"}')
        return cls(match[1], _labels(match[2] or ""))

    def series(self, text: str, suffix: str = "") -> Iterator[tuple[Mapping[str, str], float]]:
        """Labels and value of each selected series.

        Raises ValueError at a malformed series, and if the last line has no end, which the format demands: its number
        may have been cut short.
        """
        if not text.endswith("\n"):
            raise ValueError("its last line has no end: it may have been cut short")
        name = self.name + suffix
        for line in text.split("\n"):
            if not line.startswith(name) or line[len(name) : len(name) + 1] not in ("{", " ", "\t"):
                continue
            braces = _BRACES.match(line, len(name))
            found = _labels(braces[0]) if braces is not None else {}
            if all(found.get(key) == value for key, value in self.labels.items()):
                rest = line[braces.end() if braces is not None else len(name) :]
                yield found, float((rest.split() or [""])[0])  # A time may follow, and an exemplar.


def value(text: str, selector: Selector) -> float:
    """The sum of the selected series.  Raises ValueError when there is none."""
    values = [value for _labels, value in selector.series(text)]
    if not values:
        raise ValueError(f"it has no series {selector.name} with these labels")
    return sum(values)


def buckets(text: str, selector: Selector) -> Buckets:
    """The selected histograms, added up.  Raises ValueError when there is none."""
    found: dict[float, float] = {}
    for labels, count in selector.series(text, "_bucket"):
        bound = float(labels.get("le", "nan"))
        found[bound] = found.get(bound, 0.0) + count
    if not found or any(math.isnan(each) for each in (*found, *found.values())):
        raise ValueError(f"it has no histogram {selector.name} with these labels")
    return found


def quantile(before: Buckets, now: Buckets, q: float) -> float | None:
    """The q-quantile of what was observed between two readings, interpolated within its bucket.

    None when nothing was observed, or after a restart.  A quantile in the last bucket, whose bound
    is infinite, is that bucket's lower bound.  Source: Prometheus' ``histogram_quantile``.
    """
    bounds = sorted(now)
    grown = [now[bound] - before.get(bound, 0.0) for bound in bounds]
    if before.keys() != now.keys() or any(each < 0 for each in grown) or not 0 < grown[-1] < math.inf:
        return None
    rank = q * grown[-1]
    last = next(i for i, count in enumerate(grown) if count >= rank)
    lower = bounds[last - 1] if last else min(0.0, bounds[0])
    if math.isinf(bounds[last]):
        return lower if last else None
    below = grown[last - 1] if last else 0.0
    inside = grown[last] - below
    return lower + (bounds[last] - lower) * ((rank - below) / inside if inside > 0 else 1.0)


def _labels(text: str) -> dict[str, str]:
    return {
        name: re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), value)
        for name, value in _LABEL.findall(text)
    }
