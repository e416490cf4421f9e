"""The HTTP API as a WSGI application: the table of routes, served.

Every request goes the same way: through the gate, to its route, through role, parameters and body, to what the
route does; and every refusal comes back as a `Problem`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import flask
import gevent
import msgspec
from werkzeug.exceptions import HTTPException, RequestTimeout

from serenity.daemon.serving import PEER_UID
from serenity.framework.api import openapi, parameters
from serenity.framework.api.callers import Caller
from serenity.framework.api.gate import Gate, Peer
from serenity.framework.api.refusals import BadRequest, NotJson, Refused, TooMany
from serenity.framework.api.routes import ROUTES, Asked, Events, Route, Text
from serenity.framework.api.token_file import TokenFile
from serenity.framework.core import IdTaken
from serenity.framework.loop import LoopEnded
from serenity.framework.mesos.logs import NoLog
from serenity.framework.mesos.nodes import UnknownNode
from serenity.framework.service import AmbiguousName, Framework, NoSuchJob, NotLeading
from serenity.framework.store.errors import StoreError
from serenity.wire.messages import api
from serenity.wire.transport.http import HttpError, Unreachable
from serenity.wire.transport.undecodable import UNDECODABLE

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 4 * 1024 * 1024
# A body that comes drop by drop holds its connection no longer than this.
_BODY_WITHIN_S = 30.0
_EVENT_ID_DIGITS = 18  # The longest that the store can compare with.

_STATUS_OF: dict[type[Exception], int] = {
    NoSuchJob: 404,
    UnknownNode: 404,
    IdTaken: 409,
    Unreachable: 502,
    HttpError: 502,
    StoreError: 503,
    LoopEnded: 503,
    NotLeading: 503,
    TimeoutError: 503,
}


def make_app(framework: Framework, tokens: TokenFile, gate: Gate) -> flask.Flask:
    """The app must be served by daemon/serving.py, which says in the WSGI environment who the peer is."""
    app = flask.Flask("serenity", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    @app.before_request
    def enter() -> None:
        environ = flask.request.environ
        peer = Peer(environ[PEER_UID], environ.get("REMOTE_ADDR", ""))
        flask.g.caller = gate.enter(peer, dict(flask.request.headers))

    for route in openapi.with_document(ROUTES):
        _add(app, route, _serving(route, framework, tokens))
    app.after_request(_harden)
    _add_errors(app)
    return app


def _add(app: flask.Flask, route: Route, view: Callable[..., flask.Response]) -> None:
    rule = route.path.replace("{", "<").replace("}", ">")
    app.add_url_rule(rule, route.name, view, methods=[route.method], provide_automatic_options=False)


def _serving(route: Route, framework: Framework, tokens: TokenFile) -> Callable[..., flask.Response]:
    def view(**path: str) -> flask.Response:
        caller: Caller = flask.g.caller
        caller.require(route.role)
        given = parameters.parse(route.parameters, flask.request.args.to_dict(flat=False))
        body = _body(route.body) if route.body is not None else None
        last_event_id = _last_event_id() if isinstance(route.answer, Events) else None
        return _answer(route, route.do(Asked(framework, tokens, caller, path, given, body, last_event_id)))

    return view


def _answer(route: Route, content: Any) -> flask.Response:
    if isinstance(route.answer, Events):
        return flask.Response(content, mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})
    if isinstance(route.answer, Text):
        return flask.Response(content, mimetype=route.answer.media_type)
    return _json(content, route.status)


def _json(content: msgspec.Struct, status: int) -> flask.Response:
    return flask.Response(msgspec.json.encode(content) + b"\n", status, mimetype="application/json")


def _body(kind: type[msgspec.Struct]) -> msgspec.Struct:
    """Raises NotJson, BadRequest, ValidationError, which names the key, or RequestEntityTooLarge and RequestTimeout."""
    if flask.request.mimetype != "application/json":
        raise NotJson("send JSON, with Content-Type: application/json")
    with gevent.Timeout(_BODY_WITHIN_S, RequestTimeout(f"the body did not come within {_BODY_WITHIN_S:.0f} s")):
        data = flask.request.get_data()
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError:
        raise
    except UNDECODABLE as error:
        raise BadRequest(f"the body is no JSON: {error}") from error


def _last_event_id() -> int | None:
    header = flask.request.headers.get("Last-Event-ID", "")
    if header and not (header.isascii() and header.isdecimal() and len(header) <= _EVENT_ID_DIGITS):
        raise BadRequest(f"Last-Event-ID is {header!r}, which is no event's id")
    return int(header) if header else None


def _harden(response: flask.Response) -> flask.Response:
    """No answer is a page, and each is for its caller alone."""
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"
    return response


# -- what goes wrong ----------------------------------------------------------------------------


def _add_errors(app: flask.Flask) -> None:
    for kind, status in _STATUS_OF.items():
        app.register_error_handler(kind, _problem_with(status))
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(msgspec.ValidationError, _invalid)
    app.register_error_handler(AmbiguousName, _ambiguous)
    app.register_error_handler(NoLog, lambda error: _problem(410 if error.gone else 404, str(error)))
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _bug)


def _problem_with(status: int) -> Callable[[Exception], flask.Response]:
    return lambda error: _problem(status, str(error))


def _refused(error: Refused) -> flask.Response:
    answer = _problem(error.status, str(error))
    if error.status == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="serenity"'
    if isinstance(error, TooMany):
        answer.headers["Retry-After"] = str(int(error.retry_after_s) + 1)
    return answer


def _invalid(error: msgspec.ValidationError) -> flask.Response:
    return _problem(422, str(error).replace(" - at `$.", " - at `").replace(" - at `$`", ""))


def _ambiguous(error: AmbiguousName) -> flask.Response:
    return _problem(409, str(error), tuple(each.id for each in error.jobs))


def _http(error: HTTPException) -> flask.Response:
    answer = _problem(error.code or 500, error.description or error.name)
    for name, value in error.get_headers():
        if name in ("Allow", "Location"):
            answer.headers[name] = value
    return answer


def _bug(error: Exception) -> flask.Response:
    logger.error("this is a bug in Serenity", exc_info=error)
    return _problem(500, f"this is a bug in Serenity ({type(error).__name__}); the framework's log has more")


def _problem(status: int, text: str, matches: tuple[str, ...] = ()) -> flask.Response:
    return _json(api.Problem(error=text, matches=matches), status)
