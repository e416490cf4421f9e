from __future__ import annotations

import subprocess
import sys

import pytest

# The process's own limit is changed: in one of its own.
PROGRAM = """
{first}
import resource, subprocess, time
from serenity.daemon import open_files
from serenity.daemon.clock import SystemClock
from serenity.qos.sources.command_indicator import Commands

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
assert open_files.as_inherited() is None
open_files.raise_limit()
open_files.raise_limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard))
command = ["sh", "-c", "ulimit -Sn; ulimit -Hn"]
shown = subprocess.run(command, capture_output=True, text=True, preexec_fn=open_files.as_inherited())
print(shown.stdout.split() == ["300", str(hard)])
commands = Commands(SystemClock())
commands.ask("row", ["sh", "-c", "ulimit -Sn"], {{}})
while not (answers := commands.collect()):
    time.sleep(0.01)
print(answers["row"].content)
"""


@pytest.mark.parametrize("first", ["", "from gevent import monkey; monkey.patch_all()"], ids=["threads", "gevent"])
def test_the_limit_is_raised_and_children_get_what_we_got(first: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(first=first)], capture_output=True, text=True, timeout=30, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["True", "True", "b'300\\n'"]
