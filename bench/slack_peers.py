"""Our slack against other systems' on nodes of 8 to 128 machines: one JSON line for each size.

    python -m bench.slack_peers FOLDER [--machines 8,16,32,64,128] [--seeds 1,2] [--days NAME,...] [--config FILE]

FOLDER holds traces as bench.regroup reads them (slackbench's PlanetLab days).  Ours is `serenity slack replay` with
one set of parameters for all.  Of the peers that have a parameter the best is shown that the traces allow in
hindsight, for each size another: that which gives most while it is wrong for at most 0.5 % of the frames (`best`), and
while it is also wrong by at most 1 % of the node in 999 of 1,000 (`best_mild`).  The first four hours are not judged.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.regroup import GroupedNode, days, grouped
from serenity.estimator.slack.hindsight import judge
from serenity.estimator.slack.pipeline import SlackStages
from serenity.estimator.slack.replay import SlackReplay
from serenity.qos.frame import Floats
from serenity.qos.pipeline import DEFAULT_FILE, read

HORIZON_S, WARM_UP_S = 1800.0, 4 * 3600.0
# The frames that peers look back on: two hours of slackbench's five-minute frames.
_PAST = 24
MAY_BE_WRONG, MAY_BE_WRONG_BY = 0.005, 0.01

Peer = Callable[[GroupedNode], Floats]


def ours(node: GroupedNode, config: Path) -> Floats:
    replay = SlackReplay(SlackStages.from_file(read(config)))
    return np.array([replay.step(frame).estimate.cpus for frame in node.frames()])


def _windows(node: GroupedNode, of: Callable[[Floats], Any]) -> Floats:
    """For each frame, `of` the last `_PAST` frames up to it, an array of shape (frames, containers)."""
    return np.array([of(node.use[max(0, k - _PAST + 1) : k + 1]) for k in range(len(node.t))])


def recent_max(node: GroupedNode, margin: float) -> Floats:
    """The rule of thumb: predicts the most used in two hours, plus a margin of the node."""
    return node.cpus * (1 - margin) - _windows(node, lambda past: past.sum(axis=1).max())


def n_sigma(node: GroupedNode, sigmas: float) -> Floats:
    """Bashir et al., Take it to the limit, EuroSys 2021."""
    predicted = _windows(node, lambda past: past.sum(axis=1).mean() + sigmas * past.sum(axis=1).std())
    predicted[: _PAST - 1] = node.cpus
    slack: Floats = node.cpus - np.minimum(node.cpus, predicted)
    return slack


def rc_like(node: GroupedNode) -> Floats:
    """Each container's 99th percentile (Resource Central, SOSP 2017, as EuroSys 2021 has it)."""
    predicted = _windows(node, lambda past: np.percentile(past, 99, axis=0).sum())
    predicted[: _PAST - 1] = node.cpus
    slack: Floats = node.cpus - predicted
    return slack


def serenity_2015(node: GroupedNode) -> Floats:
    """What is allocated and unused, at most 0.7 of the node less what is used."""
    used = node.use.sum(axis=1)
    slack: Floats = np.maximum(0.0, np.minimum(node.cpus - used, 0.7 * node.cpus - used))
    return slack


def threshold(node: GroupedNode) -> Floats:
    """blue-yonder's: a fixed half of the node until it is 80 % busy."""
    return np.where(node.use.sum(axis=1) < 0.8 * node.cpus, 0.5 * node.cpus, 0.0)


def borg_default(node: GroupedNode) -> Floats:
    """A tenth of what is allocated, whatever is used."""
    return np.full(len(node.t), 0.1 * node.cpus)


FIXED: dict[str, Peer] = {
    "rc_like": rc_like,
    "serenity_2015": serenity_2015,
    "threshold": threshold,
    "borg_default": borg_default,
}


def measured(nodes: Sequence[GroupedNode], slacks: Iterable[Floats]) -> dict[str, float]:
    """The figures over all nodes, as slackbench's score.py computes them."""
    given = possible = 0.0
    wrong, excess = [], []
    for node, slack in zip(nodes, slacks, strict=True):
        room = np.full(len(node.t), node.cpus)
        found = judge(node.t, node.use.sum(axis=1), np.maximum(0.0, slack), room, HORIZON_S, WARM_UP_S)
        given += float(np.minimum(found.slack, found.possible)[found.judged].sum())
        possible += float(found.possible[found.judged].sum())
        wrong.append(found.violates[found.judged])
        excess.append(found.excess[found.judged])
    return {
        "captured": round(given / possible, 4),
        "violation_rate": round(float(np.concatenate(wrong).mean()), 5),
        "excess_p999": round(float(np.quantile(np.concatenate(excess), 0.999)), 4),
    }


def best(nodes: Sequence[GroupedNode], *, mild: bool) -> dict[str, Any]:
    """The peer and parameter that give most within the bounds."""
    found = []
    for name, at_zero, a_unit, parameters in (
        (
            "recent_max",
            [recent_max(node, 0.0) for node in nodes],
            [node.cpus for node in nodes],
            np.arange(0, 0.3, 0.001),
        ),
        (
            "n_sigma",
            [n_sigma(node, 0.0) for node in nodes],
            [n_sigma(node, 0.0) - n_sigma(node, 1.0) for node in nodes],
            np.arange(0, 15, 0.1),
        ),
    ):
        for parameter in parameters:  # The larger, the less is given.
            result = measured(nodes, [zero - parameter * unit for zero, unit in zip(at_zero, a_unit, strict=True)])
            if result["violation_rate"] <= MAY_BE_WRONG and not (mild and result["excess_p999"] > MAY_BE_WRONG_BY):
                found.append({"peer": f"{name} {parameter:.3g}", **result})
                break
    return max(found, key=lambda each: each["captured"])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--machines", default="8,16,32,64,128")
    options.add_argument("--seeds", default="1,2")
    options.add_argument("--days", help="names of some; all by default")
    options.add_argument("--config", type=Path, default=DEFAULT_FILE)
    chosen = options.parse_args()
    wanted = chosen.days.split(",") if chosen.days else None
    some = [day for day in days(chosen.folder) if wanted is None or day.name in wanted]
    for machines in map(int, chosen.machines.split(",")):
        nodes = [
            node for day in some for seed in map(int, chosen.seeds.split(",")) for node in grouped(day, machines, seed)
        ]
        line = {
            "machines": machines,
            "nodes": len(nodes),
            "ours": measured(nodes, (ours(node, chosen.config) for node in nodes)),
            "best": best(nodes, mild=False),
            "best_mild": best(nodes, mild=True),
            **{name: measured(nodes, map(peer, nodes)) for name, peer in FIXED.items()},
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
