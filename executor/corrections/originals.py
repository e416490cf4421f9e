"""What an executor has changed on this machine, on disk before it is changed, so that somebody else can undo it.

One file for each executor, ``<run dir>/originals/<container>.json``, written whole, renamed into
place and synced with its folder; beside it a lock, which the kernel lets go of when the
executor ends, however it ends.  `undo` reads them.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from serenity.daemon.lock import FileLock, Taken
from serenity.daemon.whole_file import replace_file
from serenity.executor.corrections.actuators import ActuatorError
from serenity.executor.corrections.kernel_files import KernelFiles, Knob

logger = logging.getLogger(__name__)

SCHEMA = 1
# Whoever looks whether an executor lives holds its lock for a moment.
_LOCK_TRIES, _LOCK_AGAIN_S = 20, 0.02


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One knob.  `ours`: what we wrote, or are about to write; any other value in it is another writer's."""

    file: str
    key: str
    original: str
    ours: tuple[str, ...]

    @property
    def knob(self) -> Knob:
        return Knob(Path(self.file), self.key)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The file.  `cgroup_parents`: below these the executor makes cgroups; `folders`: other folders it has made."""

    schema: int = SCHEMA
    container_id: str
    cgroup_parents: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    folders: tuple[str, ...] = ()


class Untrusted(Exception):  # noqa: N818 - reads as what it says
    """A file that says what root is to write where, and that others could have written."""


def record_file(folder: Path, container_id: str) -> Path:
    return folder / f"{container_id}.json"


def lock_file(folder: Path, container_id: str) -> Path:
    return folder / f"{container_id}.lock"


def read_record(file: Path) -> Record:
    """Raises Untrusted, OSError, or UNDECODABLE for what is no record."""
    for each in (file, file.parent):
        found = each.lstat()
        if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
            raise Untrusted(f"{each} can be written by others than its user, or is not ours")
    record = msgspec.json.decode(file.read_bytes(), type=Record)
    if record.schema != SCHEMA:
        raise msgspec.ValidationError(f"schema {record.schema}; this version knows {SCHEMA}")
    return record


class Originals:
    """One executor's; every change of a value goes through `set`, every undoing through `restore`."""

    def __init__(
        self, folder: Path, container_id: str, kernel: KernelFiles, cgroup_parents: Iterable[str] = ()
    ) -> None:
        self.kernel = kernel
        self._folder = folder
        self._container_id = container_id
        self._cgroup_parents = tuple(cgroup_parents)
        self._lock: FileLock | None = None
        self._changes: dict[Knob, Change] = {}
        self._made: tuple[str, ...] = ()

    def begin(self) -> None:
        """Says that this executor lives.  Raises OSError; nothing can be set then, and each `set` tries again."""
        self._commit(self._changes, self._made)

    def set(self, values: Mapping[Knob, str]) -> None:
        """Writes down what is there, then writes the values, and looks whether the kernel has taken them.

        Raises:
            ActuatorError: the kernel has not, or the originals could not be written down; all is as before.
        """
        try:
            found = {knob: self.kernel.value(knob) for knob in values}
            changes = self._changes | {knob: self._change(knob, found[knob], value) for knob, value in values.items()}
        except OSError as error:
            raise ActuatorError.of(error) from error
        # For knobs written down before, the page cache is enough: it outlives us, and no value outlives the machine.
        new = any(
            knob not in self._changes or self._changes[knob].original != changes[knob].original for knob in values
        )
        try:
            self._commit(changes, self._made, synced=new)
        except OSError as error:
            raise ActuatorError(
                f"nothing is changed that cannot be written down before: {ActuatorError.of(error)}"
            ) from error
        before, self._changes = self._changes, changes
        try:
            for knob, value in values.items():
                self.kernel.set(knob, value)
                says = self.kernel.value(knob)
                if says != value:
                    raise ActuatorError(f"wrote {value} to {knob}, the kernel says {says}")
        except (OSError, ActuatorError) as error:
            self._roll_back(found, before)
            raise error if isinstance(error, ActuatorError) else ActuatorError.of(error) from error

    def restore(self, knobs: Iterable[Knob]) -> None:
        """Puts the originals back where our values still are.  Raises ActuatorError when the kernel refuses."""
        refused = None
        turned = [change for knob in knobs if (change := self._changes.get(knob)) is not None]
        for change in turned:
            try:
                put_back(self.kernel, change)
            except OSError as error:
                refused = refused or error  # It stays written down, for whoever comes after us.
                continue
            del self._changes[change.knob]
        if turned:
            self._commit_undoing()
        if refused is not None:
            raise ActuatorError.of(refused) from refused

    def foreign(self, knob: Knob) -> str | None:
        """What another writer has made of a value of ours; None while it is ours, or gone.  Raises ActuatorError."""
        change = self._changes.get(knob)
        if change is None:
            return None
        try:
            found = self.kernel.value(knob)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ActuatorError.of(error) from error
        return None if found == change.ours[-1] else found

    def make(self, folder: Path) -> None:
        """Makes a folder in a file system of the kernel, which `remove` removes.  Raises ActuatorError."""
        made = (*(each for each in self._made if each != str(folder)), str(folder))
        try:
            self._commit(self._changes, made)
            self._made = made
            self.kernel.make(folder)
        except OSError as error:
            raise ActuatorError.of(error) from error

    def remove(self, folder: Path) -> None:
        """With the values that were set in it.  Raises ActuatorError."""
        try:
            self.kernel.remove(folder)
        except FileNotFoundError:
            pass  # It is gone, which is what was wanted.
        except OSError as error:
            raise ActuatorError.of(error) from error
        self._made = tuple(each for each in self._made if each != str(folder))
        self._changes = {knob: change for knob, change in self._changes.items() if knob.file.parent != folder}
        self._commit_undoing()

    def end(self) -> None:
        """Once all is undone.  What could not be undone stays written down."""
        if self._lock is None or self._changes or self._made:
            return
        record_file(self._folder, self._container_id).unlink(missing_ok=True)
        self._lock.release()
        self._lock = None

    def _change(self, knob: Knob, found: str, value: str) -> Change:
        before = self._changes.get(knob)
        if before is not None and found in before.ours:
            return msgspec.structs.replace(before, ours=(found, value))
        # A value that another writer has set since is the one that it will want to find again.
        return Change(file=str(knob.file), key=knob.key, original=found, ours=(value,))

    def _roll_back(self, found: Mapping[Knob, str], before: Mapping[Knob, Change]) -> None:
        for knob, value in found.items():
            try:
                if self.kernel.value(knob) != value:
                    self.kernel.set(knob, value)
            except FileNotFoundError:
                pass  # The cgroup has been removed.
            except OSError as error:
                logger.error("%s cannot be put back to %s: %s", knob, value, ActuatorError.of(error))
                continue  # It stays written down, for whoever comes after us.
            del self._changes[knob]
            if knob in before:
                self._changes[knob] = before[knob]
        self._commit_undoing()

    def _commit(self, changes: Mapping[Knob, Change], made: tuple[str, ...], synced: bool = True) -> None:
        """Raises OSError: it is not on disk."""
        if self._lock is None or not self._lock.in_place:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _lock(lock_file(self._folder, self._container_id))
        record = Record(
            container_id=self._container_id,
            cgroup_parents=self._cgroup_parents,
            changes=tuple(changes.values()),
            folders=made,
        )
        replace_file(record_file(self._folder, self._container_id), msgspec.json.encode(record), synced=synced)

    def _commit_undoing(self) -> None:
        """Not synced: where this is lost, undoing once more changes nothing."""
        try:
            self._commit(self._changes, self._made, synced=False)
        except OSError as error:
            logger.warning("%s still names what has been undone: %s", self._folder, ActuatorError.of(error))


def put_back(kernel: KernelFiles, change: Change) -> bool:
    """Whether our value was still there, and the original is now.  Raises OSError when the kernel refuses."""
    try:
        if kernel.value(change.knob) not in change.ours:
            return False
        kernel.set(change.knob, change.original)
    except FileNotFoundError:
        return False  # The cgroup has been removed, and its values with it.
    return True


def _lock(file: Path) -> FileLock:
    for _ in range(_LOCK_TRIES):
        try:
            return FileLock(file)
        except Taken:
            time.sleep(_LOCK_AGAIN_S)
    return FileLock(file)
