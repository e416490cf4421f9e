"""The story of a simulated world, for whoever reads a counterexample: noted cheaply, told only when something fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Json = dict[str, Any]


class Story:
    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._lines: list[tuple[float, str, object]] = []

    def note(self, who: str, what: object) -> None:
        """`what`: a message of Mesos, or anything else that prints itself."""
        self._lines.append((self._now_s(), who, what))

    def lines(self) -> Iterator[str]:
        for at_s, who, what in self._lines:
            yield f"{at_s:7.1f} s  {who}: {_told(what) if isinstance(what, dict) else what}"


def _told(message: Json) -> str:
    """A call or an event, without what is the same in all of them."""
    kind = str(message.get("type"))
    body = message.get(kind.lower(), {})
    if kind == "UPDATE":
        return f"UPDATE {_status(body['status'])}"
    if kind == "ACCEPT":
        tasks = [task for each in body["operations"] for task in each["launch"]["task_infos"]]
        return f"ACCEPT {_ids(body['offer_ids'])}, launching {_ids(task['task_id'] for task in tasks)}"
    if kind == "OFFERS":
        return f"OFFERS {_ids(offer['id'] for offer in body['offers'])}"
    if kind == "LAUNCH":
        return f"LAUNCH {body['task']['task_id']['value']}"
    if kind == "SUBSCRIBE":
        updates = [_status(each["status"]) for each in body.get("unacknowledged_updates", [])]
        unacknowledged = _ids(each["task_id"] for each in body.get("unacknowledged_tasks", []))
        return f"SUBSCRIBE tasks {unacknowledged}, updates {updates}" if "executor_id" in message else "SUBSCRIBE"
    if kind in ("SUBSCRIBED", "HEARTBEAT"):
        return kind
    return f"{kind} {_plain(body)}"


def _status(status: Json) -> str:
    why = status.get("reason") or next(
        (each["value"] for each in status.get("labels", {}).get("labels", []) if each["key"] == "serenity.reason"), ""
    )
    return f"{status['task_id']['value']} {status['state']} {why}".strip()


def _ids(ids: Any) -> str:
    return "[" + ", ".join(each["value"] for each in ids) + "]"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return value["value"] if value.keys() == {"value"} else {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
