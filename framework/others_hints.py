"""Asks other frameworks every few seconds where production suffers, so that nothing new goes there from here either."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Sequence

import msgspec

from serenity.framework.cluster.hint_source import HintSource
from serenity.wire.messages.hints import Hint, Hints
from serenity.wire.transport import http
from serenity.wire.transport.access import Access
from serenity.wire.transport.http import HttpError, Unreachable
from serenity.wire.transport.trust_files import UnusableFile, read, read_private
from serenity.wire.transport.undecodable import UNDECODABLE

logger = logging.getLogger(__name__)

_EVERY_S = 5.0

Heard = Callable[[str, Sequence[Hint]], None]


class OthersHints:
    """A thread for each framework, from `start` to `stop`: one that hangs keeps no other waiting.

    `heard` is called with a framework's URL and all its hints; while it does not answer, not at all.
    """

    def __init__(self, sources: Sequence[HintSource], access: Access, heard: Heard) -> None:
        """`access`: of it the TLS alone is used, with its authorities and its certificate, if any."""
        self._access = dataclasses.replace(access, authorization=None, principal=None, server_name=None)
        self._heard = heard
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(each,), name=f"hints of {each.url}", daemon=True)
            for each in sources
        ]

    def start(self) -> None:
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        """Returns at once; a request that is under way ends by itself."""
        self._stopping.set()

    def _run(self, source: HintSource) -> None:
        trouble, reading = "", read_private  # Warns, once, where others can read it.
        while not self._stopping.is_set():
            try:
                hints = hints_of(source, self._access, reading)
            except (Unreachable, HttpError, UnusableFile) as error:
                if str(error) != trouble:
                    logger.warning("no hints from %s: %s", source.url, error)
                trouble = str(error)
            else:
                if trouble:
                    logger.info("hints come from %s again", source.url)
                trouble = ""
                if not self._stopping.is_set():
                    self._heard(source.url, hints)
            reading = read
            self._stopping.wait(_EVERY_S)


def hints_of(source: HintSource, access: Access, reading: Callable[[str, str], bytes] = read) -> Sequence[Hint]:
    """The hints that hold there.  Raises Unreachable, HttpError, or UnusableFile for the token's."""
    if source.token_file is not None:  # Each time: tokens are renewed.
        token = reading("hints_from", source.token_file).decode("utf-8", "replace").strip()
        if not token.isascii() or not token.isprintable():
            raise UnusableFile(f"hints_from: {source.token_file} holds no token, which is one line of plain text")
        access = access.with_token(token)
    answer = http.get(source.endpoint, "/v1/hints", access=access)
    try:
        return msgspec.json.decode(answer.body, type=Hints).hints
    except UNDECODABLE as error:
        raise HttpError(
            answer.status, b"", f"{source.url} does not answer like a Serenity framework: {error}"
        ) from None
