"""What a deployment would change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_origin

from hypothesis import given
from hypothesis import strategies as st

from traefikee.config import difference
from traefikee.config.build import build_static
from traefikee.config.difference import Change, Kind, differences
from traefikee.config.entry_point_keys import BY_PATH
from traefikee.config.model import Model
from traefikee.config.names import OPTIONS
from traefikee.config.static import EntryPoint, StaticConfiguration

OLD, NEW = "{SHA}b29vb29vb29vb29vb29vb29vb28=", "{SHA}bm5ubm5ubm5ubm5ubm5ubm5ubm4="

FILES = Path(__file__).parents[2] / "golden" / "files"


def build(*words: str) -> StaticConfiguration:
    pairs = [word.partition("=") for word in words]
    return build_static(
        [(name, value if equals else None) for name, equals, value in pairs], lambda name: (FILES / name).read_bytes()
    )


def in_order(configuration: StaticConfiguration) -> StaticConfiguration:
    points = sorted(configuration.entry_points, key=lambda point: point.name)
    return configuration.model_copy(update={"entry_points": tuple(points)})


def lines(before: StaticConfiguration | None, after: StaticConfiguration) -> list[str]:
    return [change.sentence() for change in differences(before, after)]


def test_nothing_differs_from_itself() -> None:
    one = build("entryPoints=Name:http Address::443 TLS:a.example.crt,a.example.key", "consul", "ping=false")
    assert differences(one, one) == ()


def test_each_option_by_its_name() -> None:
    before = build(
        "entryPoints=Name:http Address::80", "entryPoints=Name:old Address::81 Compress:true", "ping.entryPoint=http",
        "logLevel=INFO", "respondingTimeouts.readTimeout=5", "defaultEntryPoints=http", "rootCAs=ca.example.crt",
    )  # fmt: skip
    after = build(
        "entryPoints=Name:http Address::8080 ForwardedHeaders.TrustedIPs:10.0.0.0/8",
        "entryPoints=Name:https Address::443 TLS", "logLevel=INFO", "respondingTimeouts.readTimeout=90",
        "defaultEntryPoints=http,https", "consul.prefix=mine", "retry", "constraints=tag==a",
    )  # fmt: skip
    assert lines(before, after) == [
        "~ entryPoints.http.address: :80 -> :8080",
        "+ entryPoints.http.forwardedHeaders.trustedIPs: 10.0.0.0/8",
        "- entryPoints.old.address: :81",
        "- entryPoints.old.compress: true",
        "+ entryPoints.https.address: :443",
        "+ entryPoints.https.tls: true",
        "~ defaultEntryPoints: http -> http, https",
        "- rootCAs: PEM with SHA-256 " + lines(before, after)[7].rpartition(" ")[2],
        "~ respondingTimeouts.readTimeout: 5 -> 90",
        "+ retry: true",
        "+ constraints: tag==a",
        "- ping.entryPoint: http",
        "+ consul.prefix: mine",
    ]


def test_beside_nothing_all_that_is_no_default_is_added() -> None:
    assert lines(None, build("logLevel=DEBUG", "ping")) == [
        "+ entryPoints.http.address: :80",
        "+ entryPoints.traefik.address: :8080",
        "+ logLevel: DEBUG",
        "+ ping: true",
    ]
    assert {(change.kind, change.before) for change in differences(None, build("debug"))} == {("added", None)}


def test_secrets_are_masked_and_still_seen_to_change() -> None:
    base = ("consul.username=u", "consul.tls.cert=a.example.crt", "consul.tls.key=a.example.key")
    before = build(*base, "consul.password=old", f"entryPoints=Name:a Address::1 Auth.Basic.Users:u:{OLD}")
    after = build(
        "consul.username=u", "consul.tls.cert=b.example.crt", "consul.tls.key=b.example.key", "consul.password=new",
        f"entryPoints=Name:a Address::1 TLS:a.example.crt,a.example.key Auth.Basic.Users:u:{NEW}",
    )  # fmt: skip
    found = lines(before, after)
    text = "\n".join(found)
    for secret in ("old", "new", "PRIVATE KEY", "BEGIN"):
        assert secret not in text
    assert "~ entryPoints.a.auth.basic.users: *** -> ***" in found
    assert "~ consul.password: *** -> ***" in found
    assert "~ consul.tls.key: *** -> ***" in found
    (certificates,) = [line for line in found if line.startswith("+ entryPoints.a.tls.certificates: ")]
    assert "keyFile=***" in certificates
    assert "certFile=PEM with SHA-256 " in certificates


def _paths(model: type[Model], above: str = "") -> Iterator[str]:
    """Every path that a change of this model can have."""
    for field, info in model.model_fields.items():
        path = ".".join(part for part in (above, difference._name(model, field)) if part)
        inner = [kind for kind in (info.annotation, *get_args(info.annotation)) if isinstance(kind, type)]
        models = [kind for kind in inner if issubclass(kind, Model)]
        if models and get_origin(info.annotation) is not tuple:
            yield from _paths(models[0], path)
        else:
            yield path


def test_paths_are_the_names_of_options() -> None:
    options = {option.name for option in OPTIONS}
    found = set(_paths(StaticConfiguration)) - {"entryPoints"}
    assert found <= options, found - options
    assert set(_paths(EntryPoint)) - {"name"} <= set(BY_PATH), set(_paths(EntryPoint)) - set(BY_PATH)


_WORDS = st.lists(
    st.sampled_from(
        ["debug", "ping", "ping=false", "retry.attempts=2", "consul", "consul.prefix=a", "consul.prefix=b", "accessLog",
         "accessLog.fields.names=StartUTC=drop", "entryPoints=Name:http Address::81", "constraints=tag==a",
         "entryPoints=Name:x Address::82 TLS", "entryPoints=Name:x Address::82 Redirect.EntryPoint:http"]
    ),
    max_size=5,
)  # fmt: skip


@given(_WORDS, _WORDS)
def test_there_is_a_change_for_every_difference(one: list[str], other: list[str]) -> None:
    head = ["entryPoints=Name:http Address::80", "defaultEntryPoints=http"]
    before, after = build(*head, *one), build(*head, *other)
    there, back = differences(before, after), differences(after, before)
    assert bool(there) == (in_order(before) != in_order(after))
    mirrored: dict[Kind, Kind] = {"added": "removed", "removed": "added", "changed": "changed"}
    turned = [Change(change.path, mirrored[change.kind], change.after, change.before) for change in there]
    assert sorted(turned, key=repr) == sorted(back, key=repr)
    assert len({change.path for change in there}) == len(there)
