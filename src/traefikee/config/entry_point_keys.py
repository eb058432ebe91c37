"""The keys of an entry point, as a file spells them and as the command line does (Traefik 1.7, EntryPoints)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

from traefikee.config.errors import Problem

KeyKind: TypeAlias = Literal["table", "string", "bool", "list", "count", "pairs"]
Value: TypeAlias = "str | bool | int | tuple[str, ...] | tuple[tuple[str, str], ...]"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    :ivar path: in a file, below ``entryPoints.<name>``; its case does not matter there.
    :ivar kind: ``table`` switches a part on by being there; ``count`` is a whole number from 0; ``pairs`` are tables
        with ``certFile`` and ``keyFile``.
    :ivar text: in ``--entryPoints``; empty where that form has no such key.
    """

    path: str
    kind: KeyKind
    text: str = ""


KEYS: tuple[Key, ...] = (
    Key("address", "string", "Address"),
    Key("compress", "bool", "Compress"),
    Key("tls", "table", "TLS"),
    Key("tls.certificates", "pairs"),
    Key("tls.minVersion", "string", "TLS.MinVersion"),
    Key("tls.cipherSuites", "list", "TLS.CipherSuites"),
    Key("tls.sniStrict", "bool", "TLS.SniStrict"),
    Key("tls.defaultCertificate", "table"),
    Key("tls.defaultCertificate.certFile", "string", "TLS.DefaultCertificate.Cert"),
    Key("tls.defaultCertificate.keyFile", "string", "TLS.DefaultCertificate.Key"),
    Key("tls.clientCA", "table"),
    Key("tls.clientCA.files", "list", "CA"),
    Key("tls.clientCA.optional", "bool", "CA.Optional"),
    Key("tls.clientCAFiles", "list"),
    Key("redirect", "table"),
    Key("redirect.entryPoint", "string", "Redirect.EntryPoint"),
    Key("redirect.regex", "string", "Redirect.Regex"),
    Key("redirect.replacement", "string", "Redirect.Replacement"),
    Key("redirect.permanent", "bool", "Redirect.Permanent"),
    Key("whiteList", "table"),
    Key("whiteList.sourceRange", "list", "WhiteList.SourceRange"),
    Key("whiteList.useXForwardedFor", "bool", "WhiteList.UseXForwardedFor"),
    Key("whitelistSourceRange", "list", "WhiteListSourceRange"),
    Key("forwardedHeaders", "table"),
    Key("forwardedHeaders.insecure", "bool", "ForwardedHeaders.Insecure"),
    Key("forwardedHeaders.trustedIPs", "list", "ForwardedHeaders.TrustedIPs"),
    Key("maxConnections", "count", "MaxConnections"),
    Key("maxConnectionsPerClient", "count", "MaxConnectionsPerClient"),
    Key("proxyProtocol", "table"),
    Key("proxyProtocol.insecure", "bool", "ProxyProtocol.Insecure"),
    Key("proxyProtocol.trustedIPs", "list", "ProxyProtocol.TrustedIPs"),
    Key("auth", "table"),
    Key("auth.basic", "table"),
    Key("auth.basic.users", "list", "Auth.Basic.Users"),
    Key("auth.basic.usersFile", "string"),
    Key("auth.basic.removeHeader", "bool", "Auth.Basic.RemoveHeader"),
    Key("auth.digest", "table"),
    Key("auth.digest.users", "list", "Auth.Digest.Users"),
    Key("auth.digest.usersFile", "string"),
    Key("auth.digest.removeHeader", "bool", "Auth.Digest.RemoveHeader"),
    Key("auth.headerField", "string", "Auth.HeaderField"),
    Key("auth.forward", "table"),
    Key("auth.forward.address", "string", "Auth.Forward.Address"),
    Key("auth.forward.authResponseHeaders", "list", "Auth.Forward.AuthResponseHeaders"),
    Key("auth.forward.trustForwardHeader", "bool", "Auth.Forward.TrustForwardHeader"),
    Key("auth.forward.tls", "table"),
    Key("auth.forward.tls.ca", "string", "Auth.Forward.TLS.CA"),
    Key("auth.forward.tls.caOptional", "bool", "Auth.Forward.TLS.CAOptional"),
    Key("auth.forward.tls.cert", "string", "Auth.Forward.TLS.Cert"),
    Key("auth.forward.tls.key", "string", "Auth.Forward.TLS.Key"),
    Key("auth.forward.tls.insecureSkipVerify", "bool", "Auth.Forward.TLS.InsecureSkipVerify"),
)

BY_PATH: Mapping[str, Key] = {key.path: key for key in KEYS}


@dataclass(slots=True)
class Items:
    """What one source says about one entry point.

    :ivar values: by path; a table that is there has True.
    :ivar bad: paths whose values are problems already: that they are missing is none.
    :ivar texts: whether the source is a value of ``--entryPoints``, whose spelling problems then use.
    :ivar places: where in a file each path is (``traefik.toml:12``); an element of a list has its index as last part.
    :ivar place: where the entry point itself is.
    """

    name: str
    values: dict[str, Value] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)
    texts: bool = False
    places: dict[str, str] = field(default_factory=dict)
    place: str = ""
    problems: list[Problem] = field(default_factory=list)

    def __contains__(self, path: str) -> bool:
        return path in self.values

    def has(self, path: str) -> bool:
        """Tell whether the source says anything about a key, or about one below it."""
        return any(given == path or given.startswith(path + ".") for given in (*self.values, *self.bad))

    def spell(self, path: str) -> str:
        """Return a key's name as this source spells it."""
        if not self.texts or path not in BY_PATH:
            return path
        return BY_PATH[path].text or ".".join(part[:1].upper() + part[1:] for part in path.split("."))

    def problem(self, path: str, message: str, index: int | None = None) -> None:
        """Keep a problem of a key, or of an element of its list; an empty path stands for the entry point."""
        name = f"entryPoints.{self.name or '(unnamed)'}"
        place = self.place
        parts = path.split(".") + ([] if index is None else [str(index)])
        for length in range(len(parts), 0, -1):
            above = self.places.get(".".join(parts[:length]))
            if above:
                place = above
                break
        self.problems.append(Problem(f"{name}.{self.spell(path)}" if path else name, message, place))

    def attempt(self, path: str, default: T, action: Callable[[], T], index: int | None = None) -> T:
        """Return what the action returns; a ValueError of its becomes a problem of the key, or of an element."""
        try:
            return action()
        except ValueError as error:
            self.problem(path, str(error), index)
            return default

    def lacks(self, path: str) -> bool:
        """Tell whether a text or list has no value, and nothing was wrong with one."""
        return not self.values.get(path) and path not in self.bad

    def text(self, path: str) -> str:
        """Return a string key's value, or an empty text."""
        value = self.values.get(path)
        return value if isinstance(value, str) else ""

    def boolean(self, path: str, default: bool = False) -> bool:
        """Return a boolean key's value."""
        value = self.values.get(path)
        return value if isinstance(value, bool) else default

    def count(self, path: str) -> int:
        """Return a count; 0 if there is none."""
        value = self.values.get(path)
        return value if isinstance(value, int) else 0

    def list(self, path: str) -> tuple[str, ...]:
        """Return a list key's values."""
        value = self.values.get(path)
        return tuple(one for one in value if isinstance(one, str)) if isinstance(value, tuple) else ()

    def pairs(self, path: str) -> tuple[tuple[str, str], ...]:
        """Return the pairs of a key."""
        value = self.values.get(path)
        return tuple(one for one in value if isinstance(one, tuple)) if isinstance(value, tuple) else ()
