from __future__ import annotations

import re
import subprocess
import sys

PROGRAM = """
import logging, sys
from serenity.daemon.log import set_up
set_up(verbose="verbose" in sys.argv)
logging.getLogger("serenity.executor.guarding.ladder").info("throttled %s", "t1")
logging.getLogger("serenity.executor.guarding.ladder").debug("looked")
logging.getLogger("kazoo").info("chatter")
"""
FORGED = """
import logging, sys
from serenity.daemon.log import set_up
set_up()
logger = logging.getLogger("serenity.estimator.account.balance")
logger.info("valve closed: %s", "a\\n2026-01-01T00:00:00.000 ERROR   x: y\\r\\x1b[2J")
try:
    raise ValueError("one\\ntwo")
except ValueError:
    logger.exception("failed")
"""
LINE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} %s serenity\.executor\.guarding\.ladder: %s"


def run(*arguments: str, program: str = PROGRAM) -> tuple[str, list[str]]:
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr.splitlines()


def test_one_line_an_entry_on_stderr() -> None:
    out, (line,) = run()
    assert out == ""
    assert re.fullmatch(LINE % ("INFO   ", "throttled t1"), line)


def test_verbose_says_more_of_ours_and_not_of_others() -> None:
    _, lines = run("verbose")
    assert [line.split(": ")[1] for line in lines] == ["throttled t1", "looked"]


def test_what_others_say_begins_no_entry_and_moves_no_terminal() -> None:
    _, (first, second, *traceback) = run(program=FORGED)
    assert first.endswith(r"valve closed: a\n2026-01-01T00:00:00.000 ERROR   x: y\r\x1b[2J")
    assert second.endswith("serenity.estimator.account.balance: failed")
    assert traceback[0] == "  Traceback (most recent call last):" and traceback[-2:] == ["  ValueError: one", "  two"]
