"""From parsed files to what they say: good objects, and what is wrong with the others. Files are read by a function."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pydantic import Field

from traefikee.config.certificates import ReadFile
from traefikee.config.documents import Document
from traefikee.config.dynamic import DynamicConfiguration
from traefikee.config.model import Model
from traefikee.config.runtime import ObjectError, located
from traefikee.providers.decoded import put_together
from traefikee.providers.file.merge import CERTIFICATES, merge
from traefikee.providers.files import load_files
from traefikee.providers.http import read_http
from traefikee.providers.http.certificates import nowhere, read_certificates
from traefikee.providers.mapping import outcomes_of

PROVIDER = "file"


class Content(Model):
    """What the files of the file provider say, with the files that they name embedded: the same on every node.

    :ivar configuration: the objects without errors.
    :ivar errors: what is wrong with which object.
    :ivar places: as :func:`~traefikee.config.runtime.located` takes them.
    :ivar files: the files, as they were named.
    """

    configuration: DynamicConfiguration = DynamicConfiguration()
    errors: tuple[ObjectError, ...] = ()
    places: dict[str, str] = Field(default_factory=dict)
    files: tuple[str, ...] = ()

    def to_json(self) -> bytes:
        """Return the form in which it is sent and stored."""
        return self.model_dump_json(by_alias=True, exclude_defaults=True).encode()

    @property
    def digest(self) -> str:
        """What tells it from others."""
        return hashlib.sha256(self.to_json()).hexdigest()


def read_content(documents: Sequence[Document], read_file: ReadFile) -> Content:
    """Return what files say.

    :param documents: in the order in which they count.
    :param read_file: returns the content of a file that they name, raises FileNotFoundError or another OSError.
    :raises ConfigurationError: with everything that is no dynamic configuration at all.
    """
    merged = merge(documents, PROVIDER)
    groups = {name: merged.named[name] for name in ("backends", "frontends")} | {"tls": merged.lists["tls"]}
    decoded = put_together(PROVIDER, outcomes_of(groups, PROVIDER))
    said = decoded.configuration
    http = read_http(
        merged.named["http.routers"],
        merged.named["http.services"],
        merged.named["http.middlewares"],
        PROVIDER,
        backends=said.backends,
        frontends=merged.named["frontends"],
    )
    certificates, wrong = read_certificates(merged.lists[CERTIFICATES], PROVIDER)
    update = {
        "routers": http.routers,
        "backends": said.backends | http.backends,
        "tls": said.tls | certificates,
    }
    configuration, more = load_files(said.model_copy(update=update), read_file, PROVIDER)
    found = (*merged.errors, *decoded.errors, *http.errors, *wrong, *nowhere(merged.others, PROVIDER), *more)
    errors = tuple(located(error, merged.places) for error in found)
    return Content(
        configuration=configuration,
        errors=errors,
        places=merged.places,
        files=tuple(document.name for document in documents),
    )
