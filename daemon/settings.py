"""Settings with precedence: flag, then ``SERENITY_*`` variable, then ``serenity.toml``, then default.

A daemon declares its settings as a frozen msgspec Struct with one field for each key of its table in the file.
`resolve` fills the Struct and tells where each value came from; its errors name the key, the file and the remedy.
"""

from __future__ import annotations

import contextlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_origin

import msgspec

S = TypeVar("S", bound=msgspec.Struct)

# The tables of serenity.toml; one file serves all daemons of a machine, and each reads its own.
TABLES = ("framework", "executor", "estimator", "client")


class SettingsError(ValueError):
    """A setting is unknown, of the wrong type or out of range; the text names it and the remedy."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: ``flag``, ``SERENITY_X``, the file's path, or ``default``."""

    key: str
    value: Any
    source: str


def default_file(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file that SERENITY_CONFIG names, else the user's, else the system's; None if there is none."""
    named = environ.get("SERENITY_CONFIG")
    if named:
        return Path(named)
    home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/nonexistent")) / ".config")
    for path in (home / "serenity" / "serenity.toml", Path("/etc/serenity/serenity.toml")):
        with contextlib.suppress(PermissionError):  # HOME may be another user's, as executors inherit it.
            if path.is_file():
                return path
    return None


def load_toml(path: Path) -> dict[str, Any]:
    """Raises SettingsError with the file, the line and what is wrong."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Some editors write a byte order mark.
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is no text in UTF-8 ({error}); save it as such") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: {error}") from error
    except RecursionError as error:
        raise SettingsError(f"{path}: more brackets in brackets than anybody needs; remove some") from error
    except ValueError as error:  # An integer of thousands of digits.
        raise SettingsError(f"{path}: a number has more digits than it can mean; write it shorter") from error


def resolve(
    kind: type[S],
    table: str,
    flags: Mapping[str, Any],
    environ: Mapping[str, str] = os.environ,
    file: Path | None = None,
) -> tuple[S, tuple[Origin, ...]]:
    """Fills `kind` for `table`.  Flags that were not given are None in `flags`.

    The variable of key ``listen`` in table ``framework`` is ``SERENITY_FRAMEWORK_LISTEN``.

    Raises:
        SettingsError
    """
    path = file if file is not None else default_file(environ)
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    from_file = _table(path, table, tuple(sorted(fields))) if path is not None else {}
    values: dict[str, Any] = {}
    origins = []
    for key, field in fields.items():
        variable = f"SERENITY_{table}_{key}".upper()
        if flags.get(key) is not None:
            value, source = flags[key], "flag"
        elif variable in environ:
            value, source = environ[variable], variable
        elif key in from_file:
            value, source = from_file[key], str(path)
        else:
            if field.required:
                raise SettingsError(
                    f"{key} is not set; give --{key.replace('_', '-')}, {variable} or [{table}] {key} in serenity.toml"
                )
            made = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
            origins.append(Origin(key, made, "default"))
            continue
        try:
            if source == variable and get_origin(field.type) is dict:
                value = _pairs(value)
            # Variables are text: "5051" and "true" must do for an int and a bool.
            values[key] = msgspec.convert(value, field.type, strict=source != variable)
        except (msgspec.ValidationError, ValueError) as error:
            raise SettingsError(f"{source}: {key} = {value!r}: {error}") from error
        origins.append(Origin(key, values[key], source))
    try:
        return kind(**values), tuple(origins)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"[{table}]: {error}") from error


def variable_text(value: Any) -> str:
    """A value of the file as an environment variable has it: the inverse of what `resolve` does with variables.

    Raises:
        TypeError: a value of this type has no such form.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, Mapping) and all(isinstance(each, str) for each in value.values()):
        return ",".join(f"{key}={each}" for key, each in value.items())
    raise TypeError(f"a {type(value).__name__} has no form as a variable")


def _pairs(text: str) -> dict[str, str]:
    """Parses ``a=b,c=d``, the form of a table in a variable.  Raises ValueError."""
    pairs = [each.partition("=") for each in text.split(",") if each.strip()]
    for key, equals, value in pairs:
        if not (key.strip() and equals and value.strip()):
            raise ValueError("write KEY=VALUE,KEY=VALUE")
    return {key.strip(): value.strip() for key, _, value in pairs}


def _table(path: Path, table: str, keys: tuple[str, ...]) -> dict[str, Any]:
    """One table of the file.  Raises SettingsError, also for tables and keys that are not known."""
    content = load_toml(path)
    for name in content:
        if name != table and name not in TABLES:
            raise SettingsError(f"{path}: there is no table [{name}]; there are {', '.join(TABLES)}")
    found = content.get(table, {})
    if not isinstance(found, dict):
        raise SettingsError(f"{path}: {table} = {found!r}; it is a table, [{table}]")
    for key in found:
        if key not in keys:
            raise SettingsError(f"{path}: [{table}] has no key {key!r}; it has {', '.join(keys)}")
    return found
