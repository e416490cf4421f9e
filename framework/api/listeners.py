"""Where the API listens: a Unix socket for this machine's users, TCP for callers with a token."""

from __future__ import annotations

import logging
from pathlib import Path

from gevent.pywsgi import WSGIServer

from serenity.daemon import open_files
from serenity.daemon.clock import Clock
from serenity.daemon.serving import Bounds, CannotListen, serve, serve_unix
from serenity.framework.api.app import make_app
from serenity.framework.api.gate import Gate
from serenity.framework.api.hosts import Hosts
from serenity.framework.api.rate import RateLimit
from serenity.framework.api.token_file import TokenFile
from serenity.framework.service import Framework
from serenity.framework.settings import FrameworkSettings
from serenity.wire.transport.tls import server_context

logger = logging.getLogger(__name__)

# How many requests a caller may make at once, in seconds of its rate.
_BURST_S = 3.0
# The part of that rate for those who have no token, or a wrong one.
_STRANGERS_SHARE = 0.05
# Of all files that may be open, for the connections of one of the two listeners: Mesos and the store need some, too.
_SHARE_OF_FILES = 1 / 3


class Listeners:
    """Listen from construction until `stop`.

    Raises (construction):
        CannotListen, UnusableFile: and then nothing listens.
    """

    def __init__(self, framework: Framework, settings: FrameworkSettings, clock: Clock) -> None:
        self._socket = Path(settings.socket)
        self._servers: list[WSGIServer] = []
        tls = server_context(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
        tokens = TokenFile(Path(settings.tokens_file), clock)
        names = tuple(each.strip() for each in settings.host_names.split(",") if each.strip())
        address = settings.address
        gate = Gate(
            tokens.find,
            Hosts.of(address[0] if address is not None else "localhost", names),
            settings.socket,
            _limit(settings.rate, clock),
            _limit(settings.rate * _STRANGERS_SHARE, clock),
        )
        app = make_app(framework, tokens, gate)
        bounds = Bounds(connections=min(Bounds().connections, int(open_files.limit() * _SHARE_OF_FILES)))
        try:
            self._servers.append(serve_unix(app, self._socket, bounds))
            logger.info("serving this machine's users at %s", self._socket)
            if address is not None:
                server = serve(app, *address, tls, bounds)
                self._servers.append(server)
                scheme = "https" if tls is not None else "http"
                logger.info("serving who has a token at %s://%s:%d", scheme, address[0], server.server_port)
        except CannotListen:
            self.stop()
            raise

    def stop(self) -> None:
        """Requests that are under way have a second."""
        for each in self._servers:
            each.stop(timeout=1)
        if self._servers:
            self._socket.unlink(missing_ok=True)


def _limit(per_s: float, clock: Clock) -> RateLimit:
    return RateLimit(per_s, max(1.0, per_s * _BURST_S), clock)
