"""A small but whole backup for tests."""

from __future__ import annotations

from traefikee.backup.content import Content, Origin
from traefikee.cluster import history, pki, state
from traefikee.cluster.records import ClusterInfo, Deployment, Link, Phase, Pointer, Secrets
from traefikee.compile import changes
from traefikee.config.static import StaticConfiguration
from traefikee.node import publishing

CLUSTER_KEY = bytes(range(32))
OBJECTS = {"settings": b"{}", "entry_points": b"[]", "route/file/app": b'{"id":"file/app"}'}
AUDIT = "/traefikee/audit/2026-01-02T03:04:05.000000+00:00-0a1b2c3d"


def content(*, revision: int = 7, deployed: int = 3, generation: int = 0) -> Content:
    """The backup of a cluster with so many deployments, whose newest one is published as two links."""
    authority = pki.new_authority("cluster")
    default = pki.new_default_certificate()
    secrets = Secrets(
        ca_key_pem=authority.key_pem,
        default_certificate_pem=default.chain_pem,
        default_key_pem=default.key_pem,
    )
    info = ClusterInfo(
        id="cluster",
        ca_pem=authority.chain_pem,
        control_secret="c" * 40,
        data_secret="d" * 40,
        licence="licence",
        control_nodes=3,
        api=True,
    )
    first = publishing.draft((), {}, {"settings": b"{}"}, revision - 1, new=True)
    second = publishing.draft(first.links, {"settings": b"{}"}, OBJECTS, revision, new=True)
    runtime = publishing.draft((), {}, {"heard/file": b"{}"}, revision, new=False)
    pointer = Pointer(revision=revision, config=deployed, snapshot=second.links, runtime=runtime.links)
    keys = {
        state.INFO: info.stored(),
        state.PHASE: Phase.FORMED.encode(),
        state.SECRETS: pki.seal(CLUSTER_KEY, secrets.stored()),
        state.SNAPSHOT: pointer.stored(),
        AUDIT: b'{"action": "deploy"}',
        "/traefikee/another/part": "of another version: ä\n".encode(),
    }
    for draft in (first, second, runtime):
        keys[publishing.part_key(draft.links[-1].blob, 0)] = draft.frame
    for number in range(1, deployed + 1):
        deployment = Deployment(
            number=number,
            at="2026-01-02T03:04:05+00:00",
            by="me@here",
            command="deploy",
            configuration=StaticConfiguration(),
        )
        record = history.Record(
            **deployment.model_dump(include={"number", "at", "by", "command"}),
            id=f"attempt{number}",
            who="user root",
            through="socket",
            node="control-node-1",
            configuration=Link(name="c", blob="c", parts=1, size=2),
        )
        keys[history.record_key(number)] = record.stored()
        keys[state.CURRENT] = str(number).encode()
        if number == deployed:
            keys[f"{state.CONFIGS}{number}"] = deployment.stored()
    if generation:
        keys[state.GENERATION] = str(generation).encode()
    origin = Origin(
        cluster="cluster",
        node="control-node-1",
        version="0.1.0",
        taken_at="2026-01-02T03:04:06+00:00",
        revision=42,
        generation=generation,
        quorum=True,
    )
    return Content(origin, keys, CLUSTER_KEY)


def without(made: Content, *prefixes: str) -> Content:
    """The same without the keys that start so."""
    keys = {key: value for key, value in made.keys.items() if not key.startswith(prefixes)}
    return Content(made.origin, keys, made.cluster_key)


def snapshot_of(keys: dict[str, bytes]) -> changes.State:
    """What the pointer of some keys leads to."""
    pointer = Pointer.model_validate_json(keys[state.SNAPSHOT])
    frames = b"".join(
        keys[publishing.part_key(link.blob, part)] for link in pointer.snapshot for part in range(link.parts)
    )
    return changes.follow(changes.State(), changes.split(frames)[0])
