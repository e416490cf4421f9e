"""What a task finds in its sandbox when it starts: files that were fetched for it, archives unpacked.

On the command line and in job files, options follow a ``#``; they are never part of the URI that is fetched:
``https://h/tool.tgz``, ``https://h/tool#executable``, ``https://h/data.zip#keep,as=data,sha256=9f86d0…``.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")


class Uri(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`name`: the file's name in the sandbox; by default the last part of the URI's path."""

    value: Annotated[str, Meta(pattern=r"^(https?|file)://[^\s#]+$", max_length=4096)]
    name: Annotated[str, Meta(pattern=r"^[^/\x00-\x1f]{1,255}$")] | None = None
    extract: bool = True  # Applies to archives, told by the end of the path.
    executable: bool = False
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")] | None = None

    def __post_init__(self) -> None:
        """Raises ValueError in words for the user."""
        if self.file_name in ("", ".", "..") or "/" in self.file_name or "\0" in self.file_name:
            raise ValueError(f"{self.shown} names no file; say what to call it")
        if self.file_name in ("stdout", "stderr"):
            raise ValueError(f"{self.shown} would be the task's {self.file_name}; say what else to call it")

    @classmethod
    def parse(cls, text: str) -> Uri:
        """Raises ValueError in words for the user."""
        value, _, rest = text.partition("#")
        fields: dict[str, object] = {"value": value}
        for option in filter(None, rest.split(",")):
            key, equals, argument = option.partition("=")
            if option == "executable":
                fields["executable"] = True
            elif option == "keep":
                fields["extract"] = False
            elif key == "as" and equals:
                fields["name"] = argument
            elif key == "sha256" and equals:
                fields["sha256"] = argument
            else:
                raise ValueError(f"#{option}: write #executable, #keep, #as=NAME or #sha256=HEX, with commas between")
        try:
            return msgspec.convert(fields, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"{text!r}: {error}; write such as https://host/tool.tgz or file:///opt/tool") from None

    @property
    def file_name(self) -> str:
        return self.name or unquote(urlsplit(self.value).path.rsplit("/", 1)[-1])

    @property
    def is_archive(self) -> bool:
        """Decided by the URI's path, whatever the file's name in the sandbox."""
        return urlsplit(self.value).path.lower().endswith(ARCHIVES)

    @property
    def shown(self) -> str:
        """The URI without parts that may be secret: a password, a signature in the query."""
        parts = urlsplit(self.value)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
