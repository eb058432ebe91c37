"""Go's flag conventions, environment names, errors and exit codes of both commands."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import structlog

from traefikee.cli import deploy as deploying
from traefikee.cli import main
from traefikee.cli.common import environment_name
from traefikee.cli.main import traefikee
from traefikee.cli.remote import traefikeectl

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run a command line; returns exit code, standard output and standard error."""

    def call(*words: str, command: click.Group = traefikee) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            command.main(list(words), prog_name=command.name)
        streams = capsys.readouterr()
        return int(ended.value.code or 0), streams.out, streams.err

    yield call
    # A node's command sets up the log for its process, with the streams of this test.
    structlog.reset_defaults()


@pytest.fixture
def deployed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """The static options that a deploy command was given, in order, instead of a deployment."""
    seen: list[tuple[str, str | None]] = []

    def keep(_client: Any, values: list[tuple[str, str | None]], _file: str, **_: Any) -> int:
        seen.extend(values)
        return 0

    monkeypatch.setattr(main, "run_deploy", keep)
    return seen


def test_without_arguments_the_usage_is_printed_and_that_is_fine(run: Run) -> None:
    code, out, err = run()
    assert code == 0
    assert out.startswith("Usage: traefikee [flags] <command> [<arguments>]\n\n")
    assert 'Use "traefikee <command> --help" for help on any command.' in out
    assert err == ""


@pytest.mark.parametrize("command", sorted(traefikee.commands))
def test_every_command_has_help(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert out.startswith(f"Usage: traefikee {command} [flags]")


@pytest.mark.parametrize("command", sorted(traefikeectl.commands))
def test_every_remote_command_has_help(run: Run, command: str) -> None:
    code, out, _ = run(command, "--help", command=traefikeectl)
    assert code == 0
    assert out.startswith(f"Usage: traefikeectl {command} [flags]")


@pytest.mark.parametrize(
    "words",
    [
        ["--consul.endpoint=h:1"],
        ["--consul.endpoint", "h:1"],
        ["-consul.endpoint=h:1"],
        ["--CONSUL.Endpoint=h:1"],
        ["-Consul.ENDPOINT", "h:1"],
    ],
)
def test_flags_in_any_of_go_s_forms(run: Run, deployed: list[tuple[str, str]], words: list[str]) -> None:
    assert run("deploy", *words)[0] == 0
    assert deployed == [("consul.endpoint", "h:1")]


def test_a_switch_stands_alone_or_takes_a_value(run: Run, deployed: list[tuple[str, str]]) -> None:
    run("deploy", "--api", "--consul.watch=false", "--consul")
    assert deployed == [("api", "true"), ("consul.watch", "false"), ("consul", "true")]


def test_entry_points_are_repeated(run: Run, deployed: list[tuple[str, str]]) -> None:
    run("deploy", "--entryPoints=Name:http Address::80", "--entrypoints=Name:https Address::443 TLS")
    assert [value for _, value in deployed] == ["Name:http Address::80", "Name:https Address::443 TLS"]


def test_the_environment_counts_where_the_option_is_not_given(
    run: Run, deployed: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAEFIKEE_CONSUL_ENDPOINT", "env:1")
    monkeypatch.setenv("TRAEFIKEE_ENTRYPOINTS", "Name:http Address::80")
    run("deploy", "--consul.endpoint=cli:1")
    assert sorted(deployed) == [("consul.endpoint", "cli:1"), ("entryPoints", "Name:http Address::80")]


def test_names_of_environment_variables() -> None:
    assert environment_name("consul.tls.caOptional") == "TRAEFIKEE_CONSUL_TLS_CAOPTIONAL"
    assert environment_name("token-file") == "TRAEFIKEE_TOKEN_FILE"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["list-node"], 'unknown command "list-node"; did you mean "list-nodes"?'),
        (["list-nodes", "--detials"], "unknown option --detials; did you mean --details?"),
        (["bootstrap", "--controlNode=3"], "unknown option --controlnode; did you mean --controlNodes?"),
        (["bootstrap"], "--licensekey is missing"),
        (["bootstrap", "--licensekey=x", "--controlNodes=4"], "--controlNodes=4 is even"),
        (["bootstrap", "--licensekey=x", "--controlNodes=0"], "x>=1"),
        (["bootstrap", "--licensekey=x", "--timeout=soon"], '"soon"'),
        (["bootstrap", "--licensekey=x", "--listen=nowhere"], "has no port"),
        (["start-control-node", "--peeraddresses=a:b", "--listen=:0"], "--listen"),
        (["start-data-node", "--bind=localhost", "--peeraddresses=a:1"], "--bind"),
        (["deploy"], "nothing to deploy"),
        (["deploy", "--consul.endpont=x"], "unknown option --consul.endpont; did you mean --consul.endpoint?"),
        (["deploy", "--docker.endpoint=x"], "--docker.endpoint is an option of Traefik 1.7"),
        (["deploy", "--entryPoints=Name:http"], "Address"),
    ],
)
def test_a_wrong_command_line_is_one_error_with_exit_code_2(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str
) -> None:
    monkeypatch.setenv("TRAEFIKEE_STATEDIR", str(tmp_path / "s"))
    code, out, err = run(*words)
    assert code == 2, err
    assert out == ""
    assert err.startswith("Error: ")
    assert sentence in err
    assert "Traceback" not in err


def test_all_problems_of_a_configuration_are_told_at_once(run: Run) -> None:
    _, _, err = run(
        "deploy", "--entryPoints=Name:a", "--acme.email", "x", "--logLevel", "LOUD", "--api=maybe", "--bogus"
    )
    for part in ("Address", "--acme.email", "--logLevel", "--api", "--bogus"):
        assert part in err
    assert len(err.strip().splitlines()) == 5, err


def test_nobody_on_the_socket(run: Run, tmp_path: Path) -> None:
    code, _, err = run("list-nodes", f"--traefikeesocket={tmp_path}/none.sock")
    assert code == 1
    assert err.startswith(f"Error: there is no socket {tmp_path}/none.sock: no node runs with it; ")
    assert "start a node on this machine, or name its socket with --traefikeesocket" in err


def test_the_alias_of_the_socket_option(run: Run, tmp_path: Path) -> None:
    assert f"{tmp_path}/x" in run("env", f"--controlAPISocket={tmp_path}/x")[2]


def test_version(run: Run) -> None:
    code, out, _ = run("version")
    assert code == 0
    assert out.startswith("Version:")
    assert '"version":' in run("version", "-o", "json")[1]


def test_secrets_are_masked_in_what_is_kept_of_the_command_line() -> None:
    line = deploying.command_line([("consul.password", "s3cret"), ("rootCAs", "-----BEGIN X"), ("api", "true")])
    assert line == "deploy '--consul.password=***' '--rootCAs=***' --api=true"


def test_no_connection_yet(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    code, _, err = run("list-nodes", command=traefikeectl)
    assert code == 1
    assert 'there is no connection to a cluster "traefikee"; make one with traefikeectl connect' in err


@pytest.mark.parametrize("name", ["", "..", "a/b"])
def test_names_of_connections_are_names_of_files(run: Run, name: str) -> None:
    code, _, err = run("list-nodes", f"--clustername={name}", command=traefikeectl)
    assert code == 2
    assert "cannot be the name of a file" in err
