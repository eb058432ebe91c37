"""Where a request goes, and why: the engine is asked, and what it says is told in an operator's words. Pure.

The engine decides with the router that serves (``POST /explain`` in ``docs/internals/snapshot.md``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyAddress

from traefikee.api.shown_routes import backend_of, rule_of, servers_of, short_name
from traefikee.api.view import View
from traefikee.compile import changes
from traefikee.compile.changes import State
from traefikee.config.addresses import split_address
from traefikee.errors import RefusedError


class ExplainRequest(BaseModel):
    """``POST /v1/explain``: a request, as a client would send it.

    :ivar host: what its ``Host`` says, with a port unless that is the scheme's own.
    :ivar port: which port it would go to.
    :ivar target: path and query, escaped.
    :ivar entry_point: through which entry point it comes; empty: which one that is follows from port and scheme.
    :ivar client_ip: where it comes from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str
    scheme: Literal["http", "https"]
    host: str
    port: int
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    entry_point: str = ""
    client_ip: IPvAnyAddress = Field(default="127.0.0.1", validate_default=True)


def choose_entry_point(view: View, asked: ExplainRequest) -> str:
    """Return the entry point through which a request comes.

    That is the one that is named, or the only one on its port, or the only one that speaks TLS as its scheme does.

    :raises RefusedError: if that cannot be told, or nothing is deployed.
    """
    points: list[dict[str, Any]] = json.loads(view.objects.get(changes.ENTRY_POINTS, b"[]"))
    if not points:
        raise RefusedError("nothing is in force yet: there is no entry point", "deploy a configuration", kind="invalid")
    names = [point["name"] for point in points]
    if asked.entry_point:
        if asked.entry_point not in names:
            raise RefusedError(
                f'there is no entry point "{asked.entry_point}" (there are: {", ".join(names)})', kind="invalid"
            )
        return asked.entry_point
    on_port = [point["name"] for point in points if split_address(point["address"])[1] == asked.port]
    by_scheme = [point["name"] for point in points if (point["tls"] is not None) == (asked.scheme == "https")]
    for candidates in (on_port, by_scheme):
        if len(candidates) == 1:
            return str(candidates[0])
    raise RefusedError(
        f"port {asked.port} does not tell which entry point is meant",
        f"name it with --entry-point: {', '.join(names)}",
        kind="invalid",
    )


def question(view: View, asked: ExplainRequest, entry_point: str) -> bytes:
    """Return what the engine is asked: the request, and the published snapshot without certificates."""
    settings: Any = json.loads(view.objects[changes.SETTINGS]) | {"ticket_keys": [], "access_log": None}
    points: Any = [point | {"tls": None} for point in json.loads(view.objects[changes.ENTRY_POINTS])]
    local = {changes.SETTINGS: json.dumps(settings).encode(), changes.ENTRY_POINTS: json.dumps(points).encode()}
    objects = {key: text for key, text in view.objects.items() if not key.startswith("certificate/")}
    revision = view.pointer.revision if view.pointer else 0
    given = [value for name, value in asked.headers if name.lower() == "host"]
    request = {
        "entry_point": entry_point,
        "method": asked.method,
        "target": asked.target,
        "host": given[0] if given else asked.host,
        "headers": [(name, value) for name, value in asked.headers if name.lower() != "host"],
        "client_ip": str(asked.client_ip),
        "tls": asked.scheme == "https",
    }
    snapshot = changes.engine_snapshot(State("", revision, objects), local)
    return b'{"request":%s,"snapshot":%s}' % (json.dumps(request).encode(), snapshot)


