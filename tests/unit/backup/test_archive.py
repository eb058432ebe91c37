"""The archive: what goes in comes out, and whatever is wrong with it is told before anything is done with it."""

from __future__ import annotations

import datetime
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.unit.backup.support_backup import content

from traefikee.backup import archive
from traefikee.backup import content as contents
from traefikee.backup.archive import ENCRYPTION, MANIFEST, SUMS, file_name, pack, unpack
from traefikee.backup.content import BackupError, Content

GOLDEN = Path(__file__).parent / "golden"
PASSPHRASE = "correct horse"


@pytest.fixture(scope="module")
def made() -> Content:
    return content()


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "COST", 2**4)


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_what_is_packed_is_unpacked(made: Content, kind: archive.Kind, passphrase: str | None) -> None:
    assert unpack(pack(made, kind, passphrase), passphrase) == made


def test_large_contents_are_several_members(made: Content, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MEMBER_BYTES", 500)
    raw = pack(made, "tar")
    assert len([name for name in members(raw) if name.startswith("keys/")]) > 3
    assert unpack(raw) == made


def test_the_name_tells_when_it_was_made() -> None:
    at = datetime.datetime(2019, 3, 13, 17, 42, 30, tzinfo=datetime.UTC)
    assert file_name(at, "tar") == "2019-03-13T174230_traefikee-backup.tar"


def test_an_operator_can_look_into_it(made: Content) -> None:
    found = members(pack(made, "tar"))
    assert list(found) == ["README.txt", MANIFEST, "cluster-key", "keys/000000.jsonl", SUMS]
    assert "bootstrap --archivepath" in found["README.txt"].decode()
    assert "KEEP IT SECRET" in found["README.txt"].decode()
    manifest = json.loads(found[MANIFEST])
    assert manifest["counts"]["configurations"] == 3
    assert manifest["origin"]["revision"] == 42


def test_an_encrypted_one_shows_nothing(made: Content) -> None:
    raw = pack(made, "tar", PASSPHRASE)
    for secret in (made.cluster_key.hex().encode(), b"BEGIN CERTIFICATE", b"licence", b"/traefikee/"):
        assert secret not in raw
    assert all(name.endswith(".enc") for name in members(raw) if name not in ("README.txt", ENCRYPTION, SUMS))


def members(raw: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(raw)) as opened:
        return {entry.name: opened.extractfile(entry).read() for entry in opened}  # type: ignore[union-attr]


def with_members(found: dict[str, bytes]) -> bytes:
    """A tar of these members with the right sums."""
    found = {name: text for name, text in found.items() if name != SUMS}
    found[SUMS] = "".join(f"{archive._sha256(text)}  {name}\n" for name, text in found.items()).encode()
    return archive._tar(found, datetime.datetime.now(datetime.UTC))


# --- what is refused ---


def test_every_cut_and_every_changed_byte_is_noticed(made: Content) -> None:
    small = Content(made.origin, {key: made.keys[key] for key in list(made.keys)[3:5]}, made.cluster_key)
    for kind in ("tar", "zip"):
        raw = pack(small, kind)
        for at in range(0, len(raw), 41):
            damaged = bytearray(raw)
            damaged[at] ^= 0x55
            for broken in (raw[:at], bytes(damaged)):
                try:
                    assert unpack(broken) == small, "padding and times may change, and nothing else"
                except BackupError:
                    continue


def test_a_changed_byte_of_each_encrypted_member_is_noticed(made: Content) -> None:
    found = members(pack(made, "tar", PASSPHRASE))
    for name, text in found.items():
        if name in ("README.txt", SUMS):
            continue
        changed = {**found, name: text[:-3] + bytes([text[-3] ^ 1]) + text[-2:]}
        with pytest.raises(BackupError):
            unpack(with_members(changed), PASSPHRASE)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "neither a tar nor a zip"),
        (b"hello " * 1000, "neither a tar nor a zip"),
        (b"\x1f\x8b\x08" + b"\0" * 100, "gzip"),
        (b"PK\x03\x04" + b"\0" * 100, "damaged"),
    ],
)
def test_what_is_no_archive(raw: bytes, reason: str) -> None:
    with pytest.raises(BackupError, match=reason):
        unpack(raw)


