"""TLS.  For clients: whom to trust, which certificate to show, and in words why TLS failed; for servers: which to show.

No certificate is trusted by accident: unless verification is off, a server's certificate must come from a known
authority and be for the name or address that was called.  TLS is 1.2 or newer.
"""

from __future__ import annotations

import functools
import ssl

from serenity.wire.transport.endpoint import Endpoint
from serenity.wire.transport.trust_files import UnusableFile, read, read_private

WANTS_CERTIFICATE = "if it wants a certificate of ours, give client_cert"
# OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH.
_OTHER_NAME = (62, 64)
# The reasons that OpenSSL's versions give when a server answers the handshake in plain text.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL")
_TOO_OLD = ("UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "VERSION_TOO_LOW", "NO_PROTOCOLS_AVAILABLE")


def client_context(
    ca_file: str | None = None,
    client_cert: str | None = None,
    client_key: str | None = None,
    *,
    ca_dir: str | None = None,
    verify: bool = True,
) -> ssl.SSLContext:
    """A client's TLS context.  All files are PEM; without `ca_file` and `ca_dir` the system's authorities are trusted.

    The key may also be in the file `client_cert`.  Without `verify` every server is trusted.

    Raises:
        UnusableFile
    """
    # Not create_default_context: from Python 3.13 on it refuses authorities whose certificates are not made with care.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca_file is None and ca_dir is None:
        context.load_default_certs()
    else:
        _load_authorities(context, ca_file, ca_dir)
    if client_cert is not None:
        _load_cert(context, "client", client_cert, client_key)
    elif client_key is not None:
        raise UnusableFile("client_key is given without client_cert; give both, or neither")
    return context


def server_context(cert: str, key: str | None) -> ssl.SSLContext:
    """A server's TLS context.  `cert`: its certificate and those up to the root; the key may be in that file, too.

    Raises:
        UnusableFile
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_cert(context, "tls", cert, key)
    return context


@functools.cache
def default_context() -> ssl.SSLContext:
    """Trusts the system's authorities, and shows no certificate."""
    return client_context()


def explain(endpoint: Endpoint, error: ssl.SSLError) -> str:
    """Why there is no TLS with `endpoint`, and what to do: one line."""
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _OTHER_NAME:
            return (
                f"the certificate of {endpoint} is for another name than {endpoint.host}; call it by the name"
                " in its certificate, or give it one for this name"
            )
        return (
            f"the certificate of {endpoint} is not trusted ({error.verify_message}); ca_file must name the file"
            " with the authority that issued it"
        )
    if reason in _NOT_TLS:
        return f"{endpoint} does not speak TLS; write http://, or turn TLS on there"
    if reason in _TOO_OLD:
        return f"{endpoint} speaks no TLS of 1.2 or newer; turn that on there"
    if "UNKNOWN_CA" in reason or "BAD_CERTIFICATE" in reason:
        return f"{endpoint} does not trust our certificate; client_cert must be one that its authority issued"
    if "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason:
        return f"{endpoint} ended the TLS handshake ({reason}); {WANTS_CERTIFICATE}"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return f"{endpoint} hung up on TLS; if it does not speak that, write http://; {WANTS_CERTIFICATE}"
    return f"no TLS with {endpoint}: {reason or error}"


def _load_authorities(context: ssl.SSLContext, ca_file: str | None, ca_dir: str | None) -> None:
    if ca_file is not None:
        read("ca_file", ca_file)  # OpenSSL's own error for an unreadable file does not name the file.
    try:
        context.load_verify_locations(ca_file, ca_dir)
    except OSError as error:
        raise UnusableFile(f"ca_file: {ca_file or ca_dir} holds no certificate in PEM form") from error


def _load_cert(context: ssl.SSLContext, whose: str, cert: str, key: str | None) -> None:
    """`whose`: errors name the settings ``WHOSE_cert`` and ``WHOSE_key``."""

    def no_password() -> str:
        raise UnusableFile(f"{whose}_key: {key or cert} is encrypted, and nobody is there to type its password")

    if key is None:
        read_private(f"{whose}_cert", cert)
    else:
        read(f"{whose}_cert", cert)
        read_private(f"{whose}_key", key)
    try:
        context.load_cert_chain(cert, key, no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise UnusableFile(f"{whose}_key: {key or cert} is not the key of {cert}") from error
        where = cert if key is None else f"{cert} and {key}"
        raise UnusableFile(f"{whose}_cert: {where} hold no certificate with its key in PEM form") from error
