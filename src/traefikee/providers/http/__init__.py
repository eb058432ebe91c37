"""The dynamic configuration of Traefik 2 and 3 (``http``, ``tls.certificates``), from plain tables to objects. No I/O.

Routers come out with what they name resolved; services become backends. What has no equivalent is an error of its
object.
"""

from __future__ import annotations

from traefikee.providers.http.routers import read_http

__all__ = ["read_http"]
