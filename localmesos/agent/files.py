"""``/files``: reading sandboxes, and nothing else (``src/files/files.cpp``).

A path is that of an executor's run directory, real or virtual
(``/frameworks/FID/executors/EID/runs/latest/stdout``), or a path below it.  Symbolic links are
resolved first; a file that then lies outside of that directory counts as missing.
"""

from __future__ import annotations

import grp
import pwd
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from serenity.localmesos.agent.state import Executor
from serenity.localmesos.web.http import Answer
from serenity.wire.mesos.resources import Json

# What one answer of /files/read holds at most, in Mesos: 16 pages.
MAX_READ_BYTES = 16 * 4096


def read(path: str | None, offset: str | None, length: str | None, executors: Iterable[Executor]) -> Answer:
    """``{"data": …, "offset": …}``; without an offset, or with -1, only the size, as the offset."""
    if path is None:
        return _refused("Expecting 'path=value' in query.")
    try:
        start = -1 if offset is None else int(offset)
        count = -1 if length is None else int(length)
    except ValueError:
        return _refused("Failed to parse offset or length: no number.")
    if start < -1 or count < -1:
        return _refused("Negative offset or length provided.")
    file = _resolve(path, executors)
    if file is None:
        return Answer(404)
    if not file.is_file():
        return _refused("Cannot read a directory.")
    with file.open("rb") as opened:
        if start == -1:
            return Answer.json({"data": "", "offset": file.stat().st_size})
        opened.seek(start)
        data = opened.read(MAX_READ_BYTES if count == -1 else min(count, MAX_READ_BYTES))
    return Answer.json({"data": data.decode("utf-8", "replace"), "offset": start})


def browse(path: str | None, executors: Iterable[Executor]) -> Answer:
    """The files of a directory, as ``ls -l`` would list them."""
    if path is None:
        return _refused("Expecting 'path=value' in query.")
    directory = _resolve(path, executors)
    if directory is None or not directory.is_dir():
        return Answer(404)
    return Answer.json([_listed(f"{path.rstrip('/')}/{each.name}", each) for each in sorted(directory.iterdir())])


def download(path: str | None, executors: Iterable[Executor]) -> Answer:
    if path is None:
        return _refused("Expecting 'path=value' in query.")
    file = _resolve(path, executors)
    if file is None or not file.is_file():
        return Answer(404)
    headers = {"Content-Type": "application/octet-stream", "Content-Disposition": f"attachment; filename={file.name}"}
    return Answer(200, file.read_bytes(), headers)


def _resolve(path: str, executors: Iterable[Executor]) -> Path | None:
    """The file at `path`, all links resolved; None unless it exists inside a sandbox."""
    for executor in executors:
        run = f"/frameworks/{executor.framework_id}/executors/{executor.executor_id}/runs"
        virtual = (f"{run}/{executor.container_id}", f"{run}/latest")
        for root in (str(executor.sandbox), *virtual):
            if path != root and not path.startswith(f"{root}/"):
                continue
            sandbox = executor.sandbox.resolve()
            try:
                resolved = (sandbox / path[len(root) + 1 :].lstrip("/")).resolve(strict=True)
            except (OSError, RuntimeError, ValueError):  # RuntimeError: links in a circle; ValueError: a NUL.
                return None
            return resolved if resolved.is_relative_to(sandbox) else None
    return None


def _listed(path: str, file: Path) -> Json:
    about = file.lstat()
    return {
        "gid": _name_of(lambda: grp.getgrgid(about.st_gid).gr_name, about.st_gid),
        "mode": stat.filemode(about.st_mode),
        "mtime": float(int(about.st_mtime)),
        "nlink": about.st_nlink,
        "path": path,
        "size": about.st_size,
        "uid": _name_of(lambda: pwd.getpwuid(about.st_uid).pw_name, about.st_uid),
    }


def _name_of(look_up: Callable[[], str], number: int) -> str:
    try:
        return look_up()
    except KeyError:
        return str(number)


def _refused(text: str) -> Answer:
    return Answer.text(400, text + "\n")
