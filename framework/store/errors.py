"""What may be wrong with the store, in one line for the operator."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot be opened, read or written."""


class StoreBusyError(StoreError):
    """This time it could not be written (locked, or the disk is full); trying again may help."""


class StoreLostError(StoreError):
    """The connection to the database is gone, and with it the lead.  What was being committed may be stored or not."""


def one_line(error: BaseException | None) -> str:
    """A driver's words: PostgreSQL's have several lines, with hints and positions."""
    return "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
