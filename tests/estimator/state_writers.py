"""Writers of the state folder, for tests that look at its files."""

from __future__ import annotations

from collections.abc import Callable

from serenity.estimator.kept.state_writer import StateWriter


class Awaited(StateWriter):
    """The disk is waited for each time."""

    def put(self, name: str, write: Callable[[], None], wrote: Callable[[OSError | None], None]) -> None:
        super().put(name, write, wrote)
        assert self.settle(60.0)
