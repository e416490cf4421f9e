"""All messages that an executor sends to its framework besides status updates."""

from __future__ import annotations

import msgspec

from serenity.wire.messages import framework_message
from serenity.wire.messages.corrections import Correction, Outcome
from serenity.wire.messages.statistics import Statistics

FromExecutor = Correction | Outcome | Statistics

_DECODER = msgspec.json.Decoder(FromExecutor)


def decode(data: str) -> FromExecutor:
    """Raises MessageError."""
    said: FromExecutor = framework_message.decode(data, _DECODER)
    return said
