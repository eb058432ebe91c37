"""The state directory: what is kept, and what is said when it cannot be used."""

import stat
from pathlib import Path

import pytest

from traefikee.cluster.roles import Role
from traefikee.errors import RefusedError, TraefikeeError
from traefikee.node.statedir import Identity, StateDir, need_no_identity, new_id

IDENTITY = Identity(
    id="a" * 25,
    name="node",
    role=Role.DATA,
    cluster_id="c",
    ca_pem="ca",
    certificate_pem="cert",
    certificate_serial="1",
    key_pem="very secret",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_an_identity_survives_and_only_its_owner_may_read_it(folder: Path) -> None:
    statedir = StateDir(folder)
    assert statedir.load_identity() is None
    statedir.save_identity(IDENTITY)
    assert statedir.load_identity() == IDENTITY
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "identity.json").stat().st_mode) == 0o600
    assert "very secret" not in repr(IDENTITY)
    statedir.forget()
    assert statedir.load_identity() is None
    statedir.close()


def test_a_damaged_identity_is_an_error_and_is_kept(folder: Path) -> None:
    statedir = StateDir(folder)
    statedir.write("identity.json", b'{"id": 1}')
    with pytest.raises(TraefikeeError, match=r"identity in .* cannot be read"):
        statedir.load_identity()
    assert (folder / "identity.json").exists()
    statedir.close()


def test_two_nodes_cannot_share_one(folder: Path) -> None:
    first = StateDir(folder)
    with pytest.raises(TraefikeeError, match="another node runs with the state directory"):
        StateDir(folder)
    first.close()
    StateDir(folder).close()


def test_a_path_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraefikeeError, match=r"too long .* choose one of at most 88 bytes"):
        StateDir(tmp_path / ("x" * 100))


def test_a_file_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(TraefikeeError, match="cannot be written"):
        StateDir(tmp_path / "f")


def test_it_belongs_to_one_role(folder: Path) -> None:
    statedir = StateDir(folder)
    need_no_identity(None, statedir, Role.CONTROL)
    need_no_identity(IDENTITY, statedir, Role.DATA)
    with pytest.raises(RefusedError, match="belongs to the data node 'node'"):
        need_no_identity(IDENTITY, statedir, Role.CONTROL)
    statedir.close()


def test_unreadable_peers_count_as_none(folder: Path) -> None:
    statedir = StateDir(folder)
    assert statedir.load_peers() == []
    statedir.save_peers(["a:1", "b:2"])
    assert statedir.load_peers() == ["a:1", "b:2"]
    statedir.write("peers.json", b"[1, ")
    assert statedir.load_peers() == []
    statedir.close()


def test_ids_have_the_form_of_the_product() -> None:
    one = new_id()
    assert len(one) == 25
    assert one.isalnum()
    assert one == one.lower()
    assert one != new_id()
