"""``traefikeectl``: the same commands on a cluster from anywhere, by mutual TLS on ``:55055``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from traefikee import __version__
from traefikee.cli.client import TIMEOUT, Client
from traefikee.cli.common import SETTINGS, Group, option, output_option, switch
from traefikee.cli.deploy import DeployCommand, run_deploy, static_options
from traefikee.cli.main import print_version
from traefikee.cli.operations import OPERATIONS
from traefikee.cli.renewing import kept_current
from traefikee.cli.tables import print_data, print_remote_nodes, print_warnings
from traefikee.cli.target import Target
from traefikee.cli.trust import warn
from traefikee.cluster.peers import tls_context
from traefikee.cluster.roles import SERVER_NAME
from traefikee.config.addresses import split_address
from traefikee.config.certificate_checks import check_pair
from traefikee.config.certificates import CertificatePair
from traefikee.errors import TraefikeeError, UsageError

CA_FILE, CERTIFICATE_FILE, KEY_FILE = "ca.pem", "cert.pem", "key.pem"


class Connection(BaseModel):
    """What ``connect`` saves for one cluster."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str
    ca_pem: str
    certificate_pem: str
    key_pem: str = Field(repr=False)


@click.group(cls=Group, context_settings=SETTINGS)
def traefikeectl() -> None:
    """Manage a cluster from anywhere."""


def cluster_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--clustername``: which saved connection is used."""
    add: Callable[..., Callable[..., Any]] = option(
        "clustername", default="traefikee", help="Name of the saved connection."
    )
    return add(command)


def connection_path(clustername: str) -> Path:
    """Return the file of a saved connection.

    :raises UsageError: if the name cannot be a file's.
    """
    if not clustername or "/" in clustername or clustername in (".", ".."):
        raise UsageError(f'--clustername: "{clustername}" cannot be the name of a file')
    return Path.home() / ".config" / "traefikee" / clustername


def client_of(connection: Connection) -> Client:
    """Return a client of the cluster's API, whichever control node answers at the address."""
    pair = CertificatePair(chain_pem=connection.certificate_pem, key_pem=connection.key_pem)
    client = httpx.Client(
        base_url=f"https://{connection.address}",
        verify=tls_context(connection.ca_pem, pair),
        timeout=TIMEOUT,
        trust_env=False,
    )
    hint = "check that a control node runs there and that its port 55055 is open from here"
    return Client(client, connection.address, hint, {"sni_hostname": SERVER_NAME})


def saved_client(clustername: str) -> Client:
    """Return a client for a saved connection, whose certificate is renewed in time.

    :raises TraefikeeError: if there is none, or it cannot be read.
    """
    path = connection_path(clustername)
    try:
        connection = Connection.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise TraefikeeError(
            f'there is no connection to a cluster "{clustername}"',
            "make one with traefikeectl connect --onpremise.mtlscertsdir=... --onpremise.apiaddress=...",
        ) from None
    except (OSError, ValidationError) as error:
        raise TraefikeeError(
            f"the saved connection {path} cannot be read: {str(error).splitlines()[0]}", "restore the file"
        ) from error
    return client_of(kept_current(connection, path, client_of))


