"""What a task's id says, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serenity.wire.messages.task_id import format_task_id, parse_task_id

NUMBERS = st.integers(0, 999_999_999)


@given(st.text("0123456789abcdefghjkmnpqrstvwxyz", min_size=1, max_size=9), NUMBERS, NUMBERS)
def test_what_is_formatted_is_read_again(job_id: str, instance: int, attempt: int) -> None:
    assert parse_task_id(format_task_id(job_id, instance, attempt)) == (job_id, instance, attempt)


@pytest.mark.parametrize(
    "text",
    [
        *("", "j", "j.0", ".0.1", "j.0.", "j..1", "j.0.1.2", "j.-1.1", "j.+1.1", "j. 0.1", "j.0.1\n", "j.\u0661.1"),
        *("estimator.1a2b3c4d.19ab.S0", "estimator.12345678.19.S0", "j.9999999999.1", f"j.0.{'9' * 5000}"),
    ],
)
def test_what_is_the_id_of_no_task_of_ours_is_none(text: str) -> None:
    assert parse_task_id(text) is None
