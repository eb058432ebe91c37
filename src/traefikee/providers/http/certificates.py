"""Certificates of Traefik 2 and 3 (``tls.certificates``), and the tables that there is nothing for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from traefikee.config.dynamic import TLSCertificate
from traefikee.config.http_tables import CertificateTable
from traefikee.config.runtime import ObjectError
from traefikee.providers.http.middlewares import UNKNOWN
from traefikee.providers.layout import layout_of
from traefikee.providers.tables import TableReader

LAYOUT = layout_of(CertificateTable)
_NOWHERE = {
    "tls.options": "options of TLS are those of the entry points, in the static configuration",
    "tls.stores": "an entry point's TLS.DefaultCertificate, in the static configuration, takes their place",
    "tcp": "only HTTP is served",
    "udp": "only HTTP is served",
    "http.serversTransports": "insecureSkipVerify and rootCAs of the static configuration take their place",
}


def read_certificates(
    tables: Sequence[object], provider: str
) -> tuple[dict[str, TLSCertificate], tuple[ObjectError, ...]]:
    """Return certificates by ``certificates.<number>``: they are for all entry points with TLS."""
    found: dict[str, TLSCertificate] = {}
    errors: list[ObjectError] = []
    for index, table in enumerate(tables):
        reader = TableReader(provider, "tls", f"certificates.{index}")
        reader.unknown = UNKNOWN
        values: dict[str, Any] = reader.table(table, LAYOUT) or {}
        for field, key in (("cert_file", "certFile"), ("key_file", "keyFile")):
            if not values.get(field) and not reader.failed:
                reader.error(key, f"it has no {key}")
        stores = values.get("stores", ())
        if any(store != "default" for store in stores):
            reader.error("stores", 'there is no store but "default"')
        if not reader.failed:
            found[reader.name] = TLSCertificate(
                cert_file=values["cert_file"], key_file=values["key_file"], everywhere=True
            )
        errors += reader.errors
    return found, tuple(errors)


def nowhere(others: Mapping[str, Sequence[str]], provider: str) -> Iterator[ObjectError]:
    """Say of tables of Traefik 2 that there is nothing for them here."""
    for table, names in others.items():
        shown = ", ".join(f'"{name}"' for name in names if name)
        text = f"{table} ({shown})" if shown else table
        yield ObjectError(
            provider=provider, kind="provider", name="", path=table, message=f"{text} is left out: {_NOWHERE[table]}"
        )
