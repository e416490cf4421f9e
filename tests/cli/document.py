"""Writes docs/cli.md: every verb's help and, where it needs a framework, a session with it.

    python -m tests.cli.document        on an embedded Mesos of its own; half a minute

test_document.py runs the same sessions and compares, so that the page cannot fall behind.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from serenity.cli import main
from serenity.cli.client import Framework
from serenity.localmesos.cluster.cluster import Cluster, ClusterOptions
from serenity.wire.messages.slo import Service, SloReport

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
_SMALL = "--cpus 0.1 --mem 32M"
_WITHIN_S = 30.0
_SECRET = re.compile(r"serenity_[\w-]{43}")

_HEAD = """\
# The command line

Written by `python -m tests.cli.document`, and compared with the commands by the tests.

Every list and show takes `--json`; data goes to stdout, words to stderr.  Tables fit 80 columns, colours are for
terminals (not with `NO_COLOR`).  JOB is a job's id, or its name where only one job has it.

| exit code | |
|---|---|
| 0 | done |
| 1 | a bug in Serenity; the line names the file with its traceback |
| 2 | wrong or ambiguous arguments |
| 3 | there is no such job, instance or log |
| 4 | understood, and refused |
| 5 | the framework cannot be reached |
| 6 | a job has not finished well |
| 7 | `--timeout` is over |
| 130 | interrupted |

Of several jobs the highest counts.

## Where the framework is

The first of: `--url`, `SERENITY_URL`, the profile, what `serenity local` has written down, the socket of a framework
on this machine.  An address is `unix:/path`, `https://HOST:PORT` or `http://HOST:PORT`.  The profile is
`~/.config/serenity/serenity.toml`, else `/etc/serenity/serenity.toml`:

    [client]
    url = "https://serenity.example.org:8640"
    token_file = "~/.config/serenity/token"     # mode 600; or SERENITY_TOKEN
    ca_file = "/etc/serenity/ca.pem"            # if the system does not know the authority

    [client.lab]                                # serenity --profile lab …, or SERENITY_PROFILE=lab
    url = "https://lab.example.org:8640"
"""


class Session:
    """Runs commands in this process, and writes down what they print."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**environment, "COLUMNS": "80"}
        self.lines: list[str] = []

    def run(self, command: str, shown: bool = True) -> str:
        """``serenity COMMAND``; what it prints to stdout."""
        out, err = io.StringIO(), io.StringIO()
        with _environ(self._environment), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main.main(shlex.split(command))
        if shown:
            self.lines += [f"$ serenity {command}", *(out.getvalue() + err.getvalue()).splitlines()]
            self.lines += [f"$ echo $?\n{code}"] if code else []
        return out.getvalue()

    def until(self, job: str, seen: str) -> None:
        """Until `serenity show` has it."""
        deadline = time.monotonic() + _WITHIN_S
        while seen not in (last := self.run(f"show {job}", shown=False)):
            assert time.monotonic() < deadline, last
            time.sleep(0.05)

    def watch(self, arguments: str, meanwhile: Callable[[], object], until: str) -> None:
        """In a process of its own, interrupted once it has shown a line like that (a pattern)."""
        command = [sys.executable, "-P", "-m", "serenity", "watch", *shlex.split(arguments)]
        process = subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        shown: list[str] = []
        patience = threading.Timer(_WITHIN_S, process.kill)
        patience.start()
        self._until_watched()
        meanwhile()
        for line in process.stdout:
            shown.append(line.rstrip())
            if re.search(until, line):
                break
        else:
            raise AssertionError(f"serenity watch {arguments} does not show {until!r}: {shown}")
        process.send_signal(signal.SIGINT)
        process.wait()
        patience.cancel()
        process.stdout.close()
        self.lines += [f"$ serenity watch {arguments}", *shown, "^C"]

    def report_service(self) -> None:
        """As a production framework does."""
        report = SloReport(service="mail", indicator="p99", unit="ms", better="lower", value=12.5, objective=20.0)
        Framework(self._environment["SERENITY_URL"]).post("/v1/slo", report, Service)

    def _until_watched(self) -> None:
        framework = Framework(self._environment["SERENITY_URL"])
        deadline = time.monotonic() + _WITHIN_S
        while b"serenity_framework_watchers 1\n" not in framework.request("GET", "/metrics").body:
            assert time.monotonic() < deadline, "nobody watches"
            time.sleep(0.05)


