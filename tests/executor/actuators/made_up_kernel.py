"""Kernels that this machine is not: file trees that take, pad and refuse values as the real ones do.

Each write goes through the grammar and the checks of the kernel's own parser (Linux
``fs/resctrl/ctrlmondata.c``, ``block/blk-throttle.c``, ``kernel/cgroup/freezer.c``); reads are
of real files.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from serenity.executor.corrections.kernel_files import KernelFiles
from serenity.executor.tasks.cgroups import OwnedCgroup


class MadeUpKernel(KernelFiles):
    """`refuses`: an error for each file name that cannot be written."""

    def __init__(self) -> None:
        self.refuses: dict[str, int] = {}
        self.writes: list[tuple[str, str]] = []

    def write(self, file: Path, text: str) -> None:
        if not file.exists():
            raise _error(errno.ENOENT, file)
        if file.name in self.refuses:
            raise _error(self.refuses[file.name], file)
        self.writes.append((file.name, text.strip()))
        self.take(file, text.strip())

    def take(self, file: Path, text: str) -> None:
        if file.name == "cpu.max":
            quota, period = text.split()
            if quota != "max" and int(quota) < 1000:
                raise _error(errno.EINVAL, file)
            text = f"{quota} {period}"
        elif file.name == "io.max":
            text = _merged_io_max(file.read_text(), text)
        elif file.name == "cgroup.freeze":
            (file.parent / "cgroup.events").write_text(f"populated 1\nfrozen {text}\n")
        file.write_text(f"{text}\n" if text or file.name != "io.max" else "")


def cgroup_v2(folder: Path) -> OwnedCgroup:
    """A task's, with the controllers cpu, cpuset and io, as the kernel makes it."""
    folder.mkdir(parents=True)
    for name, text in {
        "cpu.max": "max 100000\n",
        "cpu.idle": "0\n",
        "cpuset.cpus": "\n",
        "cpuset.cpus.effective": "0-3\n",
        "io.max": "",
        "io.stat": "",
        "cgroup.freeze": "0\n",
        "cgroup.events": "populated 1\nfrozen 0\n",
        "cgroup.procs": "",
    }.items():
        (folder / name).write_text(text)
    return OwnedCgroup("/t1", dict.fromkeys(("cpu", "cpuset", "io", "freezer"), folder), v2=True)


