"""Users of basic and digest authentication, as options and files give them."""

from __future__ import annotations

import re

from traefikee.config.certificates import ReadFile

_BASIC_HASH = re.compile(
    r"\{SHA\}[A-Za-z0-9+/]{27}="
    r"|\$(?:apr1|1)\$[^$]*\$[./0-9A-Za-z]{22}"
    r"|\$2[abxy]\$[0-9]{2}\$[./0-9A-Za-z]{53}"
)
_DIGEST_HASH = re.compile(r"[0-9a-fA-F]{32}")
REALM = "traefik"
"""The only realm of digest authentication."""


def read_basic_user(entry: str) -> tuple[str, str]:
    """Return the name in ``name:hash``, and why nobody can ever log in with it, or an empty text.

    :raises ValueError: it is not of that form. Neither text repeats what may be a secret.
    """
    name, _, digest = entry.partition(":")
    if entry.count(":") != 1 or not name:
        raise ValueError('is not of the form name:hash (with exactly one ":")')
    if not _BASIC_HASH.fullmatch(digest):
        return name, "has a hash that is none of MD5 ($apr1$, $1$), SHA-1 ({SHA}) and bcrypt ($2y$)"
    return name, ""


def read_digest_user(entry: str) -> tuple[str, str]:
    """Return name and realm in ``name:realm:hash`` (joined by the colon), and why nobody can log in with it.

    :raises ValueError: as :func:`read_basic_user`.
    """
    if entry.count(":") != 2 or entry.startswith(":"):
        raise ValueError('is not of the form name:realm:hash (with exactly two ":")')
    name, realm, digest = entry.split(":")
    reason = ""
    if realm != REALM:
        reason = f'has a realm other than "{REALM}"'
    elif not _DIGEST_HASH.fullmatch(digest):
        reason = "has a hash that is not MD5 (32 hexadecimal digits)"
    return f"{name}:{realm}", reason


def is_users_text(text: str) -> bool:
    """Tell whether a text is itself such a file (``name:hash`` lines), and not the path of one."""
    return "\n" in text or (":" in text and not text.startswith(("/", "./", "../", "~")))


def load_users(text: str, read_file: ReadFile) -> str:
    """Return the text of a file of users: the text itself if it is one, else the content of the file that it names.

    :raises ValueError: the file cannot be read or is not text. Never holds content.
    """
    if not text or is_users_text(text):
        return text
    shown = f'"{text}"' if text.isprintable() and len(text) < 256 else "of that name"
    try:
        return read_file(text).decode()
    except FileNotFoundError:
        raise ValueError(f"there is no file {shown}") from None
    except UnicodeDecodeError:
        raise ValueError(f"file {shown} is not UTF-8") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "its name is not valid"
        raise ValueError(f"file {shown} cannot be read: {reason}") from None


def lines_of(text: str) -> tuple[str, ...]:
    """Return the users of a file's text: one a line, without blank ones and those that begin with ``#``."""
    stripped = (line.strip() for line in text.splitlines())
    return tuple(line for line in stripped if line and not line.startswith("#"))
