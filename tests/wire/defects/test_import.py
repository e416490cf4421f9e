"""What importing the drivers does to a program."""

from __future__ import annotations

import logging
from collections.abc import Callable

from tests.wire.defects.driven import Program, fails_on_plain


@fails_on_plain("importing it replaces the SIGINT handler")
def test_ctrl_c_is_left_to_the_program(start: Callable[[], Program]) -> None:
    assert start().at_import["sigint_left"]


@fails_on_plain("importing it adds a log handler, and sets a level")
def test_the_log_is_left_to_the_program(start: Callable[[], Program]) -> None:
    at_import = start().at_import
    assert (at_import["handlers"], at_import["level"]) == (0, logging.NOTSET)
