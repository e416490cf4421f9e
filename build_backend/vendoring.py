"""Puts pymesos into `serenity.wire._vendor`, without what it does when it is imported.

pymesos cannot be a requirement: it requires http-parser, which does not compile on Python 3.11+. So the pinned
sdist is fetched by pip (the user's own index configuration holds), its modules are copied and the few lines in
`EDITS` replaced. Behaviour is changed in subclasses in `wire/`, never here.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

RELEASE = "pymesos-0.3.15"
SDIST_SHA256 = "ee8d5ac0664467fcc70bb5a639d1520547523c80f0e83e73f689778f46a846de"

# All but `subprocess/`, a program of its own, and `zkpython.py`, which is for Python 2.
MODULES = (
    "__init__.py",
    "detector.py",
    "executor.py",
    "interface.py",
    "operator_v1.py",
    "process.py",
    "scheduler.py",
    "utils.py",
)

# Per module: exact text, which must occur once, and what stands there instead.
EDITS = {
    "__init__.py": (
        # A library leaves the log handlers to the program.
        (
            "handler = logging.StreamHandler(stream=sys.stderr)\n"
            "handler.setFormatter(logging.Formatter(LOG_FMT, DATE_FMT))\n"
            "logger.addHandler(handler)\n"
            "logger.setLevel(logging.INFO)\n",
            "",
        ),
    ),
    "process.py": (
        # Importing it took SIGINT from the program.
        ("_prev_handler = signal.signal(signal.SIGINT, _handle_sigint)\n", "_prev_handler = None\n"),
        # http-parser does not compile; the IO loop that used it is replaced in our subclasses.
        ("from http_parser.http import HttpParser\n", ""),
    ),
}

_HERE = Path(__file__).resolve().parent
# Through the link: in an sdist `src/serenity/wire` is the folder itself.
VENDOR = _HERE.parent / "src" / "serenity" / "wire" / "_vendor"
_STAMP = "stamp"


class VendoringError(Exception):
    """One line for the user: what failed, and the remedy."""


def vendor() -> None:
    """Makes `_vendor` what this module says it is; no network if it already is.

    Raises VendoringError if the sdist cannot be had or is not the text EDITS was written for.
    """
    if is_current():
        return
    with tempfile.TemporaryDirectory(dir=VENDOR.parent, prefix="_vendor-") as scratch:
        sdist = _download(Path(scratch))
        complete = Path(scratch, "complete")
        _unpack(sdist, complete)
        sdist.rename(complete / sdist.name)  # In no wheel; the tests run the untouched pymesos out of it.
        complete.joinpath(_STAMP).write_text(_fingerprint(complete))
        # The rename comes last, so that an interrupted build leaves nothing half done.
        shutil.rmtree(VENDOR, ignore_errors=True)
        complete.rename(VENDOR)


def is_current() -> bool:
    stamp = VENDOR / _STAMP
    return stamp.is_file() and stamp.read_text() == _fingerprint(VENDOR)


def replace_once(text: str, old: str, new: str, where: str) -> str:
    """`text` with `old` replaced; VendoringError unless it occurs exactly once."""
    count = text.count(old)
    if count != 1:
        line = old.splitlines()[0]
        raise VendoringError(
            f"cannot vendor {RELEASE}: {line!r} occurs {count} times in {where}, not once; "
            "update EDITS in build_backend/vendoring.py"
        )
    return text.replace(old, new)


def _fingerprint(folder: Path) -> str:
    """One hash over this module, which holds the pin and the edits, and every file it put into `folder`."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _STAMP and path.parent.name != "__pycache__":
            digest.update(str(path.relative_to(folder)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _download(scratch: Path) -> Path:
    """The sdist, fetched by pip and checked against SDIST_SHA256 by pip, in `scratch`."""
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{RELEASE.replace('-', '==')} --hash=sha256:{SDIST_SHA256}\n")
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"),
        *("--no-deps", "--no-binary", ":all:", "--require-hashes"),
        # pip reads the sdist's metadata by running its setup.py; the setuptools that builds us will do.
        "--no-build-isolation",
        *("--dest", str(scratch), "--requirement", str(requirements)),
    ]
    # This pip must not take the hooks of the build it runs inside for those of pymesos.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("_PYPROJECT_HOOKS_")}
    result = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if result.returncode != 0:
        raise VendoringError(
            f"cannot fetch {RELEASE} with pip ({_first_error(result.stderr)}); give pip an index that has it "
            f"(PIP_INDEX_URL), or a folder with {RELEASE}.tar.gz (PIP_FIND_LINKS), and try again"
        )
    return scratch / f"{RELEASE}.tar.gz"


def _first_error(stderr: str) -> str:
    lines = stderr.strip().splitlines() or ["pip said nothing"]
    return next((line for line in lines if line.startswith("ERROR:")), lines[-1])


def _unpack(sdist: Path, target: Path) -> None:
    package = target / "pymesos"
    package.mkdir(parents=True)
    target.joinpath("__init__.py").write_text(
        '"""Other people\'s code, put here by build_backend/vendoring.py. Do not edit; not in git."""\n'
    )
    with tarfile.open(sdist) as archive:
        for name in MODULES:
            text = _read(archive, f"pymesos/{name}")
            for old, new in EDITS.get(name, ()):
                text = replace_once(text, old, new, where=f"pymesos/{name}")
            package.joinpath(name).write_text(text, encoding="utf-8")
        package.joinpath("PKG-INFO").write_text(_read(archive, "PKG-INFO"), encoding="utf-8")
    # The sdist names its licence but does not hold the text; this is the one in its repository.
    shutil.copyfile(_HERE / "pymesos-LICENSE.txt", package / "LICENSE")


def _read(archive: tarfile.TarFile, name: str) -> str:
    member = archive.extractfile(f"{RELEASE}/{name}")
    assert member is not None, f"{name} is not a file"
    return member.read().decode("utf-8")
