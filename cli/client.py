"""How verbs talk to the framework: where it is, requests, and what its refusals mean to a user."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import click
import msgspec

from serenity.cli import exits
from serenity.cli.failure import Failure
from serenity.wire.messages import api
from serenity.wire.transport.http import Endpoint, Response, Unreachable, request

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S", bound=msgspec.Struct)

_LONGEST_NAME = 64
_EXIT_OF_STATUS = {
    400: exits.USAGE,
    404: exits.NOT_FOUND,
    409: exits.USAGE,
    410: exits.NOT_FOUND,
    422: exits.REFUSED,
    500: exits.BUG,
    502: exits.UNREACHABLE,
    503: exits.UNREACHABLE,
}


def url_option(function: F) -> F:
    return click.option("--url", metavar="URL", help="Where the framework is, such as http://host:8640.")(function)


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


class Framework:
    """The framework's API.  Every method raises Failure."""

    def __init__(self, url: str | None) -> None:
        """`url`: what ``--url`` said, or None."""
        self.url, self._where_from = find_framework(url, os.environ)
        try:
            self.endpoint = Endpoint.parse(self.url)
        except ValueError as error:
            raise Failure(f"{self._where_from}: {error}", exits.USAGE) from None

    def get(self, path: str, kind: type[S], **parameters: Any) -> S:
        given = {key: value for key, value in parameters.items() if value is not None}
        return self._decode(self.request("GET", path + (f"?{urlencode(given)}" if given else "")), kind)

    def post(self, path: str, body: Any, kind: type[S]) -> S:
        return self._decode(self.request("POST", path, msgspec.json.encode(body)), kind)

    def request(self, method: str, path: str, body: bytes | None = None) -> Response:
        headers = {"Content-Type": "application/json"} if body is not None else None
        try:
            answer = request(self.endpoint, method, path, body, headers, timeout_s=100.0)
        except Unreachable as error:
            raise self.unreachable(error) from None
        if not 200 <= answer.status < 300:
            raise self._failure(answer)
        return answer

    def unreachable(self, error: Unreachable) -> Failure:
        return Failure(f"{error} (the framework's address, from {self._where_from})", exits.UNREACHABLE)

    def _decode(self, answer: Response, kind: type[S]) -> S:
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except msgspec.MsgspecError as error:
            text = f"{self.url} does not answer like a Serenity framework ({error}); check {self._where_from}"
            raise Failure(text, exits.UNREACHABLE) from None

    def _failure(self, answer: Response) -> Failure:
        try:
            problem = msgspec.json.decode(answer.body, type=api.Problem)
        except msgspec.MsgspecError:
            text = f"{self.url} answered HTTP {answer.status}, not like a Serenity framework; check {self._where_from}"
            return Failure(text, exits.UNREACHABLE)
        text = problem.error + (f": {', '.join(problem.matches)}" if problem.matches else "")
        return Failure(text, _EXIT_OF_STATUS.get(answer.status, exits.BUG))


def job_path(job: str, rest: str = "") -> str:
    """Raises Failure for what can be no job."""
    if not job.strip():
        raise Failure("an empty name is no job; `serenity list` shows all there are", exits.USAGE)
    if len(job) > _LONGEST_NAME:
        raise Failure(f"there is no job {job[:_LONGEST_NAME]!r}…; no name is that long", exits.NOT_FOUND)
    return f"/v1/jobs/{quote(job, safe='')}{rest}"


def find_framework(flag: str | None, environ: Mapping[str, str]) -> tuple[str, str]:
    """The framework's URL, and where that was found.  Raises Failure."""
    if flag:
        return flag, "--url"
    if environ.get("SERENITY_URL"):
        return environ["SERENITY_URL"], "SERENITY_URL"
    profile = profile_path(environ)
    url = _profile_url(profile)
    if url is not None:
        return url, str(profile)
    from serenity.wire.messages import runtime_file
    from serenity.wire.messages.node import run_dir

    file = runtime_file.path_in(run_dir(environ))
    running = runtime_file.read(file.parent)
    if running is not None and running.alive:
        return running.url, str(file)
    left = f" (it is left from process {running.pid}, which is gone)" if running is not None else ""
    raise Failure(
        f"no framework found: not by --url, not by SERENITY_URL, no [client] url in {profile}, "
        f"and no `serenity local` runs according to {file}{left}. Start one with `serenity local`, or name it",
        exits.UNREACHABLE,
    )


def profile_path(environ: Mapping[str, str]) -> Path:
    """The profile that is there, or else the one that would be."""
    if environ.get("SERENITY_CONFIG"):
        return Path(environ["SERENITY_CONFIG"])
    home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/nonexistent")) / ".config")
    return home / "serenity" / "serenity.toml"


def _profile_url(path: Path) -> str | None:
    """Raises Failure for a profile that cannot be used; None for one without an address."""
    if not path.is_file():
        return None
    from serenity.daemon.settings import SettingsError, load_toml

    try:
        url = load_toml(path).get("client", {}).get("url")
    except SettingsError as error:
        raise Failure(str(error), exits.USAGE) from None
    if url is not None and not isinstance(url, str):
        raise Failure(f"{path}: [client] url must be a text such as http://host:8640", exits.USAGE)
    return url
