"""Entry points in the form of the command line: ``Name:https Address::443 TLS:a.pem,a.key`` (Traefik 1.7, EntryPoints).

Items are separated by blanks and split at their first ``:``. Keys are case-insensitive, ``.`` and ``_`` are the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from traefikee.config.addresses import is_ip_or_network, split_address
from traefikee.config.certificate_checks import check_certificates, check_pair
from traefikee.config.certificates import CertificatePair, ReadFile, load_pem
from traefikee.config.cipher_suites import iana_names
from traefikee.config.errors import ConfigurationError, Problem, did_you_mean
from traefikee.config.static import (
    ClientCA,
    ConnectionLimits,
    EntryPoint,
    EntryPointTLS,
    ForwardedHeaders,
    ProxyProtocol,
    TLSVersion,
)

_KEYS = (
    "Name",
    "Address",
    "TLS",
    "TLS.MinVersion",
    "TLS.CipherSuites",
    "TLS.SniStrict",
    "TLS.DefaultCertificate.Cert",
    "TLS.DefaultCertificate.Key",
    "CA",
    "CA.Optional",
    "ForwardedHeaders.Insecure",
    "ForwardedHeaders.TrustedIPs",
    "MaxConnections",
    "MaxConnectionsPerClient",
    "ProxyProtocol.Insecure",
    "ProxyProtocol.TrustedIPs",
)
_NOT_YET = (
    "Redirect.EntryPoint",
    "Redirect.Regex",
    "Redirect.Replacement",
    "Redirect.Permanent",
    "Compress",
    "WhiteList.SourceRange",
    "WhiteList.UseXForwardedFor",
    "WhiteListSourceRange",
    "Auth.Basic.Users",
    "Auth.Basic.RemoveHeader",
    "Auth.Digest.Users",
    "Auth.Digest.RemoveHeader",
    "Auth.HeaderField",
    "Auth.Forward.Address",
    "Auth.Forward.AuthResponseHeaders",
    "Auth.Forward.TrustForwardHeader",
    "Auth.Forward.TLS.Cert",
    "Auth.Forward.TLS.Key",
    "Auth.Forward.TLS.CA",
    "Auth.Forward.TLS.CAOptional",
    "Auth.Forward.TLS.InsecureSkipVerify",
)
_TRUE = frozenset({"true", "enable", "on"})
_FALSE = frozenset({"false", "disable", "off", "no", "0", ""})
_VERSIONS: dict[str, TLSVersion] = {
    "VersionTLS10": "1.2",
    "VersionTLS11": "1.2",
    "VersionTLS12": "1.2",
    "VersionTLS13": "1.3",
}

_T = TypeVar("_T")
_COUNT = re.compile("[0-9]{1,9}")


def _folded(key: str) -> str:
    return key.lower().replace(".", "_")


_BY_FOLDED = {_folded(key): key for key in _KEYS}
_NOT_YET_BY_FOLDED = {_folded(key): key for key in _NOT_YET}


def parse_entry_point(text: str, read_file: ReadFile) -> EntryPoint:
    """Return the entry point that a value of ``--entryPoints`` describes, with its files embedded.

    ``VersionTLS10`` and ``VersionTLS11`` are taken as 1.2, the lowest version that is available. ``ForwardedHeaders``
    default to trusting everybody; trusted addresses alone turn that off.

    :param read_file: returns a file's content, raises FileNotFoundError or another OSError.
    :raises ConfigurationError: with every problem of the text.
    """
    return _Parser(text, read_file).parse()


class _Parser:
    """One pass over one text; problems are collected and raised at the end."""

    def __init__(self, text: str, read_file: ReadFile) -> None:
        self.read_file = read_file
        self.problems: list[Problem] = []
        self.items: dict[str, str | None] = {}
        pairs = [self._split(item) for item in text.split()]
        name = next((value for key, value in pairs if key.lower() == "name" and value), "(unnamed)")
        self.root = f"entryPoints.{name}"
        for key, value in pairs:
            self._keep(key, value)

    @staticmethod
    def _split(item: str) -> tuple[str, str | None]:
        key, colon, value = item.partition(":")
        return key, value if colon else None

    def _keep(self, key: str, value: str | None) -> None:
        folded = _folded(key)
        if folded in _NOT_YET_BY_FOLDED:
            self.problem(_NOT_YET_BY_FOLDED[folded], "this version does not implement this option of Traefik 1.7 yet")
        elif folded not in _BY_FOLDED:
            self.problem(key, f"unknown key{did_you_mean(key.replace('_', '.'), _KEYS + _NOT_YET)}")
        elif _BY_FOLDED[folded] in self.items:
            self.problem(_BY_FOLDED[folded], "given twice")
        else:
            self.items[_BY_FOLDED[folded]] = value

    def problem(self, key: str, message: str) -> None:
        self.problems.append(Problem(f"{self.root}.{key}" if key else self.root, message))

    def attempt(self, key: str, default: _T, action: Callable[[], _T]) -> _T:
        """Return what the action returns; a ValueError of its becomes a problem of the key."""
        try:
            return action()
        except ValueError as error:
            self.problem(key, str(error))
            return default

    def text(self, key: str) -> str:
        return self.items.get(key) or ""

    def boolean(self, key: str, default: bool = False) -> bool:
        if key not in self.items:
            return default
        word = self.text(key).lower()
        if word in _TRUE:
            return True
        if word not in _FALSE:
            self.problem(key, f'"{self.text(key)}" is not a boolean; write true or false')
        return False

    def number(self, key: str) -> int:
        """Return a count; 0, or the key's absence, stands for no limit."""
        if key not in self.items:
            return 0
        text = self.text(key)
        if not _COUNT.fullmatch(text):
            self.problem(key, f'"{text}" is not a number from 0, no limit, to {10**9 - 1}; write for example {key}:200')
            return 0
        return int(text)

    def list(self, key: str) -> tuple[str, ...]:
        return tuple(part for part in self.text(key).split(",") if part)

    def parse(self) -> EntryPoint:
        name = self.text("Name")
        if not name:
            self.problem("", "an entry point needs a name; write for example Name:http Address::80")
        address = self.text("Address")
        if address:
            self.attempt("Address", None, lambda: _check_address(address))
        else:
            self.problem("", "an entry point needs an address; write for example Address::80")
        tls = self._tls()
        forwarded_headers = self._forwarded_headers()
        connection_limits = self._connection_limits()
        proxy_protocol = self._proxy_protocol()
        if self.problems:
            raise ConfigurationError(self.problems)
        return EntryPoint(
            name=name,
            address=address,
            tls=tls,
            forwarded_headers=forwarded_headers,
            connection_limits=connection_limits,
            proxy_protocol=proxy_protocol,
        )

    def _connection_limits(self) -> ConnectionLimits:
        """Two keys that Traefik 1.7 does not have."""
        total, per_client = self.number("MaxConnections"), self.number("MaxConnectionsPerClient")
        if 0 < total < per_client:
            self.problem(
                "MaxConnectionsPerClient", f"{per_client} is more than MaxConnections ({total}), and never reached"
            )
        return ConnectionLimits(total=total, per_client=per_client)

    def _addresses(self, key: str) -> tuple[str, ...]:
        addresses = self.list(key)
        for address in addresses:
            if not is_ip_or_network(address):
                self.problem(key, f'"{address}" is neither an IP address nor a network such as 10.0.0.0/8')
        return addresses

    def _forwarded_headers(self) -> ForwardedHeaders:
        trusted = self._addresses("ForwardedHeaders.TrustedIPs")
        return ForwardedHeaders(
            insecure=self.boolean("ForwardedHeaders.Insecure", default=not trusted), trusted_ips=trusted
        )

    def _proxy_protocol(self) -> ProxyProtocol | None:
        """Return what the keys say; as in Traefik 1.7, any of them with a value has headers taken off."""
        insecure, trusted = self.boolean("ProxyProtocol.Insecure"), self._addresses("ProxyProtocol.TrustedIPs")
        if not trusted and not self.text("ProxyProtocol.Insecure"):
            for key in ("ProxyProtocol.Insecure", "ProxyProtocol.TrustedIPs"):
                if key in self.items:
                    self.problem(key, "has no value; write for example ProxyProtocol.TrustedIPs:10.0.0.0/8")
            return None
        return ProxyProtocol(insecure=insecure, trusted_ips=trusted)

    def _tls(self) -> EntryPointTLS | None:
        if "TLS" not in self.items:
            for key in self.items:
                if key.startswith(("TLS.", "CA")):
                    self.problem(key, "has no effect without TLS; add TLS, or TLS:certificate,key")
            return None
        return EntryPointTLS(
            certificates=self._certificates(),
            default_certificate=self._default_certificate(),
            min_version=self._min_version(),
            cipher_suites=self._cipher_suites(),
            sni_strict=self.boolean("TLS.SniStrict"),
            client_ca=self._client_ca(),
        )

    def _certificates(self) -> tuple[CertificatePair, ...]:
        value = self.items["TLS"]
        if value is None:
            return ()
        pairs = []
        for text in [part for part in value.split(";") if part] or [""]:
            files = text.split(",")
            if len(files) != 2 or not all(files):
                self.problem(
                    "TLS",
                    f'"{text}" is not of the form certificate,key; write TLS alone if providers give the certificates',
                )
                continue
            pair = self._pair("TLS", *files)
            if pair is not None:
                pairs.append(pair)
        return tuple(pairs)

    def _default_certificate(self) -> CertificatePair | None:
        cert_key, key_key = "TLS.DefaultCertificate.Cert", "TLS.DefaultCertificate.Key"
        cert, key = self.text(cert_key), self.text(key_key)
        if not cert and not key:
            return None
        if not cert or not key:
            self.problem(cert_key if cert else key_key, f"also needs {key_key if cert else cert_key}")
            return None
        return self._pair(cert_key, cert, key)

    def _pair(self, option: str, cert: str, key: str) -> CertificatePair | None:
        chain_pem = self.attempt(option, "", lambda: load_pem(cert, self.read_file))
        key_pem = self.attempt(option, "", lambda: load_pem(key, self.read_file))
        if not chain_pem or not key_pem:
            return None
        pair = CertificatePair(chain_pem=chain_pem, key_pem=key_pem)
        reason = check_pair(pair)
        if reason:
            self.problem(option, f'"{cert},{key}": {reason}')
            return None
        return pair

    def _min_version(self) -> TLSVersion:
        text = self.text("TLS.MinVersion")
        if "TLS.MinVersion" not in self.items or text in _VERSIONS:
            return _VERSIONS.get(text, "1.2")
        self.problem("TLS.MinVersion", f'"{text}" is not one of {", ".join(_VERSIONS)}')
        return "1.2"

    def _cipher_suites(self) -> tuple[str, ...]:
        names = self.list("TLS.CipherSuites")
        if "TLS.CipherSuites" in self.items and not names:
            self.problem("TLS.CipherSuites", "names no cipher suite")
        none: tuple[str, ...] = ()
        suites = self.attempt("TLS.CipherSuites", none, lambda: iana_names(names))
        if suites and self.text("TLS.MinVersion") == "VersionTLS13":
            self.problem("TLS.CipherSuites", "has no effect with VersionTLS13; its suites are not configurable")
        return suites

    def _client_ca(self) -> ClientCA | None:
        optional = self.boolean("CA.Optional")
        files = self.list("CA")
        if not files:
            if "CA" in self.items:
                self.problem("CA", "names no file")
            elif optional:
                self.problem("CA.Optional", "also needs CA")
            return None
        texts = []
        for file in files:
            pem = self.attempt("CA", "", lambda file=file: load_pem(file, self.read_file))  # type: ignore[misc]
            reason = check_certificates(pem) if pem else None
            if reason:
                self.problem("CA", f'"{file}": {reason}')
            texts.append(pem if pem.endswith("\n") else pem + "\n")
        return ClientCA(pem="".join(texts), optional=optional)


def _check_address(text: str) -> None:
    split_address(text)
