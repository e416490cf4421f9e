"""What a real Mesos was recorded to say: all of one session where that lies beside the repository, and a few shapes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.messages.recording import Recording

_TESTS = Path(__file__).resolve().parent.parent
TRANSCRIPTS = _TESTS.parent.parent / "shared" / "mesos" / "transcripts"
_SHAPES = _TESTS / "wire" / "shapes"


@dataclass(frozen=True)
class Transcript:
    """Events by the side that they went to, an executor's environment, and one moment's answers by their path."""

    events: dict[str, list[Any]]
    environ: dict[str, str]
    pages: dict[str, Any]


def whole_session() -> Transcript:
    recorded = Recording.read(*(TRANSCRIPTS / f"{side}.jsonl" for side in ("scheduler", "executor", "provider")))
    return Transcript(
        {side: recorded.of(side, "event") for side in ("scheduler", "executor", "provider")},
        recorded.of("executor", "env")[0],
        _pages(TRANSCRIPTS),
    )


def few_shapes() -> Transcript:
    """Taken from the same session: a message of each kind."""
    executor = _json(_SHAPES / "executor.json")
    events = {
        "scheduler": _json(_SHAPES / "scheduler_events.json"),
        "executor": executor["events"],
        "provider": _json(_SHAPES / "provider_events.json"),
    }
    return Transcript(events, executor["environ"], _pages(_SHAPES))


def _pages(folder: Path) -> dict[str, Any]:
    files = {"/state": "agent_state", "/containers": "agent_containers", "/slaves": "master_slaves"}
    return {path: _json(folder / f"{name}.json") for path, name in files.items()}


def _json(file: Path) -> Any:
    return json.loads(file.read_text())
