"""Making etcd keep every write that is on its disk when it is brought up alone.

A member writes down that an entry is committed only with the next entry, so that the newest write, which a client may
have been told of, is not known as committed on the disk. ``etcd --force-new-cluster`` drops such entries. A member that
is elected leader commits all entries of its log instead, and so does this: a ``HardState`` that says so is appended to
the write-ahead log.

The log's form (etcd 3.4 to 3.6, ``server/storage/wal``): files of records, each of eight bytes (least significant
first) whose lower 56 bits are the record's length and whose upper ones say, if the first bit is set, how many bytes up
to seven follow it as padding; the record is a protobuf of type (1), checksum (2) and data (3). The checksum is the
CRC-32C of all data until then. After the last record there are zeros.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from traefikee import log

ENTRY, HARD_STATE = 2, 3
_FRAME = struct.Struct("<Q")
_LENGTH = (1 << 56) - 1

_log = log.get("recover")


class _UnknownFormError(Exception):
    """The log is not of the form that is known."""


def commit_all(folder: Path) -> bool:
    """Append to a write-ahead log that all its entries are committed; tell whether that was needed and done.

    A log that is not understood is left alone: etcd then keeps what is known as committed.

    :param folder: ``member/wal`` of a copy of etcd's data; nobody has it open.
    :raises OSError: if it cannot be read or written.
    """
    files = sorted(folder.glob("*.wal"))
    last_index, state, checksum, end = 0, None, 0, 0
    try:
        for file in files:
            content = file.read_bytes()
            for kind, checksum, data, end in _records(content):  # noqa: B007 - the last ones are used below
                if kind == ENTRY:
                    last_index = _fields(data).get(3, last_index)
                elif kind == HARD_STATE:
                    state = _fields(data)
        if not files or state is None or state.get(3, 0) >= last_index:
            return False
        data = b"".join(_varint(number << 3) + _varint(state.get(number, 0)) for number in (1, 2))
        data += _varint(3 << 3) + _varint(last_index)
        frame = _frame(HARD_STATE, crc32c(data, checksum), data)
        if len(content) < end + len(frame) + _FRAME.size:
            content = content.ljust(end + len(frame) + _FRAME.size, b"\0")
    except (_UnknownFormError, IndexError, struct.error) as error:
        _log.warning("etcd's log is not understood; its newest entry may be left out", reason=str(error))
        return False
    with files[-1].open("r+b") as out:
        out.truncate(len(content))
        out.seek(end)
        out.write(frame)
        out.flush()
        os.fsync(out.fileno())
    return True


def _records(content: bytes) -> Iterator[tuple[int, int, bytes, int]]:
    """Yield type, checksum and data of each record, and where it ends."""
    at = 0
    while at + _FRAME.size <= len(content):
        (field,) = _FRAME.unpack_from(content, at)
        if not field:
            return
        length = field & _LENGTH
        padding = (field >> 56) & 7 if field >> 63 else 0
        start = at + _FRAME.size
        at = start + length + padding
        if at > len(content):
            raise _UnknownFormError("a record goes beyond its file")
        kind, checksum, data = 0, 0, b""
        for number, value in _parse(content[start : start + length]):
            if number == 1 and isinstance(value, int):
                kind = value
            elif number == 2 and isinstance(value, int):
                checksum = value
            elif number == 3 and isinstance(value, bytes):
                data = value
        yield kind, checksum, data, at


def _frame(kind: int, checksum: int, data: bytes) -> bytes:
    record = _varint(1 << 3) + _varint(kind) + _varint(2 << 3) + _varint(checksum)
    record += _varint(3 << 3 | 2) + _varint(len(data)) + data
    padding = -len(record) % 8
    field = len(record) | ((0x80 | padding) << 56 if padding else 0)
    return _FRAME.pack(field) + record + b"\0" * padding


# --- protobuf, as much of it as the records need ---


def _fields(data: bytes) -> dict[int, int]:
    return {number: value for number, value in _parse(data) if isinstance(value, int)}


def _parse(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        value, at = _read_varint(data, at)
        if tag & 7 == 2:
            yield tag >> 3, data[at : at + value]
            at += value
        elif tag & 7 == 0:
            yield tag >> 3, value
        else:
            raise _UnknownFormError(f"a field of the wire type {tag & 7}")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC = _table()


def crc32c(data: bytes, before: int = 0) -> int:
    """Return the CRC-32C (Castagnoli, RFC 3720) of data that follows what has the checksum ``before``."""
    value = before ^ 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
