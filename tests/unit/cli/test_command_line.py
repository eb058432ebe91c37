"""Go's flag conventions, environment names, errors and exit codes of both commands."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import structlog

from traefikee.cli import client as clients
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


@pytest.mark.parametrize(
    ("words", "force", "nodes"),
    [
        (["--force", "a", "b"], True, ("a", "b")),
        (["-force", "a"], True, ("a",)),
        (["--force=false", "a"], False, ("a",)),
        (["a", "--force"], True, ("a",)),
        (["--force", "--", "--force"], True, ("--force",)),
        (["a"], False, ("a",)),
    ],
)
def test_a_switch_does_not_take_an_argument_for_its_value(
    words: list[str], force: bool, nodes: tuple[str, ...]
) -> None:
    command = traefikee.commands["rm-node"]
    with command.make_context("rm-node", words) as context:
        assert (context.params["force"], context.params["nodes"]) == (force, nodes)


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
        (["storeconfig", "--consul"], 'unknown command "storeconfig": deploy keeps the configuration in the cluster'),
        (["healthcheck"], 'unknown command "healthcheck"; did you mean "healthcheck-node"?'),
        (["deploy", "--chekNewVersion"], "unknown option --chekNewVersion; did you mean --checkNewVersion?"),
        (["deploy", "-l=LOUD"], '--logLevel: "LOUD" is not one of'),
        (["list-nodes", "--detials"], "unknown option --detials; did you mean --details?"),
        (["bootstrap", "--controlNode=3"], "unknown option --controlnode; did you mean --controlNodes?"),
        (["bootstrap"], "--licensekey is missing"),
        (["bootstrap", "--licensekey=x", "--controlNodes=4"], "--controlNodes=4 is even"),
        (["bootstrap", "--licensekey=x", "--controlNodes=0"], "x>=1"),
        (["bootstrap", "--licensekey=x", "--timeout=soon"], '"soon"'),
        (["bootstrap", "--licensekey=x", "--listen=nowhere"], "has no port"),
        (["start-control-node", "--peeraddresses=a:b", "--listen=:0"], "--listen"),
        (["start-data-node", "--bind=localhost", "--peeraddresses=a:1"], "--bind"),
        (["drain-node"], "missing argument 'NAME|ID ...'"),
        (["drain-node", "a", "--timeout=soon"], '"soon"'),
        (["drain-node", "a", "--now"], "unknown option --now"),
        (["rm-node", "--force"], "missing argument 'NAME|ID ...'"),
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


FILE = """\
logLevel = "INFO"
[entryPoints.http]
address = ":80"
[consul]
password = "s3cret"
username = "u"
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    """A configuration file."""
    path = tmp_path / "traefik.toml"
    path.write_text(FILE)
    return path


