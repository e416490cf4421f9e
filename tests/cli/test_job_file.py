"""Job files: what they say, and what is said of what they get wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from serenity.cli import job_file
from serenity.cli.failure import Failure
from serenity.wire.messages.api import MIB, JobRequest
from serenity.wire.messages.constraints import Constraint
from serenity.wire.messages.uris import Uri

WHOLE = """
[defaults]
cpus = 1
label = { team = "search" }

[[job]]
name = "index"
id = "index-1"
command = ["./index", "--all"]
mem = "1.5G"
disk = "2G"
instances = 3
max-retries = 0
max_free_retries = 7
max-runtime = "2h"
grace = 3
on-unreachable = "rerun-after 10m"
env = { LEVEL = 3, NAME = "x" }
priority = -5
constraint = ["zone in a,b", "os ~ debian.*"]
uri = "https://host/index.tgz#keep"
user = "alice"

[[job]]
command = "sort < words > sorted"
cpus = 0.1
"""


def read(tmp_path: Path, text: str) -> list[JobRequest]:
    path = tmp_path / "jobs.toml"
    path.write_text(text)
    return job_file.read(path)


def test_every_flag_is_a_key(tmp_path: Path) -> None:
    first, second = read(tmp_path, WHOLE)
    assert first == JobRequest(
        command=("./index", "--all"),
        name="index",
        id="index-1",
        cpus=1.0,
        mem_bytes=1536 * MIB,
        disk_bytes=2048 * MIB,
        instances=3,
        max_retries=0,
        max_free_retries=7,
        max_runtime_s=7200.0,
        grace_s=3.0,
        rerun_unreachable_after_s=600.0,
        env={"LEVEL": "3", "NAME": "x"},
        labels={"team": "search"},
        priority=-5,
        constraints=(Constraint.parse("zone in a,b"), Constraint.parse("os ~ debian.*")),
        uris=(Uri.parse("https://host/index.tgz#keep"),),
        user="alice",
    )
    assert (second.argv, second.cpus, second.labels) == (
        ("/bin/sh", "-c", "sort < words > sorted"),
        0.1,
        {"team": "search"},
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no [[job]]"),
        ("[job]\ncommand = 'x'", "no [[job]]"),
        ("[[jobs]]\ncommand = 'x'", "'jobs' is neither"),
        ("[[job]]\ncommand = 'x'\n[[job]]\nname = 'b'\ncommand = 'x'\ncolour = 1", "job 2 (b): 'colour' is no key"),
        ("[[job]]\nname = 'a'", "job 1 (a): it has no command"),
        ("[[job]]\ncommand = 'x'\ncpus = -1", "job 1: Expected `float` >= 0.01 - at `$.cpus`"),
        ("[[job]]\ncommand = 'x'\nmem = 'lots'", "mem: 'lots' is no amount of memory"),
        ("[[job]]\ncommand = 'x'\nconstraint = 'rack'", "constraint: 'rack' is no constraint"),
        ("[[job]]\ncommand = 'x'\nuri = ['x']", "uri: 'x'"),
        ("[[job]]\ncommand = 'x'\nenv = 'A=b'", "env: write a table"),
        ("[[job]]\ncommand = 'x'\non-unreachable = 'panic'", "on-unreachable: 'panic': write wait"),
        ("[[job]]\ncommand = 'x'\nid='1'\n[[job]]\ncommand = 'y'\nid='1'", "two jobs have the id '1'"),
        ("[[job", "is no TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_job_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(Failure) as refused:
        read(tmp_path, text)
    assert complaint in str(refused.value) and "\n" not in str(refused.value) and refused.value.exit_code == 2


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="cannot read"):
        job_file.read(tmp_path / "none.toml")
