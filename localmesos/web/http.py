"""A small HTTP server: paths to functions, Mesos' way of refusing, streams.  Runs on gevent's pywsgi."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import gevent.pool
import gevent.socket
from gevent import pywsgi

from serenity.localmesos.messages import CallRefused
from serenity.localmesos.web import protobuf_json
from serenity.localmesos.web.streams import EventStream
from serenity.wire.mesos.resources import Json

logger = logging.getLogger(__name__)

_REASONS = {
    200: "OK",
    202: "Accepted",
    307: "Temporary Redirect",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    415: "Unsupported Media Type",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}
_SOCKET = "serenity.socket"


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # Names in lower case.
    body: bytes
    socket: socket.socket

    def call(self, api: str) -> Json:
        """The body of a POST as a call of a v1 API; `api` is its name in `schema`, and in refusals.

        Raises:
            CallRefused: with Mesos' answer.  Of Mesos' two formats only JSON is spoken here.
        """
        self.require_post()
        content_type = self.headers.get("content-type")
        if not content_type:
            raise CallRefused(400, "Expecting 'Content-Type' to be present")
        if content_type != "application/json":
            raise CallRefused(415, "Expecting 'Content-Type' of application/json or application/x-protobuf")
        try:
            body = protobuf_json.parse(self.body)
        except protobuf_json.NotAMessageError as error:
            raise CallRefused(400, f"Failed to parse body into JSON: {error}") from error
        try:
            call = protobuf_json.message(body, api)
        except protobuf_json.NotAMessageError as error:
            raise CallRefused(400, f"Failed to convert JSON into Call protobuf: {error}") from error
        if "type" not in call:
            raise CallRefused(400, f"Failed to validate {api}: Expecting 'type' to be present")
        return call

    def require_post(self) -> None:
        """Raises CallRefused."""
        if self.method != "POST":
            text = f"405 Method Not Allowed. Expecting one of {{ 'POST' }}, but received '{self.method}'."
            raise CallRefused(405, text)

    def require_json_accepted(self) -> None:
        """For a request whose answer has a body.  Raises CallRefused."""
        if not _accepts(self.headers.get("accept"), "application/json"):
            text = "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'"
            raise CallRefused(406, text)


def _accepts(header: str | None, media_type: str) -> bool:
    """As ``Request::acceptsMediaType`` in libprocess reads an Accept header."""
    if header is None:
        return True
    kinds = {media_type, f"{media_type.partition('/')[0]}/*", "*/*"}
    for each in header.replace(" ", "").split(","):
        kind, *parameters = each.split(";")
        quality = next((value.removeprefix("q=") for value in parameters if value.startswith("q=")), "1")
        if kind.lower() in kinds:
            return _positive(quality)
    return False


def _positive(number: str) -> bool:
    try:
        return float(number) > 0
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Answer:
    status: int = 200
    body: bytes | EventStream = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: Any) -> Answer:
        body = json.dumps(value, separators=(",", ":")).encode()
        return cls(200, body, {"Content-Type": "application/json"})

    @classmethod
    def text(cls, status: int, text: str) -> Answer:
        return cls(status, text.encode(), {"Content-Type": "text/plain; charset=utf-8"})


Handler = Callable[[Request], Answer]


class Application:
    """The WSGI application of one port."""

    def __init__(self, routes: Mapping[str, Handler], available: Callable[[], bool]) -> None:
        """`available`: while it is False, every request is answered with 503."""
        self._routes = routes
        self._available = available

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        request = _request(environ)
        answer = self._answer(request)
        headers = dict(answer.headers)
        if isinstance(answer.body, EventStream):
            answer.body.watch(request.socket)
        else:
            headers["Content-Length"] = str(len(answer.body))
        start_response(f"{answer.status} {_REASONS[answer.status]}", list(headers.items()))
        return answer.body if isinstance(answer.body, EventStream) else [answer.body]

    def _answer(self, request: Request) -> Answer:
        if not self._available():
            return Answer.text(503, "503 Service Unavailable.")
        handler = self._routes.get(request.path.rstrip("/") or "/")
        if handler is None:
            return Answer.text(404, "404 Not Found.")
        try:
            return handler(request)
        except CallRefused as refused:
            return Answer.text(refused.status, str(refused))


class _ConnectionHandler(pywsgi.WSGIHandler):
    def get_environ(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environ()
        environ[_SOCKET] = self.socket  # For noticing that a subscriber is gone.
        return environ


def listen(ip: str, port: int) -> socket.socket:
    """Raises OSError with a text for the user."""
    listener = gevent.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ip, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise OSError(0, f"cannot listen at {ip}:{port}: {reason}") from error
    return listener


def serve(listener: socket.socket, application: Application) -> pywsgi.WSGIServer:
    """Starts to serve a bound socket; returns at once.  Its `stop` ends every connection."""
    server = pywsgi.WSGIServer(
        listener,
        application,
        log=None,
        error_log=logger,
        handler_class=_ConnectionHandler,
        spawn=gevent.pool.Pool(),
    )
    server.start()
    return server


def _request(environ: Mapping[str, Any]) -> Request:
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or (name in ("CONTENT_TYPE", "CONTENT_LENGTH") and value)
    }
    query = {name: values[-1] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
    path = environ.get("PATH_INFO", "/").encode("latin-1").decode("utf-8", "replace")
    body = environ["wsgi.input"].read()
    return Request(environ["REQUEST_METHOD"], path, query, headers, body, environ[_SOCKET])
