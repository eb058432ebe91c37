"""Authentication at an entry point, with every problem found at once (Traefik 1.7, Authentication)."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from traefikee.config.certificate_checks import check_certificates, check_pair
from traefikee.config.certificates import CertificatePair, ReadFile, load_pem, load_text
from traefikee.config.entry_point_keys import Items
from traefikee.config.middlewares import Auth, BasicAuth, DigestAuth, ForwardAuth, ForwardAuthTLS
from traefikee.config.users import read_basic_user, read_digest_user

_METHODS = ("auth.basic", "auth.digest", "auth.forward")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def build_auth(items: Items, read_file: ReadFile) -> Auth | None:
    """Return the authentication, its files embedded; what is wrong with it is added to ``items.problems``.

    Where Traefik 1.7 takes the first of several methods, several are a problem here.
    """
    if not items.has("auth"):
        return None
    given = [method for method in _METHODS if items.has(method)]
    header_field = items.text("auth.headerField")
    if len(given) > 1:
        items.problem(given[1], f"{items.spell(given[0])} is given too; an entry point has one kind of authentication")
    if not given:
        path = "auth.headerField" if "auth.headerField" in items else "auth"
        wanted = ("auth.basic.users", "auth.digest.users", "auth.forward.address")
        needs = "also needs" if path == "auth.headerField" else "needs"
        items.problem(path, f"{needs} one of {', '.join(items.spell(name) for name in wanted)}")
    if "auth.headerField" in items and not _TOKEN.fullmatch(header_field):
        items.problem("auth.headerField", f'"{header_field}" is not a header\'s name')
    return Auth(
        header_field=header_field,
        basic=_basic(items, read_file) if items.has("auth.basic") else None,
        digest=_digest(items, read_file) if items.has("auth.digest") else None,
        forward=_forward(items, read_file) if items.has("auth.forward") else None,
    )


def _check(read: Callable[[str], tuple[str, str]], entry: str, tool: str) -> None:
    """Check a user.

    :raises ValueError: it is not of its form, or nobody could log in with it; names the user at most.
    """
    try:
        name, reason = read(entry)
    except ValueError as error:
        raise ValueError(f"a user {error}") from None
    if reason:
        raise ValueError(f'user "{name.partition(":")[0]}" {reason}; make one with {tool}')


def _basic(items: Items, read_file: ReadFile) -> BasicAuth:
    users = _users(items, read_file, "auth.basic", lambda entry: _check(read_basic_user, entry, "htpasswd"))
    return BasicAuth(users=users, remove_header=items.boolean("auth.basic.removeHeader"))


def _digest(items: Items, read_file: ReadFile) -> DigestAuth:
    users = _users(items, read_file, "auth.digest", lambda entry: _check(read_digest_user, entry, "htdigest"))
    return DigestAuth(users=users, remove_header=items.boolean("auth.digest.removeHeader"))


def _users(items: Items, read_file: ReadFile, parent: str, check: Callable[[str], None]) -> tuple[str, ...]:
    """Return all users, each once; those of a file win over the others, as in Traefik 1.7."""
    path, file_path = f"{parent}.users", f"{parent}.usersFile"
    found: dict[str, str] = {}
    for index, entry in enumerate(items.list(path)):
        items.attempt(path, None, lambda entry=entry: check(entry), index)  # type: ignore[misc]
        found[_user(entry)] = entry
    file = items.text(file_path)
    if file_path in items and not file:
        items.problem(file_path, "its value is empty")
    text = items.attempt(file_path, "", lambda: load_text(file, read_file)) if file else ""
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.strip()
        if entry and not entry.startswith("#"):
            try:
                check(entry)
            except ValueError as error:
                items.problem(file_path, f"line {number} of that file: {error}")
            found[_user(entry)] = entry
    if not found and items.lacks(path) and items.lacks(file_path):
        items.problem(path if path in items else parent, "names no user, and would let nobody in")
    elif not found and text:
        items.problem(file_path, "that file names no user, and would let nobody in")
    return tuple(found.values())


def _user(entry: str) -> str:
    """Return what one entry replaces another by: its name (and realm)."""
    return entry.rpartition(":")[0]


def _forward(items: Items, read_file: ReadFile) -> ForwardAuth:
    path, headers_path = "auth.forward.address", "auth.forward.authResponseHeaders"
    address = items.text(path)
    if items.lacks(path):
        items.problem(path if path in items else "auth.forward", f"needs {items.spell(path)}, the URL that is asked")
    elif address:
        items.attempt(path, None, lambda: _check_url(address))
    headers = items.list(headers_path)
    for index, header in enumerate(headers):
        if not _TOKEN.fullmatch(header):
            items.problem(headers_path, f'"{header}" is not a header\'s name', index)
    return ForwardAuth(
        address=address,
        trust_forward_header=items.boolean("auth.forward.trustForwardHeader"),
        auth_response_headers=headers,
        tls=_forward_tls(items, read_file) if items.has("auth.forward.tls") else None,
    )


def _check_url(text: str) -> None:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ValueError(f'"{text}" is not a URL') from None
    if url.username is not None or url.password is not None:
        raise ValueError("the URL contains a user name; a server that asks for one cannot be used")
    if url.scheme not in ("http", "https") or not url.hostname or port == 0:
        raise ValueError(f'"{text}" is not a URL such as http://auth.example:8080/check')


def _forward_tls(items: Items, read_file: ReadFile) -> ForwardAuthTLS:
    parent = "auth.forward.tls"
    texts = {part: items.text(f"{parent}.{part}") for part in ("ca", "cert", "key")}
    for part, other in (("cert", "key"), ("key", "cert")):
        if texts[part] and items.lacks(f"{parent}.{other}"):
            items.problem(f"{parent}.{part}", f"also needs {items.spell(f'{parent}.{other}')}")
    pems = {
        part: items.attempt(f"{parent}.{part}", "", lambda text=text: load_pem(text, read_file))  # type: ignore[misc]
        for part, text in texts.items()
        if text
    }
    reason = check_certificates(pems["ca"]) if pems.get("ca") else None
    if reason:
        items.problem(f"{parent}.ca", reason)
    if pems.get("cert") and pems.get("key"):
        reason = check_pair(CertificatePair(chain_pem=pems["cert"], key_pem=pems["key"]))
        if reason:
            items.problem(f"{parent}.cert", reason)
    return ForwardAuthTLS(
        ca=pems.get("ca", ""),
        ca_optional=items.boolean(f"{parent}.caOptional"),
        cert=pems.get("cert", ""),
        key=pems.get("key", ""),
        insecure_skip_verify=items.boolean(f"{parent}.insecureSkipVerify"),
    )
