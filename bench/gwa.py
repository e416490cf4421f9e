"""Virtual machines of the Grid Workloads Archive (GWA-T-12, Bitbrains; GWA-T-13, Materna) as traces.

    python -m bench.gwa FOLDER OUT --from-day 7 --days 4

FOLDER holds a file a machine, five minutes a line, fields between semicolons: the time, seconds or milliseconds since
the epoch, is the first, CPU usage in per cent the fifth.  Days are counted in UTC from the first whole one.
Each machine becomes production of one core.  Machines that say nothing for a quarter of an hour are left out.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path

import numpy as np

from serenity.qos.frame import Floats

_DAY_S, _EVERY_S, _PAUSE_S = 86400.0, 300.0, 900.0
_TIME, _USE_PERCENT = 0, 4
_MILLISECONDS = 1e11  # Above this, times are in milliseconds: seconds since the epoch are fewer.


def machine(file: Path) -> Floats:
    """Shape (samples, 2): seconds since the epoch, share of its CPUs used.  Raises ValueError for a bad line."""
    found: Floats = np.genfromtxt(
        file, delimiter=";", skip_header=1, usecols=(_TIME, _USE_PERCENT), encoding="latin-1", ndmin=2
    )
    found = found[np.isfinite(found).all(axis=1)] / (1.0, 100.0)
    found[:, 0] /= np.where(found[:, 0] > _MILLISECONDS, 1000.0, 1.0)
    return found


def together(machines: list[Floats], from_day: int, days: int) -> Floats:
    """Shape (frames, machines), in cores; a measured value counts until the next.  Raises ValueError for no machine."""
    first = min(each[0, 0] for each in machines)
    t = (np.ceil(first / _DAY_S) + from_day) * _DAY_S + np.arange(0.0, days * _DAY_S, _EVERY_S)
    columns = []
    for each in machines:
        at = np.searchsorted(each[:, 0], t, side="right") - 1
        if at.min() >= 0 and (t - each[at, 0]).max() <= _PAUSE_S:
            columns.append(np.clip(each[at, 1], 0.0, 1.0))
    if not columns:
        raise ValueError(f"no machine was measured on all of {days} days from day {from_day}")
    return np.stack(columns, axis=1)


def write(name: str, use: Floats, folder: Path) -> None:
    with gzip.open(folder / f"{name}-0.jsonl.gz", "wt") as file:
        header = {"trace": 1, "interval_s": _EVERY_S, "node": {"cpus": use.shape[1]}, "platform": ""}
        file.write(json.dumps(header) + "\n")
        for number, row in enumerate(use):
            machines = [
                {"id": f"vm{i}", "role": "production", "job": f"vm{i}", "cpus": 1.0, "mem_bytes": 0.0, "cpu": cores}
                for i, cores in enumerate(np.round(row, 5).tolist())
            ]
            file.write(json.dumps({"t": number * _EVERY_S, "containers": machines}) + "\n")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--from-day", type=int, default=0)
    options.add_argument("--days", type=int, default=1)
    chosen = options.parse_args()
    machines = [each for each in map(machine, sorted(chosen.folder.glob("*.csv"))) if len(each)]
    if not machines:
        options.error(f"{chosen.folder} has no CSV files with measurements")
    try:
        use = together(machines, chosen.from_day, chosen.days)
    except ValueError as error:
        options.error(str(error))
    chosen.out.mkdir(parents=True, exist_ok=True)
    write(f"{chosen.folder.name.replace('-', '')}{chosen.from_day:02d}", use, chosen.out)


if __name__ == "__main__":
    main()
