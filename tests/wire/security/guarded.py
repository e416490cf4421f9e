"""A real Mesos that asks everybody who they are, and who may."""

from __future__ import annotations

import json
from pathlib import Path

from serenity.localmesos.cluster.cluster import ClusterOptions
from tests.clusters import cluster_options

PRINCIPAL, SECRET = "serenity", "s3cr3t"


def guarded_options(folder: Path) -> ClusterOptions:
    """With ``--authenticate_http_*``, but for reading the master.  Skips the test where there is no real Mesos."""
    known = private(folder / "known.json", {"credentials": [{"principal": PRINCIPAL, "secret": SECRET}]})
    return cluster_options(
        "real",
        folder / "work",
        master_flags={
            "authenticate_http_frameworks": None,
            "http_framework_authenticators": "basic",
            "authenticate_http_readwrite": None,
            "credentials": str(known),
        },
        agent_flags={
            "authenticate_http_readonly": None,
            "authenticate_http_readwrite": None,
            "http_credentials": str(known),
        },
    )


def secret_file(folder: Path) -> Path:
    """In Mesos' own form, which names the principal."""
    return private(folder / "secret.json", {"principal": PRINCIPAL, "secret": SECRET})


def private(path: Path, content: object) -> Path:
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))
    return path
