"""An executor's TLS with its agent, as libprocess' variables describe it.

Source: Mesos ``docs/ssl.md``, ``src/executor/executor.cpp``, ``3rdparty/libprocess/src/openssl.cpp``.
An agent passes none of its own variables on to executors: the operator sets these with the agent's
``--executor_environment_variables``, as for any other executor.
"""

from __future__ import annotations

import dataclasses
import logging
import socket
from collections.abc import Mapping

from serenity.wire.transport.access import Access
from serenity.wire.transport.endpoint import Endpoint
from serenity.wire.transport.tls import client_context

logger = logging.getLogger(__name__)

# Any of these, if true, turns verification on; those after the first are older names, or imply it.
_VERIFY = ("VERIFY_SERVER_CERT", "VERIFY_CERT", "REQUIRE_CLIENT_CERT", "REQUIRE_CERT")


def agent_endpoint(environ: Mapping[str, str]) -> Endpoint:
    """Where the agent is, and whether it speaks TLS.

    Raises:
        KeyError: no agent started this process.
        ValueError: the agent's variable holds no address.
    """
    return dataclasses.replace(Endpoint.parse(environ["MESOS_AGENT_ENDPOINT"]), tls=_true(environ, "ENABLED"))


def agent_access(environ: Mapping[str, str], given: Access) -> Access:
    """`given`, with TLS as the variables describe it if `given` has none.

    As in Mesos' own executors the agent's certificate is verified only if the variables ask for it.  It must then be
    for the agent's address or, under the scheme "legacy" (Mesos' own, and the default), for the host name that this
    address resolves to.

    Raises:
        UnusableFile
    """
    if given.tls is not None or not _true(environ, "ENABLED"):
        return given
    verify = any(_true(environ, name) for name in _VERIFY)
    if not verify:
        logger.warning(
            "the agent's certificate is not verified: set LIBPROCESS_SSL_VERIFY_SERVER_CERT, or [executor] ca_file"
        )
    context = client_context(
        _value(environ, "CA_FILE"),
        _value(environ, "CERT_FILE"),
        _value(environ, "KEY_FILE"),
        ca_dir=_value(environ, "CA_DIR"),
        verify=verify,
    )
    return dataclasses.replace(given, tls=context, server_name=_server_name(environ) if verify else None)


def _server_name(environ: Mapping[str, str]) -> str | None:
    if _true(environ, "VERIFY_IPADD") or _value(environ, "HOSTNAME_VALIDATION_SCHEME") == "openssl":
        return None
    host = environ.get("MESOS_AGENT_ENDPOINT", "").rpartition(":")[0].strip("[]")
    try:
        return socket.gethostbyaddr(host)[0]
    except OSError as error:
        logger.warning(
            "the agent's address %s resolves to no name, so its certificate must be for that: %s", host, error
        )
        return None


def _true(environ: Mapping[str, str], name: str) -> bool:
    return _value(environ, name) in ("1", "true")


def _value(environ: Mapping[str, str], name: str) -> str | None:
    """Mesos still takes its names from before 1.0.  The two are not mixed, as SSL_CERT_FILE is also OpenSSL's own."""
    prefix = "LIBPROCESS_SSL_" if "LIBPROCESS_SSL_ENABLED" in environ else "SSL_"
    return environ.get(prefix + name) or None
