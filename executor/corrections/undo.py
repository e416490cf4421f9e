"""Undoes what killed executors have left: at the next executor's start, or by `serenity executor --undo`.

The estimator runs that command when it sees that there is something.  A living executor's
lock is held, and its changes are its own business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from serenity.daemon.lock import FileLock, Taken
from serenity.executor.corrections.kernel_files import KernelFiles, is_known
from serenity.executor.corrections.originals import Record, Untrusted, lock_file, put_back, read_record, record_file
from serenity.executor.tasks import guardian
from serenity.wire.transport.undecodable import UNDECODABLE

# Its processes are killed first; the kernel takes a moment to let go of the last of them.
_REMOVED_WITHIN_S = 2.0


@dataclass
class Undone:
    """What was done about one executor.  `refused`: what is left, and why."""

    container_id: str
    alive: bool = False
    values: int = 0
    refused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if self.alive:
            return f"container {self.container_id}: its executor runs, and undoes its changes itself"
        left = f"; left: {'; '.join(self.refused)}" if self.refused else ""
        values = f"{self.values} value{'' if self.values == 1 else 's'} put back"
        return f"container {self.container_id}: {values}, processes and cgroups removed{left}"


def undo_all(
    folder: Path, kernel: KernelFiles, kill_left: Callable[[str, list[str]], None] = guardian.kill_left
) -> list[Undone]:
    """Undoes, for every executor that has written something down.  Raises OSError: the folder cannot be read."""
    if not folder.exists():
        return []
    containers = sorted({each.stem for each in folder.iterdir() if each.suffix in (".json", ".lock")})
    return [_undo_one(folder, each, kernel, kill_left) for each in containers]


def _undo_one(
    folder: Path, container_id: str, kernel: KernelFiles, kill_left: Callable[[str, list[str]], None]
) -> Undone:
    done = Undone(container_id)
    try:
        lock = FileLock(lock_file(folder, container_id))
    except Taken:
        done.alive = True
        return done
    except OSError as error:
        done.refused.append(f"{error.strerror} ({error.filename})")
        return done
    try:
        record = read_record(record_file(folder, container_id))
    except FileNotFoundError:
        pass  # It was killed before it had changed anything.
    except (OSError, Untrusted, *UNDECODABLE) as error:
        done.refused.append(f"nothing is undone by {record_file(folder, container_id)}: {error}")
    else:
        # Killed first: so frozen processes die as they are thawed, and do not run on without an executor.
        kill_left(container_id, list(record.cgroup_parents))
        _put_back(record, kernel, done)
        _remove(record, kernel, done)
        if not done.refused:
            record_file(folder, container_id).unlink(missing_ok=True)
    finally:
        lock.release()
    return done


def _put_back(record: Record, kernel: KernelFiles, done: Undone) -> None:
    for change in record.changes:
        if not is_known(change.knob):
            done.refused.append(f"{change.knob} is nothing that Serenity changes")
            continue
        try:
            done.values += put_back(kernel, change)
        except OSError as error:
            done.refused.append(f"{change.knob}: {error.strerror}")


def _remove(record: Record, kernel: KernelFiles, done: Undone) -> None:
    for each in map(Path, record.folders):
        if not each.name.startswith(guardian.CGROUP_PREFIX):
            done.refused.append(f"{each} is no folder of Serenity's")
            continue
        try:
            kernel.remove(each)
        except FileNotFoundError:
            pass  # It is gone, which is what was wanted.
        except OSError as error:
            done.refused.append(f"{each}: {error.strerror}")
    done.refused += guardian.remove_cgroups(record.container_id, list(record.cgroup_parents), _REMOVED_WITHIN_S)
