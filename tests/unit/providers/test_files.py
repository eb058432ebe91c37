from __future__ import annotations

from typing import Any

import pytest

from traefikee.config.dynamic import DynamicConfiguration, Frontend
from traefikee.config.users import is_users_text, lines_of, load_users
from traefikee.providers.files import load_files

CONTENTS = {"/users": b"a:geheim\n", "/ca.crt": b"-----BEGIN CERTIFICATE-----", "/binary": b"\xff", "relative": b""}


def read_file(path: str) -> bytes:
    if path == "/folder":
        raise IsADirectoryError(21, "Is a directory")
    if path not in CONTENTS:
        raise FileNotFoundError(path)
    return CONTENTS[path]


def loaded(auth: Any) -> tuple[Frontend | None, list[str]]:
    config = DynamicConfiguration.model_validate(
        {"frontends": {"f": {"backend": "b", "auth": auth}, "other": {"backend": "b"}}}
    )
    result, errors = load_files(config, read_file, "file")
    assert result.frontends["other"] is config.frontends["other"]
    return result.frontends.get("f"), [error.sentence() for error in errors]


@pytest.mark.parametrize("method", ["basic", "digest"])
def test_users(method: str) -> None:
    frontend, errors = loaded({method: {"usersFile": "/users"}})
    assert errors == []
    assert frontend is not None
    assert getattr(frontend.auth, method).users_file == "a:geheim\n"
    assert "geheim" not in repr(frontend)


def test_authorities_of_forward_authentication() -> None:
    frontend, errors = loaded({"forward": {"address": "http://h", "tls": {"ca": "/ca.crt"}}})
    assert errors == []
    assert frontend is not None
    assert frontend.auth is not None
    assert frontend.auth.forward is not None
    assert frontend.auth.forward.tls is not None
    assert frontend.auth.forward.tls.ca == "-----BEGIN CERTIFICATE-----"


@pytest.mark.parametrize(
    ("auth", "sentence"),
    [
        ({"basic": {"usersFile": "/none"}}, 'auth.basic.usersFile: there is no file "/none"'),
        ({"basic": {"usersFile": "/binary"}}, 'auth.basic.usersFile: file "/binary" is not UTF-8'),
        ({"digest": {"usersFile": "/folder"}},
         'auth.digest.usersFile: file "/folder" cannot be read: Is a directory'),
        ({"forward": {"tls": {"key": "/none.key"}}},
         'auth.forward.tls.key: there is no file "/none.key", and it is not PEM text either'),
    ],
)  # fmt: skip
def test_a_frontend_whose_file_cannot_be_read_is_left_out(auth: Any, sentence: str) -> None:
    assert loaded(auth) == (None, [f'frontend "file/f": {sentence}'])


def test_nothing_to_read() -> None:
    config = DynamicConfiguration(frontends={"f": Frontend(backend="b")})
    result, errors = load_files(config, read_file, "consul")
    assert errors == ()
    assert result == config
    assert result.frontends["f"] is config.frontends["f"]


def test_a_file_is_read_once() -> None:
    read: list[str] = []

    def counted(path: str) -> bytes:
        read.append(path)
        return read_file(path)

    options = {"backend": "b", "auth": {"basic": {"usersFile": "/users"}}}
    load_files(DynamicConfiguration.model_validate({"frontends": {"f": options, "g": options}}), counted, "file")
    assert read == ["/users"]


@pytest.mark.parametrize(
    ("text", "is_text"),
    [
        ("name:hash", True),
        ("a:b\nc:d", True),
        ("\n", True),
        ("/etc/users", False),
        ("users.htpasswd", False),
        ("/etc/users:1", False),
        ("./a:b", False),
    ],
)
def test_texts_and_paths(text: str, is_text: bool) -> None:
    assert is_users_text(text) is is_text
    if is_text:
        assert load_users(text, read_file) == text


def test_lines() -> None:
    assert lines_of("# a\n\n a:b \r\n#c:d\ne:f") == ("a:b", "e:f")
    assert lines_of("") == ()
