"""Asking about the licence key: a real server with HTTPS, with and without a proxy in between."""

import asyncio
import datetime
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.certificates import authority
from tests.support.licence_server import ForwardProxy, LicenceServer
from tests.unit.cluster.support_state import info

from traefikee.cluster import licence, state
from traefikee.cluster.licence import LICENCE, LicenceStatus
from traefikee.cluster.records import Deployment
from traefikee.cluster.state import ClusterState
from traefikee.cluster.store import KeyValue
from traefikee.config.static import StaticConfiguration
from traefikee.errors import RefusedError, UnreachableError
from traefikee.node import licensing

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
URL = "https://licence.example/v1"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LicenceServer]:
    """A server that this process trusts."""
    made = authority()
    monkeypatch.setenv("SSL_CERT_FILE", str(made.write(tmp_path, "ca")[0]))
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with LicenceServer(made, tmp_path) as running:
        running.verdicts = {"good": {"accepted": True}, "old": {"accepted": False, "reason": "it has\x1b expired"}}
        yield running


def ask(server: LicenceServer, key: str, url: str = "") -> LicenceStatus:
    return asyncio.run(licensing.ask(url or server.url, key, "cluster-1"))


def test_what_the_server_says(server: LicenceServer) -> None:
    assert (ask(server, "good").state, ask(server, "good").asked) == ("accepted", server.url)
    old = ask(server, "old")
    assert (old.state, old.message) == ("refused", "it has  expired")
    assert server.asked[0].keys() == {"key", "cluster", "version"}
    assert server.asked[0]["cluster"] == "cluster-1"
    assert "old" not in old.model_dump_json()


def test_what_is_no_verdict(server: LicenceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (ask(server, "unknown").state, ask(server, "unknown").message) == (
        "unreachable",
        "it answered with status 500",
    )
    closed = ask(server, "good", "https://127.0.0.1:1/")
    assert (closed.state, bool(closed.message)) == ("unreachable", True)
    monkeypatch.delenv("SSL_CERT_FILE")
    assert "CERTIFICATE_VERIFY_FAILED" in ask(server, "good").message


def test_through_a_proxy(server: LicenceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"https://licence.test:{server.port}/check"
    with ForwardProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert ask(server, "good", url).state == "accepted"
        assert proxy.targets == [f"licence.test:{server.port}"]
        monkeypatch.setenv("NO_PROXY", "licence.test,127.0.0.1")
        assert ask(server, "good", url).state == "unreachable", "nobody else knows that name"
        assert ask(server, "good").state == "accepted"
        assert len(proxy.targets) == 1


def test_a_new_cluster_needs_a_key_that_is_accepted(server: LicenceServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licensing, "PAUSE", 0.01)

    def check(key: str, endpoint: str) -> LicenceStatus:
        return asyncio.run(licensing.check_new(endpoint, key, "c"))

    assert check("good", server.url).endpoint == server.url
    assert check("anything", "") == LicenceStatus()
    with pytest.raises(RefusedError, match=r"is refused by https://.*: it has  expired"):
        check("old", server.url)
    with pytest.raises(UnreachableError, match="does not answer: it answered with status 500"):
        check("unknown", server.url)
    assert [one["key"] for one in server.asked] == ["good", "old", *["unknown"] * licensing.TRIES]


@pytest.mark.parametrize(
    ("code", "body", "verdict"),
    [
        (200, b'{"accepted": true, "plan": "gold"}', "accepted"),
        (200, b'{"accepted": false}', "refused"),
        (200, b'{"accepted": "yes"}', "unreachable"),
        (200, b"[]", "unreachable"),
        (200, b"\xff", "unreachable"),
        (204, b'{"accepted": true}', "unreachable"),
        (302, b"", "unreachable"),
    ],
)
def test_answers(code: int, body: bytes, verdict: str) -> None:
    assert licensing.read_verdict(code, body)["state"] == verdict


def seen(status: LicenceStatus | None, key: str = "k", deployed: str = "") -> ClusterState:
    values = {state.INFO: info().model_copy(update={"licence": key}).stored()}
    if status is not None:
        values[LICENCE] = status.stored()
    if deployed:
        configuration = StaticConfiguration(license_endpoint=deployed)
        values[state.CURRENT] = b"1"
        values[f"{state.CONFIGS}1"] = Deployment(
            number=1, at="", by="", command="", configuration=configuration
        ).stored()
    return state.from_keys(7, {key: KeyValue(key, value, 3, 5) for key, value in values.items()})


STATUS = LicenceStatus(
    endpoint=URL, asked=URL, of=licence.key_digest("k"), at="2026-11-28T10:00:00+00:00", state="accepted"
)


@pytest.mark.parametrize(
    ("status", "key", "deployed", "sentence"),
    [
        (None, "k", "", "accepted (no --license.endpoint is named: any key is)"),
        (STATUS, "k", "", f"accepted by {URL} at 2026-11-28T10:00:00+00:00"),
        (STATUS, "other", "", f"{URL} has not been asked yet"),
        (STATUS, "k", "https://b/", "https://b/ has not been asked yet"),
        (None, "k", "https://b/", "https://b/ has not been asked yet"),
        (
            STATUS.model_copy(update={"state": "refused", "message": "late"}),
            "k",
            "",
            f"refused by {URL} at 2026-11-28T10:00:00+00:00: late; change it with update-license",
        ),
        (
            STATUS.model_copy(update={"state": "unreachable", "message": "no"}),
            "k",
            "",
            f"{URL} did not answer at 2026-11-28T10:00:00+00:00: no",
        ),
    ],
)
def test_how_the_licence_stands(status: LicenceStatus | None, key: str, deployed: str, sentence: str) -> None:
    assert licence.sentence(seen(status, key, deployed)) == sentence


@pytest.mark.parametrize(
    ("status", "key", "minutes", "pause"),
    [
        (None, "k", 0, None),
        (STATUS, "k", 0, 3600),
        (STATUS, "k", 50, 600),
        (STATUS, "k", 70, 0),
        (STATUS, "other", 0, 0),
        (STATUS, "k", -100, 0),
        (STATUS.model_copy(update={"state": "unreachable"}), "k", 4, 60),
        (STATUS.model_copy(update={"at": "nonsense"}), "k", 4, 0),
    ],
)
def test_when_the_server_is_asked(status: LicenceStatus | None, key: str, minutes: int, pause: float | None) -> None:
    now = datetime.datetime(2026, 11, 28, 10, tzinfo=datetime.UTC) + datetime.timedelta(minutes=minutes)
    assert licensing.pause_of(seen(status, key), now) == pause
