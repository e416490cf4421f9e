"""The design's import rules, checked on the syntax tree of every module.

`violations()` judges one module from its path and source, so the tests below can show it made-up modules and see
that it objects. `gevent_reachable_from()` follows imports from module to module.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# docs/design.md, "Rooms, and who may import whom": What a room may import besides itself.
MAY_IMPORT = {
    "wire": set(),
    "daemon": set(),
    "qos": {"wire", "daemon"},
    "executor": {"wire", "daemon", "qos"},
    "estimator": {"wire", "daemon", "qos"},
    "framework": {"wire", "daemon"},
    "localmesos": {"wire", "daemon"},
    "cli": {"wire", "daemon", "qos", "executor", "estimator", "framework", "localmesos"},
}

# And within these, what a part may import of the other parts. What stands beside them is not restricted itself.
MAY_IMPORT_WITHIN = {
    "qos": {
        "sources": set(),
        "filters": set(),
        "evidence": set(),
        "detectors": {"evidence"},
        "strategies": {"evidence"},
    },
    "executor": {
        "tasks": set(),
        "guarding": set(),
        "corrections": {"tasks"},
    },
    "estimator": {
        "predictors": set(),
        "slack": {"predictors"},
        "account": {"slack", "metrics"},
        "kept": {"slack", "account", "metrics"},
        "agent": {"account", "metrics"},
    },
}
# What stands beside the parts is for all of them (the frame, a stage's kind), or else joins them (the runner).
FOR_ALL_PARTS = {"qos"}

# These run as processes of their own on gevent: their first statement is monkey.patch_all(), nobody else's is.
GEVENT_PROCESSES = {
    "framework/__main__.py",
    "estimator/__main__.py",
    "localmesos/__main__.py",
}
# Blocking code, or threads.
WITHOUT_GEVENT = {"wire", "qos", "executor", "cli"}

NAMES_THAT_SAY_NOTHING = {"util", "utils", "helper", "helpers", "common", "manager", "managers"}


def violations(path: str, source: str) -> list[str]:
    """What the module at `path` (relative to the repository) does against the rules, one line each."""
    tree = ast.parse(source, path)
    found = [*_naming(path), *_bare_imports(tree), *_monkey_patching(path, tree)]
    room = path.split("/")[0]
    if room in MAY_IMPORT:
        imported = _imported(tree, package=_package(path))
        found += _room_imports(room, imported)
        if room in MAY_IMPORT_WITHIN:
            found += _imports_within(room, path.split("/")[1], imported)
        if room in WITHOUT_GEVENT and any(_is_gevent(name) for name in imported):
            found.append(f"{room} never imports gevent")
    return [f"{path}: {violation}" for violation in found]


def gevent_reachable_from(room: str, sources: dict[str, str]) -> list[str]:
    """Modules of other rooms that `room` pulls in and that import gevent. `sources`: path to source."""
    imports = {_module(path): _imported(ast.parse(source), _package(path)) for path, source in sources.items()}
    pending = [module for module in imports if module.split(".")[1] == room]
    reached: set[str] = set()
    while pending:
        module = pending.pop()
        if module in imports and module not in reached:
            reached.add(module)
            pending += [ancestor for name in imports[module] for ancestor in _with_packages(name)]
    return sorted(module for module in reached if any(_is_gevent(name) for name in imports[module]))


def _naming(path: str) -> Iterator[str]:
    for part in Path(path).with_suffix("").parts:
        if part in NAMES_THAT_SAY_NOTHING:
            yield f"{part!r} does not say what it holds"


def _bare_imports(tree: ast.Module) -> Iterator[str]:
    for name in _imported(tree, package=""):
        if name.split(".")[0] in MAY_IMPORT:
            yield f"imports {name}; it is serenity.{name}"


def _monkey_patching(path: str, tree: ast.Module) -> Iterator[str]:
    calls = [node for node in ast.walk(tree) if _is_patch_all(node)]
    if path not in GEVENT_PROCESSES:
        if calls:
            yield "monkey.patch_all() is for the entry modules of gevent processes"
        return
    # `from gevent import monkey` has to come before it; nothing else may.
    body = [statement for statement in tree.body if not _is_docstring(statement)]
    patches_first = (
        len(body) >= 2
        and isinstance(body[0], ast.Import | ast.ImportFrom)
        and all(_is_gevent(name) for name in _imported(ast.Module([body[0]], []), package=""))
        and isinstance(body[1], ast.Expr)
        and _is_patch_all(body[1].value)
    )
    if not patches_first or len(calls) != 1:
        yield "a gevent process calls monkey.patch_all() first, and once"


def _room_imports(room: str, imported: set[str]) -> Iterator[str]:
    for name in sorted(imported):
        parts = name.split(".")
        if parts[0] != "serenity" or len(parts) == 1 or parts[1] not in MAY_IMPORT:
            continue
        if parts[1] != room and parts[1] not in MAY_IMPORT[room]:
            yield f"{room} may not import {name}"
        elif parts[1:3] == ["wire", "_vendor"] and room != "wire":
            yield f"{name} is wire's own"


def _imports_within(room: str, part: str, imported: set[str]) -> Iterator[str]:
    parts = MAY_IMPORT_WITHIN[room]
    for name in sorted(imported):
        other = name.removeprefix(f"serenity.{room}.").split(".")[0] if name.startswith(f"serenity.{room}.") else part
        restricted = other in parts or room not in FOR_ALL_PARTS
        if part in parts and restricted and other not in {part, *parts[part]}:
            yield f"{room}/{part} may not import {name}"


def _imported(tree: ast.Module, package: str) -> set[str]:
    """Absolute names of all the module imports, wherever in it; `from a import b` may mean the module a.b."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                if not package:  # outside serenity a relative import stays where it is
                    continue
                parents = package.split(".")[: len(package.split(".")) - (node.level - 1)]
                origin = ".".join([*parents, *filter(None, [node.module])])
            names.add(origin)
            names.update(f"{origin}.{alias.name}" for alias in node.names)
    return names


