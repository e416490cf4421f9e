"""The resource provider's id, kept on disk for as long as the agent's work directory lives.

Under another id the agent would count us as a second provider, and offer the slack twice.
"""

from __future__ import annotations

from pathlib import Path

from serenity.daemon.lock import FileLock
from serenity.estimator.state_file import replace_file


class ProviderIdFile:
    """The id kept for one agent.  Locked while the object lives: two streams with one id abort the agent.

    Raises:
        Taken: another estimator serves this agent.
        OSError: the folder cannot be used.
    """

    def __init__(self, folder: Path, agent_id: str) -> None:
        self._path = folder / f"{agent_id}.provider"
        # Not AGENT.lock, which is the node socket's: both folders may be one.
        self._lock = FileLock(folder / f"{agent_id}.provider.lock")

    def read(self) -> str | None:
        try:
            return self._path.read_text().strip() or None
        except FileNotFoundError:
            return None

    def write(self, provider_id: str) -> None:
        """Kept when this returns, also after a power cut."""
        replace_file(self._path, f"{provider_id}\n".encode(), synced=True)

    def close(self) -> None:
        self._lock.release()
