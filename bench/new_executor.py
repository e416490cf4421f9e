"""What an executor that starts anew misses: ``python -m bench.new_executor FOLDER``.

FOLDER has traces and their truth, as qosbench's generator writes them.  Each episode is met by a pipeline that has run
since the trace began, and by pipelines that start with it and are handed the last frames before it, as the estimator
hands its history (`HISTORY_S`) to a new executor.  Prints a JSON line for each pipeline: how many of the episodes'
victims were found within a minute, after how long (median), for how many the antagonist was the first suspect, and how
many decisions were made in the minute before the episodes, or in as much of it as was handed over.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serenity.qos.frame import Frame
from serenity.qos.pipeline import Pipeline
from serenity.qos.replay import Decision, Replay
from serenity.qos.trace import read_trace

HISTORY_S = 300.0
_WITHIN_S = 60.0
_JUDGED_S = 10.0  # The first suspect is that of the last decision within this time of the first one.


@dataclass
class Found:
    victims: int = 0
    after_s: list[float] = field(default_factory=list)
    antagonist_first: int = 0
    before: int = 0

    def count(self, episode: dict[str, Any], decisions: Sequence[Decision]) -> None:
        start = episode["start"]
        said = [each for each in decisions if each.action != "release"]
        self.before += sum(start - _WITHIN_S <= each.t < start for each in said)
        for victim in episode["victims"]:
            self.victims += 1
            mine = [each for each in said if each.protected == victim and start <= each.t < episode["end"]]
            if mine and mine[0].t < start + _WITHIN_S:
                self.after_s.append(mine[0].t - start)
                judged = [each for each in mine if each.t <= mine[0].t + _JUDGED_S][-1]
                self.antagonist_first += list(judged.suspects[:1]) == [episode["antagonist"]]

    def line(self, handed_s: float | None) -> dict[str, Any]:
        return {
            "handed_s": handed_s,
            "victims": self.victims,
            "found": len(self.after_s),
            "p50_s": statistics.median(self.after_s) if self.after_s else None,
            "antagonist_first": self.antagonist_first,
            "said_before": self.before,
        }


def decisions(frames: Sequence[Frame]) -> list[Decision]:
    replay = Replay(Pipeline.load())
    return [each for frame in frames for each in replay.step(frame)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.new_executor", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    found: dict[float | None, Found] = {None: Found(), HISTORY_S: Found(), 60.0: Found()}
    for truth in sorted(parser.parse_args().folder.glob("*.truth.json")):
        frames = list(read_trace(truth.with_name(truth.name.replace(".truth.json", ".jsonl.gz"))))
        of_all = decisions(frames)
        for episode in json.loads(truth.read_text())["episodes"]:
            start, end = episode["start"], min(episode["end"], episode["start"] + _WITHIN_S + _JUDGED_S)
            for handed_s, each in found.items():
                seen = [frame for frame in frames if start - handed_s <= frame.t < end] if handed_s is not None else ()
                each.count(episode, decisions(seen) if handed_s is not None else of_all)
    for handed_s, each in found.items():
        print(json.dumps(each.line(handed_s)))


if __name__ == "__main__":
    main()
