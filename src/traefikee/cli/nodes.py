"""``bootstrap``, ``start-control-node`` and ``start-data-node``: the commands that run a node."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from traefikee.cli.archives import is_restored, passphrase_option, read_archive
from traefikee.cli.common import (
    DEFAULT_STATEDIR,
    Bytes,
    Command,
    Duration,
    in_asyncio,
    option,
    socket_option,
    switch,
)
from traefikee.errors import UsageError

if TYPE_CHECKING:
    from traefikee.node.control import ControlOptions
    from traefikee.node.lifecycle import Newcomer


def node_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what every node takes."""
    for add in (
        option(
            "logFormat",
            default=None,
            type=click.Choice(["text", "json"]),
            help="Form of the log's lines.  [default: text; for systemd's journal with priorities, without time]",
            show_default=False,
        ),
        option("logLevel", default="info", type=click.Choice(["debug", "info", "warn", "error"]), help="Log level."),
        option("statedir", default=DEFAULT_STATEDIR, type=click.Path(file_okay=False), help="Directory of its state."),
        socket_option,
        option("name", default="", help="Name in the cluster.  [default: the host name]", show_default=False),
    ):
        command = add(command)
    return command


def listening_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add where a control node is reached."""
    for add in (
        option(
            "storequota",
            default="1GiB",
            type=Bytes(),
            help="Largest file of the store on this node, whose history is cut before it is reached.",
        ),
        option(
            "dashboardlisten",
            default="",
            help="Address of API and dashboard, once they are on.  [default: port 8080 of --listen's host]",
            show_default=False,
        ),
        option(
            "apilisten",
            default="",
            help="Address of traefikeectl's API.  [default: port 55055 of --listen's host]",
            show_default=False,
        ),
        option("listen", default="0.0.0.0:4242", help="Address to listen on for the other nodes."),
        option(
            "advertise",
            default="",
            help="Address under which the others reach this node.  [default: this machine's own, and --listen's port]",
            show_default=False,
        ),
    ):
        command = add(command)
    return command


def joining_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what a join takes."""
    for add in (
        option(
            "timeout",
            default="60",
            type=Duration(),
            help="How long to go on trying to reach a control node.",
        ),
        option(
            "token-file",
            default="",
            type=click.Path(dir_okay=False),
            help="File that holds the token, which then appears in no process list.",
            show_default=False,
        ),
        option(
            "token", default="", help="Join token, from `traefikee env`; only for the first start.", show_default=False
        ),
        option(
            "peeraddresses",
            default="",
            help="host:port of control nodes, separated by commas.",
            show_default=False,
        ),
    ):
        command = add(command)
    return command


