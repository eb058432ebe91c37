"""What an operator looks at, made of keys as a control node makes it, without a cluster."""

from __future__ import annotations

from collections.abc import Mapping

from traefikee.api.view import View
from traefikee.cluster.records import Deployment, Pointer, ProviderStatus
from traefikee.compile.compiler import compile_snapshot
from traefikee.config.build import build_static
from traefikee.config.certificates import CertificatePair
from traefikee.config.documents import parse_document
from traefikee.config.runtime import located
from traefikee.node.publishing import Runtime, snapshot_objects, text
from traefikee.providers.base import Emitted
from traefikee.providers.file.content import read_content
from traefikee.providers.kv import decode

STATIC = (
    ("entryPoints", "Name:http Address::80 Redirect.EntryPoint:https"),
    ("entryPoints", "Name:https Address::443 TLS Auth.Basic.Users:test:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="),
    ("defaultEntryPoints", "http,https"),
    ("consul.endpoint", "10.0.0.1:8500"),
    ("consul.prefix", "traefik"),
    ("consul.username", "me"),
    ("consul.password", "secretword"),
)


def view(
    keys: Mapping[str, str],
    static: tuple[tuple[str, str], ...] = STATIC,
    *,
    down: Mapping[str, Mapping[str, tuple[str, ...]]] | None = None,
    data_nodes: int = 2,
) -> View:
    """What is published for these keys below ``traefik`` in Consul."""
    decoded = decode({f"traefik/{key}": value.encode() for key, value in keys.items()}, "traefik", "consul")
    emitted = Emitted(decoded.configuration, decoded.errors, source=decoded.source)
    return published("consul", emitted, static, down=down, data_nodes=data_nodes)


def file_view(content: str, static: tuple[tuple[str, str], ...] = STATIC) -> View:
    """What is published for this `rules.yaml`."""
    read = read_content([parse_document("rules.yaml", content.encode())], lambda name: b"")
    emitted = Emitted(read.configuration, read.errors, source="rules.yaml", places=read.places)
    return published("file", emitted, static)


def published(
    provider: str,
    emitted: Emitted,
    static: tuple[tuple[str, str], ...],
    *,
    down: Mapping[str, Mapping[str, tuple[str, ...]]] | None = None,
    data_nodes: int = 2,
) -> View:
    """What is published once a provider has said something."""
    configuration = build_static(static, lambda name: b"")
    pair = CertificatePair(chain_pem="", key_pem="")
    dynamic = {provider: emitted.configuration}
    compiled = compile_snapshot(configuration, dynamic, revision=7, default_certificate=pair)
    located_errors = tuple(located(error, emitted.places) for error in compiled.errors)
    effective = {name: one.model_copy(update={"tls": {}}) for name, one in compiled.effective.items()}
    return View(
        deployment=Deployment(
            number=4, at="2026-01-02T03:04:05+00:00", by="me@here", command="deploy", configuration=configuration
        ),
        pointer=Pointer(revision=7, config=4, errors=(*emitted.errors, *located_errors)),
        providers={provider: ProviderStatus(state="ok", since="2026-01-02T03:04:05+00:00", source=emitted.source)},
        runtime=Runtime(dynamic, effective),
        objects={key: text(item) for key, item in snapshot_objects(compiled.snapshot).items()},
        down=down or {},
        data_nodes=data_nodes,
    )
