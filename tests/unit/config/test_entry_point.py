from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.config.entry_point import parse_entry_point
from traefikee.config.errors import ConfigurationError
from traefikee.config.middlewares import (
    Auth,
    BasicAuth,
    DigestAuth,
    ForwardAuth,
    ForwardAuthTLS,
    Redirect,
    WhiteList,
)
from traefikee.config.static import ConnectionLimits, EntryPoint, EntryPointTLS, ForwardedHeaders, ProxyProtocol

SHA = "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="
APR1 = "$apr1$H6uskkkW$IgXLP6ewTrSuBkTrqE8wj/"


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
        ("ForwardedHeaders.Insecure:true", {"forwarded_headers": ForwardedHeaders(insecure=True)}),
        (
            "ForwardedHeaders.TrustedIPs:10.0.0.1 ForwardedHeaders.Insecure:true",
            {"forwarded_headers": ForwardedHeaders(insecure=True, trusted_ips=("10.0.0.1",))},
        ),
        ("Compress:true", {"compress": True}),
        ("COMPRESS:on", {"compress": True}),
        ("Compress", {}),
        ("Redirect.EntryPoint:https", {"redirect": Redirect(entry_point="https")}),
        ("ReDiReCt.EnTrYpOiNt:https", {"redirect": Redirect(entry_point="https")}),
        (
            "Redirect.Regex:^http://a/(.*) Redirect.Replacement:https://b/$1 Redirect_Permanent:true",
            {"redirect": Redirect(regex="^http://a/(.*)", replacement="https://b/$1", permanent=True)},
        ),
        (
            "WhiteList.SourceRange:10.0.0.0/8,::1 WhiteList.UseXForwardedFor:true",
            {"white_list": WhiteList(source_range=("10.0.0.0/8", "::1"), use_x_forwarded_for=True)},
        ),
        ("WhiteListSourceRange:10.42.0.0/16", {"white_list": WhiteList(source_range=("10.42.0.0/16",))}),
        (
            f"Auth.Basic.Users:a:{APR1},b:{SHA} Auth.Basic.RemoveHeader:true Auth.HeaderField:X-User",
            {
                "auth": Auth(
                    header_field="X-User",
                    basic=BasicAuth(
                        users=(f"a:{APR1}", f"b:{SHA}"),
                        remove_header=True,
                    ),
                )
            },
        ),
        (
            f"Auth.Digest.Users:a:traefik:{'0' * 32}",
            {"auth": Auth(digest=DigestAuth(users=(f"a:traefik:{'0' * 32}",)))},
        ),
        (
            "Auth.Forward.Address:https://auth.example/check Auth.Forward.AuthResponseHeaders:X-A,X-B"
            " Auth.Forward.TrustForwardHeader:true Auth.Forward.TLS.InsecureSkipVerify:true",
            {
                "auth": Auth(
                    forward=ForwardAuth(
                        address="https://auth.example/check",
                        auth_response_headers=("X-A", "X-B"),
                        trust_forward_header=True,
                        tls=ForwardAuthTLS(insecure_skip_verify=True),
                    )
                )
            },
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
        ("Redirect.Regex:a", "entryPoints.http.Redirect.Regex: also needs Redirect.Replacement"),
        ("Redirect.Replacement:a", "entryPoints.http.Redirect.Replacement: also needs Redirect.Regex"),
        ("Redirect.Permanent:true", "entryPoints.http.Redirect: needs Redirect.EntryPoint, or Redirect.Regex and "
         "Redirect.Replacement"),
        ("Redirect.EntryPoint:b Redirect.Regex:a Redirect.Replacement:b", "entryPoints.http.Redirect.EntryPoint: "
         "Redirect.Regex is given too; a redirect has one of the two"),
        ("Redirect.Regex:( Redirect.Replacement:b", 'entryPoints.http.Redirect.Regex: regular expression "(" has a "(" '
         'without its ")"'),
        ("WhiteList.SourceRange:10.0.0.0/33", 'entryPoints.http.WhiteList.SourceRange: "10.0.0.0/33" is neither an IP '
         "address nor a network such as 10.0.0.0/8"),
        ("WhiteList.UseXForwardedFor:true", "entryPoints.http.WhiteList.SourceRange: names no address; leave the white "
         "list out to let everybody in"),
        ("WhiteListSourceRange:::1 WhiteList.SourceRange:::1", "entryPoints.http.WhiteListSourceRange: "
         "WhiteList.SourceRange is given too; keep that one"),
        ("Auth.Basic.Users:a", "entryPoints.http.Auth.Basic.Users: a user is not of the form name:hash (with "
         'exactly one ":")'),
        ("Auth.Basic.Users:a:geheim", 'entryPoints.http.Auth.Basic.Users: user "a" has a hash that is none of MD5 '
         "($apr1$, $1$), SHA-1 ({SHA}) and bcrypt ($2y$); make one with htpasswd"),
        ("Auth.Basic.Users:", "entryPoints.http.Auth.Basic.Users: names no user, and would let nobody in"),
        ("Auth.Basic.RemoveHeader:true", "entryPoints.http.Auth.Basic: names no user, and would let nobody in"),
        ("Auth.Digest.Users:a:b", "entryPoints.http.Auth.Digest.Users: a user is not of the form name:realm:hash "
         '(with exactly two ":")'),
        ("Auth.Digest.Users:a:b:c", 'entryPoints.http.Auth.Digest.Users: user "a" has a realm other than "traefik"; '
         "make one with htdigest"),
        ("Auth.Digest.Users:a:traefik:geheim", 'entryPoints.http.Auth.Digest.Users: user "a" has a hash that is not '
         "MD5 (32 hexadecimal digits); make one with htdigest"),
        ("Auth.HeaderField:X-User", "entryPoints.http.Auth.HeaderField: also needs one of Auth.Basic.Users, "
         "Auth.Digest.Users, Auth.Forward.Address"),
        (f"Auth.Basic.Users:a:{SHA} Auth.HeaderField:X(User", "entryPoints.http.Auth.HeaderField: \"X(User\" is not a "
         "header's name"),
        (f"Auth.Basic.Users:a:{SHA} Auth.Forward.Address:http://a", "entryPoints.http.Auth.Forward: Auth.Basic is "
         "given too; an entry point has one kind of authentication"),
        ("Auth.Forward.TrustForwardHeader:true", "entryPoints.http.Auth.Forward: needs Auth.Forward.Address, the URL "
         "that is asked"),
        ("Auth.Forward.Address:auth:80", 'entryPoints.http.Auth.Forward.Address: "auth:80" is not a URL such as '
         "http://auth.example:8080/check"),
        ("Auth.Forward.Address:http://a:geheim@b", "entryPoints.http.Auth.Forward.Address: the URL contains a user "
         "name; a server that asks for one cannot be used"),
        ("Auth.Forward.Address:http://a Auth.Forward.AuthResponseHeaders:a(", "entryPoints.http."
         'Auth.Forward.AuthResponseHeaders: "a(" is not a header\'s name'),
        ("Auth.Forward.Address:http://a Auth.Forward.TLS.CA:x.pem", "entryPoints.http.Auth.Forward.TLS.CA: there is no "
         'file "x.pem", and it is not PEM text either'),
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
