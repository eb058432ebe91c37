from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.config.entry_point import parse_entry_point
from traefikee.config.errors import ConfigurationError
from traefikee.config.static import ConnectionLimits, EntryPoint, EntryPointTLS, ForwardedHeaders, ProxyProtocol


def no_files(name: str) -> bytes:
    raise FileNotFoundError(name)


def parse(text: str) -> EntryPoint:
    return parse_entry_point(text, no_files)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    return str(caught.value).splitlines()


BASE = "Name:http Address::80"


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("", {}),
        ("TLS", {"tls": EntryPointTLS()}),
        ("tls", {"tls": EntryPointTLS()}),
        ("TLS TLS.SniStrict:on", {"tls": EntryPointTLS(sni_strict=True)}),
        ("TLS tls_snistrict:ENABLE", {"tls": EntryPointTLS(sni_strict=True)}),
        ("TLS TLS.SniStrict", {"tls": EntryPointTLS()}),
        ("TLS TLS.MinVersion:VersionTLS10", {"tls": EntryPointTLS(min_version="1.2")}),
        ("TLS TLS.MinVersion:VersionTLS12", {"tls": EntryPointTLS(min_version="1.2")}),
        (
            "TLS TLS.CipherSuites:TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            {
                "tls": EntryPointTLS(
                    cipher_suites=(
                        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
                        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
                    )
                )
            },
        ),
        ("TLS TLS.MinVersion:VersionTLS13", {"tls": EntryPointTLS(min_version="1.3")}),
        ("ForwardedHeaders.Insecure:false", {"forwarded_headers": ForwardedHeaders(insecure=False)}),
        ("ForwardedHeaders.Insecure", {"forwarded_headers": ForwardedHeaders(insecure=False)}),
        (
            "ForwardedHeaders.TrustedIPs:10.0.0.0/8,::1",
            {"forwarded_headers": ForwardedHeaders(insecure=False, trusted_ips=("10.0.0.0/8", "::1"))},
        ),
        ("MaxConnections:20000", {"connection_limits": ConnectionLimits(total=20000)}),
        ("maxconnectionsperclient:200", {"connection_limits": ConnectionLimits(per_client=200)}),
        (
            "MaxConnections:200 MaxConnectionsPerClient:200",
            {"connection_limits": ConnectionLimits(total=200, per_client=200)},
        ),
        ("MaxConnections:0", {}),
        ("ProxyProtocol.TrustedIPs:10.0.0.1", {"proxy_protocol": ProxyProtocol(trusted_ips=("10.0.0.1",))}),
        ("ProxyProtocol.Insecure:true", {"proxy_protocol": ProxyProtocol(insecure=True)}),
        ("proxyprotocol_insecure:false", {"proxy_protocol": ProxyProtocol()}),
    ],
)
def test_keys(text: str, changed: dict[str, object]) -> None:
    assert parse(f"{BASE} {text}") == EntryPoint(name="http", address=":80").model_copy(update=changed)


@pytest.mark.parametrize("text", ["NAME:http\taddress::80", "  Address::80   name:http  "])
def test_blanks_and_case_do_not_count(text: str) -> None:
    assert parse(text) == EntryPoint(name="http", address=":80")


@pytest.mark.parametrize("word", ["true", "TRUE", "enable", "On"])
def test_true_words(word: str) -> None:
    assert parse(f"{BASE} ForwardedHeaders.Insecure:{word}").forwarded_headers.insecure


@pytest.mark.parametrize("word", ["false", "off", "Disable", "no", "0", ""])
def test_false_words(word: str) -> None:
    assert not parse(f"{BASE} ForwardedHeaders.Insecure:{word}").forwarded_headers.insecure


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Adress::80", 'entryPoints.http.Adress: unknown key; did you mean "Address"?'),
        ("tls_minversoin:x", 'entryPoints.http.tls_minversoin: unknown key; did you mean "TLS.MinVersion"?'),
        ("Zzzzzz:x", "entryPoints.http.Zzzzzz: unknown key"),
        ("ForwardedHeaders.Insecure:1", 'entryPoints.http.ForwardedHeaders.Insecure: "1" is not a boolean; '
         "write true or false"),
        ("ProxyProtocol.TrustedIPs:", "entryPoints.http.ProxyProtocol.TrustedIPs: has no value; write for example "
         "ProxyProtocol.TrustedIPs:10.0.0.0/8"),
        ("ProxyProtocol.TrustedIPs:a", 'entryPoints.http.ProxyProtocol.TrustedIPs: "a" is neither an IP address nor a '
         "network such as 10.0.0.0/8"),
        ("TLS CA:", "entryPoints.http.CA: names no file"),
        ("TLS TLS.MinVersion:", 'entryPoints.http.TLS.MinVersion: "" is not one of VersionTLS10, VersionTLS11, '
         "VersionTLS12, VersionTLS13"),
        ("MaxConnections:-1", 'entryPoints.http.MaxConnections: "-1" is not a number from 0, no limit, to 999999999; '
         "write for example MaxConnections:200"),
        ("MaxConnectionsPerClient", 'entryPoints.http.MaxConnectionsPerClient: "" is not a number from 0, no limit, to '
         "999999999; write for example MaxConnectionsPerClient:200"),
        ("MaxConnections:10 MaxConnectionsPerClient:11", "entryPoints.http.MaxConnectionsPerClient: 11 is more than "
         "MaxConnections (10), and never reached"),
        ("MaxConnection:1", 'entryPoints.http.MaxConnection: unknown key; did you mean "MaxConnections"?'),
        ("TLS TLS.CipherSuites:", "entryPoints.http.TLS.CipherSuites: names no cipher suite"),
        ("TLS.CipherSuites:TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "entryPoints.http.TLS.CipherSuites: has no effect "
         "without TLS; add TLS, or TLS:certificate,key"),
        ("TLS TLS.MinVersion:VersionTLS13 TLS.CipherSuites:TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
         "entryPoints.http.TLS.CipherSuites: has no effect with VersionTLS13; its suites are not configurable"),
    ],
)  # fmt: skip
def test_problems(text: str, line: str) -> None:
    assert problems(f"{BASE} {text}") == [line]


@pytest.mark.parametrize(
    "key",
    ["Compress", "Redirect.EntryPoint:https", "redirect_regex:x", "WhiteList.SourceRange:10.0.0.0/8",
     "Auth.Basic.Users:a:b",
     "Auth.Forward.TLS.CA:x", "WhiteListSourceRange:1.1.1.1"],
)  # fmt: skip
def test_keys_that_do_not_work_yet_are_refused_by_name(key: str) -> None:
    (line,) = problems(f"{BASE} {key}")
    assert line.lower().startswith(f"entrypoints.http.{key.partition(':')[0].lower().replace('_', '.')}:")
    assert line.endswith("this version does not implement this option of Traefik 1.7 yet")


def test_an_empty_text() -> None:
    assert problems("") == [
        "entryPoints.(unnamed): an entry point needs a name; write for example Name:http Address::80",
        "entryPoints.(unnamed): an entry point needs an address; write for example Address::80",
    ]


@given(st.text() | st.lists(st.sampled_from(["Name:a", "TLS", ":", "CA:", "x", "TLS:a,b;c"])).map(" ".join))
def test_any_text_is_an_entry_point_or_problems(text: str) -> None:
    try:
        entry_point = parse(text)
    except ConfigurationError as error:
        found = error.problems
        assert found
    else:
        assert entry_point.name
        assert entry_point.address
