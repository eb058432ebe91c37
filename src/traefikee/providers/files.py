"""Files that a dynamic configuration names, read where the provider runs: certificates, keys, and users."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from traefikee.config.certificates import ReadFile, load_pem
from traefikee.config.dynamic import DynamicConfiguration, Frontend, Router
from traefikee.config.middlewares import Auth, BasicAuth, DigestAuth, ForwardAuthTLS
from traefikee.config.runtime import ObjectError, ObjectKind, spelt
from traefikee.config.users import load_users

_T = TypeVar("_T")


def load_files(
    config: DynamicConfiguration, read_file: ReadFile, provider: str
) -> tuple[DynamicConfiguration, tuple[ObjectError, ...]]:
    """Return the configuration with its files read, without the objects of which one cannot be read.

    :param read_file: returns a file's content, raises FileNotFoundError or another OSError.
    """
    loader = _Loader(provider, _once(read_file))
    certificates = {}
    for name, certificate in sorted(config.tls.items()):
        loader.begin("tls", name)
        texts = {
            field: loader.pem(getattr(certificate, field), f"certificate.{leaf}")
            for field, leaf in (("cert_file", "certFile"), ("key_file", "keyFile"))
        }
        if not loader.failed:
            certificates[name] = certificate.model_copy(update=texts)
    update: dict[str, Any] = {"tls": certificates}
    frontends = _frontends(config, loader)
    if frontends is not None:
        update["frontends"] = frontends
    if config.routers:
        update["routers"] = _routers(config, loader)
    return config.model_copy(update=update), tuple(loader.errors)


def _frontends(config: DynamicConfiguration, loader: _Loader) -> dict[str, Frontend] | None:
    """Return all frontends with their files, or None if no file was read."""
    changed: dict[str, Frontend | None] = {}
    for name, frontend in sorted(config.frontends.items()):
        if frontend.auth is not None:
            loader.begin("frontend", name)
            auth = loader.auth(frontend.auth)
            if loader.failed:
                changed[name] = None
            elif auth is not frontend.auth:
                changed[name] = frontend.model_copy(update={"auth": auth})
    if not changed:
        return None
    together = {name: changed.get(name, frontend) for name, frontend in config.frontends.items()}
    return {name: frontend for name, frontend in together.items() if frontend is not None}


def _routers(config: DynamicConfiguration, loader: _Loader) -> dict[str, Router]:
    """Return the routers with their files, without those of which one cannot be read."""
    found = {}
    for name, router in sorted(config.routers.items()):
        loader.begin("router", name)
        middlewares = tuple(
            one if one.auth is None else one.model_copy(update={"auth": loader.auth(one.auth, one.name)})
            for one in router.middlewares
        )
        if not loader.failed:
            found[name] = (
                router if middlewares == router.middlewares else router.model_copy(update={"middlewares": middlewares})
            )
    return found


def _once(read_file: ReadFile) -> ReadFile:
    known: dict[str, bytes] = {}

    def read(path: str) -> bytes:
        if path not in known:
            known[path] = read_file(path)
        return known[path]

    return read


def _without_auth(key: str) -> str:
    """Return an option of authentication as Traefik 2 spells it: ``basicAuth.usersFile``."""
    method, _, rest = key.removeprefix("auth.").partition(".")
    return f"{method}Auth.{rest}"


class _Loader:
    """Reads the files of one object after the other."""

    def __init__(self, provider: str, read_file: ReadFile) -> None:
        self._provider = provider
        self._read_file = read_file
        self._kind: ObjectKind = "tls"
        self._name = ""
        self._middleware = ""
        self.failed = False
        self.errors: list[ObjectError] = []

    def begin(self, kind: ObjectKind, name: str) -> None:
        self._kind, self._name, self._middleware, self.failed = kind, name, "", False

    def _attempt(self, action: Callable[[], _T], default: _T, path: str) -> _T:
        try:
            return action()
        except ValueError as error:
            self.failed = True
            key = spelt(self._provider, path)
            if self._middleware:
                key = f'middleware "{self._middleware}": {_without_auth(key)}'
            self.errors.append(
                ObjectError(
                    provider=self._provider,
                    kind=self._kind,
                    name=self._name,
                    path="middlewares" if self._middleware else key,
                    message=f"{key}: {error}",
                )
            )
            return default

    def pem(self, text: str, path: str) -> str:
        return self._attempt(lambda: load_pem(text, self._read_file), "", path)

    def auth(self, auth: Auth, middleware: str = "") -> Auth:
        """Return who is let in, with the files of the method that counts.

        :param middleware: the name of the router's middleware, for errors.
        """
        self._middleware = middleware
        if auth.basic is not None:
            basic = self._users(auth.basic, "basic")
            return auth if basic is auth.basic else auth.model_copy(update={"basic": basic})
        if auth.digest is not None:
            digest = self._users(auth.digest, "digest")
            return auth if digest is auth.digest else auth.model_copy(update={"digest": digest})
        if auth.forward is not None and auth.forward.tls is not None:
            forward = auth.forward.model_copy(update={"tls": self._tls(auth.forward.tls)})
            return auth.model_copy(update={"forward": forward})
        return auth

    def _users(self, users: Any, method: str) -> BasicAuth | DigestAuth:
        if not users.users_file:
            return users  # type: ignore[no-any-return]
        text = self._attempt(lambda: load_users(users.users_file, self._read_file), "", f"auth.{method}.usersFile")
        return users.model_copy(update={"users_file": text})  # type: ignore[no-any-return]

    def _tls(self, tls: ForwardAuthTLS) -> ForwardAuthTLS:
        texts = {
            name: self.pem(getattr(tls, name), f"auth.forward.tls.{name}")
            for name in ("ca", "cert", "key")
            if getattr(tls, name)
        }
        return tls.model_copy(update=texts)
