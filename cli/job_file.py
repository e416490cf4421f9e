"""Job files, TOML: many jobs for one ``serenity submit FILE.toml``.

Keys are those of the flags; a table ``[defaults]`` holds for every job that does not say otherwise:

    [defaults]
    cpus = 0.25
    user = "alice"

    [[job]]
    name = "index"
    id = "index-2026-11-22"
    command = ["./index", "--all"]      # an array is an argv, a string a line for /bin/sh
    uri = ["https://host/index.tgz"]
    constraint = ["zone in a,b"]
    env = { LEVEL = "3" }
    max-runtime = "2h"
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from serenity.cli.failure import Failure
from serenity.daemon import exits
from serenity.wire.mesos.quantities import parse_duration_s, parse_mem_bytes
from serenity.wire.messages import api
from serenity.wire.messages.constraints import Constraint
from serenity.wire.messages.uris import Uri


def read(path: Path) -> list[api.JobRequest]:
    """All jobs of the file, each checked.  Raises Failure, which names the job and the key."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}", exits.USAGE) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Failure(f"{path} is no TOML: {error}", exits.USAGE) from None
    defaults, jobs = content.pop("defaults", {}), content.pop("job", [])
    if content or not isinstance(defaults, dict) or not isinstance(jobs, list) or not jobs:
        odd = f"{next(iter(content))!r} is neither" if content else "there is no [[job]] in it"
        raise Failure(f"{path}: write [defaults] and [[job]] tables; {odd}", exits.USAGE)
    requests = []
    for number, table in enumerate(jobs, 1):
        if not isinstance(table, dict):
            raise Failure(f"{path}: job {number} is no table; write [[job]]", exits.USAGE)
        named = f" ({table['name']})" if isinstance(table.get("name"), str) else ""
        try:
            requests.append(request_of({**defaults, **table}))
        except ValueError as error:
            raise Failure(f"{path}: job {number}{named}: {error}", exits.USAGE) from None
    _require_unique_ids(path, requests)
    return requests


def request_of(table: Mapping[str, Any]) -> api.JobRequest:
    """Raises ValueError, which names the key."""
    fields: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("_", "-")
        if name not in _KEYS:
            raise ValueError(f"{key!r} is no key; there are {', '.join(sorted(_KEYS))}")
        field, convert = _KEYS[name]
        try:
            fields[field] = convert(value)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{key}: {error}") from None
    if "command" not in fields:
        raise ValueError("it has no command")
    try:
        return msgspec.convert(fields, api.JobRequest)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def rerun_after_s(text: str) -> float | None:
    """``wait`` or ``rerun-after 10m``.  Raises ValueError."""
    word, _, duration = text.replace("=", " ").partition(" ")
    if word == "wait" and not duration:
        return None
    if word != "rerun-after" or not duration:
        raise ValueError(f"{text!r}: write wait, or such as 'rerun-after 10m'")
    return parse_duration_s(duration.strip())


def _require_unique_ids(path: Path, requests: list[api.JobRequest]) -> None:
    ids = [each.id for each in requests if each.id is not None]
    twice = next((each for each in ids if ids.count(each) > 1), None)
    if twice is not None:
        raise Failure(f"{path}: two jobs have the id {twice!r}", exits.USAGE)


def _as_it_is(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text; put it in quotes")
    return value


def _of_text(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda value: parse(_text(value))


def _amount(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Accepts a number as well as its text."""
    return lambda value: parse(str(value) if isinstance(value, int | float) else _text(value))


def _each(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Accepts one text, or an array of texts."""
    return lambda value: tuple(parse(_text(each)) for each in (value if isinstance(value, list) else [value]))


def _variables(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise TypeError('write a table, such as { LEVEL = "3" }')
    return {key: str(each) if isinstance(each, int | float) else _text(each) for key, each in value.items()}


# By key: the field of the request, and how its value is read.
_KEYS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "command": ("command", _as_it_is),
    "name": ("name", _as_it_is),
    "id": ("id", _as_it_is),
    "cpus": ("cpus", _as_it_is),
    "mem": ("mem_bytes", _amount(parse_mem_bytes)),
    "disk": ("disk_bytes", _amount(parse_mem_bytes)),
    "instances": ("instances", _as_it_is),
    "max-retries": ("max_retries", _as_it_is),
    "max-free-retries": ("max_free_retries", _as_it_is),
    "max-runtime": ("max_runtime_s", _amount(parse_duration_s)),
    "grace": ("grace_s", _amount(parse_duration_s)),
    "on-unreachable": ("rerun_unreachable_after_s", _of_text(rerun_after_s)),
    "env": ("env", _variables),
    "label": ("labels", _variables),
    "priority": ("priority", _as_it_is),
    "constraint": ("constraints", _each(Constraint.parse)),
    "uri": ("uris", _each(Uri.parse)),
    "user": ("user", _as_it_is),
}
