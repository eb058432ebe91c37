from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.config.build import build_static, parse_bool
from traefikee.config.errors import ConfigurationError
from traefikee.config.middlewares import Redirect
from traefikee.config.names import NOT_YET, OPTIONS, find_option, is_not_yet
from traefikee.config.refusals import REFUSALS
from traefikee.config.static import ClientTLS, ConsulOptions, EntryPoint, Ping, Retry, StaticConfiguration

SHA = "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="

FILES = Path(__file__).parents[2] / "golden" / "files"


def read_file(name: str) -> bytes:
    return (FILES / name).read_bytes()


def build(*arguments: str) -> StaticConfiguration:
    pairs = [argument.removeprefix("--").partition("=") for argument in arguments]
    return build_static([(name, value if equals else None) for name, equals, value in pairs], read_file)


def problems(*arguments: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        build(*arguments)
    assert str(caught.value) == "\n".join(str(problem) for problem in caught.value.problems)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def test_nothing_gives_the_defaults() -> None:
    assert build() == StaticConfiguration()
    assert StaticConfiguration().entry_point("http") == EntryPoint(name="http", address=":80")
    assert StaticConfiguration().entry_point("https") is None


def test_a_nested_option_switches_its_parent_on() -> None:
    assert build("--consul.watch").consul == ConsulOptions()
    assert build("--consul").consul == ConsulOptions()
    assert build("--consul.tls.insecureskipverify").consul == ConsulOptions(tls=ClientTLS(insecure_skip_verify=True))
    assert build("--ping.entrypoint=http").ping == Ping(entry_point="http")
    assert build("--api").api


@pytest.mark.parametrize("off", ["--consul=false", "--CONSUL=F"])
def test_false_switches_off_whatever_is_below(off: str) -> None:
    assert build(off, "--consul.prefix=x").consul is None
    assert build("--consul.prefix=x", off).consul is None
    assert build(off, "--consul").consul == ConsulOptions()


def test_consul_options() -> None:
    consul = build(
        "--consul.endpoint=10.0.0.1:8500, [::1]:8501",
        "--consul.watch=false",
        "--consul.prefix=/my/prefix/",
        "--consul.username=u",
        "--consul.password=geheim",
        "--consul.tls.ca=ca.example.crt",
        "--consul.tls.cert=a.example.crt",
        "--consul.tls.key=a.example.key",
    ).consul
    assert consul is not None
    assert consul.endpoints == ("10.0.0.1:8500", "[::1]:8501")
    assert (consul.watch, consul.prefix, consul.username, consul.password) == (False, "my/prefix", "u", "geheim")
    assert consul.tls == ClientTLS(
        ca=read_file("ca.example.crt").decode(),
        cert=read_file("a.example.crt").decode(),
        key=read_file("a.example.key").decode(),
    )


def test_consul_problems() -> None:
    assert problems("--consul.endpoint=,", "--consul.prefix=/", "--consul.tls.key=a.example.key") == [
        "--consul.tls.key: also needs --consul.tls.cert",
        "--consul.prefix: the prefix is empty",
        "--consul.endpoint: names no host:port",
    ]
    assert problems(
        "--consul.endpoint=h:0,h,:1", "--consul.tls.cert=a.example.crt", "--consul.tls.key=b.example.key"
    ) == [
        "--consul.tls.cert: the key does not belong to the certificate",
        '--consul.endpoint: "h:0" is not of the form host:port',
        '--consul.endpoint: address "h" has no port; write for example h:80',
        '--consul.endpoint: ":1" is not of the form host:port',
    ]


def test_no_password_of_an_endpoint_is_repeated() -> None:
    assert problems("--consul.endpoint=http://u:geheim@h:1,v:geheim@h:1") == [
        "--consul.endpoint: contains a user name; use --consul.username and --consul.password",
        "--consul.endpoint: contains a user name; use --consul.username and --consul.password",
    ]


def test_secrets_are_not_in_the_repr() -> None:
    configuration = build(
        "--consul.username=u",
        "--consul.password=geheim",
        "--consul.tls.cert=a.example.crt",
        "--consul.tls.key=a.example.key",
        "--entryPoints=Name:http Address::443 TLS:a.example.crt,a.example.key",
    )
    for text in (repr(configuration), str(configuration)):
        assert "geheim" not in text
        assert "PRIVATE KEY" not in text
        assert "password='***'" in text
        assert "key_pem='***'" in text


def test_problems_name_no_secrets() -> None:
    key = "".join(read_file("a.example.key").decode().splitlines()[1:-1])
    text = "\n".join(problems("--consul.password=geheim", f"--consul.tls.key={key}", "--consul.tls.cert=a.example.crt"))
    assert "geheim" not in text
    assert key not in text
    assert "--consul.tls.key: there is no file of that name (not shown, it does not look like a path)" in text


def test_json_round_trip() -> None:
    configuration = build(
        "--consul.tls",
        "--ping",
        "--entryPoints=Name:http Address::80 ForwardedHeaders.TrustedIPs:10.0.0.0/8",
        "--entryPoints=Name:https Address::443 TLS:a.example.crt,a.example.key CA:ca.example.crt",
        f"--entryPoints=Name:admin Address::81 Auth.Basic.Users:a:{SHA} WhiteList.SourceRange:10.0.0.0/8 Compress:on",
        "--entryPoints=Name:old Address::82 Redirect.EntryPoint:https",
        "--retry",
    )
    assert StaticConfiguration.model_validate_json(configuration.model_dump_json()) == configuration


def test_deprecated_options_win_if_they_are_above_zero() -> None:
    configuration = build("--idleTimeout=5", "--respondingTimeouts.idleTimeout=6", "--lifeCycle.graceTimeOut=7")
    assert configuration.responding_timeouts.idle_timeout == 5
    assert configuration.life_cycle.grace_time_out == 7
    configuration = build(
        "--idleTimeout=0", "--respondingTimeouts.idleTimeout=6", "--g=8", "--lifeCycle.graceTimeOut=7"
    )
    assert configuration.responding_timeouts.idle_timeout == 6
    assert configuration.life_cycle.grace_time_out == 8


@pytest.mark.parametrize(("text", "number"), [("7", 7), ("0x10", 16), ("010", 8), ("0", 0), ("+3", 3)])
def test_integers(text: str, number: int) -> None:
    assert build(f"--maxIdleConnsPerHost={text}").max_idle_conns_per_host == number


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-1", '"-1" is negative'),
        ("08", '"08" is not a whole number'),
        ("1.5", '"1.5" is not a whole number'),
        ("9999999999", '"9999999999" is too large'),
        ("", "its value is empty"),
    ],
)
def test_no_integers(text: str, message: str) -> None:
    assert problems(f"--maxIdleConnsPerHost={text}") == [f"--maxIdleConnsPerHost: {message}"]


