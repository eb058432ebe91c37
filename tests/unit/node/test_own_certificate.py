"""A control node's own certificate: when it is renewed, and how it starts when that has ended."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from traefikee.cluster import pki, x509_fields
from traefikee.cluster.authorities import digests
from traefikee.cluster.records import Secrets
from traefikee.cluster.roles import Role
from traefikee.config.certificate_checks import check_pair
from traefikee.config.certificates import CertificatePair
from traefikee.node.own_certificate import AUTHORITY_FILE, AuthorityFile, own_report, renewed_from_disk, why_renew
from traefikee.node.statedir import Identity, StateDir

AUTHORITY = pki.new_authority("cluster")
KEY = b"k" * 32
NOW = datetime.now(UTC)


def identity(cluster_key: bytes = KEY) -> Identity:
    pair = pki.issue_for_new_key(AUTHORITY, identity="i" * 25, role=Role.CONTROL, hosts=("10.0.0.1",))
    return Identity(
        id="i" * 25,
        name="c1",
        role=Role.CONTROL,
        cluster_id="c",
        advertise="10.0.0.1:4242",
        ca_pem=AUTHORITY.chain_pem,
        certificate_pem=pair.chain_pem,
        certificate_serial=pki.serial(pair.chain_pem),
        key_pem=pair.key_pem,
        cluster_key=cluster_key.hex(),
    )


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Identity:
    """An identity whose certificate has ended."""
    monkeypatch.setenv("TRAEFIKEE_TEST_CERTIFICATE_SECONDS", "-60")
    made = identity()
    monkeypatch.delenv("TRAEFIKEE_TEST_CERTIFICATE_SECONDS")
    return made


@pytest.fixture
def statedir(tmp_path: Path) -> Iterator[StateDir]:
    made = StateDir(tmp_path / "s")
    yield made
    made.close()


def keep(statedir: StateDir, key: bytes = KEY) -> None:
    secrets = Secrets(ca_key_pem=AUTHORITY.key_pem, default_certificate_pem="", default_key_pem="")
    kept = AuthorityFile(ca_pem=AUTHORITY.chain_pem, sealed=pki.seal(key, secrets.stored()).hex())
    statedir.write(AUTHORITY_FILE, kept.model_dump_json().encode())


@pytest.mark.parametrize(
    ("after", "first", "reason"),
    [
        (0, False, ""),
        (0, True, ""),
        (59, False, ""),
        (61, False, "two thirds of its life are over"),
        (91, False, "it has ended"),
    ],
)
def test_why_it_is_renewed(after: int, first: bool, reason: str) -> None:
    assert why_renew(identity().certificate_pem, NOW + timedelta(days=after), 0.0, first=first) == reason


def test_one_of_ten_years_is_replaced_at_the_first_look_only() -> None:
    assert why_renew(AUTHORITY.chain_pem, NOW, 0.0, first=True) == "it is valid for longer than certificates are by now"
    assert why_renew(AUTHORITY.chain_pem, NOW, 0.0) == ""


def test_an_ended_certificate_is_renewed_at_the_start_without_anybodys_help(
    statedir: StateDir, ended: Identity
) -> None:
    keep(statedir)
    renewed = renewed_from_disk(statedir, ended)
    assert x509_fields.read(renewed.certificate_pem).not_after > NOW
    assert check_pair(CertificatePair(chain_pem=renewed.certificate_pem, key_pem=renewed.key_pem)) is None
    assert renewed.key_pem != ended.key_pem
    assert renewed.certificate_serial == pki.serial(renewed.certificate_pem)
    assert statedir.load_identity() == renewed
    assert oct((statedir.path / AUTHORITY_FILE).stat().st_mode & 0o777) == "0o600"
    assert AUTHORITY.key_pem not in (statedir.path / AUTHORITY_FILE).read_text()


def test_a_good_one_stays(statedir: StateDir) -> None:
    keep(statedir)
    good = identity()
    assert renewed_from_disk(statedir, good) is good


@pytest.mark.parametrize(
    "content", [None, b"", b"{}", b'{"ca_pem": "x", "sealed": "zz"}', b'{"ca_pem": "x", "sealed": "00"}']
)
def test_a_file_that_is_missing_or_damaged_keeps_no_node_from_starting(
    statedir: StateDir, ended: Identity, content: bytes | None
) -> None:
    if content is not None:
        statedir.write(AUTHORITY_FILE, content)
    assert renewed_from_disk(statedir, ended) is ended


def test_a_file_of_another_cluster_is_not_used(statedir: StateDir, ended: Identity) -> None:
    keep(statedir, b"o" * 32)
    assert renewed_from_disk(statedir, ended) is ended


def test_what_a_node_reports() -> None:
    told = own_report(identity(), ("x",))
    assert told is not None
    assert told.issuer == digests(AUTHORITY.chain_pem)[0]
    assert told.trusts == digests(AUTHORITY.chain_pem)
    assert told.store_trusts == ("x",)
    assert datetime.fromisoformat(told.not_after) > NOW
    assert own_report(identity().model_copy(update={"certificate_pem": "x"})) is None