def test_a_foreign_archive() -> None:
    with pytest.raises(BackupError, match=r"not a backup of traefikee: it has no manifest\.json"):
        unpack(with_members({"etc/passwd": b"root"}))
    with pytest.raises(BackupError, match="another program's"):
        unpack(with_members({MANIFEST: b'{"format": 1, "product": "other"}'}))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as opened:
        opened.writestr("a", "b")
    with pytest.raises(BackupError, match="not a backup"):
        unpack(out.getvalue())


def test_a_link_in_an_archive() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as opened:
        entry = tarfile.TarInfo(MANIFEST)
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(entry)
    with pytest.raises(BackupError, match="is no file"):
        unpack(out.getvalue())


def test_a_newer_format_names_the_version_to_install(made: Content) -> None:
    found = members(pack(made, "tar"))
    said = json.loads(found[MANIFEST]) | {"format": 2, "version": "9.1.0", "what": "is new"}
    with pytest.raises(BackupError, match="newer format 2; this version reads 1") as refused:
        unpack(with_members({**found, MANIFEST: json.dumps(said).encode()}))
    assert "9.1.0" in refused.value.next_step


def test_cut_off_after_a_member(made: Content) -> None:
    found = members(pack(made, "tar"))
    del found[SUMS]
    with pytest.raises(BackupError, match="cut off"):
        unpack(archive._tar(found, datetime.datetime.now(datetime.UTC)))


@pytest.mark.parametrize("name", ["cluster-key", "keys/000000.jsonl"])
def test_a_member_that_is_not_the_manifests(made: Content, name: str) -> None:
    found = members(pack(made, "tar"))
    with pytest.raises(BackupError, match=f"{name} is not what its manifest says"):
        unpack(with_members({**found, name: found[name] + b"\n"}))
    del found[name]
    with pytest.raises(BackupError, match="not those of its manifest"):
        unpack(with_members(found))


def test_a_member_too_many(made: Content) -> None:
    with pytest.raises(BackupError, match="not those of its manifest"):
        unpack(with_members({**members(pack(made, "tar")), "more": b""}))


def test_passphrases(made: Content) -> None:
    raw = pack(made, "zip", PASSPHRASE)
    with pytest.raises(BackupError, match="no passphrase is given"):
        unpack(raw)
    with pytest.raises(BackupError, match="the passphrase is wrong"):
        unpack(raw, PASSPHRASE + "!")
    assert unpack(pack(made, "zip"), PASSPHRASE) == made, "one that is not needed does no harm"


def test_a_crafted_cost_is_refused(made: Content) -> None:
    found = members(pack(made, "tar", PASSPHRASE))
    said = json.loads(found[ENCRYPTION]) | {"n": 2**40}
    with pytest.raises(BackupError, match="less than or equal to"):
        unpack(with_members({**found, ENCRYPTION: json.dumps(said).encode()}), PASSPHRASE)


# --- archives that were made before ---


@pytest.mark.parametrize(("name", "passphrase"), [("format-1.tar", None), ("format-1-encrypted.zip", PASSPHRASE)])
def test_an_archive_of_format_1_stays_readable(name: str, passphrase: str | None) -> None:
    found = unpack((GOLDEN / name).read_bytes(), passphrase)
    checked = contents.check(found)
    assert (checked.info.id, checked.info.licence, checked.notes) == ("cluster", "licence", ())
    assert checked.deployment is not None
    assert checked.deployment.number == 3
    assert checked.snapshot is not None
    assert checked.snapshot.objects["route/file/app"] == b'{"id":"file/app"}'
