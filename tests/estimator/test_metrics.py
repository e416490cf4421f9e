from __future__ import annotations

import re
from pathlib import Path

from serenity.estimator import metrics

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_metric_that_the_documentation_names_is_there():
    there = set(re.findall(r"^# TYPE (\S+)", metrics.table().prometheus(), re.MULTILINE))
    named = {name for each in DOCS.glob("*.md") for name in re.findall(r"\bserenity_estimator_\w+", each.read_text())}
    assert named and named <= there
