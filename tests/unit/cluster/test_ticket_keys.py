from __future__ import annotations

import base64

from traefikee.cluster.ticket_keys import ROTATION, rotated


def test_keys_take_turns() -> None:
    first = rotated(None, 1000.0)
    assert first is not None
    assert len(first.keys) == 1
    assert len(base64.b64decode(first.keys[0])) == 48
    assert rotated(first, 1000.0 + ROTATION - 1) is None
    second = rotated(first, 1000.0 + ROTATION)
    assert second is not None
    assert second.keys[1:] == first.keys
    third = rotated(second, 1000.0 + 2 * ROTATION)
    assert third is not None
    assert third.keys[1:] == second.keys[:1]
    assert len({*first.keys, *second.keys, *third.keys}) == 3
    assert first.keys[0] not in repr(first)


def test_a_clock_that_was_far_ahead_does_not_keep_a_key_for_ever() -> None:
    keys = rotated(None, 1e9)
    assert rotated(keys, 1000.0) is not None
