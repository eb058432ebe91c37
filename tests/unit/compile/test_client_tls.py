from __future__ import annotations

import pytest

from traefikee.compile.client_tls import client_tls
from traefikee.compile.problems import Problems
from traefikee.compile.snapshot import ClientTLS
from traefikee.config.certificates import CertificatePair
from traefikee.config.static import ClientCA, EntryPoint, EntryPointTLS

ONE = CertificatePair(chain_pem="one", key_pem="key")
TWO = CertificatePair(chain_pem="two", key_pem="key")


def entry_point(name: str, *pairs: CertificatePair, ca: str = "") -> EntryPoint:
    authorities = ClientCA(pem=ca) if ca else None
    return EntryPoint(name=name, address=":1", tls=EntryPointTLS(certificates=pairs, client_ca=authorities))


ENTRY_POINTS = {
    one.name: one
    for one in (
        EntryPoint(name="http", address=":80"),
        entry_point("first", ONE, TWO),
        entry_point("again", ONE),
        entry_point("second", TWO),
        entry_point("private", ONE, ca="authorities"),
        entry_point("bare"),
    )
}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["first"], ClientTLS(certificate=ONE.id)),
        (["http", "first"], ClientTLS(certificate=ONE.id)),
        (["first", "again"], ClientTLS(certificate=ONE.id)),
        (["private"], ClientTLS(certificate=ONE.id, root_ca_pem="authorities")),
        (["http"], "passTLSCert: none of its entry points has TLS"),
        (["bare"], 'passTLSCert: entry point "bare" has no certificate in TLS'),
        (
            ["first", "second"],
            "passTLSCert: its entry points (first, second) have different certificates; make a frontend",
        ),
        (["first", "private"], "passTLSCert: its entry points (first, private) have different certificates"),
    ],
)
def test_what_servers_are_shown(names: list[str], expected: ClientTLS | str) -> None:
    problems = Problems("file")
    shown = client_tls(names, ENTRY_POINTS, problems)
    if isinstance(expected, ClientTLS):
        assert (shown, problems.found) == (expected, [])
    else:
        assert shown is None
        (found,) = problems.found
        assert found.message.startswith(expected)
