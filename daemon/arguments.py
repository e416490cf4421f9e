"""The daemons' command lines."""

from __future__ import annotations

import argparse
from typing import NoReturn


class DaemonArguments(argparse.ArgumentParser):
    """Says what is wrong in one line; argparse's own text repeats the whole usage first."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")