def test_booleans_are_those_of_go() -> None:
    assert all(parse_bool(text) for text in ("1", "t", "T", "true", "TRUE", "True"))
    assert not any(parse_bool(text) for text in ("0", "f", "F", "false", "FALSE", "False"))
    for text in ("", "yes", "on", "tRUE", " true"):
        with pytest.raises(ValueError, match="is not a boolean; write true or false"):
            parse_bool(text)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("consul.endpont", "unknown option --consul.endpont; did you mean --consul.endpoint?"),
        ("entrypoint", "unknown option --entrypoint; did you mean --entryPoints?"),
        ("dokcer", "unknown option --dokcer; did you mean --docker?"),
        ("zzz", "unknown option --zzz"),
        ("Docker", "--Docker is an option of Traefik 1.7 that this version does not implement yet"),
        ("acme.email", "--acme.email is an option of Traefik 1.7 that this version does not implement yet"),
        ("api.statistics.recentErrors",
         "--api.statistics.recentErrors is an option of Traefik 1.7 that this version does not implement yet"),
        ("consul.trace", "--consul.trace is an option of Traefik 1.7 that this version does not implement yet"),
    ],
)  # fmt: skip
def test_unknown_and_unfinished_options(name: str, line: str) -> None:
    assert problems(f"--{name}=x") == [line]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("boltdb.endpoint=x", "a file on one machine is no store for a cluster"),
        ("web", "use api, ping and metrics.prometheus"),
        ("traefikLog.filePath=/x", "nodes log on their standard error"),
        ("hostResolver.cnameFlattening", "names are not resolved for requests"),
        ("hostResolver.resolvDepth=3", "names are not resolved for requests"),
        ("checkNewVersion", "nothing here asks for new versions"),
        ("api.entryPoint=http", "served by the control nodes"),
        ("CLUSTER.node=a", "a cluster is what traefikee always is"),
    ],
)
def test_options_without_meaning_are_refused_with_a_reason(name: str, reason: str) -> None:
    (line,) = problems(f"--{name}")
    assert line.startswith(f"--{name.partition('=')[0]}: ")
    assert reason in line


@pytest.mark.parametrize(
    "name",
    ["checkNewVersion=false", "sendAnonymousUsage=FALSE", "hostresolver.cnameflattening=false",
     "traefikLog.format=common"],
)  # fmt: skip
def test_options_that_ask_for_what_happens_anyway_are_accepted(name: str) -> None:
    assert build(f"--{name}") == StaticConfiguration()


@pytest.mark.parametrize("name", ["api.dashboard", "api.dashboard=true", "api.entryPoint=traefik", "api.debug=false"])
def test_options_below_the_api_switch_it_on(name: str) -> None:
    assert build(f"--{name}") == build("--api")
    assert not build("--api=false", f"--{name}").api


