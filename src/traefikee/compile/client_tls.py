"""``passTLSCert`` of Traefik 1.7 (deprecated): servers are shown the certificate of the entry point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from traefikee.compile import snapshot as snap
from traefikee.compile.problems import Problems
from traefikee.config.static import EntryPoint

PATH = "passTLSCert"


def client_tls(
    names: Iterable[str], entry_points: Mapping[str, EntryPoint], problems: Problems
) -> snap.ClientTLS | None:
    """Return what the servers of a frontend are shown: the first certificate of its entry point's own.

    They are verified by the entry point's client authorities, if it has any, as in Traefik 1.7, which took one list for
    both; otherwise as all servers are. Entry points without TLS do not count.

    :param names: the frontend's entry points, of which all are defined.
    :param entry_points: all there are, by name.
    """
    found = {}
    for name in names:
        tls = entry_points[name].tls
        if tls is not None:
            shown = next((pair.id for pair in tls.certificates), "")
            found[name] = (shown, "" if tls.client_ca is None else tls.client_ca.pem)
    if not found:
        problems.error(PATH, "none of its entry points has TLS")
        return None
    bare = [name for name, (certificate, _) in found.items() if not certificate]
    if bare:
        problems.error(PATH, f'entry point "{bare[0]}" has no certificate in TLS')
        return None
    if len(set(found.values())) > 1:
        text = f"its entry points ({', '.join(found)}) have different certificates; make a frontend for each of them"
        problems.error(PATH, text)
        return None
    certificate, authorities = next(iter(found.values()))
    return snap.ClientTLS(certificate=certificate, root_ca_pem=authorities)
