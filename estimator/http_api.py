"""The estimator over HTTP: ``GET /slack``, ``/metrics``, ``/health``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from serenity.daemon.metrics import MetricsTable

_JSON = "application/json"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


class Shown(Protocol):
    """What the API shows."""

    metrics: MetricsTable

    def slack_json(self) -> dict[str, Any]: ...
    def ailments(self) -> list[str]:
        """What is wrong at the moment, in words; empty if all is well."""


def application(shown: Shown) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """A WSGI application."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status, kind, body = _answer(shown, environ["REQUEST_METHOD"], environ["PATH_INFO"])
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    return answer


def _answer(shown: Shown, method: str, path: str) -> tuple[str, str, bytes]:
    if method not in ("GET", "HEAD"):
        return "405 Method Not Allowed", _JSON, _json({"error": f"{method} is not for here; use GET"})
    if path == "/slack":
        return "200 OK", _JSON, _json(shown.slack_json())
    if path == "/metrics":
        return "200 OK", _PROMETHEUS, shown.metrics.prometheus().encode()
    if path == "/health":
        ailments = shown.ailments()
        status = "503 Service Unavailable" if ailments else "200 OK"
        return status, _JSON, _json({"healthy": not ailments, "ailments": ailments})
    return "404 Not Found", _JSON, _json({"error": f"nothing at {path}; there are /slack, /metrics and /health"})


def _json(content: Any) -> bytes:
    return msgspec.json.encode(content) + b"\n"
