"""The etcd child of a control node: its command line and its files.

etcd listens on two unix sockets in its working directory: ``client:0`` for the agent, ``peer:0`` for the engine, which
ends the mutual TLS of the other members' connections on ``:4242`` in front of it. etcd dials the others itself, with
the node's certificate.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from traefikee.cluster.upkeep import QUOTA
from traefikee.errors import TraefikeeError
from traefikee.node.statedir import Identity

OLDEST = (3, 4)
"""Learners, which every join needs, came with etcd 3.4."""

QUOTA_OPTION = "--quota-backend-bytes"
CLIENT_SOCKET = "client:0"
PEER_SOCKET = "peer:0"


def find() -> str:
    """Return the path of the etcd binary.

    :raises TraefikeeError: if there is none.
    """
    found = shutil.which("etcd")
    if found is None:
        raise TraefikeeError(
            "etcd is not installed: a control node runs it as a child",
            "install it (Debian: apt-get install etcd-server) and start this node again",
            kind="etcd",
        )
    return found


def check_version(output: str) -> None:
    """Check what ``etcd --version`` printed.

    :raises TraefikeeError: if it is older than :data:`OLDEST` or cannot be read.
    """
    match = re.search(r"etcd Version: (\d+)\.(\d+)", output)
    if match is None or (int(match[1]), int(match[2])) < OLDEST:
        raise TraefikeeError(
            f"etcd {'.'.join(map(str, OLDEST))} or newer is needed, found: {output.splitlines()[0] if output else '?'}",
            "install a newer etcd-server",
            kind="etcd",
        )


def peer_url(advertise: str) -> str:
    """Return the URL under which the other members reach this one (through the engine)."""
    return f"https://{advertise}"


def write_certificates(directory: Path, identity: Identity) -> None:
    """Write the files that etcd reads its peer identity from, mode 0600, in its working directory.

    It reads its certificate and key anew for each connection that it makes, and whom it trusts only when it starts.
    Certificate and key are in one file, so that no connection meets one without the other.

    :raises TraefikeeError: if they cannot be written.
    """
    # Of the version before.
    (directory / "node.key").unlink(missing_ok=True)
    for name, content in (("ca.pem", identity.ca_pem), ("node.pem", identity.key_pem + identity.certificate_pem)):
        path, fresh = directory / name, directory / f".{name}"
        try:
            fresh.unlink(missing_ok=True)
            fresh.touch(mode=0o600)
            fresh.write_text(content)
            fresh.replace(path)
        except OSError as error:
            raise TraefikeeError(f"{path} cannot be written: {error.strerror}", kind="statedir") from error


def remove_stale_sockets(directory: Path) -> None:
    """Remove what a killed etcd leaves: it does not replace sockets that are there."""
    for name in (CLIENT_SOCKET, PEER_SOCKET):
        (directory / name).unlink(missing_ok=True)


def command(
    binary: str,
    identity: Identity,
    cluster: Sequence[tuple[str, str]],
    *,
    existing: bool,
    generation: int = 0,
    quota: int = QUOTA,
) -> list[str]:
    """Return etcd's argument list; it is to be started in the directory of :func:`write_certificates`.

    :param cluster: (name, peer URL) of every member, this one among them.
    :param existing: whether it joins a cluster that is there; a restart with data ignores this.
    :param generation: of the cluster that is made anew: members of another one are strangers to it, whatever their
        addresses are.
    :param quota: bytes that its file may have.
    """
    return [
        *_base(binary, identity),
        f"--initial-advertise-peer-urls={peer_url(identity.advertise)}",
        f"--initial-cluster={','.join(f'{name}={url}' for name, url in cluster)}",
        f"--initial-cluster-state={'existing' if existing else 'new'}",
        f"--initial-cluster-token={identity.cluster_id}{f'-{generation}' if generation else ''}",
        "--peer-trusted-ca-file=ca.pem",
        "--peer-cert-file=node.pem",
        "--peer-key-file=node.pem",
        # Who comes back to the others does not depose their leader first. The timeouts are etcd's own, 100 ms and 1 s:
        # with writes to the disk that take 2 s no election was lost to them.
        "--pre-vote",
        f"{QUOTA_OPTION}={quota}",
        # Every five minutes, down to the newest 1,000 revisions; what has to be done sooner is in upkeep.py.
        "--auto-compaction-mode=revision",
        "--auto-compaction-retention=1000",
    ]


def with_quota(argv: Sequence[str], quota: int) -> list[str]:
    """Return an argument list of :func:`command` with another quota."""
    return [f"{QUOTA_OPTION}={quota}" if one.startswith(f"{QUOTA_OPTION}=") else one for one in argv]


def reading_command(binary: str, identity: Identity) -> list[str]:
    """Return the argument list of an etcd that reads a copy of a member's data, as the only member that there is.

    Nobody reaches it but through the sockets in its directory, and it knows no other member.
    """
    return [*_base(binary, identity), "--force-new-cluster"]


def _base(binary: str, identity: Identity) -> list[str]:
    # setpriv ties the child's life to the agent's: a killed node is wholly dead.
    return [
        "setpriv",
        "--pdeathsig=KILL",
        binary,
        f"--name={identity.id}",
        "--data-dir=data",
        f"--listen-client-urls=unix://{CLIENT_SOCKET}",
        f"--advertise-client-urls=unix://{CLIENT_SOCKET}",
        f"--listen-peer-urls=unix://{PEER_SOCKET}",
        "--logger=zap",
        "--log-outputs=stderr",
        "--log-level=warn",
    ]


def environment() -> dict[str, str]:
    """Return etcd's environment: without proxies, which are for licence servers.

    etcd would have one pass on all that its members say to each other, and even what it says to its own socket.
    """
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
