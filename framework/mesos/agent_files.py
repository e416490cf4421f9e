"""Where an agent has an executor's sandbox, and what the files in it hold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from serenity.wire.mesos.state import making_sense_of
from serenity.wire.transport.access import Access
from serenity.wire.transport.http import REQUEST_TIMEOUT_S, Endpoint, get


@dataclass(frozen=True, slots=True)
class AgentFiles:
    """The ``/files`` of one agent.  Every method raises Unreachable, or HttpError also for JSON that makes no sense."""

    agent: Endpoint
    access: Access
    timeout_s: float = REQUEST_TIMEOUT_S

    def sandbox(self, framework_id: str, executor_id: str, container_id: str | None = None) -> str | None:
        """The folder of that executor, as ``/files`` knows it; None: it is gone.

        `container_id` None: any run of the executor will do.
        """
        with making_sense_of(self.agent):
            state = self._get("/state")
            for framework in [*state.get("frameworks", []), *state.get("completed_frameworks", [])]:
                if framework["id"] != framework_id:
                    continue
                for executor in [*framework.get("executors", []), *framework.get("completed_executors", [])]:
                    if executor["id"] == executor_id and container_id in (None, executor["container"]):
                        return str(executor["directory"])
        return None

    def browse(self, folder: str) -> dict[str, int]:
        """How many bytes each file in the folder has, by its path."""
        with making_sense_of(self.agent):
            return {str(each["path"]): int(each["size"]) for each in self._get(f"/files/browse?path={quote(folder)}")}

    def read(self, path: str, offset: int, length: int) -> bytes:
        with making_sense_of(self.agent):
            content = self._get(f"/files/read?path={quote(path)}&offset={offset}&length={length}")["data"]
            return bytes(content.encode("utf-8", "surrogateescape"))

    def size(self, path: str) -> int:
        with making_sense_of(self.agent):
            return int(self._get(f"/files/read?path={quote(path)}&offset=-1")["offset"])

    def _get(self, target: str) -> Any:
        # Mesos copies a file's bytes into its JSON as they are, UTF-8 or not.
        return json.loads(get(self.agent, target, self.timeout_s, self.access).body.decode("utf-8", "surrogateescape"))