def test_refusals_are_no_options() -> None:
    for name in REFUSALS:
        assert find_option(name) is None
        assert not is_not_yet(name)


@pytest.mark.parametrize(
    ("words", "retry"),
    [([], None), (["retry"], Retry()), (["retry.attempts=4"], Retry(attempts=4)),
     (["retry.attempts=4", "retry=false"], None)],
)  # fmt: skip
def test_retry(words: list[str], retry: Retry | None) -> None:
    assert build(*(f"--{word}" for word in words)).retry == retry


def test_the_interval_of_health_checks() -> None:
    assert build("--healthCheck").health_check_interval == 30
    assert build("--healthCheck.interval=1m").health_check_interval == 60
    assert problems("--healthCheck.interval=0") == ["--healthCheck.interval: has to be above 0"]


def test_constraints() -> None:
    configuration = build("--constraints=tag==a*,tag!=b", "--constraints=tag==c", "--consul.constraints=tag!=d")
    assert configuration.constraints == ("tag==a*", "tag!=b", "tag==c")
    assert configuration.consul == ConsulOptions(constraints=("tag!=d",))
    assert problems("--constraints=tag=a,name==b") == [
        '--constraints: "tag=a" is not a constraint; write tag==pattern or tag!=pattern',
        '--constraints: "name==b": only "tag" can be compared, not "name"',
    ]


def _redirects(*pairs: tuple[str, str]) -> list[str]:
    return [
        f"--entryPoints=Name:{name} Address::{80 + number} Redirect.EntryPoint:{target}"
        for number, (name, target) in enumerate(pairs)
    ]


def test_a_redirect_goes_to_another_entry_point() -> None:
    https = "--entryPoints=Name:https Address::443 TLS"
    redirect = build(*_redirects(("http", "https")), https).entry_points[0].redirect
    assert redirect == Redirect(entry_point="https")
    assert problems(*_redirects(("http", "htps")), https) == [
        'entryPoints.http.Redirect.EntryPoint: entry point "htps" is not defined; did you mean "https"?'
    ]
    assert problems(*_redirects(("http", "http"))) == [
        "entryPoints.http.Redirect.EntryPoint: is the entry point itself"
    ]
    circle = "entryPoints.{}.Redirect.EntryPoint: redirects in a circle: {}"
    assert problems(*_redirects(("a", "b"), ("b", "c"), ("c", "b"))) == [
        circle.format("b", "b -> c -> b"), circle.format("c", "c -> b -> c")
    ]  # fmt: skip


def test_problems_of_an_entry_point_hide_no_others_and_cause_none() -> None:
    assert problems("--entryPoints=Name:web", "--defaultEntryPoints=web", "--ping.entryPoint=web", "--debug=x") == [
        "entryPoints.web: an entry point needs an address; write for example Address::80",
        '--debug: "x" is not a boolean; write true or false',
    ]


def test_arguments_that_are_not_utf_8() -> None:
    assert problems("--consul.prefix=\udcff") == ["--consul.prefix: its value is not UTF-8"]


def test_authorities() -> None:
    literal = read_file("ca.example.crt").decode()
    configuration = build("--rootCAs=ca.example.crt", f"--rootCAs={literal},a.example.crt")
    assert configuration.root_cas == literal + literal + read_file("a.example.crt").decode()
    assert problems("--rootCAs=a.example.key,missing.txt") == [
        "--rootCAs: the certificate cannot be read; it has to be PEM (-----BEGIN CERTIFICATE-----)",
        '--rootCAs: there is no file "missing.txt", and it is not PEM text either',
    ]


def test_every_option_is_found_in_any_case_and_none_is_both() -> None:
    for option in OPTIONS:
        assert find_option(option.name.upper()) is option
        assert not is_not_yet(option.name), option.name
        assert not re.search(r"\.$", option.help), "help is a sentence without a full stop"
    for name in NOT_YET:
        assert is_not_yet(name.upper())
        assert is_not_yet(f"{name}.below")


_names = st.sampled_from([option.name for option in OPTIONS] + sorted(NOT_YET)) | st.text(max_size=12)
_values = (
    st.none() | st.text(max_size=12) | st.sampled_from(["true", "5", "10s", "a.example.crt", "Name:a Address::80"])
)


def _never(name: str) -> bytes:
    raise FileNotFoundError(name)


@given(st.lists(st.tuples(_names, _values), max_size=6))
def test_any_command_line_is_a_configuration_or_problems(values: list[tuple[str, str | None]]) -> None:
    try:
        configuration = build_static(values, _never)
    except ConfigurationError as error:
        found = error.problems
        assert found
    else:
        assert StaticConfiguration.model_validate_json(configuration.model_dump_json()) == configuration
