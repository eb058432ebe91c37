"""``routes`` and ``explain``, for both commands: what an operator asks of a running cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import click
import httpx

from traefikee.cli.common import Command, option, output_option, switch
from traefikee.cli.tables import print_data, table
from traefikee.cli.target import Target
from traefikee.errors import UsageError

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PORTS = {"http": 80, "https": 443}


def routes_command(target: Target) -> click.Command:
    """Return ``routes``."""

    @click.command(cls=Command)
    @target.add_option
    @output_option
    @option("provider", default="", help="Only those of this provider.", show_default=False)
    @switch("errors", help="Only those with errors or warnings.", show_default=False)
    def routes(output: str, provider: str, errors: bool, **options: Any) -> None:
        """List the frontends, and what became of each.

        Priority, entry points and middlewares are those in force. Servers: how many all live data nodes find up, of how
        many (2/3); without a health check only how many there are.
        """
        found = target.connect(options).get("/v1/routes")
        rows = [
            row
            for row in found["routes"]
            if (not provider or row["provider"] == provider) and (not errors or row["state"] != "ok")
        ]
        if output != "table":
            print_data(rows, output)
        else:
            click.echo(routes_table(rows))
        for note in notes(found, provider):
            click.echo(note, err=True)

    return routes


def routes_table(rows: list[dict[str, Any]]) -> str:
    """Return the table of frontends, and below it what is wrong with them."""
    names = ("Name", "Rule", "Priority", "Entry points", "Middlewares", "Backend", "Servers", "State")
    cells = [
        (
            row["name"],
            row["rule"],
            str(row["priority"]),
            ",".join(row["entryPoints"]),
            ",".join(row["middlewares"]),
            row["backend"],
            _counted(row["servers"]),
            row["state"],
        )
        for row in rows
    ]
    lines = [table([(name, len(name)) for name in names], cells)]
    lines += [_problem(row["name"], error) for row in rows for error in row["errors"]]
    return "\n".join(lines)


def _counted(servers: Mapping[str, Any]) -> str:
    up, total = servers["up"], servers["total"]
    return str(total) if up is None else f"{up}/{total}"


def _problem(name: str, error: Mapping[str, str]) -> str:
    return f"{error['severity']}: {name}: {error['message']} [{error['key']}]"


def notes(found: Mapping[str, Any], provider: str) -> list[str]:
    """Return what a reader has to know beside the rows."""
    lines = [
        f"{name} cannot be read: {status['message']}; what it said last is in force"
        for name, status in found["providers"].items()
        if status["state"] == "error" and provider in ("", name)
    ]
    return [*lines, *found["notes"]]


def explain_command(target: Target) -> click.Command:
    """Return ``explain``."""

    # -H is for headers, as everywhere; and names are in any case.
    @click.command(cls=Command, context_settings={"help_option_names": ["--help"]})
    @click.argument("method")
    @click.argument("url")
    @target.add_option
    @output_option
    @option("client-ip", "client_ip", default="127.0.0.1", help="Where the request comes from.")
    @option(
        "entry-point",
        "entry_point",
        default="",
        help="Through which entry point it comes.  [default: the one on the URL's port, or of its scheme]",
        show_default=False,
    )
    @click.option("--header", "-H", "header", multiple=True, metavar="'NAME: VALUE'", help="A header of the request.")
    def explain(
        method: str, url: str, header: tuple[str, ...], entry_point: str, client_ip: str, output: str, **options: Any
    ) -> None:
        """Tell where a request goes, and why.

        Nothing is sent: the engine's router is asked what it would do by the published configuration. Authentication
        and rate limits are taken to let the request pass.
        """
        asked = request_of(method, url, header) | {"entry_point": entry_point, "client_ip": _address(client_ip)}
        found = target.connect(options).post("/v1/explain", asked)
        if output != "table":
            print_data(found, output)
        else:
            click.echo("\n".join(explanation(method.upper(), url, found)))

    return explain


def request_of(method: str, url: str, headers: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the request as the API takes it.

    :raises UsageError: if it cannot be meant.
    """
    if not _TOKEN.fullmatch(method):
        raise UsageError(f'"{method}" is not a method', "write for example: explain GET http://www.example.com/")
    try:
        scheme, authority = urlsplit(url).scheme.lower(), urlsplit(url).netloc
        parsed = httpx.URL(url)
        port = parsed.port or _PORTS.get(scheme, 0)
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError(f'"{url}" is not a URL: {error}') from error
    if scheme not in _PORTS or not parsed.host or "@" in authority:
        raise UsageError(f'"{url}" is not a URL of a request', "write for example http://www.example.com/path")
    return {
        "method": method.upper(),
        "scheme": scheme,
        "host": parsed.netloc.decode("ascii"),
        "port": port,
        "target": parsed.raw_path.decode("ascii"),
        "headers": [_header(text) for text in headers],
    }


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not _TOKEN.fullmatch(name) or not value.isprintable():
        raise UsageError(f"-H: {text!a} is not a header", "write -H 'Name: value'")
    return name, value.strip()


