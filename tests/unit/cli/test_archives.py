"""Files that are there whole or not at all, passphrases, and archives that are read before anything is touched."""

from __future__ import annotations

import hashlib
import io
import sys
from pathlib import Path

import pytest
from tests.unit.backup.support_backup import content, without

from traefikee.backup.archive import pack
from traefikee.cli import backup as command
from traefikee.cli.archives import PASSPHRASE, is_restored, read_archive, read_passphrase, write_verified
from traefikee.cluster import state
from traefikee.errors import TraefikeeError, UsageError

# --- writing ---


def test_a_file_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    seen: list[bytes] = []
    write_verified(tmp_path / "a.tar", b"content", seen.append, replace=False)
    assert seen == [b"content"]
    assert (tmp_path / "a.tar").read_bytes() == b"content"
    assert (tmp_path / "a.tar").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_a_file_that_is_there_is_replaced_only_if_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"before")
    with pytest.raises(TraefikeeError, match="is there already"):
        write_verified(path, b"after", lambda _: None, replace=False)
    assert path.read_bytes() == b"before"
    write_verified(path, b"after", lambda _: None, replace=True)
    assert path.read_bytes() == b"after"
    assert [one.name for one in tmp_path.iterdir()] == ["a.tar"]


def test_what_is_not_right_when_it_is_read_back_gets_no_name(tmp_path: Path) -> None:
    def wrong(_written: bytes) -> None:
        raise TraefikeeError("it is not right")

    with pytest.raises(TraefikeeError, match="it is not right"):
        write_verified(tmp_path / "a.tar", b"content", wrong, replace=True)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_does_not_take_it() -> None:
    with pytest.raises(TraefikeeError, match="cannot be written"):
        write_verified(Path("/proc/a.tar"), b"content", lambda _: None, replace=False)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("", "name.tar"), ("folder", "folder/name.tar"), ("x.tar", "x.tar"), ("x", "x"), ("folder/x.tgz", "folder/x.tgz")],
)
def test_where_an_archive_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert command._path(given, "name.tar", force=False) == Path(expected)


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "there.tar").touch()
    with pytest.raises(TraefikeeError, match="there is no folder"):
        command._path(f"{tmp_path}/nowhere/", "name.tar", force=False)
    with pytest.raises(TraefikeeError, match="is there already"):
        command._path(f"{tmp_path}/there.tar", "name.tar", force=False)
    assert command._path(f"{tmp_path}/there.tar", "name.tar", force=True).name == "there.tar"
    with pytest.raises(UsageError) as refused:
        command._path(f"{tmp_path}/a.zip", "name.tar", force=True)
    assert "--archivetype=zip" in refused.value.next_step


# --- passphrases ---


def test_a_passphrase_is_a_files_first_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, "from the environment")
    file = tmp_path / "passphrase"
    file.write_bytes("pässphrase with blanks \r\nnot this\n".encode())
    assert read_passphrase(str(file)) == "pässphrase with blanks "
    assert read_passphrase("") == "from the environment"
    monkeypatch.setattr(sys, "stdin", io.StringIO("from the input\n"))
    assert read_passphrase("-") == "from the input"
    monkeypatch.delenv(PASSPHRASE)
    assert read_passphrase("") is None


@pytest.mark.parametrize("content", [b"", b"\n12345678", b"1234567\n", b"\xff\xfe12345678"])
def test_a_passphrase_that_is_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(content)
    with pytest.raises(UsageError):
        read_passphrase(str(file))


def test_an_empty_passphrase_in_the_environment_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE, "")
    with pytest.raises(UsageError, match="0 characters"):
        read_passphrase("")


# --- reading ---


def test_an_archive_is_read_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    made = content()
    path.write_bytes(pack(made, "tar"))
    backup = read_archive(str(path), "")
    assert backup.content == made
    assert backup.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_refusal_says_that_nothing_was_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(pack(content(), "tar")[:3000])
    with pytest.raises(TraefikeeError, match=r"a\.tar cannot be used: it is .*; nothing was changed"):
        read_archive(str(path), "")
    path.write_bytes(pack(without(content(), state.INFO), "tar"))
    with pytest.raises(TraefikeeError, match="the cluster's own record is not in it; nothing was changed"):
        read_archive(str(path), "")
    with pytest.raises(TraefikeeError, match="Is a directory"):
        read_archive(str(tmp_path), "")


def test_a_node_that_was_restored_comes_back_with_the_same_line(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(b"archive")
    assert not is_restored(tmp_path, str(path))
    (tmp_path / "restored").write_text(hashlib.sha256(b"archive").hexdigest())
    assert not is_restored(tmp_path, str(path)), "it was killed before it was done"
    (tmp_path / "identity.json").touch()
    assert is_restored(tmp_path, str(path))
    path.write_bytes(b"another")
    assert not is_restored(tmp_path, str(path))
    path.unlink()
    assert is_restored(tmp_path, str(path)), "the archive was removed since"
