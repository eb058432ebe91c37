"""From what a command line or a file says about an entry point to the entry point, with every problem found at once."""

from __future__ import annotations

from collections.abc import Sequence

from traefikee.config.addresses import is_ip_or_network, split_address
from traefikee.config.certificate_checks import check_certificates, check_pair
from traefikee.config.certificates import CertificatePair, ReadFile, load_pem
from traefikee.config.cipher_suites import iana_names
from traefikee.config.entry_point_auth import build_auth
from traefikee.config.entry_point_keys import Items
from traefikee.config.middlewares import Redirect, WhiteList
from traefikee.config.static import (
    ClientCA,
    ConnectionLimits,
    EntryPoint,
    EntryPointTLS,
    ForwardedHeaders,
    ProxyProtocol,
    TLSVersion,
)
from traefikee.rules.regexp import RuleError, translate

_VERSIONS: dict[str, TLSVersion] = {
    "VersionTLS10": "1.2",
    "VersionTLS11": "1.2",
    "VersionTLS12": "1.2",
    "VersionTLS13": "1.3",
}


def build_entry_point(items: Items, read_file: ReadFile) -> EntryPoint:
    """Return an entry point with its files embedded; what is wrong with it is added to ``items.problems``.

    The result is of use only if there are no problems.

    :param read_file: returns a file's content, raises FileNotFoundError or another OSError.
    """
    if not items.name:
        items.problem("", "an entry point needs a name; write for example Name:http Address::80")
    address = items.text("address")
    if address:
        items.attempt("address", None, lambda: _check_address(address))
    elif items.lacks("address"):
        example = "Address::80" if items.texts else 'address = ":80"'
        items.problem("", f"an entry point needs an address; write for example {example}")
    return EntryPoint(
        name=items.name,
        address=address,
        tls=_tls(items, read_file),
        forwarded_headers=_forwarded_headers(items),
        connection_limits=_connection_limits(items),
        proxy_protocol=_proxy_protocol(items),
        compress=items.boolean("compress"),
        redirect=_redirect(items),
        auth=build_auth(items, read_file),
        white_list=_white_list(items),
    )


def _check_address(text: str) -> None:
    split_address(text)


def _connection_limits(items: Items) -> ConnectionLimits:
    """Two keys that Traefik 1.7 does not have."""
    total, per_client = items.count("maxConnections"), items.count("maxConnectionsPerClient")
    if 0 < total < per_client:
        above = f"{items.spell('maxConnections')} ({total})"
        items.problem("maxConnectionsPerClient", f"{per_client} is more than {above}, and never reached")
    return ConnectionLimits(total=total, per_client=per_client)


def _addresses(items: Items, path: str) -> tuple[str, ...]:
    addresses = items.list(path)
    for index, address in enumerate(addresses):
        if not is_ip_or_network(address):
            items.problem(path, f'"{address}" is neither an IP address nor a network such as 10.0.0.0/8', index)
    return addresses


def _forwarded_headers(items: Items) -> ForwardedHeaders:
    return ForwardedHeaders(
        insecure=items.boolean("forwardedHeaders.insecure"),
        trusted_ips=_addresses(items, "forwardedHeaders.trustedIPs"),
    )


def _proxy_protocol(items: Items) -> ProxyProtocol | None:
    if not items.has("proxyProtocol"):
        return None
    return ProxyProtocol(
        insecure=items.boolean("proxyProtocol.insecure"), trusted_ips=_addresses(items, "proxyProtocol.trustedIPs")
    )


def _white_list(items: Items) -> WhiteList | None:
    path, deprecated = "whiteList.sourceRange", "whitelistSourceRange"
    if not items.has("whiteList") and deprecated not in items:
        return None
    if items.has("whiteList") and deprecated in items:
        items.problem(deprecated, f"{items.spell('whiteList.sourceRange')} is given too; keep that one")
    named = deprecated if deprecated in items else path
    if items.lacks(named):
        items.problem(named, "names no address; leave the white list out to let everybody in")
    return WhiteList(
        source_range=_addresses(items, named), use_x_forwarded_for=items.boolean("whiteList.useXForwardedFor")
    )


def _redirect(items: Items) -> Redirect | None:
    """Return the redirect; whether its entry point is there is known only when all of them are."""
    if not items.has("redirect"):
        return None
    redirect = Redirect(
        entry_point=items.text("redirect.entryPoint"),
        regex=items.text("redirect.regex"),
        replacement=items.text("redirect.replacement"),
        permanent=items.boolean("redirect.permanent"),
    )
    regex, replacement = items.spell("redirect.regex"), items.spell("redirect.replacement")
    if redirect.entry_point and (redirect.regex or redirect.replacement):
        items.problem("redirect.entryPoint", f"{regex} is given too; a redirect has one of the two")
    elif redirect.regex and items.lacks("redirect.replacement"):
        items.problem("redirect.regex", f"also needs {replacement}")
    elif redirect.replacement and items.lacks("redirect.regex"):
        items.problem("redirect.replacement", f"also needs {regex}")
    elif items.lacks("redirect.entryPoint") and items.lacks("redirect.regex") and not redirect.replacement:
        items.problem("redirect", f"needs {items.spell('redirect.entryPoint')}, or {regex} and {replacement}")
    elif redirect.regex:
        try:
            translate(redirect.regex)
        except RuleError as error:
            items.problem("redirect.regex", str(error))
    return redirect