def _address(text: str) -> str:
    import ipaddress

    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise UsageError(f'--client-ip: "{text}" is not an IP address') from None


def explanation(method: str, url: str, found: Mapping[str, Any]) -> list[str]:
    """Return the lines that tell where a request goes."""
    request = found["request"]
    where = f' on entry point "{request["entry_point"]}"' if request else ""
    lines = [f"{method} {url}{where}, by snapshot {found['revision']}:", f"  {found['sentence']}"]
    frontend = found["frontend"]
    if frontend:
        steps = found["middlewares"]
        stopped = found["outcome"] == "middleware" and steps[-1]["at"] == "entryPoint"
        beyond = ", which the request does not reach" if stopped else ""
        lines += ["", f"Frontend {frontend['name']}{beyond}", *_details(found, frontend)]
    elif found["middlewares"]:
        lines += ["", "Middlewares", *(f"  {_step(step)}" for step in found["middlewares"])]
    for title, ones, tell in (
        ("Matching too", found["lost"], lambda one: one["reason"]),
        ("Not matching, though the host does", found["missing"], _missed),
    ):
        if ones:
            rows = [(f"  {one['name']}", tell(one), one["rule"]) for one in ones]
            more = found["more"]["lost" if title == "Matching too" else "missing"]
            lines += ["", title, *_aligned(rows), *([f"  and {more} more"] if more else [])]
    if found["elsewhere"] and not frontend:
        lines += ["", "On other entry points it would be taken by"]
        lines += [f"  {one['name']} on {one['entryPoint']}" for one in found["elsewhere"]]
    if found["leftOut"]:
        lines += ["", "Left out for an error, and perhaps meant"]
        lines += [f"  {one['name']}: {one['message']} [{one['key']}]" for one in found["leftOut"]]
    return lines


def _details(found: Mapping[str, Any], frontend: Mapping[str, Any]) -> list[str]:
    rows = [("  from", frontend["from"]), ("  rule", f"{frontend['rule']} (priority {frontend['priority']})")]
    rows += [("  middleware", _step(step)) for step in found["middlewares"]]
    target, at_server = found["target"], found["targetAtServer"]
    if at_server is not None and at_server != target:
        told = "".join(f"; {name}: {value}" for name, value in found["fields"])
        rows.append(("  path", f"{target} becomes {at_server}{told}"))
    if frontend["backend"]:
        rows.append(("  backend", frontend["backend"]))
    rows += [("  server", _server(server)) for server in found["servers"]]
    return _aligned(rows)


def _server(server: Mapping[str, Any]) -> str:
    state = "" if server["up"] is None else ", up" if server["up"] else f", down on {', '.join(server['downOn'])}"
    return f"{server['url']} (weight {server['weight']}){state}"


def _step(step: Mapping[str, Any]) -> str:
    of = " of the entry point" if step["at"] == "entryPoint" else ""
    match step["result"]:
        case "answers":
            location = f", to {step['location']}" if step.get("location") else ""
            return f"{step['name']}{of}: answers {step['status']}{location}"
        case "not_asked":
            return f"{step['name']}{of}: not asked"
        case _:
            return f"{step['name']}{of}: lets it pass"


def _missed(one: Mapping[str, Any]) -> str:
    return f"{one['matcher']}: {one['reason']}" if one["reason"] else str(one["matcher"])


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
