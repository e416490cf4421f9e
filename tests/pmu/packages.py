"""Debian packages of another architecture, unpacked into a folder: nothing is installed on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path


class Unavailable(Exception):  # noqa: N818 - no error: a reason to skip
    """The packages cannot be had here; the text says why."""


class Packages:
    """apt with folders of its own.  `architecture` None: this machine's, less what is installed already."""

    def __init__(self, cache: Path, architecture: str | None) -> None:
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            raise Unavailable("it needs apt-get and dpkg-deb")
        self._folder = cache
        self._archives = cache / "cache/archives"
        for each in (self._archives / "partial", cache / "state/lists/partial"):
            each.mkdir(parents=True, exist_ok=True)
        self._options = [f"Dir::Cache={cache / 'cache'}", f"Dir::State::lists={cache / 'state/lists'}",
                         "Debug::NoLocking=1", "APT::Sandbox::User=root"]  # fmt: skip
        if architecture is not None:
            (cache / "status").touch()
            self._options += [f"Dir::State::status={cache / 'status'}", f"APT::Architecture={architecture}",
                              f"APT::Architectures::={architecture}"]  # fmt: skip

    def unpack(self, names: Sequence[str], into: Path) -> None:
        """The packages with all that they depend on; a second time nothing is fetched.  Raises Unavailable."""
        done = into / ".packages"
        if done.exists() and done.read_text() == " ".join(names):
            return
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir(parents=True)
        self._apt("update")
        self._apt("install", "--download-only", "--yes", "--no-install-recommends", *names)
        for archive in sorted(self._archives.glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", archive, into], check=True)
        done.write_text(" ".join(names))

    def unpack_only(self, name: str, into: Path) -> None:
        """The newest real package that the meta package `name` stands for, without what it depends on."""
        if list(into.glob("*")):
            return
        self._apt("update")
        depends = self._run("apt-cache", "depends", name)
        real = [line.split()[-1] for line in depends.splitlines() if "Depends:" in line]
        if not real:
            raise Unavailable(f"no package {name}")
        downloads = self._folder / "downloads"
        downloads.mkdir(exist_ok=True)
        self._apt("download", real[0], folder=downloads)
        (archive,) = downloads.glob("*.deb")
        into.mkdir(parents=True, exist_ok=True)
        subprocess.run(["dpkg-deb", "-x", archive, into], check=True)

    def _apt(self, *arguments: str, folder: Path | None = None) -> None:
        self._run("apt-get", "-q", *arguments, folder=folder)

    def _run(self, program: str, *arguments: str, folder: Path | None = None) -> str:
        options = [word for option in self._options for word in ("-o", option)]
        done = subprocess.run(
            [program, *options, *arguments],
            cwd=folder,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        if done.returncode != 0:
            words = done.stderr.strip().splitlines()[-1:] or ["it failed"]
            raise Unavailable(f"{program}: {words[0]}")
        return done.stdout
