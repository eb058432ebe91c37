"""etcd's write-ahead log, as far as it is read and written here. With the real etcd: tests/etcd/test_recovery.py."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from traefikee.backup import wal


def test_the_checksum_is_the_one_of_rfc_3720() -> None:
    assert wal.crc32c(b"123456789") == 0xE3069283
    assert wal.crc32c(bytes(32)) == 0x8A9136AA
    assert wal.crc32c(b"6789", wal.crc32c(b"12345")) == 0xE3069283


@given(st.integers(min_value=1, max_value=5), st.integers(min_value=0, max_value=2**32 - 1), st.binary(max_size=40))
def test_a_record_is_read_as_it_was_written(kind: int, checksum: int, data: bytes) -> None:
    frame = wal._frame(kind, checksum, data)
    assert len(frame) % 8 == 0
    assert list(wal._records(frame + bytes(64))) == [(kind, checksum, data, len(frame))]


def test_what_is_not_understood_is_left_alone(tmp_path: Path) -> None:
    assert not wal.commit_all(tmp_path)
    file = tmp_path / "0-0.wal"
    for content in (b"", b"\xff" * 100, b"\x10" + bytes(7) + b"\x09" * 16):
        file.write_bytes(content)
        assert not wal.commit_all(tmp_path)
        assert file.read_bytes() == content
