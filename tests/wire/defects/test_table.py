from __future__ import annotations

import re

from tests.wire.defects.driven import HERE

TABLE = HERE.parents[2] / "docs" / "pymesos.md"


def test_the_table_of_defects_names_the_tests_that_fail_on_plain_pymesos() -> None:
    sources = [path.read_text() for path in HERE.glob("test_*.py")]
    tests = {
        name for each in sources for name in re.findall(r"^@fails_on_plain\(.*?^def (test_\w+)", each, re.M | re.S)
    }
    rows = [line for line in TABLE.read_text().splitlines() if line.startswith("| ")]
    named = {name for row in rows for name in re.findall(r"`(test_\w+)`", row)}
    assert tests <= named, "tests without a row"
    elsewhere = {
        name for path in HERE.parent.rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert named <= elsewhere, "rows without a test"
