"""The files that `checkpoint` names, on disk below the agent's ``meta`` directory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from serenity.wire.mesos.resources import Json


class MetaFiles:
    """Files that survive the agent's end at any moment; not the machine's (no fsync), as in Mesos by default."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, path: str, content: Json) -> None:
        """The old content or the new one, never half of it.  Raises OSError."""
        file = self._folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.parent / ".new"
        new.write_text(json.dumps(content), encoding="utf-8")
        new.replace(file)

    def remove(self, path: str) -> None:
        """A directory and all that is in it.  Raises OSError."""
        folder = self._folder / path
        if folder.exists():
            shutil.rmtree(folder)

    def read_all(self) -> dict[str, Json]:
        """Every document by its path.  Raises OSError, ValueError."""
        files = [each for each in self._folder.rglob("*.json") if each.is_file()]
        return {str(each.relative_to(self._folder)): json.loads(each.read_text(encoding="utf-8")) for each in files}