@click.command(cls=Command)
@option("licensekey", default="", help="Licence key (required unless restoring).", show_default=False)
@option(
    "license.endpoint",
    "license_endpoint",
    default="",
    help="https URL of a server that judges the key; without one any text is accepted.",
    show_default=False,
)
@option(
    "archivepath",
    default="",
    type=click.Path(dir_okay=False),
    help="Backup to restore the cluster from: its CA, tokens, configuration and licence.",
    show_default=False,
)
@passphrase_option
@option("controlNodes", "controlnodes", default=1, type=click.IntRange(min=1), help="Control nodes to wait for; odd.")
@option("timeout", default="300", type=Duration(), help="How long to wait for the control nodes.")
@switch("api", help="Serve API and dashboard on port 8080 of the control nodes.", show_default=False)
@option(
    "mtlscertsoutputdir", default="./.traefikee", type=click.Path(file_okay=False), help="Where API credentials go."
)
@listening_options
@node_options
@in_asyncio
async def bootstrap(
    licensekey: str,
    archivepath: str,
    passphrase_file: str,
    license_endpoint: str,
    controlnodes: int,
    timeout: float,
    api: bool,
    mtlscertsoutputdir: str,
    **options: Any,
) -> None:
    """Initialise a cluster.

    Waits for --controlNodes control nodes to join, hands the cluster over to them and ends. With one control node (the
    default) this node is that control node and stays. At the timeout it ends with exit code 1, and no cluster is left.

    With --archivepath the cluster is the one of a backup: nodes join with its tokens, its data nodes come back by
    themselves where they find a control node at an address that they know, and traefikeectl goes on working. An archive
    that is damaged or foreign is refused before anything is touched.
    """
    from traefikee.node import start
    from traefikee.node.bootstrap import NewCluster

    if not archivepath and not licensekey.strip():
        raise UsageError(
            "--licensekey is missing",
            "give your licence key (any text without --license.endpoint), or restore a backup with --archivepath",
        )
    if license_endpoint:
        from traefikee.config.addresses import check_licence_endpoint

        if archivepath:
            raise UsageError(
                "--license.endpoint and --archivepath are both given: the licence is restored as it was",
                "leave --license.endpoint out; traefikee update-license changes the licence afterwards",
            )
        try:
            check_licence_endpoint(license_endpoint)
        except ValueError as error:
            raise UsageError(f"--license.endpoint: {error}") from error
    if controlnodes % 2 == 0:
        raise UsageError(
            f"--controlNodes={controlnodes} is even: one node fewer survives as many failures",
            f"use {controlnodes - 1} or {controlnodes + 1}",
        )
    control = _control_options(options)
    advertise = _advertise(options, "192.0.2.1:9")
    backup = None
    if archivepath and not is_restored(Path(options["statedir"]), archivepath):
        backup = read_archive(archivepath, passphrase_file)
    with _state_dir(options) as statedir:
        asked = NewCluster(
            name=_name(options),
            advertise=advertise,
            control_nodes=controlnodes,
            timeout=timeout,
            licence=licensekey.strip(),
            license_endpoint=license_endpoint,
            api=api,
            credentials=Path(mtlscertsoutputdir).absolute(),
        )
        await start.bootstrap(statedir, asked, control, backup)


@click.command("start-control-node", cls=Command)
@joining_options
@listening_options
@node_options
@in_asyncio
async def start_control_node(**options: Any) -> None:
    """Join a cluster as a control node, or come back to it.

    A node that has joined before needs neither a token nor peer addresses: it finds both in its state directory.
    """
    from traefikee.node import start

    control = _control_options(options)
    with _state_dir(options) as statedir:
        joined = statedir.load_identity() is not None
        newcomer = _newcomer(options, joined=joined)
        if not joined or options["advertise"]:
            advertise = _advertise(options, newcomer.peers[0] if newcomer.peers else "192.0.2.1:9")
            newcomer = replace(newcomer, advertise=advertise)
        await start.control_node(statedir, newcomer, control)


@click.command("start-data-node", cls=Command)
@joining_options
@option(
    "bind",
    default="",
    help="Address that entry points without a host listen on.  [default: every address]",
    show_default=False,
)
@node_options
@in_asyncio
async def start_data_node(bind: str, **options: Any) -> None:
    """Join a cluster as a data node, or come back to it.

    It serves the deployed entry points, from the snapshot on its disk while no control node answers. SIGUSR2 makes it
    start again from what is installed by then, without a request lost.
    """
    from traefikee.node.data import DataOptions, data_node
    from traefikee.node.systemd import Manager

    with _state_dir(options) as statedir:
        joined = statedir.load_identity() is not None
        newcomer = _newcomer(options, joined=joined)
        if not joined and not newcomer.peers:
            raise UsageError("--peeraddresses is missing", "name the control nodes: host:port,host:port")
        socket = Path(options["traefikeesocket"]).absolute()
        data = DataOptions(_host(bind), socket, options["logformat"], Manager.from_environment())
        again = await data_node(statedir, newcomer, data)
    if again:
        # The same process, for whoever supervises it. Until the new program listens to signals, another one of its kind
        # would end it.
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        data.manager.restore()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - its own command line


# --- from options to what a node is started with ---


