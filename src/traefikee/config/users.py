"""Users of basic and digest authentication, as options and files give them."""

from __future__ import annotations

from traefikee.config.certificates import ReadFile


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
