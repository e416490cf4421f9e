from __future__ import annotations

import pytest

from serenity.daemon.arguments import DaemonArguments


def test_a_wrong_argument_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        DaemonArguments(prog="serenity estimator").parse_args(["--bogus"])
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "serenity estimator: unrecognized arguments: --bogus; see `serenity estimator --help`\n"
