from __future__ import annotations

import os
import subprocess
import sys

from serenity.wire.transport.secret_variable import take_secret

PROGRAM = """
import os, pathlib, subprocess
from serenity.wire.transport.secret_variable import take_secret
assert b"geheim" in pathlib.Path("/proc/self/environ").read_bytes()
assert take_secret(os.environ, "TOKEN") == "geheim" and take_secret(os.environ, "TOKEN") is None
seen = pathlib.Path("/proc/self/environ").read_bytes()
assert b"geheim" not in seen and b"OTHER=stays" in seen
print(subprocess.check_output(["env"], text=True))
"""


def test_a_secret_is_seen_by_no_other_process() -> None:
    environ = {**os.environ, "TOKEN": "geheim", "OTHER": "stays"}
    run = subprocess.run([sys.executable, "-c", PROGRAM], env=environ, capture_output=True, text=True, timeout=30)
    assert run.returncode == 0, run.stderr
    assert "OTHER=stays" in run.stdout.splitlines() and "TOKEN" not in run.stdout


def test_a_mapping_loses_it_too() -> None:
    environ = {"TOKEN": "geheim", "OTHER": "stays"}
    assert (take_secret(environ, "TOKEN"), take_secret(environ, "NONE")) == ("geheim", None)
    assert environ == {"OTHER": "stays"}
