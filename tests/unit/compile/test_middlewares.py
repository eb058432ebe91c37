from __future__ import annotations

from typing import Any

import pytest

from traefikee.compile import checks
from traefikee.compile import snapshot_middlewares as middle
from traefikee.compile import snapshot_services as parts
from traefikee.compile.backends import cookie_name, service_options
from traefikee.compile.compiler import compile_snapshot
from traefikee.compile.middlewares import chain_name, entry_point_middlewares, frontend_middlewares
from traefikee.compile.problems import Problems
from traefikee.compile.static_options import middlewares_of, retry_of
from traefikee.config.certificates import CertificatePair
from traefikee.config.dynamic import Backend, Frontend
from traefikee.config.errors import ConfigurationError
from traefikee.config.middlewares import Auth, BasicAuth, Redirect, WhiteList
from traefikee.config.static import EntryPoint, EntryPointTLS, Retry, StaticConfiguration

ENTRY_POINTS = {
    "http": EntryPoint(name="http", address=":80"),
    "https": EntryPoint(name="https", address="[::1]:8443", tls=EntryPointTLS()),
}
SHA = "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="


def chain(**options: Any) -> tuple[tuple[middle.Middleware, ...], list[str]]:
    problems = Problems("file")
    frontend = Frontend.model_validate({"backend": "b", **options})
    pages = {"e": "file/pages"} if options.get("errors") else {}
    found, _ = frontend_middlewares(frontend, pages, ENTRY_POINTS, problems)
    return found, [one.message for one in problems.found]


def test_none() -> None:
    assert chain() == ((), [])
    assert chain(headers={}, ratelimit={"extractorFunc": "client.ip"}) == ((), [])
    assert chain(whiteList={}) == ((), ["whiteList.sourceRange: it is missing: everybody is let in"])
    assert chain(whiteList={}, whitelistSourceRange=["::1"]) == ((middle.WhiteList(source_ranges=("::1",)),), [])


def test_the_order_is_that_of_traefik() -> None:
    found, problems = chain(
        redirect={"entryPoint": "https"},
        ratelimit={"extractorFunc": "client.ip", "rateset": {"r": {"period": 1, "average": 1, "burst": 1}}},
        auth={"forward": {"address": "http://h"}},
        basicAuth=[f"a:{SHA}"],
        passTLSClientCert={},
        headers={"frameDeny": True, "customResponseHeaders": {"A": "b"}},
        whiteList={"sourceRange": ["::1"]},
        errors={"e": {"status": ["404"], "backend": "pages"}},
    )
    assert [one.type for one in found] == [
        "errors",
        "white_list",
        "redirect_entry_point",
        "headers",
        "security_headers",
        "basic_auth",
        "client_cert",
        "forward_auth",
        "rate_limit",
    ]
    assert problems == []


def test_redirects() -> None:
    assert chain(redirect={"entryPoint": "https", "permanent": True})[0] == (
        middle.RedirectEntryPoint(scheme="https", port=8443, permanent=True),
    )
    assert chain(redirect={"entryPoint": "http"})[0] == (middle.RedirectEntryPoint(scheme="http", port=80),)
    replacement = "https://{{ .Request.Host }}/$1"
    assert chain(redirect={"regex": "^http://\\w+/(.*)", "replacement": replacement})[0] == (
        middle.RedirectRegex(regex="^http://[0-9A-Za-z_]+/(.*)", replacement=replacement),
    )
    assert chain(redirect={}) == ((), ["redirect: it has neither entryPoint nor regex and replacement"])


def test_the_first_method_of_authentication_counts() -> None:
    found, problems = chain(
        auth={
            "headerField": "X-User",
            "digest": {"users": ["a:traefik:" + "0" * 32]},
            "basic": {
                "users": ["b:x", f"a:{SHA}"],
                "usersFile": f"# more\n\n b:{SHA} \na:{SHA}\n",
                "removeHeader": True,
            },
        }
    )
    assert found == (middle.BasicAuth(users=(f"a:{SHA}", f"b:{SHA}"), remove_header=True, header_field="X-User"),)
    assert problems == ["auth.digest: it has no effect beside auth.basic"]


