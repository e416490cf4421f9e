"""docs/cli.md is what the commands print."""

from __future__ import annotations

import difflib

import pytest

from tests.cli.document import PAGE, comparable, page


def test_the_page_is_what_the_commands_print(serenity, request):
    if request.node.callspec.params.get("cluster") != "localmesos":
        pytest.skip("once is enough; the agents of another Mesos have other names")
    written, printed = comparable(PAGE.read_text()), comparable(page(serenity.environment))
    differences = list(difflib.unified_diff(written, printed, "docs/cli.md", "what is printed", lineterm="", n=1))
    assert differences == [], "\n".join(["python -m tests.cli.document writes it anew:", *differences])
