"""Where the framework is and who we are to it: by flag, variable, profile, or what runs on this machine.

A profile is the table ``[client]`` of serenity.toml, or, with ``--profile NAME``, its table ``[client.NAME]``::

    [client]
    url = "https://serenity.example.org:8640"
    token_file = "~/.config/serenity/token"
    ca_file = "/etc/serenity/ca.pem"
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serenity.cli.failure import Failure
from serenity.daemon import exits
from serenity.wire.transport.access import ANONYMOUS, Access

if TYPE_CHECKING:
    from serenity.wire.transport.endpoint import Endpoint

PROFILE = "SERENITY_PROFILE"
_KEYS = ("url", "token_file", "ca_file")
_SYSTEM = Path("/etc/serenity/serenity.toml")


@dataclass(frozen=True, slots=True)
class Where:
    """A framework's address, where the address was found, and the profile's keys if it was found in a profile."""

    url: str
    origin: str
    profile: Mapping[str, str]


def find_framework(flag: str | None, environ: Mapping[str, str]) -> Where:
    """Raises Failure, which names all places that were looked at."""
    if flag:
        return Where(flag, "--url", {})
    if environ.get("SERENITY_URL"):
        return Where(environ["SERENITY_URL"], "SERENITY_URL", {})
    path = profile_path(environ)
    profile = read_profile(path, environ.get(PROFILE))
    if "url" in profile:
        return Where(profile["url"], str(path), profile)
    return _on_this_machine(environ, path)


def access_of(where: Where, endpoint: Endpoint, environ: Mapping[str, str]) -> Access:
    """SERENITY_TOKEN is for whichever framework was found; a profile's token only for the profile's own address.

    Raises Failure.
    """
    from serenity.wire.transport.trust_files import UnusableFile, read_private

    try:
        access = ANONYMOUS
        if endpoint.tls and "ca_file" in where.profile:
            from serenity.wire.transport.tls import client_context  # Imported only then: it takes 10 ms.

            access = Access(client_context(_expanded(where.profile["ca_file"])))
        token = environ.get("SERENITY_TOKEN")
        if token is None and "token_file" in where.profile:
            token = read_private("token_file", _expanded(where.profile["token_file"])).decode("utf-8", "replace")
    except UnusableFile as error:
        raise Failure(f"{where.origin}: {error}", exits.USAGE) from None
    if token is None:
        return access
    if not token.strip().isprintable() or not token.isascii():
        raise Failure("the token is no token: it must be one line, as `serenity token create` printed it", exits.USAGE)
    return access.with_token(token.strip())


def profile_path(environ: Mapping[str, str]) -> Path:
    """The file that SERENITY_CONFIG names; else the user's, else the system's; the user's path if neither exists."""
    if environ.get("SERENITY_CONFIG"):
        return Path(environ["SERENITY_CONFIG"])
    home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "/nonexistent")) / ".config")
    own = home / "serenity" / "serenity.toml"
    return own if _is_file(own) or not _is_file(_SYSTEM) else _SYSTEM


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:
        return False  # HOME is another user's, as `sudo -E` and `setpriv` leave it.


def read_profile(path: Path, name: str | None) -> dict[str, str]:
    """The keys of ``[client]``, or of ``[client.NAME]``.  Raises Failure for a profile that cannot be used."""
    table = _client_table(path)
    profiles = sorted(key for key, value in table.items() if isinstance(value, dict))
    if name is not None:
        if name not in profiles:
            known = f"there are {', '.join(profiles)}" if profiles else "there is none"
            raise Failure(f"{path} has no profile [client.{name}]; {known}", exits.USAGE)
        table = table[name]
    found = {key: value for key, value in table.items() if not isinstance(value, dict)}
    for key, value in found.items():
        where = "client" if name is None else f"client.{name}"
        if key not in _KEYS:
            raise Failure(f"{path}: [{where}] has no key {key!r}; it has {', '.join(_KEYS)}", exits.USAGE)
        if not isinstance(value, str):
            raise Failure(f"{path}: [{where}] {key} must be a text such as {_EXAMPLES[key]}", exits.USAGE)
    return found


_EXAMPLES = {"url": "https://host:8640", "token_file": "/home/me/token", "ca_file": "/etc/serenity/ca.pem"}


def _client_table(path: Path) -> dict[str, Any]:
    if not _is_file(path):
        return {}
    from serenity.daemon.settings import SettingsError, load_toml

    try:
        table = load_toml(path).get("client", {})
    except SettingsError as error:
        raise Failure(str(error), exits.USAGE) from None
    if not isinstance(table, dict):
        raise Failure(f"{path}: client must be a table, [client]", exits.USAGE)
    return table


def _on_this_machine(environ: Mapping[str, str], profile: Path) -> Where:
    from serenity.wire.messages import runtime_file
    from serenity.wire.messages.framework_socket import default_socket, running_socket
    from serenity.wire.messages.node import run_dir

    file = runtime_file.path_in(run_dir(environ))
    running = runtime_file.read(file.parent)
    if running is not None and running.alive:
        return Where(running.url, str(file), {})
    socket = running_socket(environ)
    if socket is not None:
        return Where(f"unix:{socket}", "the framework's own socket", {})
    left = f" (it is left from process {running.pid}, which is gone)" if running is not None else ""
    raise Failure(
        f"no framework found: not by --url, not by SERENITY_URL, no [client] url in {profile}, no `serenity local` runs"
        f" according to {file}{left}, and none is at {default_socket(environ)}. Start one with `serenity local`, or"
        " name it",
        exits.UNREACHABLE,
    )


def _expanded(path: str) -> str:
    return os.path.expanduser(path)
