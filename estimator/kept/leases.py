"""Keeps the leases on the valve across restarts of the estimator."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from pathlib import Path

import msgspec

from serenity.daemon.clock import Clock
from serenity.daemon.whole_file import replace_file
from serenity.estimator.account.valve import MAX_TTL_S, ActiveLease
from serenity.estimator.kept.state_writer import StateWriter
from serenity.wire.transport.undecodable import UNDECODABLE

logger = logging.getLogger(__name__)

# A lease that is prolonged every second is written again only when it lasts longer than written by more than this.
_LONGER = 0.25  # Share of its time to live.


class _Kept(msgspec.Struct, frozen=True):
    holder: str
    reason: str
    until: float  # Since the epoch: the monotonic clock may start anew.


class KeptLeases:
    """A file of leases whose ends are wall-clock times."""

    def __init__(self, path: Path, clock: Clock, writer: StateWriter) -> None:
        self._path = path
        self._clock = clock
        self._writer = writer
        self._written: tuple[ActiveLease, ...] | None = ()  # What is written, or queued for it; None: that failed.

    def load(self) -> tuple[ActiveLease, ...]:
        """The leases that have not run out; none, with an error in the log, if the file makes no sense."""
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=tuple[_Kept, ...])
        except FileNotFoundError:
            return ()
        except (OSError, *UNDECODABLE) as error:
            logger.error("who held the valve before is not known: %s cannot be read: %s", self._path, error)
            return ()
        now_s, monotonic_s = self._clock.now_s(), self._clock.monotonic_s()
        left_s = ((each, min(each.until - now_s, MAX_TTL_S)) for each in kept)  # The clock may have been set back.
        return tuple(
            ActiveLease(each.holder, each.reason, monotonic_s + left, left) for each, left in left_s if left > 0
        )

    def keep(self, leases: Iterable[ActiveLease]) -> None:
        """Queues `leases` for writing if they have changed.  Never waits."""
        now_s, monotonic_s = self._clock.now_s(), self._clock.monotonic_s()
        wanted = tuple(leases)
        before = self._written
        if before is not None and len(before) == len(wanted) and all(map(_is_as_good, before, wanted)):
            return
        kept = [_Kept(each.holder, each.reason, now_s + each.until_s - monotonic_s) for each in wanted]
        write = functools.partial(replace_file, self._path, msgspec.json.encode(kept), synced=False)
        self._writer.put("leases", write, self._wrote)
        self._written = wanted

    def _wrote(self, error: OSError | None) -> None:
        if error is not None:
            logger.error("who holds the valve would not be known after a restart: %s", error)
            self._written = None


def _is_as_good(written: ActiveLease, now: ActiveLease) -> bool:
    same = (written.holder, written.reason, written.ttl_s) == (now.holder, now.reason, now.ttl_s)
    later_s = now.until_s - written.until_s
    return same and 0 <= later_s <= (_LONGER * now.ttl_s if now.is_short else 0.0)
