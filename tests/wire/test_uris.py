from __future__ import annotations

import msgspec
import pytest

from serenity.wire.messages.uris import Uri

DIGEST = "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://h/a/tool", Uri(value="https://h/a/tool")),
        ("https://h/tool#executable", Uri(value="https://h/tool", executable=True)),
        (
            f"http://h/x.zip#keep,as=data,sha256={DIGEST}",
            Uri(value="http://h/x.zip", extract=False, name="data", sha256=DIGEST),
        ),
        ("file:///opt/x.tgz", Uri(value="file:///opt/x.tgz")),
    ],
)
def test_options_stand_behind_the_hash(text: str, expected: Uri) -> None:
    assert Uri.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("tool.tgz", "write such as"),
        ("ftp://h/x", "write such as"),
        ("https://h/", "names no file"),
        ("https://h/a#as=..", "names no file"),
        ("https://h/a#as=../x", "write such as"),
        ("https://h/..%2fetc%2fpasswd", "names no file"),
        ("https://h/a#as=stdout", "the task's stdout"),
        ("https://h/a#sha256=12", "write such as"),
        ("https://h/a#shiny", "#shiny"),
    ],
)
def test_what_is_none_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Uri.parse(text)


def test_what_it_is_called_and_whether_it_is_an_archive() -> None:
    uri = Uri.parse("https://me:pw@h/a%20b.tar.gz?token=x#as=c")
    assert (uri.file_name, uri.is_archive, uri.shown) == ("c", True, "https://h/a%20b.tar.gz")
    assert Uri.parse("https://h/a%20b").file_name == "a b" and not Uri.parse("https://h/a%20b").is_archive
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"value":"https://h/a","name":"x/y"}', type=Uri)