@traefikeectl.command()
@cluster_option
@option("onpremise.apiaddress", "apiaddress", required=True, help="host:port of a control node's API, or of a VIP.")
@option(
    "onpremise.mtlscertsdir",
    "mtlscertsdir",
    required=True,
    type=click.Path(file_okay=False),
    help="Folder with the API credentials that bootstrap wrote.",
)
def connect(mtlscertsdir: str, apiaddress: str, clustername: str) -> None:
    """Gain access to a cluster with the credentials that bootstrap wrote; they are used up."""
    try:
        host, port = split_address(apiaddress)
    except ValueError as error:
        raise UsageError(f"--onpremise.apiaddress: {error}") from error
    if not host or not port:
        raise UsageError(f'--onpremise.apiaddress: "{apiaddress}" names no host', "write host:55055")
    path, folder = connection_path(clustername), Path(mtlscertsdir)
    if path.exists():
        raise TraefikeeError(
            f'{path} already holds a connection to a cluster "{clustername}"',
            "give this one another --clustername, or move that file away",
        )
    click.echo("Retrieving TraefikEE Control credentials...", nl=False)
    try:
        connection = _read_credentials(folder, apiaddress)
        client_of(connection).get("/v1/cluster")
        click.echo("ok")
        click.echo("Removing cluster credentials from platform...", nl=False)
        _save(path, connection)
        _remove_key(folder)
        click.echo("ok")
    except TraefikeeError:
        click.echo("failed")
        raise
    shown = str(path).replace(str(Path.home()), "$HOME", 1)
    click.echo(
        f'Credentials saved in "{shown}", please make sure to keep them safe as they can never be retrieved again.'
    )
    click.echo("✔ Successfuly gained access to the cluster. You can now use other traefikeectl commands.")


def _read_credentials(folder: Path, address: str) -> Connection:
    texts = []
    for name in (CA_FILE, CERTIFICATE_FILE, KEY_FILE):
        try:
            texts.append((folder / name).read_text())
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            used = "; they may have been used up by an earlier connect" if name == KEY_FILE else ""
            raise TraefikeeError(
                f"the credentials in {folder} cannot be read: {name}: {reason}{used}",
                "copy the folder that bootstrap wrote (--mtlscertsoutputdir, ./.traefikee by default)",
            ) from error
    problem = check_pair(CertificatePair(chain_pem=texts[1], key_pem=texts[2]))
    if problem:
        raise TraefikeeError(f"the credentials in {folder} cannot be used: {problem}", "copy the folder again")
    return Connection(address=address, ca_pem=texts[0], certificate_pem=texts[1], key_pem=texts[2])


def _save(path: Path, connection: Connection) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(connection.model_dump_json(indent=2))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise TraefikeeError(
            f"the connection cannot be saved in {path}: {error.strerror}", "make that folder writable"
        ) from error


def _remove_key(folder: Path) -> None:
    try:
        (folder / KEY_FILE).unlink()
    except OSError as error:
        raise TraefikeeError(
            f"the connection is saved and works, but the key in {folder} cannot be removed: {error.strerror}",
            f"remove {folder / KEY_FILE} by hand",
        ) from error


@traefikeectl.command("list-nodes")
@cluster_option
@output_option
def list_nodes(clustername: str, output: str) -> None:
    """List the nodes of the cluster."""
    content = saved_client(clustername).get("/v1/nodes")
    if output != "table":
        print_data(content["nodes"], output)
    else:
        print_remote_nodes(content["nodes"])
    warn(content["nodes"])
    print_warnings(content)


@traefikeectl.command(cls=DeployCommand)
@cluster_option
@static_options
@click.pass_context
def deploy(
    ctx: click.Context, clustername: str, configfile: str, dry_run: bool, if_revision: int | None, output: str
) -> None:
    """Put a static configuration in force; files are read on this machine.

    Waits until every live data node has applied it, and says so node by node; exit code 1 if one refuses. Each deploy
    replaces the one before as a whole. Options are those of Traefik 1.7; each can be given as TRAEFIKEE_<NAME> too, and
    in a file (--configFile).
    """
    sys.exit(
        run_deploy(
            lambda: saved_client(clustername),
            ctx.obj,
            configfile,
            dry_run=dry_run,
            if_revision=if_revision,
            output=output,
        )
    )


@traefikeectl.command()
@cluster_option
@output_option
@switch("details", help="Ask the cluster too: a node's version, and the licence key.", show_default=False)
def version(clustername: str, output: str, details: bool) -> None:
    """Print the version."""
    content: dict[str, Any] = {"version": __version__}
    if details:
        content["node"] = saved_client(clustername).get("/v1/version")
    print_version(content, output)


_CLUSTER = Target(cluster_option, lambda options: saved_client(options["clustername"]))
for _operation in OPERATIONS:
    traefikeectl.add_command(_operation(_CLUSTER))
