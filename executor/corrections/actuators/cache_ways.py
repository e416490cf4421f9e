"""Throttles how much of the last-level cache tasks fill: fewer of its ways (Intel CAT, AMD L3 allocation)."""

from __future__ import annotations

from serenity.executor.corrections.actuators import ActuatorError, Resource
from serenity.executor.corrections.actuators.class_limit import ClassLimit
from serenity.executor.corrections.kernel_files import Knob

# In info/*/bit_usage: bits that have one user, who shares them with nobody.
_TAKEN = "EP"


class CacheWays(ClassLimit):
    """The class has as many ways as its most throttled task.  Production goes on using these ways as well."""

    name = "cache ways"
    of: Resource = "llc"
    stops_processes = False
    resources = ("L3", "L3CODE", "L3DATA")  # With CDP code and data have masks of their own.

    def _values(self) -> tuple[dict[Knob, str], str]:
        share = min(self._shares.values())
        values: dict[Knob, str] = {}
        said = ""
        for knob, resource in self._resctrl.knobs(self.resources).items():
            whole = self._resctrl.number(resource, "cbm_mask", 16)
            least = self._resctrl.number(resource, "min_cbm_bits")
            usable = whole & ~taken(self._resctrl.info(resource, "bit_usage"), knob.key.partition(":")[2])
            ways = max(least, round(share * whole.bit_count()))
            mask = next((found for n in range(ways, least - 1, -1) if (found := lowest_run(n, usable))), 0)
            if not mask:
                raise ActuatorError(f"{knob.key} has no {least} ways side by side that nobody has to himself")
            values[knob] = f"{mask:x}"
            said = f"{mask.bit_count()} of {whole.bit_count()} ways"
        return values, said


def lowest_run(bits: int, usable: int) -> int:
    """A mask of so many usable bits side by side, as low as possible: devices fill the high ones.  0: there is none."""
    run = (1 << bits) - 1
    for shift in range(usable.bit_length()):
        if (run << shift) & usable == run << shift:
            return run << shift
    return 0


def taken(bit_usage: str, domain: str) -> int:
    """The bits of a domain that have one user alone, from ``0=SSXX00EE;1=…``, the highest bit first."""
    letters = dict(each.split("=", 1) for each in bit_usage.split(";") if "=" in each).get(domain, "")
    return sum(1 << i for i, letter in enumerate(reversed(letters)) if letter in _TAKEN)
