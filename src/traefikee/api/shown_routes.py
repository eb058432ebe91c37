"""The table of frontends that ``routes`` prints. Pure: from a view to rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from traefikee.api.view import View
from traefikee.config.dynamic import Frontend, Router
from traefikee.config.runtime import ObjectError

_SHORT = {
    "errors": "errors",
    "white_list": "whiteList",
    "redirect_entry_point": "redirect",
    "redirect_regex": "redirect",
    "headers": "headers",
    "security_headers": "security",
    "client_cert": "passTLSClientCert",
    "basic_auth": "auth.basic",
    "digest_auth": "auth.digest",
    "forward_auth": "auth.forward",
    "rate_limit": "ratelimit",
    "compress": "compress",
}
"""What middlewares of a snapshot are called: the options of Traefik 1.7 that they come from."""


def short_name(middleware: Mapping[str, Any]) -> str:
    """Return the short name of a snapshot's middleware."""
    return _SHORT.get(str(middleware["type"]), str(middleware["type"]))


def backend_of(said: Frontend | Router) -> str:
    """Return the name of the backend of a frontend, or of the service of a router."""
    return said.service if isinstance(said, Router) else said.backend


def rule_of(frontend: Frontend | Router) -> str:
    """Return all rules of a frontend as one, or the rule of a router."""
    if isinstance(frontend, Router):
        return frontend.rule
    return ";".join(route.rule for _, route in sorted(frontend.routes.items()))


def servers_of(view: View, identity: str) -> list[dict[str, Any]]:
    """Return a service's servers: ``url``, ``weight``, ``up`` (None: nobody asks) and ``downOn``, names of nodes."""
    service = view.service(identity)
    if service is None:
        return []
    down = view.down.get(identity, {})
    asked = service["health_check"] is not None and view.data_nodes > 0
    return [
        {
            "url": server["url"],
            "weight": server["weight"],
            "up": server["url"] not in down if asked else None,
            "downOn": list(down.get(server["url"], ())) if asked else [],
        }
        for server in service["servers"]
    ]


def routes_document(view: View) -> dict[str, Any]:
    """Return what ``GET /v1/routes`` answers: ``routes`` sorted by name, ``providers`` and ``notes``.

    Of each route: ``name``, ``provider``, ``state`` (``ok``, ``warning``, ``error``), ``rule``, ``priority``,
    ``entryPoints``, ``middlewares``, ``backend``, ``servers`` (``total``; ``up`` or None if nobody asks), ``errors``.
    """
    errors = view.errors_by_object()
    names = {
        *(
            f"{provider}/{name}"
            for provider, one in view.runtime.heard.items()
            for name in (*one.frontends, *one.routers)
        ),
        *(view.own_name(key.removeprefix("route/")) for key in view.objects if key.startswith("route/")),
        *(f"{provider}/{name}" for provider, kind, name in errors if kind in ("frontend", "router")),
    }
    notes = list(view.unlisted())
    if view.pointer is not None and view.pointer.failure:
        notes.append(f"configuration {view.pointer.config} cannot be compiled: {view.pointer.failure}")
    if view.down_unlisted:
        notes.append(f"{view.down_unlisted} more backends have servers that are down")
    return {
        "revision": view.pointer.revision if view.pointer else None,
        "routes": [_row(view, name, errors) for name in sorted(names)],
        "providers": {name: one.model_dump() for name, one in sorted(view.providers.items())},
        "notes": notes,
    }


def _row(view: View, identity: str, errors: Mapping[tuple[str, str, str], list[ObjectError]]) -> dict[str, Any]:
    provider, _, name = identity.partition("/")
    route = view.route(identity)
    frontend = view.said(identity)
    backend = backend_of(frontend) if frontend else ""
    kinds = (("frontend", name), ("router", name), ("backend", backend))
    found = [error for kind, one in kinds for error in errors.get((provider, kind, one), ())]
    return {
        "name": identity,
        "provider": provider,
        "state": "error" if route is None else "warning" if found else "ok",
        "rule": rule_of(frontend) if frontend else "",
        "priority": route["priority"] if route else _priority(frontend),
        "entryPoints": list(route["entry_points"] if route else frontend.entry_points if frontend else ()),
        "middlewares": [short_name(one) for one in route["middlewares"]] if route else [],
        "backend": backend,
        "servers": _counted(view, provider, backend, route["service"] if route else f"{provider}/{backend}"),
        "errors": [view.told(error) for error in found],
    }


def _priority(frontend: Frontend | Router | None) -> int:
    if frontend is None:
        return 0
    if isinstance(frontend, Router):
        return frontend.priority or len(frontend.rule.encode())
    return max(frontend.priority, 0) or sum(len(route.rule.encode()) for route in frontend.routes.values())


def _counted(view: View, provider: str, backend: str, service: str) -> dict[str, int | None]:
    ups = [server["up"] for server in servers_of(view, service)]
    if not ups:
        # Nobody asks the servers of a backend that no frontend in force has.
        heard = view.runtime.heard.get(provider)
        known = heard.backends.get(backend) if heard else None
        return {"total": len(known.servers) if known else 0, "up": None}
    return {"total": len(ups), "up": None if None in ups else sum(ups)}
