"""What the standard library's TLS contexts lack."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path


def load_pair(context: ssl.SSLContext, chain_pem: str, key_pem: str) -> None:
    """Give a context its own certificate and key from PEM texts: OpenSSL's binding takes files only.

    The files are in a folder that only this user may enter, and are gone when this returns.

    :raises ssl.SSLError: if they are not a certificate and its key.
    """
    with tempfile.TemporaryDirectory() as folder:
        chain, key = Path(folder, "chain.pem"), Path(folder, "key.pem")
        chain.write_text(chain_pem)
        key.touch(mode=0o600)
        key.write_text(key_pem)
        context.load_cert_chain(chain, key)
