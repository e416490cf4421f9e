"""How many examples: a few, and always the same, in the ordinary suite; 10,000 new ones with `make fuzz`."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

FUZZING = os.environ.get("HYPOTHESIS_PROFILE") == "fuzz"


def examples(ordinary: int, fuzzing: int = 10_000) -> settings:
    """`make fuzz` chooses a seed and prints it; `--hypothesis-seed` repeats the run."""
    return settings(
        max_examples=fuzzing if FUZZING else ordinary,
        derandomize=not FUZZING,
        deadline=None,  # A machine with other things to do is no failure.
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        print_blob=True,
    )
