"""Mesos' framework messages between an executor and its framework.  Any of them may be lost."""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

import msgspec

from serenity.wire.transport.undecodable import UNDECODABLE

M = TypeVar("M")


class MessageError(ValueError):
    """A framework message of none of the expected kinds."""


class FrameworkMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Each kind has a tag, by which a receiver of several kinds tells them apart."""

    def encode(self) -> str:
        """In base64, as Mesos requires a message's data."""
        return base64.b64encode(msgspec.json.encode(self)).decode("ascii")


def decode(data: str, decoder: msgspec.json.Decoder[M]) -> M:
    """Raises MessageError."""
    try:
        return decoder.decode(base64.b64decode(data, validate=True))
    except (binascii.Error, *UNDECODABLE) as error:
        raise MessageError(f"no message of ours: {error}") from error
