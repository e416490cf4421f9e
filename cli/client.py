"""How verbs talk to the framework: requests, and what its refusals mean to a user."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import click
import msgspec

from serenity.cli.failure import Failure
from serenity.cli.profile import access_of, find_framework
from serenity.daemon import exits
from serenity.wire.messages import api
from serenity.wire.transport.http import Endpoint, HttpError, Response, Stream, Unreachable, open_stream, request
from serenity.wire.transport.undecodable import UNDECODABLE

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S", bound=msgspec.Struct)

_LONGEST_NAME = 64
_EXIT_OF_STATUS = {
    400: exits.USAGE,
    401: exits.REFUSED,
    403: exits.REFUSED,
    404: exits.NOT_FOUND,
    409: exits.USAGE,
    410: exits.NOT_FOUND,
    413: exits.REFUSED,
    422: exits.REFUSED,
    429: exits.REFUSED,
    500: exits.BUG,
    502: exits.UNREACHABLE,
    503: exits.UNREACHABLE,
}


def url_option(function: F) -> F:
    return click.option("--url", metavar="URL", help="Where the framework is: https://host:8640, unix:/path.")(function)


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


class Framework:
    """The framework's API.  Every method raises Failure."""

    def __init__(self, url: str | None) -> None:
        """`url`: what ``--url`` said, or None."""
        where = find_framework(url, os.environ)
        self.url, self._where_from = where.url, where.origin
        try:
            self.endpoint = Endpoint.parse(self.url)
        except ValueError as error:
            raise Failure(f"{self._where_from}: {error}", exits.USAGE) from None
        self._access = access_of(where, self.endpoint, os.environ)

    def get(self, path: str, kind: type[S], **parameters: Any) -> S:
        given = {key: value for key, value in parameters.items() if value is not None}
        return self._decode(self.request("GET", path + (f"?{urlencode(given)}" if given else "")), kind)

    def post(self, path: str, body: Any, kind: type[S]) -> S:
        return self._decode(self.request("POST", path, msgspec.json.encode(body)), kind)

    def delete(self, path: str, kind: type[S]) -> S:
        return self._decode(self.request("DELETE", path), kind)

    def request(self, method: str, path: str, body: bytes | None = None) -> Response:
        headers = {"Content-Type": "application/json"} if body is not None else None
        try:
            answer = request(self.endpoint, method, path, body, headers, timeout_s=100.0, access=self._access)
        except Unreachable as error:
            raise self.unreachable(error) from None
        if not 200 <= answer.status < 300:
            raise self._failure(answer)
        return answer

    def stream(self, path: str, last_id: str | None = None, silence_s: float | None = None) -> Stream:
        """Server-sent events after the event `last_id`.  Raises Failure, or Unreachable, which the caller handles."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last_id} if last_id else {})}
        try:
            return open_stream(self.endpoint, "GET", path, None, headers, silence_s, access=self._access)
        except HttpError as error:
            raise self._failure(Response(error.status, error.headers, error.body)) from None

    def unreachable(self, error: Unreachable) -> Failure:
        return Failure(f"{error} (the framework's address, from {self._where_from})", exits.UNREACHABLE)

    def _decode(self, answer: Response, kind: type[S]) -> S:
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except UNDECODABLE as error:
            text = f"{self.url} does not answer like a Serenity framework ({error}); check {self._where_from}"
            raise Failure(text, exits.UNREACHABLE) from None

    def _failure(self, answer: Response) -> Failure:
        try:
            problem = msgspec.json.decode(answer.body, type=api.Problem)
        except UNDECODABLE:
            text = f"{self.url} answered HTTP {answer.status}, not like a Serenity framework; check {self._where_from}"
            return Failure(text, exits.UNREACHABLE)
        text = problem.error + (f": {', '.join(problem.matches)}" if problem.matches else "")
        return Failure(text, _EXIT_OF_STATUS.get(answer.status, exits.BUG))


def job_path(job: str, rest: str = "") -> str:
    """The API path of a job.  Raises Failure for a text that can be no job's name or id."""
    if not job.strip():
        raise Failure("an empty name is no job; `serenity list` shows all there are", exits.USAGE)
    if len(job) > _LONGEST_NAME:
        raise Failure(f"there is no job {job[:_LONGEST_NAME]!r}…; no name is that long", exits.NOT_FOUND)
    return f"/v1/jobs/{quote(job, safe='')}{rest}"
