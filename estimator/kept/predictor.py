"""What the predictor has learnt, on disk, so that it is not lost when the estimator restarts."""

from __future__ import annotations

import contextlib
import functools
import logging
import zlib
from pathlib import Path
from typing import Any

import msgspec

from serenity.daemon.whole_file import replace_file
from serenity.estimator.kept.state_writer import StateWriter
from serenity.estimator.slack.pipeline import SlackPipeline
from serenity.wire.transport.undecodable import UNDECODABLE

logger = logging.getLogger(__name__)

VERSION = 1
# The state of 100 containers is some 60 KB.  Encoding 1,000 takes 5 ms, and this process answers nobody meanwhile.
_EVERY_S = 60.0
# A larger file is not one of ours.
_MOST_BYTES = 64 << 20


class _Kept(msgspec.Struct, frozen=True):
    version: int
    learnt_by: msgspec.Raw
    state: msgspec.Raw
    checksum: int | None = None  # Of the two fields above, as written; files of versions before the checksum have none.


_learnt = msgspec.json.Decoder(dict[str, Any])


def _checksum(learnt_by: bytes | msgspec.Raw, state: bytes | msgspec.Raw) -> int:
    """Against damage: a damaged state may look valid, and leave no slack at all."""
    return zlib.crc32(state, zlib.crc32(learnt_by))


class KeptPredictor:
    """One file, written at most once a minute and at the end; not synced: nothing in it outlives the machine."""

    def __init__(self, path: Path, pipeline: SlackPipeline, writer: StateWriter) -> None:
        self._path = path
        self._pipeline = pipeline
        self._writer = writer
        self._written_t: float | None = None
        self._failing = False

    def load(self) -> None:
        """Call before the first frame.  Sets an unusable file aside, leaves another predictor's alone; logs either."""
        try:
            with self._path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
            if len(content) > _MOST_BYTES:
                raise ValueError(f"it has more than {_MOST_BYTES >> 20} MiB")
            kept = msgspec.json.decode(content, type=_Kept)
            if kept.version != VERSION:
                raise ValueError(f"it is of version {kept.version}, and this is version {VERSION}")
            if kept.checksum not in (None, _checksum(kept.learnt_by, kept.state)):
                raise ValueError("its checksum is of another content")
            if _learnt.decode(kept.learnt_by) != self._pipeline.learnt_by:
                logger.info("the predictor is another one than before, and learns anew")
                return
            self._pipeline.restore(_learnt.decode(kept.state))
        except FileNotFoundError:
            return
        except (OSError, ValueError, *UNDECODABLE) as error:
            logger.error("what the predictor had learnt is lost: %s cannot be used: %s", self._path, error)
            self._set_aside()

    def _set_aside(self) -> None:
        with contextlib.suppress(OSError):  # The next write replaces it.
            self._path.replace(self._path.with_name(self._path.name + ".broken"))

    def look(self, t: float) -> None:
        """Call at every frame."""
        if self._written_t is None or not 0 <= t - self._written_t < _EVERY_S:
            if self._written_t is not None:
                self.write()
            self._written_t = t

    def write(self) -> None:
        """Queues the present state for writing.  Never waits."""
        if self._written_t is None:
            return  # No frame was seen yet.
        learnt_by, state = map(msgspec.json.encode, (dict(self._pipeline.learnt_by), self._pipeline.state()))
        kept = _Kept(VERSION, msgspec.Raw(learnt_by), msgspec.Raw(state), _checksum(learnt_by, state))
        write = functools.partial(replace_file, self._path, msgspec.json.encode(kept), synced=False)
        self._writer.put("predictor", write, self._wrote)

    def _wrote(self, error: OSError | None) -> None:
        if error is not None and not self._failing:
            logger.error("what the predictor learns is not kept: %s", error)
        self._failing = error is not None
