from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.config.addresses import check_licence_endpoint, is_ip_or_network, same_listener, split_address


@pytest.mark.parametrize(
    ("text", "parts"),
    [(":80", ("", 80)), ("1.2.3.4:443", ("1.2.3.4", 443)), ("[::1]:0", ("::1", 0)), ("name.x:65535", ("name.x", 65535)),
     ("[fe80::1%eth0]:80", ("fe80::1%eth0", 80))],
)  # fmt: skip
def test_addresses(text: str, parts: tuple[str, int]) -> None:
    assert split_address(text) == parts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("80", 'address "80" has no port; write for example :80'),
        ("host", 'address "host" has no port; write for example host:80'),
        ("[::1]", r'address "\[::1\]" has no port'),
        (":65536", 'address ":65536" has no valid port; it has to be a number from 0 to 65535'),
        (":", 'address ":" has no valid port'),
        (":http", "has no valid port"),
        ("::1:80", "has several colons; write an IPv6 address in brackets"),
        ("[1.2.3.4]:80", "has no valid IPv6 address in its brackets"),
        ("a/b:80", "has no valid host"),
        ("-a:80", "has no valid host"),
        ("", "has no port"),
    ],
)
def test_no_addresses(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_address(text)


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        _, port = split_address(text)
    except ValueError:
        return
    assert 0 <= port <= 65535


def test_networks() -> None:
    assert all(is_ip_or_network(text) for text in ("10.0.0.0/8", "10.1.2.3/8", "::1", "fe80::/10", "192.0.2.1"))
    assert not any(is_ip_or_network(text) for text in ("", "a", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "10.0.0"))


def test_same_listener() -> None:
    assert same_listener(":80", "0.0.0.0:80")
    assert same_listener("[::]:80", ":80")
    assert same_listener("Host:80", "host:80")
    assert not same_listener(":80", ":81")
    assert not same_listener(":0", ":0")
    assert not same_listener("127.0.0.1:80", "127.0.0.2:80")


@pytest.mark.parametrize("url", ["https://licence.example/check", "https://10.0.0.1:8443", "https://[::1]/a?b=c"])
def test_urls_of_licence_servers(url: str) -> None:
    assert check_licence_endpoint(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "licence.example",
        "http://licence.example/",
        "https://",
        "https://a:0/",
        "https://a:x/",
        "https://a/#b",
        "https://a/\n",
    ],
)
def test_what_is_no_licence_server(url: str) -> None:
    with pytest.raises(ValueError, match=r"licence server|is not a URL"):
        check_licence_endpoint(url)


def test_a_url_that_is_shown_holds_no_password() -> None:
    with pytest.raises(ValueError, match="may not hold a password") as refused:
        check_licence_endpoint("https://me:hunter2@licence.example/")
    assert "hunter2" not in str(refused.value)
