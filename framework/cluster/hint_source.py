"""Another framework whose hints we heed, as setting `hints_from` names it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from serenity.wire.transport.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class HintSource:
    """`url`: where its API is; `token_file`: holds a token of role ``read`` there; for a Unix socket none is needed."""

    url: str
    token_file: str | None = None

    @classmethod
    def parse_all(cls, text: str) -> tuple[Self, ...]:
        """``URL [TOKEN_FILE], …``.  Raises ValueError, in words for a user."""
        return tuple(cls._parse(each) for each in text.split(",") if each.strip())

    @classmethod
    def _parse(cls, text: str) -> Self:
        url, *rest = text.split()
        if len(rest) > 1:
            raise ValueError(f"{text.strip()!r} is more than an address and a token's file; write URL TOKEN_FILE, …")
        Endpoint.parse(url)
        return cls(url, *rest)

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint.parse(self.url)
