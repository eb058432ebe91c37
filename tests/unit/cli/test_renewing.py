"""A saved connection of traefikeectl is renewed before a command, or says what to do."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from traefikee.cli import renewing
from traefikee.cli.client import Client
from traefikee.cli.remote import Connection
from traefikee.cli.renewing import kept_current
from traefikee.cluster import pki, validity, x509_fields
from traefikee.cluster.authorities import digests, issuer_digest
from traefikee.cluster.roles import Role
from traefikee.errors import RefusedError, TraefikeeError, UnreachableError

OLD, NEW = pki.new_authority("cluster"), pki.new_authority("cluster", "2")


class Control(Client):
    """A control node's API, as far as it is asked here."""

    def __init__(self, signing: Any = OLD, trusted: Any = (OLD,), error: TraefikeeError | None = None) -> None:
        self.signing, self.trusted, self.error = signing, trusted, error
        self.signed = 0

    def get(self, path: str) -> Any:
        assert path == "/v1/authorities"
        if self.error is not None:
            raise self.error
        texts = [one.chain_pem for one in self.trusted]
        return {"authorities": texts, "signing": digests(self.signing.chain_pem)[0], "endorsements": []}

    def post(self, path: str, body: Any) -> Any:
        assert path == "/v1/credentials"
        assert set(body) == {"request_pem"}, "it asks for its own name"
        self.signed += 1
        certificate = pki.issue(self.signing, body["request_pem"], identity="ops", role=Role.API)
        return {"certificate_pem": certificate, "authorities": [one.chain_pem for one in self.trusted]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "traefikee"


def saved(path: Path) -> Connection:
    pair = pki.issue_for_new_key(OLD, identity="ops", role=Role.API)
    made = Connection(address="h:55055", ca_pem=OLD.chain_pem, certificate_pem=pair.chain_pem, key_pem=pair.key_pem)
    path.touch(mode=0o600)
    path.write_text(made.model_dump_json())
    return made


def later(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(days=days)

    monkeypatch.setattr(renewing, "datetime", Later)


def test_a_young_certificate_stays(path: Path) -> None:
    before, control = saved(path), Control()
    assert kept_current(before, path, lambda _: control) is before
    assert control.signed == 0


def test_an_old_one_is_replaced_on_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, control = saved(path), Control()
    later(monkeypatch, validity.OPERATOR.days * 0.7)
    after = kept_current(before, path, lambda _: control)
    assert after.certificate_pem != before.certificate_pem
    assert after.key_pem != before.key_pem
    assert Connection.model_validate_json(path.read_bytes()) == after
    assert oct(path.stat().st_mode & 0o777) == "0o600"
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_while_another_authority_takes_over_it_gets_a_certificate_of_that(path: Path) -> None:
    before, control = saved(path), Control(signing=NEW, trusted=(NEW, OLD))
    after = kept_current(before, path, lambda _: control)
    assert issuer_digest(after.certificate_pem, after.ca_pem) == digests(NEW.chain_pem)[0]
    assert x509_fields.split(after.ca_pem) == (NEW.chain_pem, OLD.chain_pem)


def test_it_trusts_the_next_authority_before_that_signs(path: Path) -> None:
    before, control = saved(path), Control(trusted=(OLD, NEW))
    after = kept_current(before, path, lambda _: control)
    assert after.certificate_pem == before.certificate_pem
    assert Connection.model_validate_json(path.read_bytes()).ca_pem == OLD.chain_pem + NEW.chain_pem


@pytest.mark.parametrize(
    "error",
    [
        UnreachableError("no control node answers"),
        TraefikeeError("there is no GET /v1/authorities", kind="unknown"),
    ],
)
def test_what_else_goes_wrong_is_left_to_the_command(path: Path, error: TraefikeeError) -> None:
    before = saved(path)
    assert kept_current(before, path, lambda _: Control(error=error)) is before


def test_an_ended_one_says_how_to_get_another(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved(path)
    later(monkeypatch, 400)
    with pytest.raises(RefusedError) as refused:
        kept_current(before, path, lambda _: Control())
    assert "the certificate of this connection ended on " in str(refused.value)
    assert f"`traefikee new-credentials` on a control node, move {path} away, and connect again" in str(refused.value)


def test_one_of_an_authority_that_is_gone_says_so(path: Path) -> None:
    before = saved(path)
    refused = UnreachableError("no control node answers on h: [SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca")
    with pytest.raises(RefusedError, match="the cluster's was replaced"):
        kept_current(before, path, lambda _: Control(error=refused))


def test_a_folder_that_cannot_be_written_is_a_warning(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, control = saved(path), Control()
    later(monkeypatch, validity.OPERATOR.days * 0.7)
    after = kept_current(before, path.parent / "gone" / "traefikee", lambda _: control)
    assert after.certificate_pem != before.certificate_pem
    assert "Warning: the renewed certificate of this connection cannot be saved" in capsys.readouterr().err
    assert x509_fields.read(after.certificate_pem).not_after > datetime.now(UTC)
