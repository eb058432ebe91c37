"""The dynamic configuration as Traefik 1.7's API shows it (``GET /api/providers/<name>``)."""

from __future__ import annotations

from typing import Any

from traefikee.config.backend_options import ResponseForwarding
from traefikee.config.dynamic import DynamicConfiguration
from traefikee.config.frontend_options import CertificateInfos, CertificateNames, PassTLSClientCert
from traefikee.config.model import Model

MASK = "***"
_NEVER = frozenset({"users", "key"})
"""Fields that 1.7 never showed."""
_WHOLE = (CertificateInfos, CertificateNames, PassTLSClientCert)
"""Models whose switches are shown even if they are off."""
_ALWAYS = frozenset({"weight", "priority"})


def to_api(config: DynamicConfiguration) -> dict[str, Any]:
    """Return the JSON object that Traefik 1.7's API shows for one provider.

    Names are sorted, zero values are left out except for those that 1.7 always shows. Certificates, keys, users and
    their hashes never appear; where 1.7 showed hashes (``basicAuth``) each is ``***``. Routers, which 1.7 does not
    have, are shown as they were resolved.
    """
    shown = {
        "backends": _named(config.backends),
        "frontends": _named(config.frontends),
        "routers": _named(config.routers),
    }
    for frontend in shown["frontends"].values():
        frontend.setdefault("basicAuth", None)
    return {group: objects for group, objects in shown.items() if objects}


def _named(objects: dict[str, Any]) -> dict[str, Any]:
    return {name: _shown(objects[name]) for name in sorted(objects)}


def _shown(value: Any) -> Any:
    if isinstance(value, Model):
        return _model(value)
    if isinstance(value, dict):
        return _named(value)
    return [_shown(one) for one in value] if isinstance(value, tuple) else value


def _model(model: Model) -> dict[str, Any]:
    shown = {}
    whole = isinstance(model, _WHOLE)
    for field, info in type(model).model_fields.items():
        value = getattr(model, field)
        if field in _NEVER or value is None:
            continue
        if field in model.secret_fields:
            value = tuple(MASK for _ in value) if isinstance(value, tuple) else MASK if value else ""
        name = info.alias or field
        if isinstance(value, ResponseForwarding):
            name = "forwardingResponse"
        if field == "period":
            value = round(value * 1e9)
        if value or isinstance(value, Model) or whole or field in _ALWAYS:
            shown[name] = _shown(value)
    return shown
