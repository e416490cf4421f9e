"""`make test-pmu`: the hardware counters' source code on a PMU that QEMU emulates.

    python tests/pmu/run.py [--cpus N] [--cache DIR]

Fetches a kernel, Python and QEMU as Debian packages by name into its cache (build/pmu), boots
them, and judges what `guest.py` prints.  Where that cannot be had it says so, and is skipped.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

from image import REPOSITORY, build
from packages import Packages, Unavailable

GUEST = Path(__file__).with_name("guest.py")
IN_GUEST = ("python3", "python3-numpy", "busybox-static")
KERNEL = "linux-image-cloud-arm64"
QEMU = "qemu-system-aarch64"
TIMEOUT_S = 900.0
_JUDGED = re.compile(r"PMU (passed|failed|skipped) (.*)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cpus", type=int, action="append", help="of the guest; may be given several times (1 and 2)")
    parser.add_argument("--cache", type=Path, default=REPOSITORY / "build/pmu")
    given = parser.parse_args()
    try:
        qemu, environment = _qemu(given.cache)
        kernel, image = _guest(given.cache)
    except Unavailable as why:
        print(f"SKIPPED: no emulated PMU here: {why}")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    counts: Counter[str] = Counter()
    for cpus in given.cpus or (1, 2):
        counts += _boot(qemu, environment, kernel, image, cpus)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] or not counts["passed"] else 0


def _qemu(cache: Path) -> tuple[list[str], dict[str, str]]:
    installed = shutil.which(QEMU)
    if installed is not None:
        return [installed], dict(os.environ)
    print(f"{QEMU} is not installed (Debian: qemu-system-arm): fetching it, unless it is in {cache}", flush=True)
    unpacked = cache / "qemu"
    Packages(cache / "apt-host", None).unpack(["qemu-system-arm"], unpacked)
    libraries = ":".join(str(each) for each in unpacked.glob("**/lib/*-linux-gnu*"))
    data = str(unpacked / "usr/share/qemu")
    return [str(unpacked / "usr/bin" / QEMU), "-L", data], {**os.environ, "LD_LIBRARY_PATH": libraries}


def _guest(cache: Path) -> tuple[Path, Path]:
    print(f"fetching {KERNEL} and {', '.join(IN_GUEST)} for arm64, unless they are in {cache}", flush=True)
    packages, kernel = cache / "packages", cache / "kernel"
    arm64 = Packages(cache / "apt-arm64", "arm64")
    arm64.unpack(IN_GUEST, packages)
    arm64.unpack_only(KERNEL, kernel)
    return next(kernel.glob("boot/vmlinuz-*")), build(packages, GUEST, cache)


def _boot(qemu: list[str], environment: dict[str, str], kernel: Path, image: Path, cpus: int) -> Counter[str]:
    command = [
        *("nice", "-n", "19", *qemu, "-M", "virt", "-cpu", "max,pauth-impdef=on"),
        *("-accel", "tcg", "-icount", "shift=1"),
        *("-m", "1024", "-smp", str(cpus), "-nic", "none", "-nographic", "-no-reboot"),
        *("-kernel", str(kernel), "-initrd", str(image), "-append", "console=ttyAMA0 quiet panic=-1"),
    ]  # fmt: skip
    print(f"booting with {cpus} CPU(s)", flush=True)
    counts: Counter[str] = Counter()
    ended = False
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as machine:
        assert machine.stdout is not None
        too_long = threading.Timer(TIMEOUT_S, machine.kill)
        too_long.start()
        try:
            for line in machine.stdout:
                print(line, end="", flush=True)
                judged = _JUDGED.match(line)
                if judged:
                    counts[judged[1]] += 1
                ended = ended or line.startswith("PMU ends")
        finally:
            too_long.cancel()
            machine.kill()
    if not ended:
        print(f"PMU failed: the guest did not come to its end (it has {TIMEOUT_S:.0f} s)")
        counts["failed"] += 1
    return counts


if __name__ == "__main__":
    sys.exit(main())
