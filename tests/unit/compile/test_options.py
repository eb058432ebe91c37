"""All options together: whatever the keys of a store hold becomes a snapshot, and what is wrong is told."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from traefikee.compile.compiler import Compiled, Memory, compile_snapshot
from traefikee.compile.snapshot import Snapshot
from traefikee.config.certificates import CertificatePair
from traefikee.config.dynamic import DynamicConfiguration
from traefikee.config.dynamic_api import to_api
from traefikee.config.static import EntryPoint, EntryPointTLS, StaticConfiguration
from traefikee.node.publishing import Runtime, text
from traefikee.providers.files import load_files
from traefikee.providers.kv import decode
from traefikee.providers.kv.keys import BACKEND, FRONTEND
from traefikee.providers.layout import Key, KeyKind

STATIC = StaticConfiguration(
    entry_points=(EntryPoint(name="http", address=":80"), EntryPoint(name="https", address=":443", tls=EntryPointTLS()))
)
GENERATED = CertificatePair(chain_pem="", key_pem="")
SECRET = "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="
VALUES: dict[KeyKind | None, list[str]] = {
    "text": ["b1", "b2", "https", "http://h/x", "client.ip", "10s", "x", "/{status}", "NetworkErrorRatio() > 0.5", ""],
    "raw": ["Host:a", "Hots:a"],
    "list": ["http", "404", "::1", "X-A,X-B", "500-600"],
    "bool": ["true", "false", "x"],
    "int": ["0", "1", "-1", "x"],
    "duration": ["0", "3s", "x"],
}


USERS = [f"a:{SECRET}", "a:traefik:" + "0" * 32, "geheim", "geheim:x:y:z"]


def pairs_of(layout: Key, root: str) -> st.SearchStrategy[dict[str, bytes]]:
    pool = [
        (f"{root}/{path.replace('*', 'X-n')}", value.encode())
        for path, key in layout.leaves()
        for value in (USERS if path.endswith(("users", "basicauth")) else VALUES[key.kind])
    ]
    return st.lists(st.sampled_from(pool), max_size=10).map(dict)


_PAIRS = st.tuples(
    pairs_of(FRONTEND, "traefik/frontends/f1"),
    pairs_of(FRONTEND, "traefik/frontends/f2"),
    pairs_of(BACKEND, "traefik/backends/b1"),
).map(
    lambda parts: {
        "traefik/backends/b1/servers/s/url": b"http://h",
        "traefik/backends/b2/servers/s/url": b"http://h",
        "traefik/frontends/f1/backend": b"b1",
        "traefik/frontends/f2/backend": b"b2",
        "traefik/frontends/f1/routes/r/rule": b"Host:a",
        "traefik/frontends/f2/routes/r/rule": b"Host:b",
        **parts[0],
        **parts[1],
        **parts[2],
    }
)


def no_file(path: str) -> bytes:
    raise FileNotFoundError(path)


def compiled(config: DynamicConfiguration, memory: Memory | None = None) -> Compiled:
    return compile_snapshot(STATIC, {"consul": config}, revision=1, default_certificate=GENERATED, memory=memory)


def read(pairs: dict[str, bytes]) -> tuple[DynamicConfiguration, list[str]]:
    decoded = decode(pairs, "traefik", "consul")
    config, more = load_files(decoded.configuration, no_file, "consul")
    return config, [error.sentence() for error in decoded.errors + more]


@settings(max_examples=150, deadline=None)
@given(_PAIRS)
def test_whatever_the_keys_hold(pairs: dict[str, bytes]) -> None:
    config, sentences = read(pairs)
    result = compiled(config)
    assert Snapshot.from_json(result.snapshot.to_json()) == result.snapshot
    # A secret is in no sentence, no repr and not in the API.
    sentences += [error.sentence() for error in result.errors]
    shown = f"{sentences} {config!r} {result!r} {to_api(result.effective['consul'])}"
    for secret in (SECRET, "0" * 32, "geheim"):
        assert secret not in shown
    # What the leader after this one reads is what was written.
    runtime = Runtime({"consul": config}, result.effective)
    assert Runtime.load({key: text(item) for key, item in runtime.objects().items()}) == runtime


@settings(max_examples=60, deadline=None)
@given(_PAIRS)
def test_what_is_in_force_has_no_errors(pairs: dict[str, bytes]) -> None:
    result = compiled(read(pairs)[0])
    again = compiled(result.effective["consul"])
    assert again.errors == ()
    assert again.snapshot == result.snapshot


@settings(max_examples=20, deadline=None)
@given(st.lists(_PAIRS, max_size=4))
def test_what_was_compiled_before_changes_nothing(steps: list[dict[str, bytes]]) -> None:
    memory = Memory()
    for pairs in steps:
        config = read(pairs)[0]
        assert compiled(config, memory) == compiled(config)
