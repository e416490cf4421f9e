"""The estimator's settings: table ``[estimator]`` of ``serenity.toml``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec

from serenity.daemon.state_dir import default_state_dir
from serenity.estimator.account.bounds import Bounds, Room
from serenity.qos.sources.indicator import Rule
from serenity.wire.messages import node
from serenity.wire.transport.http import Endpoint

ANY_ROLE = "*"


class EstimatorSettings(msgspec.Struct, frozen=True, kw_only=True):
    agent: str = "127.0.0.1:5051"
    role: str = "serenity"  # The role that the slack is reserved to; "*": any framework that takes revocable resources.
    listen: str = "127.0.0.1:5055"
    interval_s: float = 1.0
    pipeline: str | None = None  # A pipeline file; None: Serenity's own.
    reserve: str = ""  # How much of the slack is kept for production, such as "cpus=1,mem=2G".
    ceiling: str = ""  # The most that best-effort gets.
    run_dir: str | None = None
    state_dir: str | None = None
    # Applications' indicators: each has the keys of a task's labels (qos/sources/indicator.py) and a job, and may run a
    # command.
    indicators: tuple[dict[str, Any], ...] = ()
    # How to talk to the agent: wire/transport/access.py.
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    principal: str | None = None
    secret_file: str | None = None

    def __post_init__(self) -> None:
        self.rules  # noqa: B018 - raises if an indicator makes no sense
        Endpoint.parse(self.agent, 5051)
        self.listen_on  # noqa: B018 - raises if it is no address
        self.bounds  # noqa: B018 - raises if they make no sense
        if not 0.1 <= self.interval_s <= 60:
            raise ValueError(f"interval_s = {self.interval_s}; it must lie from 0.1 to 60")
        if not self.role:
            raise ValueError('role is empty; name the framework\'s role, or "*" for all')

    @property
    def listen_on(self) -> tuple[str, int]:
        """Host and port; port 0 takes a free one.  Raises ValueError."""
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"listen = {self.listen!r} is no address; write HOST:PORT")
        return host.strip("[]"), int(port)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Raises IndicatorError, which is a ValueError."""
        return tuple(map(Rule.parse, self.indicators))

    @property
    def bounds(self) -> Bounds:
        """Raises ValueError."""
        named = {}
        for name, text, left_out in (("reserve", self.reserve, 0.0), ("ceiling", self.ceiling, math.inf)):
            try:
                named[name] = Room.parse(text, left_out)
            except ValueError as error:
                raise ValueError(f"{name} = {text!r}: {error}") from None
        return Bounds(**named)

    @property
    def reservation(self) -> str | None:
        return None if self.role == ANY_ROLE else self.role

    @property
    def run_folder(self) -> Path:
        return Path(self.run_dir) if self.run_dir else node.run_dir()

    @property
    def state_folder(self) -> Path:
        return Path(self.state_dir) if self.state_dir else default_state_dir()