def _module(path: str) -> str:
    parts = Path(path).with_suffix("").parts
    return ".".join(("serenity", *parts)).removesuffix(".__init__")


def _package(path: str) -> str:
    return ".".join(("serenity", *Path(path).parent.parts))


def _with_packages(name: str) -> list[str]:
    """Importing a.b.c runs a and a.b as well."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _is_gevent(name: str) -> bool:
    return name.split(".")[0] == "gevent"


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _is_patch_all(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    return (isinstance(function, ast.Attribute) and function.attr == "patch_all") or (
        isinstance(function, ast.Name) and function.id == "patch_all"
    )


def _sources(*folders: str) -> dict[str, str]:
    return {
        path.relative_to(REPOSITORY).as_posix(): path.read_text(encoding="utf-8")
        for folder in folders
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
        if "_vendor" not in path.parts
    }


# --- the repository ---


def test_every_module_keeps_the_rules():
    sources = _sources(*MAY_IMPORT, "tests", "bench")
    assert [violation for path, source in sources.items() for violation in violations(path, source)] == []


def test_the_executor_does_not_load_gevent_through_another_room():
    assert gevent_reachable_from("executor", _sources(*MAY_IMPORT)) == []


def test_src_links_to_every_room():
    links = {
        path.name: path.readlink().as_posix() for path in (REPOSITORY / "src/serenity").iterdir() if path.is_symlink()
    }
    assert links == {room: f"../../{room}" for room in MAY_IMPORT}


# --- the checker ---


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "executor/corrections/undo.py",
            "from serenity.executor.corrections import originals\nfrom serenity.executor.tasks import guardian",
        ),
        ("executor/inbox.py", "from serenity.executor.guarding.actions import Action"),
        (
            "qos/frame.py",
            "from serenity.daemon.clock import Clock\nfrom ..wire import resources\nfrom . import filters",
        ),
        ("qos/filters/ewma.py", "from ...wire.reason import Reason\nfrom ..frame import Frame"),
        ("qos/detectors/drop.py", "from serenity.qos.evidence import odds\nfrom serenity.qos.rows import Rows"),
        (
            "estimator/account/balance.py",
            "from serenity.estimator import metrics\nfrom serenity.estimator.slack.formula import Slack",
        ),
        ("cli/demo.py", "def run():\n    from serenity.localmesos import master"),
        ("wire/drivers.py", "from ._vendor.pymesos import Scheduler"),
        ("framework/__main__.py", '"""The framework."""\nfrom gevent import monkey\nmonkey.patch_all()\nimport time'),
        ("framework/store.py", "import gevent.threadpool\nimport serenity"),
        ("tests/qos/test_frame.py", "from serenity.qos.frame import Frame\nfrom concurrent.futures import executor"),
    ],
)
def test_allowed(path, source):
    assert violations(path, source) == []


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("wire/transport/recordio.py", "import serenity.daemon", "wire may not import serenity.daemon"),
        ("daemon/http.py", "from ..wire import http", "daemon may not import serenity.wire"),
        ("qos/frame.py", "def f():\n    from serenity import executor", "qos may not import serenity.executor"),
        ("qos/filters/ewma.py", "from ...estimator import slack", "qos may not import serenity.estimator"),
        ("qos/evidence/odds.py", "from ..detectors import cause", "qos/evidence may not import serenity.qos.detectors"),
        ("qos/strategies/by_use.py", "from serenity.qos import filters", "qos/strategies may not import"),
        (
            "executor/tasks/task.py",
            "from serenity.executor.guarding.actions import Decision",
            "executor/tasks may not import serenity.executor.guarding",
        ),
        (
            "executor/tasks/runner.py",
            "from serenity.executor.inbox import Inbox",
            "executor/tasks may not import serenity.executor.inbox",
        ),
        (
            "estimator/slack/pipeline.py",
            "from serenity.estimator.account.report import Amount",
            "estimator/slack may not import serenity.estimator.account",
        ),
        (
            "estimator/agent/provider.py",
            "from serenity.estimator.session import Session",
            "estimator/agent may not import serenity.estimator.session",
        ),
        ("executor/run.py", "from serenity.framework import store", "executor may not import serenity.framework"),
        ("framework/api.py", "from .. import qos", "framework may not import serenity.qos"),
        ("localmesos/agent/agent.py", "import serenity.cli.main", "localmesos may not import serenity.cli.main"),
        ("framework/api.py", "from serenity.wire._vendor import pymesos", "serenity.wire._vendor is wire's own"),
        ("tests/qos/test_frame.py", "from qos.frame import Frame", "imports qos.frame; it is serenity.qos.frame"),
        ("bench/loop.py", "import executor", "imports executor; it is serenity.executor"),
        ("executor/stream.py", "def f():\n    import gevent", "executor never imports gevent"),
        ("cli/watch.py", "from gevent import sleep", "cli never imports gevent"),
        ("framework/api.py", "from gevent import monkey\nmonkey.patch_all()", "is for the entry modules"),
        ("estimator/__main__.py", "import time\nfrom gevent import monkey\nmonkey.patch_all()", "first, and once"),
        ("estimator/__main__.py", "import serenity.estimator.loop", "first, and once"),
        ("framework/utils.py", "", "'utils' does not say what it holds"),
        ("executor/common/paths.py", "", "'common' does not say what it holds"),
    ],
)
def test_forbidden(path, source, complaint):
    assert any(complaint in violation for violation in violations(path, source))


def test_gevent_is_found_behind_other_modules():
    sources = {
        "executor/tick.py": "from serenity.daemon.serving import serve",
        "daemon/__init__.py": "",
        "daemon/clock.py": "import gevent",  # nothing the executor imports
        "daemon/serving.py": "from . import server",
        "daemon/server.py": "from gevent.pywsgi import WSGIServer",
    }
    assert gevent_reachable_from("executor", sources) == ["serenity.daemon.server"]


def test_gevent_is_found_in_a_package_on_the_way():
    sources = {"executor/tick.py": "import serenity.daemon.clock", "daemon/__init__.py": "import gevent"}
    assert gevent_reachable_from("executor", sources) == ["serenity.daemon"]
