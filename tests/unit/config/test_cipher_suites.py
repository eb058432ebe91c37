from __future__ import annotations

import pytest

from traefikee.config.cipher_suites import iana_names


def test_both_of_gos_names_are_one_suite() -> None:
    names = ["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"]
    assert iana_names(names) == ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",)
    assert iana_names([]) == ()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TLS_RSA_WITH_RC4_128_SHA", "can be attacked"),
        ("TLS_AES_128_GCM_SHA256", "always on"),
        ("tls_ecdhe_rsa_with_aes_128_gcm_sha256", 'did you mean "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"'),
        ("", "is unknown"),
        ("ECDHE-RSA-AES128-GCM-SHA256", "there are TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "),
    ],
)
def test_what_cannot_be_had(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        iana_names([name])
