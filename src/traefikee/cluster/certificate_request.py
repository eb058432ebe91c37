"""A fresh key and what a node sends to have it certified; made by a process of its own.

A data node's agent needs the cryptography library only for this, every two months: in a process that ends, its 10 MB
are not kept. The keys pass through pipes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from traefikee.errors import TraefikeeError

DEADLINE = 60.0


class Proof(BaseModel):
    """What the holder of a certificate that has ended proves with that it has the certificate's key.

    :ivar nonce: of the control node that is asked.
    """

    model_config = ConfigDict(frozen=True)

    key_pem: str = Field(repr=False)
    nonce: str


class CertificateRequest(BaseModel):
    """A fresh key with its certificate request.

    :ivar signature: of :func:`message` by the key of the proof, in base64; empty without one.
    """

    model_config = ConfigDict(frozen=True)

    key_pem: str = Field(repr=False)
    request_pem: str
    signature: str = ""


def message(nonce: str, request_pem: str) -> bytes:
    """Return what is signed to prove that the key of an ended certificate is there: it binds the new key to it."""
    return b"traefikee renew 1\n" + nonce.encode() + b"\n" + hashlib.sha256(request_pem.encode()).hexdigest().encode()


def make(proof: Proof | None = None) -> CertificateRequest:
    """Make a key and a request in this process."""
    from traefikee.cluster import pki

    key = pki.new_key()
    request = pki.new_request(key)
    signature = b""
    if proof is not None:
        signature = pki.sign(proof.key_pem, message(proof.nonce, request))
    return CertificateRequest(
        key_pem=pki.key_to_pem(key), request_pem=request, signature=base64.b64encode(signature).decode()
    )


async def make_apart(proof: Proof | None = None) -> CertificateRequest:
    """Make a key and a request in a process of their own.

    :raises TraefikeeError: if that fails.
    """
    given = proof.model_dump_json().encode() if proof is not None else b""
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "traefikee.cluster.certificate_request",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(DEADLINE):
                output, errors = await process.communicate(given)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return CertificateRequest.model_validate_json(output)
    except (OSError, TimeoutError) as error:
        raise TraefikeeError(f"a new key cannot be made: {error or 'it takes too long'}", kind="certificate") from error
    except ValidationError as error:
        last = errors.decode(errors="replace").strip().rpartition("\n")[2]
        raise TraefikeeError(f"a new key cannot be made: {last}", kind="certificate") from error


def _main() -> None:
    given = sys.stdin.buffer.read()
    made = make(Proof.model_validate_json(given) if given else None)
    sys.stdout.write(made.model_dump_json())


if __name__ == "__main__":
    _main()
