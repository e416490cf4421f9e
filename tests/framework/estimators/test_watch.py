"""What a failed estimator has said, among all that stands in its sandbox."""

from __future__ import annotations

import pytest

from serenity.framework.estimators.watch import last_complaint

_EXECUTOR = "Received LAUNCH event\nStarting task e\nForked command at 7\n{}\nCommand exited with status 4\n"
_LOG = "2026-11-22T13:28:28.529 INFO    serenity.estimator.command: /slack on 127.0.0.1:42625"


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (f"{_LOG}\nserenity estimator: role is empty; name it", "role is empty; name it"),
        ("sh: 1: exec: serenity: not found", "sh: 1: exec: serenity: not found"),
        (_LOG, ""),
        ("", ""),
        ("Traceback (most recent call last):\n  File x\nKeyError: 7", "KeyError: 7"),
    ],
)
def test_the_last_complaint_is_the_estimators_own(said, complaint):
    assert last_complaint(_EXECUTOR.format(said)) == complaint
