"""Documents in the store: cut into parts, and whole again."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.config.dynamic import Backend, DynamicConfiguration, Frontend, Route, Server, TLSCertificate
from traefikee.errors import UnreachableError
from traefikee.node.publishing import PART_BYTES, Runtime, pack, part_key


@given(st.binary(max_size=2000))
def test_the_parts_make_the_document(document: bytes) -> None:
    digest, parts = pack(document)
    assert zlib.decompress(b"".join(parts)) == document
    assert pack(document)[0] == digest


def test_parts_stay_below_the_limit_of_the_store() -> None:
    import random

    document = random.Random(1).randbytes(3 * PART_BYTES)
    _, parts = pack(document)
    assert len(parts) == 4
    assert all(len(part) <= PART_BYTES for part in parts)


def test_keys_of_parts_sort_in_order() -> None:
    assert sorted(part_key("d", number) for number in (10, 9, 100)) == [part_key("d", n) for n in (9, 10, 100)]


def test_the_providers_configurations_survive() -> None:
    configuration = DynamicConfiguration(
        frontends={"f": Frontend(backend="b", entry_points=("http",), routes={"r": Route(rule="Host:a")})},
        backends={"b": Backend(servers={"s": Server(url="http://s", weight=3)})},
        tls={"t": TLSCertificate(entry_points=("https",), cert_file="C", key_file="K")},
    )
    runtime = Runtime(heard={"consul": configuration}, effective={})
    assert Runtime.load(runtime.stored()) == runtime


def test_what_cannot_be_read_is_an_error() -> None:
    with pytest.raises(UnreachableError, match="stored dynamic configuration cannot be read"):
        Runtime.load(b'{"heard": 1}')