class _state_dir:  # noqa: N801
    """The state directory of the options, and the log, for the life of a node."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    def __enter__(self) -> Any:
        from traefikee import known_faults, log
        from traefikee.node.statedir import StateDir
        from traefikee.node.systemd import logs_to_journal

        # What was asked for is what is written, wherever it goes.
        self._options["logformat"] = self._options["logformat"] or ("journal" if logs_to_journal() else "text")
        log.configure(self._options["logformat"], self._options["loglevel"])
        known_faults.check()
        self._statedir = StateDir(Path(self._options["statedir"]))
        return self._statedir

    def __exit__(self, *_: object) -> None:
        self._statedir.close()


def _name(options: dict[str, Any]) -> str:
    import re
    import socket

    from traefikee.cluster.messages import NAME_LIMIT, NAME_PATTERN

    name = str(options["name"]) or socket.gethostname()
    if not re.fullmatch(NAME_PATTERN, name) or len(name) > NAME_LIMIT:
        raise UsageError(f'"{name}" cannot be the name of a node', "give it a host name of its own with --name")
    return name


def _address(flag: str, text: str, *, needs_host: bool) -> str:
    from traefikee.config.addresses import split_address

    try:
        host, port = split_address(text)
    except ValueError as error:
        raise UsageError(f"--{flag}: {error}") from error
    if port == 0 or (needs_host and not host):
        raise UsageError(f'--{flag}: "{text}" is not an address that others can reach', "write host:port")
    return text


def _host(bind: str) -> str | None:
    import ipaddress

    if not bind:
        return None
    try:
        address = ipaddress.ip_address(bind.strip("[]"))
    except ValueError:
        raise UsageError(f'--bind: "{bind}" is not an IP address', "write an address without a port") from None
    return f"[{address}]" if address.version == 6 else str(address)


def _advertise(options: dict[str, Any], towards: str) -> str:
    """Return the advertised address: as given, or --listen's host if it is one, or the one that reaches the peers."""
    import ipaddress
    import socket

    from traefikee.config.addresses import split_address

    if options["advertise"]:
        return _address("advertise", options["advertise"], needs_host=True)
    host, port = split_address(_address("listen", options["listen"], needs_host=False))
    if host and not (_is_address(host) and ipaddress.ip_address(host).is_unspecified):
        return str(options["listen"])
    peer_host, peer_port = split_address(towards)
    try:
        # Connecting a datagram socket sends nothing: it only asks for the route.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((peer_host, peer_port))
            return f"{probe.getsockname()[0]}:{port}"
    except OSError:
        raise UsageError(
            "the address of this machine cannot be told by itself", "give it with --advertise=host:port"
        ) from None


def _is_address(host: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _control_options(options: dict[str, Any]) -> ControlOptions:
    from traefikee.cluster.upkeep import LEAST_QUOTA
    from traefikee.node.control import ControlOptions
    from traefikee.node.internal import API_PORT, DASHBOARD_PORT, beside
    from traefikee.node.systemd import Manager

    listen = _address("listen", options["listen"], needs_host=False)
    if options["storequota"] < LEAST_QUOTA:
        raise UsageError("--storequota is too small for a cluster's state", "give at least 16MiB")
    for flag in ("apilisten", "dashboardlisten"):
        if options[flag]:
            _address(flag, options[flag], needs_host=False)
    return ControlOptions(
        listen=listen,
        api=options["apilisten"] or beside(listen, API_PORT),
        dashboard=options["dashboardlisten"] or beside(listen, DASHBOARD_PORT),
        api_chosen=bool(options["apilisten"]),
        dashboard_chosen=bool(options["dashboardlisten"]),
        socket=Path(options["traefikeesocket"]).absolute(),
        manager=Manager.from_environment(),
        store_quota=options["storequota"],
    )


def _newcomer(options: dict[str, Any], *, joined: bool) -> Newcomer:
    """Return what a node that joins was told; one that has joined needs no token, and its file may be gone."""
    from traefikee.node.lifecycle import Newcomer

    peers = [peer.strip() for peer in options["peeraddresses"].split(",") if peer.strip()]
    for peer in peers:
        _address("peeraddresses", peer, needs_host=True)
    token = options["token"]
    if options["token_file"]:
        if token and "TRAEFIKEE_TOKEN" not in os.environ:
            raise UsageError("--token and --token-file are both given", "keep one of them")
        if joined:
            return Newcomer(name=_name(options), peers=peers, token="", advertise="", timeout=options["timeout"])
        try:
            token = Path(options["token_file"]).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise UsageError(f"--token-file: {options['token_file']} cannot be read: {reason}") from error
    return Newcomer(name=_name(options), peers=peers, token=token, advertise="", timeout=options["timeout"])