def test_a_bad_user_of_the_file_does_not_bring_back_the_listed_one() -> None:
    found, problems = chain(auth={"basic": {"users": [f"a:{SHA}"], "usersFile": "a:x\n"}})
    assert found == (middle.BasicAuth(users=()),)
    assert problems == [
        "auth.basic.users: user 1 of the file has a hash that is none of MD5 ($apr1$, $1$), SHA-1 ({SHA}) and bcrypt "
        "($2y$), and is not let in"
    ]


@pytest.mark.parametrize(
    "entry",
    [
        "a:$apr1$H6uskkkW$IgXLP6ewTrSuBkTrqE8wj/",
        "a:$1$salt$qJH7.N4xYta3aEG/dfqo/0",
        "a:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC",
        "a:$2a$10$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC",
        f"a b:{SHA}",
    ],
)
def test_hashes(entry: str) -> None:
    assert chain(auth={"basic": {"users": [entry]}}) == ((middle.BasicAuth(users=(entry,)),), [])


def test_secrets_are_in_no_error_and_no_repr() -> None:
    found, problems = chain(
        auth={"basic": {"users": [f"geheim:{SHA}", "geheim", "a:geheim:c", "geheim:x"]}}, basicAuth=["geheim:geheim"]
    )
    assert len(problems) == 4
    assert "geheim" not in " ".join(problems)
    assert "geheim" not in repr(found)
    frontend = Frontend.model_validate({"backend": "b", "basicAuth": ["geheim:x"]})
    assert "geheim" not in repr(frontend)
    assert "geheim" not in chain_name("file", frontend)


def test_headers_by_name() -> None:
    assert checks.headers({"x-a": "1", "X-A": "2", "B": "ä\t"}) == (("B", "ä\t"), ("x-a", "1"))
    for bad in ({"a b": "x"}, {"": "x"}, {"ä": "x"}, {"A": "x\ny"}, {"A": "\x7f"}):
        with pytest.raises(ValueError, match=r"header name|control"):
            checks.headers(bad)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [(("404",), ((404, 404),)), (("500-599", "404"), ((500, 599), (404, 404))), (("500-500",), ((500, 500),))],
)
def test_status_ranges(texts: tuple[str, ...], expected: object) -> None:
    assert checks.status_ranges(texts) == expected


