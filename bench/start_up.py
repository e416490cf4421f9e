"""How long the command takes to start: ``python -m bench.start_up``.

Prints one JSON line: milliseconds of CPU time, the median and the least of some runs in turn, of `serenity --help`,
of a verb's help, and of a verb that finds no framework.  At most 150 ms are wanted.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys

_RUNS = 15
_ARGUMENTS = (("--help",), ("list", "--help"), ("list", "--url", "http://127.0.0.1:9"))


def cpu_ms(arguments: tuple[str, ...]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-P", "-m", "serenity", *arguments], capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1e3


def main() -> None:
    runs = [[cpu_ms(each) for each in _ARGUMENTS] for _ in range(_RUNS)]
    measured = {
        " ".join(arguments): {"p50": round(statistics.median(found), 1), "least": round(min(found), 1)}
        for arguments, found in zip(_ARGUMENTS, zip(*runs, strict=True), strict=True)
    }
    print(json.dumps({"start_up_ms": measured}))


if __name__ == "__main__":
    main()
