"""The resource provider's id, kept on disk for as long as the agent's work directory lives.

Under another id the agent counts us as a second provider (earlier.py).
"""

from __future__ import annotations

import contextlib
import logging
import re
from pathlib import Path

from serenity.daemon.lock import FileLock
from serenity.daemon.whole_file import replace_file

logger = logging.getLogger(__name__)


class ProviderIdFile:
    """The id kept for one agent.  Locked while the object lives: two streams with one id abort the agent.

    Raises:
        Taken: another estimator serves this agent.
        OSError: the folder cannot be used.
    """

    def __init__(self, folder: Path, agent_id: str) -> None:
        self.path = folder / f"{agent_id}.provider"
        # Not AGENT.lock, which is the node socket's: state and run folder may be the same.
        self._lock = FileLock(folder / f"{agent_id}.provider.lock")

    def read(self) -> str | None:
        """None if no id is kept, or one that makes no sense, whose file is set aside and logged.  Raises OSError."""
        try:
            content = self.path.read_bytes().strip()
        except FileNotFoundError:
            return None
        if re.fullmatch(rb"[!-~]{1,256}", content):
            return content.decode("ascii")
        broken = self.path.replace(self.path.with_name(self.path.name + ".broken"))
        logger.error(
            "the resource provider's id is lost: what was kept makes no sense, and is now %s; the agent will give us"
            " another",
            broken,
        )
        return None

    def write(self, provider_id: str) -> None:
        """When this returns, the id outlasts a power cut.  Waits for the disk if the id is new.  Raises OSError."""
        content = f"{provider_id}\n".encode()
        with contextlib.suppress(FileNotFoundError):
            if self.path.read_bytes() == content:
                return
        replace_file(self.path, content, synced=True)

    def close(self) -> None:
        self._lock.release()
