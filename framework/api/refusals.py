"""Why a request is not carried out, each with the HTTP status that says so."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - reads as what it says
    """The text says what to do next."""

    status = 400


class BadRequest(Refused):
    """A request of no such shape."""


class NotJson(Refused):
    status = 415


class Unknown(Refused):
    """Nobody knows who asks."""

    status = 401


class Forbidden(Refused):
    """The caller is known, and may not do that."""

    status = 403


class NotFound(Refused):
    status = 404


class Conflict(Refused):
    status = 409


class Unacceptable(Refused):
    """A request of the right shape, for something that cannot be done."""

    status = 422


class TooMany(Refused):
    status = 429

    def __init__(self, text: str, retry_after_s: float) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Unkept(Refused):
    """The change that was asked for cannot be written."""

    status = 503
