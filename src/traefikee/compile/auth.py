"""From the authentication of entry points and frontends to middlewares (Traefik 1.7, ``auth``)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from traefikee.compile import checks
from traefikee.compile import snapshot_middlewares as middle
from traefikee.compile.problems import Problems
from traefikee.config.certificate_checks import check_certificates, check_pair
from traefikee.config.certificates import CertificatePair
from traefikee.config.middlewares import Auth, BasicAuth, DigestAuth, ForwardAuth, ForwardAuthTLS
from traefikee.config.runtime import spelt
from traefikee.config.users import lines_of, read_basic_user, read_digest_user

_Method = TypeVar("_Method", BasicAuth, DigestAuth)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A middleware, or nothing, and what of the options is in force."""

    middleware: middle.Middleware | None
    effective: Auth | None


def compile_auth(auth: Auth, problems: Problems) -> Compiled:
    """Return the middleware of the method that counts: basic, else digest, else forward.

    Its files are texts already. Errors tell users by their number alone.
    """
    header = auth.header_field
    problems.attempt("auth.headerField", lambda: header and checks.header_name(header))
    methods = {name: getattr(auth, name) for name in ("basic", "digest", "forward")}
    given = [name for name, method in methods.items() if method is not None]
    if not given:
        problems.warning("auth", "it has none of basic, digest and forward: everybody is let in")
        return Compiled(None, None)
    for name in given[1:]:
        problems.warning(f"auth.{name}", f"it has no effect beside {spelt(problems.provider, f'auth.{given[0]}')}")
    if auth.basic is not None:
        users, basic = _users(auth.basic, "basic", read_basic_user, problems)
        effective = auth.model_copy(update={"basic": basic, "digest": None, "forward": None})
        remove = auth.basic.remove_header
        return Compiled(middle.BasicAuth(users=users, remove_header=remove, header_field=header), effective)
    if auth.digest is not None:
        users, digest = _users(auth.digest, "digest", read_digest_user, problems)
        effective = auth.model_copy(update={"digest": digest, "forward": None})
        remove = auth.digest.remove_header
        return Compiled(middle.DigestAuth(users=users, remove_header=remove, header_field=header), effective)
    return Compiled(None if auth.forward is None else _forward(auth.forward, problems), auth)


def deprecated_basic(users: tuple[str, ...], problems: Problems) -> tuple[middle.BasicAuth, tuple[str, ...]]:
    """Return the middleware of the deprecated list ``basicAuth``, and the list as it is in force: never empty."""
    good = _merged(users, (), "basicAuth", read_basic_user, problems)
    return middle.BasicAuth(users=good), good or users


def _users(
    method: _Method, name: str, check: Callable[[str], tuple[str, str]], problems: Problems
) -> tuple[tuple[str, ...], _Method]:
    """Return all users, and the method as it is in force."""
    lines = lines_of(method.users_file)
    before = len(problems.found)
    users = _merged(method.users, lines, f"auth.{name}.users", check, problems)
    if len(problems.found) == before:
        return users, method
    return users, method.model_copy(update={"users": users, "users_file": ""})


def _merged(
    users: Iterable[str], lines: Iterable[str], path: str, check: Callable[[str], tuple[str, str]], problems: Problems
) -> tuple[str, ...]:
    """Return the users who can be let in, by their names; of two of the same name the last one counts."""
    found: dict[str, tuple[str, str]] = {}
    for source, where in ((users, "user {}"), (lines, "user {} of the file")):
        for number, entry in enumerate(source, 1):
            try:
                name, reason = check(entry)
            except ValueError as error:
                problems.error(path, f"{where.format(number)} {error}")
                continue
            found[name] = (entry, f"{where.format(number)} {reason}" if reason else "")
    for _, reason in found.values():
        if reason:
            problems.warning(path, f"{reason}, and is not let in")
    return tuple(entry for _, (entry, reason) in sorted(found.items()) if not reason)


def _forward(forward: ForwardAuth, problems: Problems) -> middle.ForwardAuth | None:
    address = problems.attempt("auth.forward.address", lambda: checks.http_url(forward.address))
    names = problems.attempt(
        "auth.forward.authResponseHeaders", lambda: checks.header_names(forward.auth_response_headers)
    )
    tls = None if forward.tls is None else _forward_tls(forward.tls, problems)
    if address is None or names is None or problems.failed:
        return None
    return middle.ForwardAuth(
        address=address, trust_forward_header=forward.trust_forward_header, response_headers=names, tls=tls
    )


def _forward_tls(tls: ForwardAuthTLS, problems: Problems) -> middle.ForwardAuthTLS:
    reason = check_certificates(tls.ca) if tls.ca else None
    if reason is not None:
        problems.error("auth.forward.tls.ca", reason)
    if tls.cert and tls.key:
        reason = check_pair(CertificatePair(chain_pem=tls.cert, key_pem=tls.key))
        if reason is not None:
            problems.error("auth.forward.tls.cert", reason)
    elif tls.cert or tls.key:
        there, missing = ("cert", "key") if tls.cert else ("key", "cert")
        problems.error(f"auth.forward.tls.{there}", f"it needs {missing} too")
    return middle.ForwardAuthTLS(
        ca_pem=tls.ca, cert_pem=tls.cert, key_pem=tls.key, insecure_skip_verify=tls.insecure_skip_verify
    )