class Answering:
    """Stands for a control node: keeps what it is asked, and answers as it is told."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.asked.append((path, body))
        return self.plan

    def stream(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self.asked.append((path, body))
        yield {"event": "done", "ok": True, "message": "Applied by 1 data node."}


CHANGE = {"path": "logLevel", "change": "changed", "before": "ERROR", "after": "INFO", "message": "~ logLevel: ..."}


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Answering:
    """The control node that the commands reach."""
    answering = Answering({"deployed": 4, "changes": [CHANGE]})
    monkeypatch.setattr(clients, "local", lambda _socket: answering)
    return answering


@pytest.mark.parametrize("form", ["--configFile={}", "--configfile {}", "-configFile={}", "-c {}", "-c={}", "-c{}"])
def test_a_file_is_deployed_in_any_form_of_its_option(run: Run, control: Answering, toml: Path, form: str) -> None:
    assert run("deploy", *form.format(toml).split(" "), "--loglevel=WARN") == (0, "✔ Applied by 1 data node.\n", "")
    (path, body) = control.asked[0]
    assert path == "/v1/deploy"
    assert body["configuration"]["log_level"] == "WARN"
    assert body["configuration"]["consul"]["username"] == "u"
    assert body["command"] == f"deploy --configFile={toml} --logLevel=WARN"


def test_the_directory_of_a_file_and_variables_in_its_name(
    run: Run, control: Answering, toml: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERE", str(toml.parent))
    monkeypatch.setenv("TRAEFIKEE_CONFIGFILE", "$WHERE")
    assert run("deploy")[0] == 0
    assert control.asked[0][1]["configuration"]["log_level"] == "INFO"


def test_problems_of_a_file_and_of_flags_are_told_together(run: Run, toml: Path) -> None:
    toml.write_text(FILE + 'endpont = "x"\n')
    code, out, err = run("deploy", "-c", str(toml), "--api=maybe", "--bogus", "-lLOUD")
    assert code == 2
    assert out == ""
    assert f'{toml}:7: consul.endpont: unknown key; did you mean "consul.endpoint"?' in err
    assert "--api" in err
    assert "--bogus" in err
    assert "--logLevel" in err
    assert len(err.strip().splitlines()) == 4, err


@pytest.mark.parametrize("content", [b"\xff", b"[", b"a = 1"])
def test_a_file_that_is_none(run: Run, toml: Path, content: bytes) -> None:
    toml.write_bytes(content)
    code, _, err = run("deploy", f"--configFile={toml}", "--ping")
    assert code == 2
    assert err.startswith(f"Error: {toml}:1: ")


def test_a_file_that_is_missing(run: Run, tmp_path: Path) -> None:
    assert run("deploy", f"-c={tmp_path}/x.toml")[2] == f"Error: {tmp_path}/x.toml: there is no such file\n"
    assert run("deploy", f"-c={tmp_path}")[2] == f"Error: {tmp_path}: no traefik.toml is in that directory\n"


def test_flags_that_ask_for_what_happens_anyway(run: Run, deployed: list[tuple[str, str]]) -> None:
    assert run("deploy", "--api", "--checkNewVersion=false", "--api.dashboard")[0] == 0
    assert deployed == [("api", "true"), ("checkNewVersion", "false"), ("api.dashboard", "true")]


def test_a_dry_run_tells_what_would_change(run: Run, control: Answering, toml: Path) -> None:
    code, out, err = run("deploy", f"-c={toml}", "--dry-run")
    assert (code, err) == (0, "")
    assert out == "~ logLevel: ...\n1 change against configuration 4. Nothing was deployed: this was a dry run.\n"
    assert [path for path, _ in control.asked] == ["/v1/plan"]


def test_a_dry_run_in_json(run: Run, control: Answering, toml: Path) -> None:
    code, out, _ = run("deploy", f"-c={toml}", "--dry-run", "-o", "json")
    assert code == 0
    assert json.loads(out) == control.plan


def test_a_dry_run_before_anything_is_deployed(run: Run, control: Answering) -> None:
    control.plan = {"deployed": None, "changes": []}
    assert run("deploy", "--ping", "--dry-run")[1].startswith("No change (nothing is deployed yet).")


def test_the_form_of_a_dry_run_needs_one(run: Run, control: Answering) -> None:
    code, _, err = run("deploy", "--ping", "-o", "json")
    assert code == 2
    assert "--dry-run" in err
    assert control.asked == []


@pytest.mark.parametrize("command", [traefikee, traefikeectl])
def test_a_file_that_is_right(run: Run, toml: Path, command: click.Group) -> None:
    code, out, err = run("config", "check", str(toml), command=command)
    assert (code, err) == (0, "")
    assert out == "ok: entry points http (:80); Consul\n"


def test_a_file_that_is_wrong(run: Run, toml: Path) -> None:
    toml.write_text('logLevel = "LOUD"\n[consul]\nendpont = "x"\n[frontends.a]\n')
    code, out, err = run("config", "check", str(toml))
    assert (code, out) == (1, "")
    assert err == (
        f'{toml}:1: logLevel: "LOUD" is not one of DEBUG, INFO, WARN, ERROR, FATAL, PANIC\n'
        f'{toml}:3: consul.endpont: unknown key; did you mean "consul.endpoint"?\n'
        f"{toml}:4: frontends: needs the table [file] beside it; without it, it is not read (as in "
        "Traefik 1.7)\n"
        "3 problems\n"
    )


def test_what_is_wrong_in_a_file_of_frontends_has_its_line(run: Run, toml: Path) -> None:
    rules = toml.parent / "rules.toml"
    toml.write_text(f'[file]\nfilename = "{rules}"\n')
    rules.write_text('[backends.a]\n[frontends.b]\nbackend = "a"\n[frontends.b.routes.r]\nrule = "Hots:a"\n')
    code, out, err = run("config", "check", str(toml))
    assert (code, out) == (1, "")
    assert err == (
        f'error: {rules}:5: frontend "file/b": route "r": unknown matcher "Hots"; did you mean "Host"?\n1 problem\n'
    )
    rules.write_text(rules.read_text().replace("Hots", "Host"))
    assert run("config", "check", str(toml)) == (0, "ok: entry points http (:80); files\n", "")
    rules.write_text("[backends\n")
    code, _, err = run("config", "check", str(toml))
    assert (code, err[: len(str(rules)) + 15]) == (1, f"{rules}:1: is not TOML")


def test_frontends_in_the_configuration_file_itself(run: Run, toml: Path) -> None:
    toml.write_text('[file]\n[frontends.b]\nbackend = "a"\n')
    code, _, err = run("config", "check", str(toml))
    assert (code, err) == (1, f'error: {toml}:3: frontend "file/b": backend "a" is not defined\n1 problem\n')


def test_a_group_without_a_command_prints_its_usage(run: Run) -> None:
    code, out, err = run("config")
    assert (code, err) == (0, "")
    assert out.startswith("Usage: traefikee config [flags] <command>")
    assert "check" in out


@pytest.mark.parametrize(("healthy", "code"), [(True, 0), (False, 1)])
def test_the_health_of_a_node_is_the_exit_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, healthy: bool, code: int
) -> None:
    class Node:
        def ask(self, _path: str) -> tuple[int, dict[str, Any]]:
            return 200, {"healthy": healthy, "message": "as it is"}

    monkeypatch.setattr(clients, "local", lambda _socket: Node())
    assert run("healthcheck-node")[0] == code


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
    line = deploying.command_line(
        [("entryPoints", "Name:a auth_basic.USERS:u:{SHA}x,v:{SHA}y Compress:on")], "a b.toml"
    )
    assert line == "deploy '--configFile=a b.toml' '--entryPoints=Name:a auth_basic.USERS:*** Compress:on'"


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
