"""Cipher suites by the names of Go's constants, as ``TLS.CipherSuites`` of Traefik 1.7 takes them."""

from __future__ import annotations

from collections.abc import Iterable

from traefikee.config.errors import did_you_mean

_SUPPORTED = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    # Go's first names of these two say less than IANA's, which it took over later.
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}
_TLS13 = frozenset({"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"})
_WEAK = frozenset(
    {
        "TLS_RSA_WITH_RC4_128_SHA",
        "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
        "TLS_RSA_WITH_AES_128_CBC_SHA",
        "TLS_RSA_WITH_AES_256_CBC_SHA",
        "TLS_RSA_WITH_AES_128_CBC_SHA256",
        "TLS_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
        "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
        "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    }
)
"""What Go has besides: without forward secrecy, or with ciphers that can be attacked."""


def iana_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the IANA names of cipher suites of TLS 1.2 given by Go's names, each once.

    :raises ValueError: a name that is unknown, or whose suite cannot be had; it names those that can.
    """
    found = []
    for name in names:
        if name in _SUPPORTED:
            found.append(_SUPPORTED[name])
        elif name in _TLS13:
            raise ValueError(
                f'"{name}" is a suite of TLS 1.3, all of which are always on; leave it out (for TLS 1.3 alone write '
                "TLS.MinVersion:VersionTLS13)"
            )
        else:
            fault = "is not supported, since it can be attacked" if name in _WEAK else "is unknown"
            known = ", ".join(name for name in _SUPPORTED if not name.endswith("POLY1305_SHA256"))
            raise ValueError(f'"{name}" {fault}{did_you_mean(name, _SUPPORTED)}; there are {known}')
    return tuple(dict.fromkeys(found))
