"""The master with all its I/O: in Mesos a process of its own.  Runs on gevent."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable

from serenity.localmesos.master import view as master_view
from serenity.localmesos.master.master import Master
from serenity.localmesos.master.state import MasterSettings
from serenity.localmesos.messages import Close, Effect, Send
from serenity.localmesos.view import MESOS_VERSION
from serenity.localmesos.web.port import Port
from serenity.wire.mesos.resources import Json

_CAPABILITIES = ("AGENT_UPDATE", "AGENT_DRAINING", "QUOTA_V2")


class MasterProcess:
    def __init__(
        self,
        listener: socket.socket,
        ip: str,
        hostname: str,
        settings: MasterSettings,
        clock: Callable[[], float],
        carry_out: Callable[[], None],
    ) -> None:
        """`carry_out` is called after every change, to carry out the effects in the outboxes."""
        self.carry_out = carry_out
        self.port = Port(listener, self._stream_ended)
        self.address = f"{ip}:{self.port.number}"
        self.master = Master(_master_info(ip, hostname, self.port.number), clock, settings)
        self.flags = master_view.flags(self.master)

    def perform(self, effect: Effect) -> None:
        """Performs an effect of the master, other than messages to the agent."""
        if isinstance(effect, Send):
            self.port.send(effect.stream_id, effect.event)
        elif isinstance(effect, Close):
            self.port.end_stream(effect.stream_id)

    def _stream_ended(self, stream_id: str) -> None:
        self.master.stream_closed(stream_id)
        self.carry_out()


def _master_info(ip: str, hostname: str, port: int) -> Json:
    return {
        "id": str(uuid.uuid4()),
        "ip": int.from_bytes(socket.inet_aton(ip), "little"),  # As Mesos has it, in network order.
        "port": port,
        "pid": f"master@{ip}:{port}",
        "hostname": hostname,
        "version": MESOS_VERSION,
        "address": {"hostname": hostname, "ip": ip, "port": port},
        "capabilities": [{"type": each} for each in _CAPABILITIES],
    }
