"""Mesos' own descriptors: fetched by pip, pinned by hash, and never imported (they are Python 2's)."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool

from tests.messages.envelopes import APIS, Api, Fields, Kinds

_REQUIREMENT = "mesos.interface==1.11.0"
_WHEEL = "mesos.interface-1.11.0-py2-none-any.whl"
_SHA256 = "fb2fdf3830bc4ac42b5bc73fb55c648640208fc38ccc064dc4a54f898050b0a3"
# The literal that the generated module makes its descriptors from.
_SERIALIZED = re.compile(r"serialized_pb=_b\(('(?:[^'\\]|\\.)*')\)")

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "int32": _Field.TYPE_INT32,
    "string": _Field.TYPE_STRING,
}
_LABELS = {"!": _Field.LABEL_REQUIRED, "*": _Field.LABEL_REPEATED, "": _Field.LABEL_OPTIONAL}


class NotFetched(Exception):  # noqa: N818 - reads as what it says
    """There is no copy here, and pip cannot get one; the text is pip's."""


def fetched_wheel(folder: Path) -> Path:
    """The wheel in `folder`, which is asked of the package index only if it is not there yet.

    Raises:
        NotFetched
        RuntimeError: the index has another file under that name.
    """
    wheel = folder / _WHEEL
    if wheel.is_file() and hashlib.sha256(wheel.read_bytes()).hexdigest() == _SHA256:
        return wheel
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        requirements = Path(scratch, "requirements.txt")
        requirements.write_text(f"{_REQUIREMENT} --hash=sha256:{_SHA256}\n")
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"),
            *("--retries", "1", "--timeout", "10", "--no-deps", "--require-hashes", "--only-binary", ":all:"),
            *("--python-version", "2.7", "--implementation", "py", "--platform", "any", "--abi", "none"),
            *("--dest", scratch, "--requirement", str(requirements)),
        ]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if "DO NOT MATCH THE HASHES" in done.stderr:
            raise RuntimeError(done.stderr)
        if done.returncode != 0:
            raise NotFetched((done.stderr.strip().splitlines() or ["pip said nothing"])[-1])
        Path(scratch, _WHEEL).replace(wheel)  # In one step: another test process may be at it too.
    return wheel


def v1_pool(wheel: Path) -> descriptor_pool.DescriptorPool:
    """All of package ``mesos`` under its v1 names, and each API's ``mesos.SIDE.Call`` and ``mesos.SIDE.Event``."""
    with zipfile.ZipFile(wheel) as archive:
        source = archive.read("mesos/interface/mesos_pb2.py").decode("ascii")
    found = _SERIALIZED.search(source)
    assert found is not None, "the module has another form than the pinned one"
    serialized = ast.literal_eval(found[1]).encode("latin-1")
    # All that v1 renamed is the agent, once a slave; the two words being of one length, no length prefix changes.
    for v0, v1 in ((b"slave", b"agent"), (b"Slave", b"Agent"), (b"SLAVE", b"AGENT")):
        serialized = serialized.replace(v0, v1)
    pool = descriptor_pool.DescriptorPool()
    mesos = pool.AddSerializedFile(serialized)
    for side, api in APIS.items():
        pool.AddSerializedFile(_api_file(side, api, mesos.name).SerializeToString())
    return pool


def _api_file(side: str, api: Api, mesos_file: str) -> descriptor_pb2.FileDescriptorProto:
    own = {*api.messages, *api.enums}

    def fill(message: descriptor_pb2.DescriptorProto, fields: Fields) -> None:
        for name, written in fields.items():
            type_name = written.rstrip("!*")
            label = _LABELS[written.removeprefix(type_name)]
            field = message.field.add(name=name, number=len(message.field) + 1, label=label)
            if type_name in _SCALARS:
                field.type = _SCALARS[type_name]
            elif type_name in own or type_name.startswith(("Call.", "Event.")):
                field.type_name = f".mesos.{side}.{type_name}"  # The pool finds out whether message or enum.
            else:
                field.type_name = f".mesos.{type_name}"

    def union(name: str, kinds: Kinds, sender: Fields) -> None:
        message = file.message_type.add(name=name)
        types = message.enum_type.add(name="Type")
        fields = {"type": f"{name}.Type!", **sender}
        for number, (kind, body) in enumerate(kinds.items()):
            types.value.add(name=kind, number=number)
            if body is not None:
                fill(message.nested_type.add(name=_camel(kind)), body)
                fields[kind.lower()] = f"{name}.{_camel(kind)}"
        fill(message, fields)

    file = descriptor_pb2.FileDescriptorProto(
        name=f"{side}.proto", package=f"mesos.{side}", dependency=[mesos_file], syntax="proto2"
    )
    for name, fields in api.messages.items():
        fill(file.message_type.add(name=name), fields)
    for name, values in api.enums.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    union("Call", api.calls, api.sender)
    union("Event", api.events, {})
    return file


def _camel(kind: str) -> str:
    """``UPDATE_STATE`` to ``UpdateState``."""
    return kind.title().replace("_", "")
