"""Principal and secret are read from a file: command lines and environment variables end up in logs."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field

from serenity.wire.transport.trust_files import UnusableFile, read_private


@dataclass(frozen=True, slots=True)
class Credential:
    principal: str
    secret: str = field(repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        return "Basic " + base64.b64encode(f"{self.principal}:{self.secret}".encode()).decode("ascii")


def read_credential(path: str, principal: str | None) -> Credential:
    """Reads the file of setting `secret_file`, and warns if others than its owner can access it.

    The file holds Mesos' JSON ``{"principal": …, "secret": …}``.  It may also hold the secret alone if `principal` is
    given, and Mesos' older line ``principal secret`` if not.

    Raises:
        UnusableFile
    """
    try:
        text = read_private("secret_file", path).decode("utf-8").strip("\r\n")
    except UnicodeDecodeError:  # The error quotes the file.
        raise UnusableFile(f"secret_file: {path} is no text in UTF-8") from None
    found = _parse(path, text, principal)
    if not found.secret or not found.secret.isprintable():
        raise UnusableFile(f"secret_file: {path} must hold one line, and that not be empty")
    if not found.principal or ":" in found.principal or not found.principal.isprintable():
        raise UnusableFile(
            f"secret_file: the principal {found.principal!r} of {path} cannot be sent: empty, or with a colon"
        )
    if principal is not None and found.principal != principal:
        raise UnusableFile(f"secret_file: {path} is for {found.principal!r}, but principal = {principal!r}")
    return found


def _parse(path: str, text: str, principal: str | None) -> Credential:
    if text.lstrip().startswith("{"):
        try:
            content = json.loads(text)
            return Credential(str(content["principal"]), str(content["secret"]))
        except (ValueError, KeyError):  # The error may quote the file.
            raise UnusableFile(f'secret_file: {path} is not {{"principal": "…", "secret": "…"}}') from None
    if principal is not None:
        return Credential(principal, text)
    words = text.split()
    if len(words) != 2:
        raise UnusableFile(f"secret_file: {path} does not say whose secret it holds; give principal too")
    return Credential(*words)