@contextlib.contextmanager
def _environ(environment: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# -- the sessions -------------------------------------------------------------------------------


def _submit(it: Session) -> None:
    it.run(f"submit --name hello --instances 2 {_SMALL} -- sh -c 'echo hi'")
    it.run("wait hello --timeout 30s", shown=False)
    it.run("submit --cpus many -- true")


def _list(it: Session) -> None:
    it.run("submit --name sleeper --cpus 0.2 --mem 32M -- sleep 600", shown=False)
    it.until("sleeper", " running ")
    it.run("list")
    it.run("list --all")


def _show(it: Session) -> None:
    it.run("show hello")
    it.run("show nothing")


def _kill(it: Session) -> None:
    it.run("kill sleeper")


def _wait(it: Session) -> None:
    it.run("wait hello sleeper --timeout 30s")


def _watch(it: Session) -> None:
    it.run("submit --name nap --cpus 900 -- true", shown=False)
    it.watch("nap", lambda: it.run("kill nap", shown=False), until=r" killed +nap$")


def _logs(it: Session) -> None:
    it.run("logs hello/1")


def _why(it: Session) -> None:
    it.run("submit --name giant --cpus 900 -- true", shown=False)
    it.run("why giant")
    it.run("kill giant", shown=False)


def _nodes(it: Session) -> None:
    it.run("nodes")
    it.run("nodes --estimators")


def _hints(it: Session) -> None:
    it.run("hints")


def _slo(it: Session) -> None:
    it.report_service()
    it.run("slo")


def _reasons(it: Session) -> None:
    it.run("reasons")


def _token(it: Session) -> None:
    it.run("token create ci --user serenity-ci")
    it.run("token create grafana --role read")
    it.run("token list")
    it.run("token revoke ci")
    it.run("token create bad --user root")


SESSIONS: dict[str, Callable[[Session], None]] = {
    "submit": _submit,
    "list": _list,
    "show": _show,
    "kill": _kill,
    "wait": _wait,
    "watch": _watch,
    "logs": _logs,
    "why": _why,
    "nodes": _nodes,
    "hints": _hints,
    "slo": _slo,
    "reasons": _reasons,
    "token": _token,
}
_GROUPS = {"token": ("create", "list", "revoke"), "config": ("show",)}
# Their help is longer than a page, and the daemons' is in docs/operating.md.
_ELSEWHERE = {
    "framework": "[operating.md](operating.md)",
    "executor": "[operating.md](operating.md)",
    "estimator": "[operating.md](operating.md)",
    "qos": "[qos.md](qos.md)",
    "slack": "[slack.md](slack.md)",
}


def page(environment: Mapping[str, str]) -> str:
    """The whole page, against the framework of that environment."""
    parts = [_HEAD]
    for verb in main.VERBS:
        parts.append(f"## serenity {verb}\n")
        if verb in _ELSEWHERE:
            parts.append(f"See {_ELSEWHERE[verb]}.\n")
            continue
        plain = Session(environment)
        plain.run(f"{verb} --help")
        for each in _GROUPS.get(verb, ()):
            plain.run(f"{verb} {each} --help")
        parts.append(_block(plain.lines))
        if verb in SESSIONS:
            session = Session(environment)
            SESSIONS[verb](session)
            parts.append(_block(session.lines))
    return _SECRET.sub("serenity_(43 characters)", "\n".join(parts))


def _block(lines: list[str]) -> str:
    return "```\n" + "\n".join(lines) + "\n```\n"


def comparable(text: str) -> list[str]:
    """The lines; of sessions without what differs from run to run: ids, times, amounts, who runs it, widths."""
    for job in re.findall(r"^(\w{7})$", text, re.MULTILINE) + re.findall(r"\((\w{7})\)", text):
        text = text.replace(job, "JOB")
    blocks = text.split("```\n")
    return [line for block in blocks for line in (block if " --help\n" in block else _blurred(block)).splitlines()]


def _blurred(text: str) -> str:
    text = re.sub(r"\b[0-9a-f]{8}\b", "ID", text)
    text = re.sub(r"(?m)^(  owner +|.*\ds  )[a-z_][\w-]*(  [a-z-]|$)", r"\1WHO\2", text)
    text = re.sub(r"\b\d+([.:]\d+)*([KMGsm]|ms)?(\d\ds)?\b|(?<= )-(?= |\n)", "N", text)  # No amount, too: "-".
    return re.sub(r" +", " ", text)


def write() -> None:
    from tests.cli.conftest import Served, Slack

    signal.signal(signal.SIGINT, signal.default_int_handler)  # Of a shell's background job it is ignored.
    with tempfile.TemporaryDirectory(prefix="serenity-doc-") as named:
        folder = Path(named)
        with Cluster(ClusterOptions(folder / "mesos")) as cluster:
            slack = Slack(cluster.agent, "doc")
            served = Served(folder, cluster.master, "doc", 0)
            served.serve()
            try:
                PAGE.write_text(page(served.environment))
            finally:
                served.end()
                slack.stop()


if __name__ == "__main__":
    write()