def _tls(items: Items, read_file: ReadFile) -> EntryPointTLS | None:
    if not items.has("tls"):
        return None
    if items.texts and "tls" not in items:
        for path in items.values:
            if path.startswith("tls."):
                items.problem(path, "has no effect without TLS; add TLS, or TLS:certificate,key")
        return None
    pairs = [
        _pair(items, read_file, "tls.certificates", *files, index)
        for index, files in enumerate(items.pairs("tls.certificates"))
    ]
    return EntryPointTLS(
        certificates=tuple(pair for pair in pairs if pair is not None),
        default_certificate=_default_certificate(items, read_file),
        min_version=_min_version(items),
        cipher_suites=_cipher_suites(items),
        sni_strict=items.boolean("tls.sniStrict"),
        client_ca=_client_ca(items, read_file),
    )


def _default_certificate(items: Items, read_file: ReadFile) -> CertificatePair | None:
    cert_path, key_path = "tls.defaultCertificate.certFile", "tls.defaultCertificate.keyFile"
    cert, key = items.text(cert_path), items.text(key_path)
    if not cert and not key:
        if "tls.defaultCertificate" in items and items.lacks(cert_path) and items.lacks(key_path):
            items.problem("tls.defaultCertificate", "needs certFile and keyFile")
        return None
    if not cert or not key:
        given, missing = (cert_path, key_path) if cert else (key_path, cert_path)
        if items.lacks(missing):
            items.problem(given, f"also needs {items.spell(missing)}")
        return None
    return _pair(items, read_file, cert_path, cert, key)


def _pair(
    items: Items, read_file: ReadFile, path: str, cert: str, key: str, index: int | None = None
) -> CertificatePair | None:
    # In the short form the certificates are the value of "TLS" itself.
    path = "tls" if items.texts and path == "tls.certificates" else path
    chain_pem = items.attempt(path, "", lambda: load_pem(cert, read_file), index)
    key_pem = items.attempt(path, "", lambda: load_pem(key, read_file), index)
    if not chain_pem or not key_pem:
        return None
    pair = CertificatePair(chain_pem=chain_pem, key_pem=key_pem)
    reason = check_pair(pair)
    if reason:
        names = "" if "-----BEGIN" in cert + key else f'"{cert},{key}": '
        items.problem(path, f"{names}{reason}", index)
        return None
    return pair


def _min_version(items: Items) -> TLSVersion:
    path = "tls.minVersion"
    text = items.text(path)
    if path not in items or text in _VERSIONS:
        return _VERSIONS.get(text, "1.2")
    items.problem(path, f'"{text}" is not one of {", ".join(_VERSIONS)}')
    return "1.2"


def _cipher_suites(items: Items) -> tuple[str, ...]:
    path = "tls.cipherSuites"
    names = items.list(path)
    if path in items and not names:
        items.problem(path, "names no cipher suite")
    none: tuple[str, ...] = ()
    suites = items.attempt(path, none, lambda: iana_names(names))
    if suites and items.text("tls.minVersion") == "VersionTLS13":
        items.problem(path, "has no effect with VersionTLS13; its suites are not configurable")
    return suites


def _client_ca(items: Items, read_file: ReadFile) -> ClientCA | None:
    path, deprecated = "tls.clientCA.files", "tls.clientCAFiles"
    if deprecated in items:
        if items.has("tls.clientCA"):
            items.problem(deprecated, f"{path} is given too; keep that one")
        path = deprecated
    optional = items.boolean("tls.clientCA.optional")
    files = items.list(path)
    if not files:
        if path in items:
            items.problem(path, "names no file")
        elif "tls.clientCA.optional" in items and items.lacks(path):
            items.problem("tls.clientCA.optional", f"also needs {items.spell(path)}")
        elif "tls.clientCA" in items and items.lacks(path):
            items.problem("tls.clientCA", "needs files")
        return None
    return ClientCA(pem=_authorities(items, read_file, path, files), optional=optional)


def _authorities(items: Items, read_file: ReadFile, path: str, files: Sequence[str]) -> str:
    texts = []
    for index, file in enumerate(files):
        pem = items.attempt(path, "", lambda file=file: load_pem(file, read_file), index)  # type: ignore[misc]
        reason = check_certificates(pem) if pem else None
        if reason:
            items.problem(path, reason if "-----BEGIN" in file else f'"{file}": {reason}', index)
        texts.append(pem if pem.endswith("\n") else pem + "\n")
    return "".join(texts)
