from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serenity.qos.contention import Contention, Suspect
from serenity.qos.frame import Frame
from serenity.qos.stages import NOT_NEGATIVE, POSITIVE, Parameters, parameter
from serenity.qos.strategies.ages import Ages


@dataclass(frozen=True)
class CpuShareParameters(Parameters):
    min_cpu: float = parameter(
        0.02, "cores", "who uses less scores 0, and is no suspect where the cause is CPU", NOT_NEGATIVE
    )
    tie_cpu: float = parameter(
        0.05, "cores", "use is compared in steps of this; of equal ones the youngest is first", POSITIVE
    )


class CpuShare:
    """Ranks best-effort rows by the CPU they burn; ties by seniority, youngest first.

    The score is the row's share of all best-effort CPU use, 0..1; a row that was not measured counts as none.
    Source of the tie-break: Serenity's seniority strategy (2016): the task that came last
    has the least to lose, and is the likeliest to have changed something.
    """

    name = "cpu_share"

    def __init__(self, parameters: CpuShareParameters) -> None:
        self._parameters = parameters
        self._ages = Ages()

    def observe(self, frame: Frame) -> None:
        self._ages.observe(frame)

    def rank(self, contention: Contention, frame: Frame) -> list[Suspect]:
        best_effort = frame.select(~frame.production)
        used = np.nan_to_num(best_effort.column("cpu"), nan=0.0)
        used[used < self._parameters.min_cpu] = 0.0
        if contention.cause == "cpu":
            best_effort, used = best_effort.select(used > 0), used[used > 0]
        shares = used / (used.sum() or 1.0)
        steps = np.floor(used / self._parameters.tie_cpu)
        ages_s = [self._ages.age_s(each.id) for each in best_effort.containers]
        order = sorted(range(len(best_effort)), key=lambda i: (-steps[i], ages_s[i]))
        return [Suspect(best_effort.containers[i], float(shares[i])) for i in order]

    def absolve(self, protected_id: str) -> None:
        """It remembers nothing of anybody's guilt."""
