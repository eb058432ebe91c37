"""The configuration as ``config show`` prints it, secrets masked. Pure: from a view to documents."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from traefikee.api.view import View
from traefikee.config.difference import differences
from traefikee.config.dynamic import DynamicConfiguration, Frontend, TLSCertificate
from traefikee.config.dynamic_api import MASK, to_api
from traefikee.config.runtime import ObjectError, ObjectKind
from traefikee.config.static import StaticConfiguration

PARTS = ("static", "dynamic", "merged")
_KINDS: dict[ObjectKind, str] = {"frontend": "frontends", "backend": "backends", "tls": "tls", "router": "routers"}
_ARMOUR = "-----BEGIN "


def static_document(view: View) -> dict[str, Any] | None:
    """Return the deployment in force, or None: ``number``, ``at``, ``by``, ``command``, and the ``configuration``.

    The configuration has the names of Traefik 1.7 and is nested as its files are. What has its default is left out.
    """
    deployed = view.deployment
    if deployed is None:
        return None
    return {
        "number": deployed.number,
        "at": deployed.at,
        "by": deployed.by,
        "command": deployed.command,
        "configuration": nested(deployed.configuration),
    }


def nested(configuration: StaticConfiguration) -> dict[str, Any]:
    """Return a static configuration as a file would have it, without defaults and secrets."""
    names = sorted((point.name for point in configuration.entry_points), key=len, reverse=True)
    found: dict[str, Any] = {}
    for change in differences(None, configuration):
        path = change.path.split(".")
        if path[0] == "entryPoints":
            # A name may contain dots.
            rest = change.path.removeprefix("entryPoints.")
            name = next((one for one in names if rest == one or rest.startswith(f"{one}.")), path[1])
            inside = rest.removeprefix(name).removeprefix(".")
            path = ["entryPoints", name, *(inside.split(".") if inside else ())]
        _put(found, path, change.after)
    return found


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        below = tree.get(part)
        if not isinstance(below, dict):
            # A part that is there with all its defaults, and now with something below it.
            below = tree[part] = {}
        tree = below
    tree[path[-1]] = value


def dynamic_document(view: View) -> dict[str, Any]:
    """Return what each provider says, as it was read, objects in error too.

    Of each object: ``from``, the key or file; ``state``; ``errors``; its ``configuration``, or None where there is none
    that can be read.
    """
    errors = view.errors_by_object()
    providers = sorted({*view.providers, *view.runtime.heard})
    return {provider: _provider(view, provider, errors) for provider in providers}


def _provider(view: View, provider: str, errors: Mapping[tuple[str, str, str], list[ObjectError]]) -> dict[str, Any]:
    status = view.providers.get(provider)
    heard = view.runtime.heard.get(provider, DynamicConfiguration())
    shown: dict[str, Any] = status.model_dump(exclude={"frontends", "backends"}) if status else {}
    configurations = _configurations(heard)
    for kind, group in _KINDS.items():
        names = sorted(
            {*configurations[group], *(name for one, what, name in errors if (one, what) == (provider, kind))}
        )
        shown[group] = {
            name: {
                "from": view.place(provider, kind, name),
                **_state(view, errors.get((provider, kind, name), [])),
                "configuration": configurations[group].get(name),
            }
            for name in names
        }
    others = [found for (one, kind, _), found in errors.items() if one == provider and kind not in _KINDS]
    if others:
        shown["errors"] = [view.told(error) for found in others for error in found]
    return shown


def _state(view: View, errors: list[ObjectError]) -> dict[str, Any]:
    if not errors:
        return {"state": "ok"}
    worst = "error" if any(error.severity == "error" for error in errors) else "warning"
    return {"state": worst, "errors": [view.told(error) for error in errors]}


def merged_document(view: View) -> dict[str, Any]:
    """Return what is in force: all providers' objects that are served, by ``<provider>/<name>``, and entry points.

    Of each object: ``from``, ``provider`` and its ``configuration``, with entry points resolved.
    """
    pointer, deployed = view.pointer, view.deployment
    shown: dict[str, Any] = {
        "revision": pointer.revision if pointer else None,
        "configuration": pointer.config if pointer else None,
        "entryPoints": {},
        **{group: {} for group in _KINDS.values()},
    }
    # A deployment that could not be compiled, or is not yet, is not in force.
    if deployed is not None and pointer is not None and pointer.config == deployed.number and not pointer.failure:
        points = nested(deployed.configuration).get("entryPoints", {})
        shown["entryPoints"] = {
            name: {"from": f"static configuration {deployed.number}", "configuration": options}
            for name, options in points.items()
        }
    errors = view.errors_by_object()
    for provider, effective in sorted(view.runtime.effective.items()):
        heard = view.runtime.heard.get(provider, DynamicConfiguration())
        # What is in force is kept without certificates.
        broken = {
            name
            for (one, kind, name), found in errors.items()
            if (one, kind) == (provider, "tls") and any(error.severity == "error" for error in found)
        }
        certificates = {name: one for name, one in heard.tls.items() if name not in broken}
        configurations = _configurations(effective.model_copy(update={"tls": certificates}))
        for kind, group in _KINDS.items():
            for name, one in configurations[group].items():
                route = view.route(f"{provider}/{name}") if kind in ("frontend", "router") else None
                if route is not None:
                    one["priority"] = route["priority"]
            shown[group] |= {
                f"{provider}/{name}": {
                    "provider": provider,
                    "from": view.place(provider, kind, name),
                    "configuration": configurations[group][name],
                }
                for name in sorted(configurations[group])
            }
    return shown


def _configurations(configuration: DynamicConfiguration) -> dict[str, dict[str, Any]]:
    shown = to_api(configuration)
    for name, frontend in shown.get("frontends", {}).items():
        _complete(frontend, configuration.frontends[name])
    return {
        "frontends": without_pem(shown.get("frontends", {})),
        "backends": without_pem(shown.get("backends", {})),
        "routers": without_pem(shown.get("routers", {})),
        "tls": {name: _certificate(one) for name, one in configuration.tls.items()},
    }


def _complete(shown: dict[str, Any], frontend: Frontend) -> None:
    """Make of what Traefik 1.7's API shows what a file would say; that there are users is told, but not who."""
    if shown.get("basicAuth") is None:
        shown.pop("basicAuth", None)
    for kind in ("basic", "digest"):
        auth = getattr(frontend.auth, kind) if frontend.auth else None
        if auth is not None:
            shown["auth"][kind] |= {"users": [MASK] * len(auth.users)} if auth.users else {}
            shown["auth"][kind] |= {"usersFile": MASK} if auth.users_file else {}
    for rate in shown.get("ratelimit", {}).get("rateset", {}).values():
        rate["period"] = f"{rate['period'] / 1e9:g}s"


def _certificate(certificate: TLSCertificate) -> dict[str, Any]:
    key = certificate.key_file
    return {
        "entryPoints": list(certificate.entry_points),
        "certFile": without_pem(certificate.cert_file),
        "keyFile": MASK if _ARMOUR in key or "\n" in key else key,
    }


def without_pem(value: Any) -> Any:
    """Return a value with a digest in the place of each PEM text."""
    if isinstance(value, dict):
        return {name: without_pem(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_pem(one) for one in value]
    if isinstance(value, str) and _ARMOUR in value:
        return f"PEM with SHA-256 {hashlib.sha256(value.encode()).hexdigest()[:16]}"
    return value


def configuration_document(view: View, part: str = "") -> dict[str, Any]:
    """Return one of :data:`PARTS`, or all of them."""
    made = {"static": static_document, "dynamic": dynamic_document, "merged": merged_document}
    return {name: make(view) for name, make in made.items() if part in ("", name)}
