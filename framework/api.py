"""The HTTP API: routes, status codes and JSON around `Framework`.  The shapes are in wire/messages/api.py."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

import flask
import msgspec
from werkzeug.exceptions import HTTPException

from serenity.framework.logs import NoLog
from serenity.framework.service import AmbiguousName, Framework, NoSuchJob
from serenity.framework.settings import is_loopback
from serenity.framework.store import StoreError
from serenity.wire.messages import api
from serenity.wire.messages.sandbox import Output
from serenity.wire.transport.http import HttpError, Unreachable

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 4 * 1024 * 1024
_MAX_JOBS = 10_000
_MAX_LINES = 10_000
_EVENT_ID_DIGITS = 18  # What the store can compare with.

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T", int, str)


class BadRequest(ValueError):  # noqa: N818 - reads as what it says
    """A request of no such shape."""


def make_app(framework: Framework) -> flask.Flask:
    app = flask.Flask("serenity", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    if not framework.settings.insecure_listen:
        app.before_request(_require_this_machine)
    _add_jobs(app, framework)
    _add_one_job(app, framework)
    _add_cluster(app, framework)
    _add_errors(app)
    return app


def _add_jobs(app: flask.Flask, framework: Framework) -> None:
    @app.post("/v1/jobs")
    def submit() -> flask.Response:
        return _answer(framework.submit(_body(api.JobRequest)), 201)

    @app.get("/v1/jobs")
    def jobs() -> flask.Response:
        state = _choice("state", "active", ("active", "ended", "all"))
        limit = _number("limit", 1000, 1, _MAX_JOBS)
        return _answer(framework.jobs(limit, None if state == "all" else state == "ended"))

    @app.get("/v1/events")
    def events() -> flask.Response:
        return _events(framework, None)


def _add_one_job(app: flask.Flask, framework: Framework) -> None:
    @app.get("/v1/jobs/<job>")
    def detail(job: str) -> flask.Response:
        return _answer(framework.detail(job))

    @app.post("/v1/jobs/<job>/kill")
    def kill(job: str) -> flask.Response:
        _require_json()
        return _answer(framework.kill(job), 202)

    @app.get("/v1/jobs/<job>/why")
    def why(job: str) -> flask.Response:
        return _answer(framework.why(job))

    @app.get("/v1/jobs/<job>/events")
    def job_events(job: str) -> flask.Response:
        return _events(framework, framework.find(job).id)

    @app.get("/v1/jobs/<job>/logs")
    def logs(job: str) -> flask.Response:
        output: Output = "stderr" if _choice("output", "stdout", ("stdout", "stderr")) == "stderr" else "stdout"
        return _answer(
            framework.log(
                job,
                instance=_number("instance", 0, 0, 1 << 31),
                number=_number("attempt", 0, 1, 1 << 31) or None,
                output=output,
                offset=_number("offset", 0, 0, 1 << 53) if "offset" in flask.request.args else None,
                lines=_number("lines", 100, 0, _MAX_LINES),
            )
        )


def _add_cluster(app: flask.Flask, framework: Framework) -> None:
    @app.get("/v1/nodes")
    def nodes() -> flask.Response:
        return _answer(framework.nodes())

    @app.get("/health")
    def health() -> flask.Response:
        return _answer(framework.health())

    @app.get("/metrics")
    def metrics() -> flask.Response:
        framework.health()  # Brings the gauges up to date.
        return flask.Response(framework.metrics.prometheus(), mimetype="text/plain; version=0.0.4")


def _add_errors(app: flask.Flask) -> None:
    statuses: dict[type[Exception], int] = {
        BadRequest: 400,
        NoSuchJob: 404,
        Unreachable: 502,
        HttpError: 502,
        StoreError: 503,
        TimeoutError: 503,
    }
    for kind, status in statuses.items():
        app.register_error_handler(kind, _problem_with(status))

    @app.errorhandler(msgspec.ValidationError)
    def refused(error: msgspec.ValidationError) -> flask.Response:
        return _problem(422, str(error).replace(" - at `$.", " - at `").replace(" - at `$`", ""))

    @app.errorhandler(AmbiguousName)
    def ambiguous(error: AmbiguousName) -> flask.Response:
        return _problem(409, str(error), tuple(each.id for each in error.jobs))

    @app.errorhandler(NoLog)
    def no_log(error: NoLog) -> flask.Response:
        return _problem(410 if error.gone else 404, str(error))

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> flask.Response:
        return _problem(error.code or 500, error.description or error.name)

    @app.errorhandler(Exception)
    def bug(error: Exception) -> flask.Response:
        logger.error("this is a bug in Serenity", exc_info=error)
        return _problem(500, f"this is a bug in Serenity ({type(error).__name__}); the framework's log has more")


def _problem_with(status: int) -> Callable[[Exception], flask.Response]:
    return lambda error: _problem(status, str(error))


def _problem(status: int, text: str, matches: tuple[str, ...] = ()) -> flask.Response:
    return _answer(api.Problem(error=text, matches=matches), status)


def _answer(content: msgspec.Struct, status: int = 200) -> flask.Response:
    return flask.Response(msgspec.json.encode(content) + b"\n", status, mimetype="application/json")


def _events(framework: Framework, job_id: str | None) -> flask.Response:
    header = flask.request.headers.get("Last-Event-ID", "")
    if header and not (header.isdecimal() and len(header) <= _EVENT_ID_DIGITS):
        raise BadRequest(f"Last-Event-ID is {header!r}, which is no event's id")
    stream = framework.watchers.stream(int(header) if header else None, job_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return flask.Response(stream, mimetype="text/event-stream", headers=headers)


def _body(kind: type[S]) -> S:
    """Raises BadRequest, or ValidationError, which names the key."""
    _require_json()
    try:
        return msgspec.json.decode(flask.request.get_data(), type=kind)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError as error:
        raise BadRequest(f"the body is no JSON: {error}") from error


def _require_json() -> None:
    """A form on a page somewhere cannot send this type, so no visited page submits jobs in its visitor's name."""
    if flask.request.mimetype != "application/json":
        raise BadRequest("send JSON, with Content-Type: application/json")


def _require_this_machine() -> None:
    """A page whose name was made to resolve to 127.0.0.1 is its browser's own origin here, and may send JSON."""
    host = flask.request.headers.get("Host", "")
    try:
        known = is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        known = False
    if not known:
        raise BadRequest(f"Host is {host!r}; call this API as localhost or 127.0.0.1")


def _number(name: str, default: int, least: int, most: int) -> int:
    text = flask.request.args.get(name)
    if text is None:
        return default
    if not text.isdecimal() or not least <= int(text) <= most:
        raise BadRequest(f"{name}={text!r}: it must be a whole number from {least} to {most}")
    return int(text)


def _choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    text = flask.request.args.get(name, default)
    if text not in choices:
        raise BadRequest(f"{name}={text!r}: it must be one of {', '.join(choices)}")
    return text
