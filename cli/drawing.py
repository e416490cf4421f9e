"""A replay's picture: drawn by matplotlib, which is optional, and saved where the user says."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from serenity.cli.failure import Failure
from serenity.daemon import exits


class Picture:
    """Of one replay; none without a `path`.  `module` has a class ``Drawing`` with ``add`` and ``save``."""

    def __init__(self, module: str, path: Path | None) -> None:
        """Raises Failure without matplotlib."""
        self._path, self._drawing = path, None
        if path is None:
            return
        try:
            self._drawing = importlib.import_module(f"serenity.cli.{module}").Drawing()
        except ImportError as error:
            raise Failure("--plot needs matplotlib: pip install 'serenity-mesos[plot]'", exits.USAGE) from error

    def add(self, *seen: Any) -> None:
        if self._drawing is not None:
            self._drawing.add(*seen)

    def save(self) -> None:
        """Raises Failure: the file cannot be written, or there is nothing to draw."""
        if self._drawing is None:
            return
        try:
            self._drawing.save(self._path)
        except (OSError, ValueError) as error:
            raise Failure(f"{self._path} cannot be written: {error}", exits.USAGE) from error