class MadeUpResctrl(MadeUpKernel):
    """`root` is where resctrl is mounted; `threads` are those that live."""

    def __init__(
        self,
        root: Path,
        *,
        cbm_bits: int = 12,
        min_cbm_bits: int = 2,
        classes: int = 4,
        domains: tuple[int, ...] = (0, 1),
        bandwidth: tuple[int, int, int] | None = (10, 10, 100),  # min_bandwidth, bandwidth_gran, the most.
        bit_usage: str | None = None,
    ) -> None:
        super().__init__()
        self.root = root
        self.threads: set[int] = set()
        self._cbm_bits, self._min_cbm_bits = cbm_bits, min_cbm_bits
        self._classes, self._domains, self._bandwidth = classes, domains, bandwidth
        usage = bit_usage or ";".join(f"{each}={'S' * cbm_bits}" for each in domains)
        info = {
            "info/L3/cbm_mask": f"{(1 << cbm_bits) - 1:x}",
            "info/L3/min_cbm_bits": str(min_cbm_bits),
            "info/L3/bit_usage": usage,
            "info/L3/num_closids": str(classes),
        }
        if bandwidth is not None:
            info |= {"info/MB/min_bandwidth": str(bandwidth[0]), "info/MB/bandwidth_gran": str(bandwidth[1])}
        for name, text in info.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(f"{text}\n")
        self._exclusive = {
            int(domain): sum(1 << i for i, letter in enumerate(reversed(letters)) if letter == "E")
            for domain, letters in (each.split("=") for each in usage.split(";"))
        }
        self._fill(root)

    def start(self, *threads: int) -> None:
        """New ones are in the default class."""
        self.threads |= set(threads)
        self._put(self.root / "tasks", *threads)

    def in_class(self, folder: Path) -> set[int]:
        return set(map(int, (folder / "tasks").read_text().split()))

    def make(self, folder: Path) -> None:
        if len(self._groups()) >= self._classes:
            raise _error(errno.ENOSPC, folder)
        super().make(folder)
        self._fill(folder)

    def remove(self, folder: Path) -> None:
        if not folder.exists():
            raise _error(errno.ENOENT, folder)
        self._put(self.root / "tasks", *self.in_class(folder))
        for each in folder.iterdir():
            each.unlink()
        folder.rmdir()

    def take(self, file: Path, text: str) -> None:
        if file.name == "tasks":
            if int(text) not in self.threads:
                raise _error(errno.ESRCH, file)
            for group in self._groups():
                left = self.in_class(group) - {int(text)}
                (group / "tasks").write_text("".join(f"{each}\n" for each in sorted(left)))
            self._put(file, int(text))
        elif file.name == "schemata":
            values = self._parsed(file)
            resource, _, rest = text.partition(":")
            for pair in rest.split(";"):
                domain, value = pair.split("=")
                if int(domain) not in self._domains:
                    raise _error(errno.EINVAL, file)
                values[resource][int(domain)] = self._checked(file, resource, int(domain), value)
            file.write_text(self._padded(values))
        else:
            super().take(file, text)

    def _checked(self, file: Path, resource: str, domain: int, value: str) -> int:
        if resource == "MB":
            assert self._bandwidth is not None
            least, step, most = self._bandwidth
            if not least <= int(value) <= most:
                raise _error(errno.EINVAL, file)
            return -(-int(value) // step) * step
        mask = int(value, 16)
        run = mask >> ((mask & -mask).bit_length() - 1) if mask else 0
        contiguous = run & (run + 1) == 0
        if not contiguous or mask.bit_count() < self._min_cbm_bits or mask >> self._cbm_bits:
            raise _error(errno.EINVAL, file)
        if mask & self._exclusive.get(domain, 0):
            raise _error(errno.EINVAL, file)
        return mask

    def _fill(self, group: Path) -> None:
        whole = (1 << self._cbm_bits) - 1
        values = {"L3": {each: whole & ~self._exclusive.get(each, 0) for each in self._domains}}
        if self._bandwidth is not None:
            values["MB"] = dict.fromkeys(self._domains, self._bandwidth[2])
        (group / "schemata").write_text(self._padded(values))
        (group / "tasks").write_text("")

    def _parsed(self, file: Path) -> dict[str, dict[int, int]]:
        values: dict[str, dict[int, int]] = {}
        for line in file.read_text().splitlines():
            resource, _, rest = line.strip().partition(":")
            base = 10 if resource == "MB" else 16
            values[resource] = {int(d): int(v, base) for d, v in (each.split("=") for each in rest.split(";"))}
        return values

    def _padded(self, values: dict[str, dict[int, int]]) -> str:
        """As the kernel shows it: masks with zeros to the width of the whole, bandwidths with blanks."""
        lines = []
        for resource, by_domain in values.items():
            shown = [
                f"{domain}={value:4d}" if resource == "MB" else f"{domain}={value:0{(self._cbm_bits + 3) // 4}x}"
                for domain, value in by_domain.items()
            ]
            lines.append(f"{resource:>6}:{';'.join(shown)}")
        return "\n".join(lines) + "\n"

    def _groups(self) -> list[Path]:
        return [self.root, *(each for each in self.root.iterdir() if (each / "schemata").exists())]

    @staticmethod
    def _put(file: Path, *threads: int) -> None:
        there = set(map(int, file.read_text().split())) | set(threads)
        file.write_text("".join(f"{each}\n" for each in sorted(there)))


def _merged_io_max(before: str, text: str) -> str:
    """One device a line; fields that are not named stay, a device whose fields are all ``max`` goes."""
    by_device = {line.split()[0]: dict(pair.split("=") for pair in line.split()[1:]) for line in before.splitlines()}
    device, *pairs = text.split()
    fields = by_device.setdefault(device, dict.fromkeys(("rbps", "wbps", "riops", "wiops"), "max"))
    fields |= dict(pair.split("=") for pair in pairs)
    lines = (
        f"{each} {' '.join(f'{name}={value}' for name, value in values.items())}"
        for each, values in by_device.items()
        if set(values.values()) != {"max"}
    )
    return "\n".join(lines)


def _error(code: int, file: Path) -> OSError:
    return OSError(code, os.strerror(code), str(file))
