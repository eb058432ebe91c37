"""What a static configuration changes in another one: each option that differs, by its name; secrets masked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic.alias_generators import to_camel

from traefikee.config.model import Model
from traefikee.config.static import EntryPoint, StaticConfiguration

Kind: TypeAlias = Literal["added", "changed", "removed"]

MASK = "***"
_NAMES = {
    "AccessLog.field_modes": "fields.names",
    "AccessLog.fields_mode": "fields.defaultMode",
    "AccessLog.header_modes": "fields.headers.names",
    "AccessLog.headers_mode": "fields.headers.defaultMode",
    "AccessLog.min_duration": "filters.minDuration",
    "AccessLog.retry_attempts": "filters.retryAttempts",
    "AccessLog.status_codes": "filters.statusCodes",
    "CertificatePair.chain_pem": "certFile",
    "CertificatePair.key_pem": "keyFile",
    "ClientCA.pem": "files",
    "ConnectionLimits.per_client": "maxConnectionsPerClient",
    "ConnectionLimits.total": "maxConnections",
    "EntryPoint.connection_limits": "",
    "EntryPointTLS.client_ca": "clientCA",
    "ForwardedHeaders.trusted_ips": "trustedIPs",
    "ProxyProtocol.trusted_ips": "trustedIPs",
    "StaticConfiguration.health_check_interval": "healthCheck.interval",
    "StaticConfiguration.license_endpoint": "license.endpoint",
    "StaticConfiguration.prometheus": "metrics.prometheus",
    "StaticConfiguration.root_cas": "rootCAs",
}
"""Where a field's name is not the option's in camel case; an empty one stands for no level of its own."""
_ARMOUR = "-----BEGIN "


@dataclass(frozen=True, slots=True)
class Change:
    """One option that differs.

    :ivar path: dotted, with the names of Traefik 1.7 (``entryPoints.https.tls.minVersion``).
    :ivar before: its value as JSON, or None where it was not there; certificates as a digest, secrets as ``***``.
    :ivar after: likewise.
    :ivar where: file and line, of what a file says, or an empty text.
    """

    path: str
    kind: Kind
    before: Any
    after: Any
    where: str = ""

    def sentence(self) -> str:
        """Return the change as a line: ``+`` added, ``-`` removed, ``~`` changed."""
        where = f" [{self.where}]" if self.where else ""
        if self.kind == "changed":
            return f"~ {self.path}: {_shown(self.before)} -> {_shown(self.after)}{where}"
        mark, value = ("+", self.after) if self.kind == "added" else ("-", self.before)
        return f"{mark} {self.path}: {_shown(value)}{where}"


def differences(before: StaticConfiguration | None, after: StaticConfiguration) -> tuple[Change, ...]:
    """Return what ``after`` changes, in the order of the options. The order of entry points makes no difference.

    :param before: what is deployed; None stands for nothing, beside which all that is not a default is added.
    """
    if before is not None:
        return tuple(_models("", before, after))
    nothing = StaticConfiguration(entry_points=())
    return tuple(Change(change.path, "added", None, change.after) for change in _models("", nothing, after))


def model_differences(path: str, before: Model | None, after: Model | None) -> tuple[Change, ...]:
    """Return what differs between two models of one type, or all of the one that is there.

    :param path: what the changes' paths begin with.
    """
    return tuple(_models(path, before, after))


def _models(path: str, before: Model | None, after: Model | None) -> Iterator[Change]:
    """Yield what differs between two models of one type; where one is None, all that is not its default."""
    model = after if after is not None else before
    if model is None or before == after:
        return
    found = False
    for field, info in type(model).model_fields.items():
        one, other = (getattr(side, field) if side is not None else None for side in (before, after))
        default = info.get_default(call_default_factory=True)
        alone = other if before is None else one
        if (before is None or after is None) and alone == default:
            continue
        if field == "name" and isinstance(model, EntryPoint):
            continue
        inner = ".".join(part for part in (path, _name(type(model), field)) if part)
        for change in _values(inner, one, other, secret=field in type(model).secret_fields):
            found = True
            yield change
    if not found and (before is None or after is None):
        # All of it has its defaults: that it is there is the difference.
        yield Change(path, "added", None, True) if before is None else Change(path, "removed", True, None)


def _values(path: str, before: Any, after: Any, *, secret: bool) -> Iterator[Change]:
    if before == after:
        return
    if _entry_points(before) or _entry_points(after):
        one, other = ({point.name: point for point in side or ()} for side in (before, after))
        for name in (*one, *(name for name in other if name not in one)):
            yield from _models(f"{path}.{name}", one.get(name), other.get(name))
    elif isinstance(before, Model) or isinstance(after, Model):
        yield from _models(path, before, after)
    elif _of_models(before) or _of_models(after):
        one, other = before or {}, after or {}
        for name in (*one, *(name for name in other if name not in one)):
            yield from _models(f"{path}.{name}", one.get(name), other.get(name))
    else:
        kind: Kind = "added" if _nothing(before) else "removed" if _nothing(after) else "changed"
        yield Change(path, kind, _masked(before, secret=secret), _masked(after, secret=secret))


def _entry_points(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], EntryPoint)


def _of_models(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(one, Model) for one in value.values())


def _nothing(value: Any) -> bool:
    return value is None or (isinstance(value, (str, tuple, Mapping)) and not value)


def _masked(value: Any, *, secret: bool) -> Any:
    """Return a value as JSON that can be shown to anybody."""
    if _nothing(value):
        return None
    if secret:
        return MASK
    if isinstance(value, Model):
        fields = type(value).model_fields
        hidden = type(value).secret_fields
        return {_name(type(value), name): _masked(getattr(value, name), secret=name in hidden) for name in fields}
    if isinstance(value, tuple):
        return [_masked(one, secret=False) for one in value]
    if isinstance(value, Mapping):
        return {name: _masked(one, secret=False) for name, one in value.items()}
    if isinstance(value, str) and _ARMOUR in value:
        return f"PEM with SHA-256 {hashlib.sha256(value.encode()).hexdigest()[:16]}"
    return value


def _name(model: type[Model], field: str) -> str:
    return _NAMES.get(f"{model.__name__}.{field}", to_camel(field))


def _shown(value: Any) -> str:
    if value is None:
        return "(nothing)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(_shown(one) for one in value)
    if isinstance(value, Mapping):
        return " ".join(f"{name}={_shown(one)}" for name, one in value.items())
    return str(value)
