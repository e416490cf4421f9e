"""A replay's picture: drawn by matplotlib, which is optional, and saved where the user says."""

from __future__ import annotations

import contextlib
import importlib
import os
from pathlib import Path
from typing import Any

from serenity.cli.failure import Failure
from serenity.daemon import exits


class Picture:
    """The picture of one replay; without a `path` nothing is drawn.

    `module` has a class ``Drawing`` with ``add`` and ``save``.
    """

    def __init__(self, module: str, path: Path | None) -> None:
        """Raises Failure without matplotlib, or if `path` cannot be written: before a long replay, not after it."""
        self._path, self._drawing, self._empty = path, None, True
        if path is None:
            return
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise Failure(f"{path} cannot be written; name a file in a folder of yours", exits.USAGE)
        try:
            self._drawing = importlib.import_module(f"serenity.cli.{module}").Drawing()
        except ImportError as error:
            raise Failure("--plot needs matplotlib: pip install 'serenity-mesos[plot]'", exits.USAGE) from error

    def add(self, *seen: Any) -> None:
        if self._drawing is not None:
            self._drawing.add(*seen)
            self._empty = False

    def save_so_far(self) -> None:
        """For a trace that ends in an error: the user is told of that error, not of one in saving."""
        if not self._empty:
            with contextlib.suppress(Failure):
                self.save()

    def save(self) -> None:
        """Raises Failure: the file cannot be written, or there is nothing to draw."""
        if self._drawing is None:
            return
        try:
            self._drawing.save(self._path)
        except (OSError, ValueError) as error:
            raise Failure(f"{self._path} cannot be written: {error}", exits.USAGE) from error
