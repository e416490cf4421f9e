"""A noisy neighbour: asks for little, uses every CPU it can get, and sweeps through the cache.

python -m serenity.cli.demo.aggressor --processes N
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

# Larger than a core's own caches, so that it displaces what its neighbours keep in the shared one.
_SWEPT_BYTES = 8 * 1024 * 1024


def burn() -> None:
    swept = bytearray(_SWEPT_BYTES)
    number = 0
    while True:
        bytes(swept)
        for _ in range(20_000):
            number = (number * 1103515245 + 12345) & 0x7FFFFFFF


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="A noisy neighbour.")
    parser.add_argument("--processes", type=int, default=2 * (os.cpu_count() or 1))
    args = parser.parse_args(argv)
    for _ in range(args.processes - 1):
        if os.fork() == 0:
            burn()
    burn()
    return 0


if __name__ == "__main__":
    sys.exit(main())
