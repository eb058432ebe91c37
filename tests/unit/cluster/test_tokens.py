"""Join tokens: their form, and what is said of a wrong one."""

import pytest

from traefikee.cluster import tokens
from traefikee.cluster.tokens import Token
from traefikee.errors import RefusedError

DIGEST = "ab" * 32
SECRET = "cd" * 20


def test_a_token_survives_being_printed_and_read_with_blanks_around_it() -> None:
    token = Token(DIGEST, SECRET)
    assert tokens.parse(f"  {token}\n") == token


@pytest.mark.parametrize(
    "text",
    ["TKEE-1", f"TKEE-2-{DIGEST}-{SECRET}", f"TKEE-1-{DIGEST}-{SECRET}0", f"TKEE-1-{DIGEST[:-1]}-{SECRET}", "SWMTKN-1"],
)
def test_a_malformed_token_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(RefusedError) as refused:
        tokens.parse(text)
    assert "malformed" in str(refused.value)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("text", ["", "  \n"])
def test_no_token_says_where_to_get_one(text: str) -> None:
    with pytest.raises(RefusedError, match="no token is given; take one from `traefikee env`"):
        tokens.parse(text)


def test_the_secret_is_not_in_the_repr() -> None:
    assert SECRET not in repr(Token(DIGEST, SECRET))


def test_secrets_are_fresh_and_have_the_form_of_a_token() -> None:
    one, other = tokens.new_secret(), tokens.new_secret()
    assert one != other
    assert tokens.parse(f"TKEE-1-{DIGEST}-{one}").secret == one
    assert tokens.matches(one, one)
    assert not tokens.matches(one, other)
