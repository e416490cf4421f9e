"""An initramfs of a few unpacked packages and our own source code."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = ("qos", "daemon", "wire", "executor")

INIT = """\
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /v1 /v2
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
export PATH=/bin:/usr/bin PYTHONPATH=/serenity PYTHONUNBUFFERED=1
export LD_LIBRARY_PATH=/usr/lib/aarch64-linux-gnu/blas:/usr/lib/aarch64-linux-gnu/lapack
{python} -X utf8 /serenity/guest.py
/bin/busybox poweroff -f
"""

# What no program here opens; the guest reads all that is left into its memory.
_USELESS = (
    "usr/share", "usr/include", "var", "etc", "usr/bin/perl*", "usr/sbin", "sbin", "usr/lib/python3*/test",
    "usr/lib/python3*/idlelib", "usr/lib/python3*/lib2to3", "usr/lib/python3*/ensurepip",
    "usr/lib/python3/dist-packages/numpy/**/tests", "usr/lib/python3/dist-packages/numpy/f2py",
    "usr/lib/python3/dist-packages/pkg_resources", "usr/lib/*/gconv", "lib/systemd", "usr/lib/*/perl*", "usr/lib/dpkg",
    "usr/lib/*/libssl*", "usr/lib/*/libdb*", "usr/lib/*/libsqlite*", "usr/lib/*/libkrb*",
)  # fmt: skip


def build(packages: Path, guest: Path, work: Path) -> Path:
    """The image's path.  `packages`: unpacked, with Python, numpy and a static busybox."""
    root = work / "root"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(packages, root, symlinks=True)
    for pattern in _USELESS:
        for each in list(root.glob(pattern)):
            shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink(missing_ok=True)
    _add_source(root / "serenity", guest)
    python = _python_of(root)
    _compile(root, python.name)
    init = root / "init"
    init.write_text(INIT.replace("{python}", f"/{python.relative_to(root)}"))
    init.chmod(0o755)
    image = work / "initrd"
    with image.open("wb") as out:
        _write_newc(out, root)
    return image


def _add_source(folder: Path, guest: Path) -> None:
    package = folder / "serenity"
    package.mkdir(parents=True)
    shutil.copy(REPOSITORY / "src/serenity/__init__.py", package)
    for room in ROOMS:
        shutil.copytree(
            REPOSITORY / room, package / room, ignore=shutil.ignore_patterns("_vendor*", "__pycache__", "*.toml")
        )
    for each in (guest, guest.with_name("task_cgroups.py")):
        shutil.copy(each, folder)


def _python_of(root: Path) -> Path:
    """``usr/bin/python3.N``"""
    return next(each for each in sorted(root.glob("usr/bin/python3.*")) if not each.is_symlink())


def _compile(root: Path, python: str) -> None:
    """By an interpreter of the same version, where there is one: the guest takes minutes to compile its library."""
    ours = f"python{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = sys.executable if ours == python else shutil.which(python)
    if interpreter is not None:
        command = [interpreter, "-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash"]
        subprocess.run([*command, "-s", str(root), "-p", "/", str(root)], stdout=subprocess.DEVNULL, check=False)


def _write_newc(out: IO[bytes], root: Path) -> None:
    """cpio's ``newc``, as the kernel reads it (``Documentation/driver-api/early-userspace/buffer-format.rst``)."""
    for number, (name, mode, content) in enumerate(_entries(root), 1):
        encoded = name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        console = (5, 1) if stat.S_ISCHR(mode) else (0, 0)
        fields = (number, mode, 0, 0, links, 0, len(content), 0, 0, *console, len(encoded), 0)
        out.write(b"070701" + b"".join(b"%08X" % each for each in fields))
        out.write(_padded(encoded, 110))
        out.write(_padded(content, 0))


def _entries(root: Path) -> Iterator[tuple[str, int, bytes]]:
    for folder, folders, files in os.walk(root):
        for name in sorted(folders + files):
            path = Path(folder) / name
            status = path.lstat()
            if path.is_symlink():
                content = os.readlink(path).encode()
            elif path.is_file():
                content = path.read_bytes()
            else:
                content = b""
            yield str(path.relative_to(root)), status.st_mode, content
    yield "dev", stat.S_IFDIR | 0o755, b""
    yield "dev/console", stat.S_IFCHR | 0o600, b""
    yield "TRAILER!!!", 0, b""


def _padded(data: bytes, before: int) -> bytes:
    return data + b"\0" * (-(before + len(data)) % 4)
