from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.compile.servers import effective_weight, server_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://h", "http://h"),
        ("HTTP://Name.Example:8080", "http://name.example:8080"),
        ("https://10.0.0.1:443/path?q=1#f", "https://10.0.0.1:443"),
        ("http://[::1]:80/", "http://[::1]:80"),
        ("http://[2001:DB8::1]", "http://[2001:db8::1]"),
        ("http://a_b-c.d.:1", "http://a_b-c.d.:1"),
    ],
)
def test_urls(text: str, url: str) -> None:
    assert server_url(text) == url


@given(st.text() | st.text(alphabet="htps:/[]@.1a?#%").map("http://".__add__))
def test_any_text_is_a_url_or_a_value_error(text: str) -> None:
    try:
        url = server_url(text)
    except ValueError:
        return
    assert server_url(url) == url


def test_no_password_in_errors() -> None:
    for text in ("http://u:geheim@h", "h2c://u:geheim@h", "u:geheim@h", "http://u:geheim@h:x", "http://u:geheim@"):
        with pytest.raises(ValueError, match=r"^its url") as caught:
            server_url(text)
        assert "geheim" not in str(caught.value)


def test_weights() -> None:
    assert effective_weight(0, allow_min_weight_zero=False) == 1
    assert effective_weight(0, allow_min_weight_zero=True) == 0
    assert effective_weight(7, allow_min_weight_zero=False) == 7
    with pytest.raises(ValueError, match=r"^weight -1 is negative$"):
        effective_weight(-1, allow_min_weight_zero=True)
    with pytest.raises(ValueError, match=r"^weight 2147483648 is too large$"):
        effective_weight(2**31, allow_min_weight_zero=True)