def explained(view: View, asked: ExplainRequest, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the engine's answer in an operator's words.

    The result has ``sentence``; ``outcome``, ``status``, ``location``, ``reason``, ``revision``, ``request`` and
    ``target`` as the engine says them; ``frontend`` (None if none takes it); ``middlewares`` on the way; ``servers``;
    ``lost``, those that match too, each with its ``reason``; ``missing``, those that do not though their host does,
    each with the ``matcher`` that fails; ``leftOut``, frontends in error whose rules name the host; ``more`` of these;
    ``elsewhere``, which frontend would take it on which other entry point.
    """
    route = answer["route"]
    request = answer["request"]
    matching, missing = answer["matching"], answer["missing"]
    return {
        "sentence": sentence(view, answer),
        "outcome": answer["outcome"],
        "status": answer.get("status"),
        "location": answer.get("location"),
        "reason": answer.get("reason"),
        "revision": answer["revision"],
        "request": request,
        "target": asked.target,
        "targetAtServer": answer.get("target"),
        "fields": answer.get("fields", []),
        "frontend": None if route is None else _frontend(view, route["id"], route),
        "middlewares": [
            {**step, "name": short_name(step), "at": "entryPoint" if step["at"] == "entry_point" else "frontend"}
            for step in answer["middlewares"]
        ],
        "servers": [] if route is None else servers_of(view, route["service"]),
        "lost": [
            _frontend(view, one["id"], one) | {"reason": _lost(one, matching["routes"][0])}
            for one in matching["routes"][1:]
        ],
        "missing": [
            _frontend(view, one["id"], one)
            | {"matcher": matcher_text(one["matcher"]), "reason": _missed(one["matcher"], request or {})}
            for one in missing["routes"]
        ],
        "more": {"lost": matching["more"], "missing": missing["more"]},
        "elsewhere": [{"entryPoint": one["entry_point"], "name": one["id"]} for one in answer["elsewhere"]],
        "leftOut": _left_out(view, str(request["host"])) if request else [],
    }


def sentence(view: View, answer: Mapping[str, Any]) -> str:
    """Return what becomes of the request, in one sentence."""
    route, status, location = answer["route"], answer.get("status"), answer.get("location")
    frontend = f'frontend "{route["id"]}"' if route else ""
    match answer["outcome"]:
        case "forward":
            servers = servers_of(view, route["service"])
            backend = f'backend "{route["service"]}"'
            if not servers:
                return f"answered 503: {frontend} takes it, but {backend} has no server"
            if all(server["up"] is False for server in servers):
                return f"answered 503: {frontend} takes it, but every server of {backend} is down"
            asked = [short_name(step) for step in answer["middlewares"] if step["result"] == "not_asked"]
            condition = f", if {' and '.join(asked)} let{'s' * (len(asked) == 1)} it" if asked else ""
            return f"goes through {frontend} to {backend}{condition}"
        case "redirect_slash":
            return f"redirected ({status}) to {location}: {frontend} has this path with its last slash the other way"
        case "middleware":
            step = answer["middlewares"][-1]
            place = f'entry point "{answer["request"]["entry_point"]}"' if step["at"] == "entry_point" else frontend
            to = f", to {location}" if location else ""
            return f"answered {status} by {short_name(step)} of {place}{to}"
        case "no_route" if route:
            return f"answered 404: {frontend} takes it, but the path does not begin with what its rule strips"
        case "no_route":
            return "answered 404: no frontend matches"
        case "ping" | "metrics" as what:
            return f"answered by the data node itself: /{what}"
        case _:
            return f"answered {status}: {answer.get('reason')}"


def _frontend(view: View, identity: str, route: Mapping[str, Any]) -> dict[str, Any]:
    own = view.own_name(identity)
    provider, _, name = own.partition("/")
    frontend = view.said(own)
    return {
        "name": identity,
        "from": view.place(provider, view.kind_of(own), name),
        "rule": rule_of(frontend) if frontend else "",
        "priority": route["priority"],
        "backend": f"{provider}/{backend_of(frontend)}" if frontend else "",
    }


def _lost(one: Mapping[str, Any], winner: Mapping[str, Any]) -> str:
    if one["priority"] < winner["priority"]:
        return f"its priority is lower: {one['priority']} against {winner['priority']}"
    return f'of the same priority, {one["priority"]}, and its name comes after "{winner["id"]}"'


def matcher_text(matcher: Mapping[str, Any] | None) -> str:
    """Return a snapshot's matcher as a rule has it; patterns as the engine has them."""
    if matcher is None:
        return ""
    match matcher["type"]:
        case "path":
            return _joined("Path", map(_text, matcher["paths"]))
        case "path_prefix":
            return _joined("PathPrefix", map(_text, matcher["prefixes"]))
        case "method":
            return _joined("Method", matcher["methods"])
        case "headers":
            return _joined("Headers", (f"{name},{value}" for name, value in matcher["pairs"]))
        case "headers_regexp":
            return _joined("HeadersRegexp", (f"{name},{pattern}" for name, pattern in matcher["pairs"]))
        case "query":
            return _joined("Query", (f"{pair['key']}={_text(pair)}" for pair in matcher["pairs"]))
        case "client_ip":
            return _joined("ClientIP", matcher["ranges"])
        case "not":
            return f"not {matcher_text(matcher['matcher'])}"
        case "host":
            return _joined("Host", matcher["hosts"])
        case "host_regexp":
            return _joined("HostRegexp", matcher["patterns"])
        case other:
            return str(other)


def _joined(name: str, values: Iterable[str]) -> str:
    return f"{name}:{','.join(values)}"


def _text(pattern: Mapping[str, Any]) -> str:
    return str(pattern.get("exact") or pattern.get("regexp") or "")


def _missed(matcher: Mapping[str, Any] | None, request: Mapping[str, Any]) -> str:
    if matcher and matcher["type"] == "not":
        return _missed(matcher["matcher"], request)
    kind = matcher["type"] if matcher else ""
    if kind in ("path", "path_prefix"):
        return f"the path is {request.get('path')}"
    if kind == "method":
        return f"the method is {request.get('method')}"
    if kind == "query":
        query = request.get("query")
        return f"the query is {query}" if query else "there is no query"
    if kind in ("host", "host_regexp"):
        return f"the host is {request.get('host')}"
    return "" if kind == "client_ip" else "by the headers of the request"


def _left_out(view: View, host: str) -> list[dict[str, str]]:
    """Return the frontends in error that might have taken the request: their rules name its host."""
    found = []
    for (provider, kind, name), errors in sorted(view.errors_by_object().items()):
        frontend = view.said(f"{provider}/{name}")
        if kind not in ("frontend", "router") or view.route(f"{provider}/{name}") is not None:
            continue
        if frontend is None or (host and host in rule_of(frontend).lower()):
            found += [
                {"name": f"{provider}/{name}", **view.told(error)} for error in errors if error.severity == "error"
            ]
    return found