@pytest.mark.parametrize("text", ["", "x", "50", "5000", "500-", "-500", "500-400", "099", "500 - 599", "٥٠٠"])
def test_wrong_status_ranges(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        checks.status_ranges([text])


@pytest.mark.parametrize("text", ["", "x", "10.0.0.300", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "fe80::1%eth0", "::1/x"])
def test_wrong_source_ranges(text: str) -> None:
    assert checks.source_ranges(["10.1.2.3/8", "::1", "2001:db8::/32"]) == ("10.1.2.3/8", "::1", "2001:db8::/32")
    with pytest.raises(ValueError, match="neither an IP address nor a network"):
        checks.source_ranges(["::1", text])


@pytest.mark.parametrize("text", ["", "client.IP", "request.header.", "request.header.a b", "ip", "request.header"])
def test_wrong_sources(text: str) -> None:
    with pytest.raises(ValueError, match=r"it has to be client\.ip, request\.host or request\.header\.<Name>"):
        checks.client_source(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://10.0.0.9/auth", "http://10.0.0.9/auth"),
        ("https://h:444/a?b=c#d", "https://h:444/a?b=c"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_urls(text: str, expected: str) -> None:
    assert checks.http_url(text) == expected


@pytest.mark.parametrize(
    "text", ["", "h", "ftp://h", "http://", "http://h:0", "http://h:", "http://h:99999", "http://[x]", "http://a b",
             "http://geheim:geheim@h", "http://h/ä", "http://-h-/", "http://h\n"]
)  # fmt: skip
def test_wrong_urls(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        checks.http_url(text)
    assert "geheim" not in str(caught.value)


def test_an_entry_points_middlewares() -> None:
    problems = Problems("static")
    found = entry_point_middlewares(
        "http",
        ENTRY_POINTS,
        problems,
        redirect=Redirect(entry_point="https"),
        auth=Auth(basic=BasicAuth(users=(f"a:{SHA}",))),
        compress=True,
        white_list=WhiteList(source_range=("10.0.0.0/8",)),
    )
    assert [one.type for one in found] == ["redirect_entry_point", "basic_auth", "compress", "white_list"]
    assert problems.found == []
    assert entry_point_middlewares("http", ENTRY_POINTS, problems) == ()


def test_an_entry_point_cannot_redirect_to_itself() -> None:
    problems = Problems("static")
    entry_point_middlewares("http", ENTRY_POINTS, problems, redirect=Redirect(entry_point="http"))
    assert [one.message for one in problems.found] == ['redirect.entryPoint: "http" is the entry point itself']


def test_an_entry_points_white_list_without_an_address_is_none() -> None:
    problems = Problems("static")
    entry_point_middlewares("http", ENTRY_POINTS, problems, white_list=WhiteList())
    assert problems.failed


def test_names_of_cookies() -> None:
    assert cookie_name("sticky") == "_82b5f"


@pytest.mark.parametrize(
    ("given", "name"), [("", "_8dc86"), ("foo", "foo"), ("a b;c=d\"é", "a_b_c_d__"), ("a-b.c|d~", "a-b.c|d~")]
)  # fmt: skip
def test_characters_of_cookie_names(given: str, name: str) -> None:
    backend = Backend.model_validate({"loadBalancer": {"stickiness": {"cookieName": given}}})
    options, _ = service_options("c", backend, 30.0, Problems("file"))
    assert options["sticky"].cookie_name == name


@pytest.mark.parametrize(
    ("interval", "milliseconds", "warned"),
    [("", 7000, False), ("10s", 10_000, False), ("10", 7000, True), ("0s", 7000, True), ("-1s", 7000, True),
     ("soon", 7000, True)],
)  # fmt: skip
def test_intervals_of_health_checks(interval: str, milliseconds: int, warned: bool) -> None:
    problems = Problems("file")
    backend = Backend.model_validate({"healthCheck": {"path": "/", "interval": interval}})
    options, effective = service_options("b", backend, 7.0, problems)
    assert options["health_check"].interval_ms == milliseconds
    assert bool(problems.found) is warned
    assert not problems.failed
    again = Problems("file")
    assert service_options("b", effective, 7.0, again)[0] == options
    assert again.found == []


def test_a_backend_without_options() -> None:
    options, effective = service_options("b", Backend(), 30.0, Problems("file"))
    assert options.pop("balancer") == "wrr"
    assert set(options.values()) == {None}
    assert effective == Backend()


def test_static_options() -> None:
    static = StaticConfiguration()
    assert retry_of(static) is None
    assert retry_of(StaticConfiguration(retry=Retry(attempts=3))) == parts.Retry(attempts=3)
    assert middlewares_of(static, static.entry_points[0]) == ()


def test_an_entry_point_whose_options_cannot_be_meant_is_not_deployed() -> None:
    static = StaticConfiguration(
        entry_points=(EntryPoint(name="http", address=":80", white_list=WhiteList(source_range=("x",))),)
    )
    pair = CertificatePair(chain_pem="", key_pem="")
    with pytest.raises(ConfigurationError, match=r"entryPoints.http.whiteList.sourceRange: \"x\" is neither"):
        compile_snapshot(static, {}, revision=1, default_certificate=pair)
