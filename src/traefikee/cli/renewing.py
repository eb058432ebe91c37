"""What ``traefikeectl`` does before each command so that its saved connection stays good: it renews its certificate.

Past two thirds of its life, or once another authority signs; what is saved is replaced in one step.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import httpx

from traefikee.cli.client import TIMEOUT, Client
from traefikee.cluster import authorities, validity, x509_fields
from traefikee.cluster.peers import adopted, tls_context
from traefikee.cluster.roles import SERVER_NAME
from traefikee.config.certificates import CertificatePair
from traefikee.errors import RefusedError, TraefikeeError, UnreachableError

if TYPE_CHECKING:
    from traefikee.cli.remote import Connection


def kept_current(connection: Connection, path: Path, client_of: Callable[[Connection], Client]) -> Connection:
    """Return the connection, renewed if it is time; whatever else goes wrong is left to the command itself.

    :param path: where it is saved.
    :raises RefusedError: if its certificate has ended, or the cluster's authority is another one by now.
    """
    fields = x509_fields.read(connection.certificate_pem)
    now = datetime.now(UTC)
    if fields.not_after <= now:
        ended = fields.not_after.isoformat(timespec="seconds")
        raise RefusedError(f"the certificate of this connection ended on {ended}", _again(path), kind="ended")
    current = connection
    try:
        try:
            told = client_of(current).get("/v1/authorities")
        except UnreachableError as error:
            if "UNKNOWN_CA" in error.cause.upper():
                raise _foreign(current, path) from error
            if "CERTIFICATE_VERIFY_FAILED" not in error.cause:
                raise
            current = _caught_up(current, path)
            told = client_of(current).get("/v1/authorities")
        trusted = "".join(told["authorities"])
        if set(authorities.digests(trusted)) != set(authorities.digests(current.ca_pem)):
            current = current.model_copy(update={"ca_pem": trusted})
        due = validity.renew_at(fields.not_before, fields.not_after) <= now
        other = authorities.issuer_digest(current.certificate_pem, trusted) != told["signing"]
        if due or other or validity.too_long(fields.not_before, fields.not_after, validity.operator()):
            try:
                current = _renewed(current, client_of(current))
            except UnreachableError as error:
                # The next command tries again.
                click.echo(f"Warning: the certificate of this connection cannot be renewed now: {error}", err=True)
    except RefusedError:
        raise
    except (TraefikeeError, KeyError, TypeError):
        # A control node of the version before, or none at all: the command says so, if it matters to it.
        return current
    if current is not connection:
        _replace(path, current)
    return current


def _again(path: Path) -> str:
    return f"make credentials with `traefikee new-credentials` on a control node, move {path} away, and connect again"


def _caught_up(connection: Connection, path: Path) -> Connection:
    """Trust the authority that is taking over, if the one that is trusted vouches for it.

    :raises RefusedError: if it does not.
    :raises UnreachableError: if nobody answers.
    """
    context = tls_context(None, CertificatePair(chain_pem=connection.certificate_pem, key_pem=connection.key_pem))
    try:
        with httpx.Client(
            base_url=f"https://{connection.address}", verify=context, timeout=TIMEOUT, trust_env=False
        ) as client:
            content: Any = client.get("/v1/authorities", extensions={"sni_hostname": SERVER_NAME}).json()
    except (httpx.HTTPError, ValueError) as error:
        content = None
        if "UNKNOWN_CA" not in str(error).upper():
            raise UnreachableError(f"{connection.address} does not answer: {error}") from error
    known = adopted(content, authorities.digests(connection.ca_pem))
    if not known:
        raise _foreign(connection, path)
    return connection.model_copy(update={"ca_pem": "".join(known)})


def _foreign(connection: Connection, path: Path) -> RefusedError:
    return RefusedError(
        f"what answers at {connection.address} has another authority than this connection: the cluster's was replaced, "
        "or it is another cluster",
        _again(path),
        kind="foreign",
    )


def _renewed(connection: Connection, client: Client) -> Connection:
    from traefikee.cluster import certificate_request

    made = certificate_request.make()
    answer = client.post("/v1/credentials", {"request_pem": made.request_pem})
    return connection.model_copy(
        update={
            "ca_pem": "".join(answer["authorities"]),
            "certificate_pem": answer["certificate_pem"],
            "key_pem": made.key_pem,
        }
    )


def _replace(path: Path, connection: Connection) -> None:
    """Save the connection in one step; where that fails, the one before is good for a while yet."""
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w") as file:
            file.write(connection.model_dump_json(indent=2))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                Path(temporary).unlink(missing_ok=True)
        click.echo(
            f"Warning: the renewed certificate of this connection cannot be saved in {path}: {error.strerror}", err=True
        )
