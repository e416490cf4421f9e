"""What best-effort still holds of an earlier resource provider of ours, which had another id or another role.

The agent subtracts from our total only what is held under the present id and role: what is held of the earlier
provider it would offer a second time.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec

from serenity.daemon.whole_file import replace_file
from serenity.estimator.account.report import Amount
from serenity.wire.mesos.state import Container
from serenity.wire.transport.undecodable import UNDECODABLE

logger = logging.getLogger(__name__)


class _Kept(msgspec.Struct, frozen=True):
    role: str | None = None  # The reservation's; None: unreserved.
    held: Mapping[str, tuple[float, int]] = {}  # Cores and bytes by container.


class Earlier:
    """Keeps these holdings in a file until the containers that hold them have ended."""

    def __init__(
        self, path: Path, role: str | None, on_disk: Callable[[Callable[[], None]], None] = lambda do: do()
    ) -> None:
        """`on_disk` runs a function that waits for the disk, and returns when that has finished."""
        self._path = path
        self._role = role
        self._on_disk = on_disk
        self._known = False  # Whether the earlier role is known.
        self._kept = _Kept(role)
        try:
            self._kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
            self._known = True
        except FileNotFoundError:
            pass  # No earlier provider, or one of a version that kept no file: then its role was the same.
        except (OSError, *UNDECODABLE) as error:
            logger.error("what is held of another role's slack is not known: %s cannot be read: %s", path, error)

    def settle(self, another_id: bool, containers: Iterable[Container]) -> None:
        """To be called before a total is told under an id.

        Under another id or role than before, `containers` hold nothing of that yet: all that they hold is the earlier
        provider's.  Raises OSError.
        """
        if self._known and not another_id and self._kept.role == self._role:
            return
        held = self._kept.held
        if another_id or self._kept.role != self._role:
            held = {
                each.container_id: (each.revocable_cpus, each.revocable_mem_bytes)
                for each in containers
                if each.revocable
            }
        if held:
            logger.warning(
                "we are another resource provider than before: what %d containers hold of that one's slack is taken"
                " from ours until they have ended",
                len(held),
            )
        self._write(_Kept(self._role, held))

    def held(self, containers: Iterable[Container]) -> Amount:
        """What `containers` still hold of the earlier provider."""
        if not self._kept.held:
            return Amount()
        now = {each.container_id: each for each in containers if each.container_id in self._kept.held}
        cpus = mem_bytes = 0.0
        for name, (before_cpus, before_mem_bytes) in self._kept.held.items():
            if name in now:
                cpus += min(before_cpus, now[name].revocable_cpus)
                mem_bytes += min(before_mem_bytes, now[name].revocable_mem_bytes)
        return Amount(cpus, round(mem_bytes))

    def _write(self, kept: _Kept) -> None:
        self._on_disk(functools.partial(replace_file, self._path, msgspec.json.encode(kept), synced=True))
        self._kept, self._known = kept, True
