"""The key-value layout of Traefik 1.7 (Consul, etcd, ZooKeeper), from pairs to a dynamic configuration. No I/O.

Below the prefix: ``backends/<b>/...``, ``frontends/<f>/...``, ``tls/<id>/...``; ``alias`` names another prefix to read.
Nothing is ignored silently: what cannot be meant is an error on its object, which is then left out.
"""

from __future__ import annotations

from traefikee.providers.decoded import Decoded
from traefikee.providers.kv.decoder import Decoder, alias_of, decode

__all__ = ["Decoded", "Decoder", "alias_of", "decode"]
