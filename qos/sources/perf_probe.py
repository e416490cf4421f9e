"""Which events this machine's PMU counts, and how many of them at once."""

from __future__ import annotations

import errno
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from serenity.qos.sources.perf_encoding import Encoder, Encoding
from serenity.qos.sources.perf_event import Group, Kernel

Wanted = Mapping[str, Sequence[str]]  # Column → names of events; the first that is present is taken.

# `cache-misses` depends on the processor: on x86 it is misses of the last level, on Arm refills of the first.
_LLC_MISSES = ("cache-misses", "LLC-load-misses") if platform.machine() in ("x86_64", "i686") else ("LLC-load-misses",)
HARDWARE: Wanted = {
    "cycles": ("cycles",),
    "instructions": ("instructions",),
    "llc_misses": _LLC_MISSES,
    "stalls": ("stalled-cycles-backend", "CYCLE_ACTIVITY:STALLS_TOTAL"),
}

# The kernel's errors where the event, or the whole PMU, does not exist.
_NOT_THERE = {errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP, errno.ENODEV}
_TOO_MANY = {errno.EINVAL, errno.ENOSPC}
_FORBIDDEN = {errno.EACCES, errno.EPERM}
# When other programs count, too, a group waits for some milliseconds for its turn on the PMU.
_TURNS, _TURN_S = 20, 0.005


@dataclass(frozen=True, slots=True)
class Pmu:
    """`events` by column, in the order of the group; `lacks` says in words what cannot be counted, and why."""

    events: Mapping[str, Encoding]
    lacks: tuple[str, ...]


def probe(
    kernel: Kernel, wanted: Wanted, encode: Encoder, cpu: int, pause: Callable[[float], object] = time.sleep
) -> Pmu:
    """Tries each event, then all together, on all that runs on `cpu`: this needs the same rights as counting."""
    events: dict[str, Encoding] = {}
    missing = []
    for column, names in wanted.items():
        try:
            event = _first_there(kernel, names, encode, cpu)
        except OSError as error:
            return Pmu({}, (_unusable(error),))
        if event is None:
            missing.append(column)
        else:
            events[column] = event
    if not events:
        return Pmu({}, ("this machine has no PMU that counts (few virtual machines have): no hardware counters",))
    lacks = [f"this PMU does not count {', '.join(missing)}"] if missing else []
    left_out = []
    while events and not _fits(kernel, list(events.values()), cpu, pause):
        left_out.append(events.popitem()[0])
    if left_out:
        lacks.append(
            f"this PMU cannot count {', '.join([*events, *reversed(left_out)])} at once:"
            f" {', '.join(left_out)} left out; sysctl kernel.nmi_watchdog=0 frees a counter; others may hold some"
        )
    return Pmu(events, tuple(lacks))


def _first_there(kernel: Kernel, names: Sequence[str], encode: Encoder, cpu: int) -> Encoding | None:
    for event in filter(None, map(encode, names)):
        try:
            Group.of_cpu(kernel, [event], cpu).close()
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
        else:
            return event
    return None


def _fits(kernel: Kernel, events: Sequence[Encoding], cpu: int, pause: Callable[[float], object]) -> bool:
    """Whether the group gets onto the PMU.

    The kernel refuses a group that never could, but not one that other programs' events keep off.
    """
    try:
        group = Group.of_cpu(kernel, events, cpu)
    except OSError as error:
        if error.errno not in _TOO_MANY:
            raise
        return False
    try:
        for _turn in range(_TURNS):
            if group.read().running_s > 0:
                return True
            pause(_TURN_S)
        return False
    finally:
        group.close()


def _unusable(error: OSError) -> str:
    if error.errno in _FORBIDDEN:
        return "hardware counters need root, CAP_PERFMON, or sysctl kernel.perf_event_paranoid=0: going on without them"
    if error.errno == errno.ENOSYS:
        return "this kernel has no perf_event_open: no hardware counters"
    return f"perf_event_open fails ({error.strerror}): going on without hardware counters"
