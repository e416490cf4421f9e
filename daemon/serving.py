"""HTTP serving for the daemons that run on gevent.  Executor and command line never import this module."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import Any

from gevent.pywsgi import WSGIServer

logger = logging.getLogger(__name__)

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class CannotListen(OSError):  # noqa: N818 - reads as what it says
    """The address is in use or not ours; the text names it."""


def serve(application: WSGIApplication, host: str, port: int) -> WSGIServer:
    """Starts serving; the returned server's `server_port` is the port that was got (0 asks for any).

    Raises:
        CannotListen
    """
    server = WSGIServer((host, port), application, log=None, error_log=logger)
    try:
        server.start()
    except (OSError, OverflowError) as error:  # Overflow: a port above 65535.
        number = error.errno if isinstance(error, OSError) else None
        # gevent puts the address into `strerror`; a failed name look-up has a negative number and its own text.
        reason = os.strerror(number) if number is not None and number > 0 else error
        raise CannotListen(f"cannot listen on {host}:{port}: {reason}") from error
    return server
