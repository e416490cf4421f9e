from __future__ import annotations

from serenity.qos.frame import Frame


class Ages:
    """For how long each container of the latest frame has been seen without a break."""

    def __init__(self) -> None:
        self._t = 0.0
        self._first_seen: dict[str, float] = {}

    def observe(self, frame: Frame) -> None:
        self._t = frame.t
        self._first_seen = {name: self._first_seen.get(name, frame.t) for name in frame.ids}

    def age_s(self, container_id: str) -> float:
        """0 for a container that is not in the latest frame."""
        return self._t - self._first_seen.get(container_id, self._t)
