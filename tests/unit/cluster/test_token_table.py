"""Join tokens in the store: which are good, and what is said of each other one."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.cluster import token_table
from traefikee.cluster.roles import Role
from traefikee.cluster.token_table import MOST_ENDED, MOST_LIVE, REMEMBERED, TokenTable, Used
from traefikee.errors import RefusedError

NOW = 1_700_000_000.0
CONTROL, DATA = "c" * 40, "d" * 40
TABLE = token_table.standing_table(CONTROL, DATA)


def refusal(table: TokenTable, role: Role, secret: str, now: float = NOW, request: str = "") -> str:
    with pytest.raises(RefusedError) as refused:
        token_table.check(table, role, secret, now, request)
    assert secret not in str(refused.value)
    return str(refused.value)


def used(table: TokenTable, secret: str, at: float = NOW, request: str = "r") -> TokenTable:
    token = token_table.check(table, Role.DATA, secret, at, request)
    return token_table.use(table, token, Used(node="id-web", name="web", at=at, request=request))


def once(table: TokenTable = TABLE, ttl: float | None = None) -> tuple[TokenTable, str, str]:
    made, record, secret = token_table.make(table, Role.DATA, "user root", NOW, ttl=ttl, once=True)
    return made, record.id, secret


def timed(ttl: float = 60.0) -> tuple[TokenTable, str, str]:
    made, record, secret = token_table.make(TABLE, Role.DATA, "user root", NOW, ttl=ttl, once=False)
    return made, record.id, secret


def test_the_standing_tokens_are_good_for_their_role() -> None:
    assert token_table.check(TABLE, Role.CONTROL, CONTROL, NOW).role is Role.CONTROL
    assert token_table.check(TABLE, Role.DATA, DATA, NOW + 1e9).standing
    assert TABLE.standing(Role.DATA).secret == DATA


def test_each_refusal_says_why_and_what_to_do() -> None:
    replaced = token_table.replace(TABLE, [Role.DATA], "user root", NOW)
    graced = token_table.replace(TABLE, [Role.DATA], "user root", NOW, grace=60)
    timed_table, timed_id, timed_secret = timed()
    once_table, once_id, once_secret = once()
    cases: list[tuple[Callable[[], str], str]] = [
        (
            lambda: refusal(TABLE, Role.DATA, "e" * 40),
            "the cluster does not know this token; take a current one from `traefikee env` on a control node",
        ),
        (
            lambda: refusal(TABLE, Role.DATA, CONTROL),
            "this is the token for control nodes, and a data node joins; use DATA_NODE_TOKEN from `traefikee env` on a "
            "control node",
        ),
        (
            lambda: refusal(TABLE, Role.CONTROL, DATA),
            "this is the token for data nodes, and a control node joins; use CONTROL_NODE_TOKEN from `traefikee env` "
            "on a control node",
        ),
        (
            lambda: refusal(replaced, Role.DATA, DATA, NOW + 5),
            "this token was replaced on 2023-11-14 at 22:13:20 UTC by user root; take the current one from "
            "`traefikee env` on a control node",
        ),
        (
            lambda: refusal(graced, Role.DATA, DATA, NOW + 60),
            "this token was replaced on 2023-11-14 at 22:13:20 UTC by user root, and was good until 2023-11-14 at "
            "22:14:20 UTC; take the current one from `traefikee env` on a control node",
        ),
        (
            lambda: refusal(timed_table, Role.DATA, timed_secret, NOW + 60),
            "this token expired on 2023-11-14 at 22:14:20 UTC; make another with `traefikee env --ttl=1h`",
        ),
        (
            lambda: refusal(used(once_table, once_secret), Role.DATA, once_secret, request="another"),
            "this token was good for one join, and the node 'web' used it on 2023-11-14 at 22:13:20 UTC; make another "
            "with `traefikee env --once`",
        ),
        (
            lambda: refusal(
                token_table.revoke(timed_table, timed_id, "certificate ops", NOW + 1), Role.DATA, timed_secret
            ),
            "this token was revoked on 2023-11-14 at 22:13:21 UTC by certificate ops; make another with "
            "`traefikee env --ttl=1h`",
        ),
        (
            lambda: refusal(once_table, Role.CONTROL, once_secret),
            "this is the token for data nodes, and a control node joins; use CONTROL_NODE_TOKEN from `traefikee env` "
            "on a control node",
        ),
    ]
    for told, wanted in cases:
        assert told() == wanted
    assert once_id != timed_id


def test_a_token_is_good_until_its_time_and_not_at_it() -> None:
    table, _, secret = timed(60)
    assert token_table.check(table, Role.DATA, secret, NOW + 59.9)
    assert "expired" in refusal(table, Role.DATA, secret, NOW + 60)


def test_a_used_token_lets_the_same_request_in_again_because_its_answer_may_be_lost() -> None:
    table, _, secret = once()
    after = used(table, secret, request="mine")
    again = token_table.check(after, Role.DATA, secret, NOW + 1, "mine")
    assert again.used is not None
    assert again.used.node == "id-web"
    assert "used it" in refusal(after, Role.DATA, secret, NOW + 1, "other")


def test_a_token_for_one_join_can_have_a_time_too() -> None:
    table, _, secret = once(ttl=10)
    assert "expired" in refusal(table, Role.DATA, secret, NOW + 10)


def test_a_replacement_is_at_once_unless_there_is_a_grace() -> None:
    graced = token_table.replace(TABLE, [Role.CONTROL, Role.DATA], "user root", NOW, grace=60)
    assert token_table.check(graced, Role.DATA, DATA, NOW + 59)
    fresh = graced.standing(Role.DATA).secret
    assert fresh != DATA
    assert token_table.check(graced, Role.DATA, fresh, NOW + 1e6)
    # At once stops also what an earlier replacement has left some time.
    twice = token_table.replace(graced, [Role.DATA], "user root", NOW + 1)
    assert "replaced on 2023-11-14 at 22:13:20 UTC" in refusal(twice, Role.DATA, DATA, NOW + 2)
    assert "replaced on" in refusal(twice, Role.DATA, fresh, NOW + 2)
    assert token_table.check(twice, Role.CONTROL, CONTROL, NOW + 2)


def test_nothing_but_a_digest_is_kept_of_what_need_not_be_shown() -> None:
    table, _, secret = once()
    replaced = token_table.replace(table, [Role.DATA], "user root", NOW)
    stored = replaced.stored().decode()
    assert secret not in stored
    assert DATA not in stored
    assert CONTROL in stored
    assert CONTROL not in repr(replaced)
    assert TokenTable.model_validate_json(stored) == replaced


def test_what_cannot_be_made_or_revoked_is_said() -> None:
    with pytest.raises(RefusedError, match="does not end"):
        token_table.make(TABLE, Role.DATA, "x", NOW, ttl=None, once=False)
    for ttl in (0.0, -1.0, 1e12, float("nan")):
        with pytest.raises(RefusedError, match="a second at least"):
            token_table.make(TABLE, Role.DATA, "x", NOW, ttl=ttl, once=False)
    with pytest.raises(RefusedError, match='no token "none"'):
        token_table.revoke(TABLE, "none", "x", NOW)
    standing = TABLE.standing(Role.DATA).id
    with pytest.raises(RefusedError, match=r"standing token for data nodes; replace it with .*--role=data"):
        token_table.revoke(TABLE, standing, "x", NOW)
    table, identity, secret = once()
    with pytest.raises(RefusedError, match=f"the token {identity} was good for one join"):
        token_table.revoke(used(table, secret), identity, "x", NOW + 1)


def test_there_cannot_be_too_many_and_what_ended_is_forgotten_in_time() -> None:
    table = TABLE
    for _ in range(MOST_LIVE):
        table, _, _ = token_table.make(table, Role.DATA, "x", NOW, ttl=60, once=False)
    with pytest.raises(RefusedError, match=r"500 tokens .* good already"):
        token_table.make(table, Role.DATA, "x", NOW, ttl=60, once=False)
    assert len(token_table.pruned(table, NOW + 61).tokens) == 2 + MOST_ENDED
    assert token_table.pruned(table, NOW + 61 + REMEMBERED) == TABLE
    assert len(table.stored()) < 512 * 1024


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("replace"), st.sampled_from([0.0, 5.0])),
            st.tuples(st.just("make"), st.sampled_from([1.0, 20.0])),
            st.tuples(st.just("wait"), st.sampled_from([1.0, 10.0])),
        ),
        max_size=12,
    )
)
def test_whatever_happens_there_is_one_standing_token_a_role_and_ended_ones_stay_ended(
    steps: list[tuple[str, float]],
) -> None:
    table, now = TABLE, NOW
    ended: set[str] = set()
    for what, amount in steps:
        if what == "replace":
            table = token_table.replace(table, [Role.DATA], "x", now, amount)
        elif what == "make":
            table, _, _ = token_table.make(table, Role.DATA, "x", now, ttl=amount, once=False)
        else:
            now += amount
        for role in (Role.CONTROL, Role.DATA):
            assert len([one for one in table.tokens if one.standing and one.role is role]) == 1
        live = {one.id for one in table.live(now)}
        assert not live & ended
        ended |= {one.id for one in table.tokens} - live
