"""What is refused before it is stored."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from traefikee.config.build import build_static
from traefikee.config.certificates import CertificatePair
from traefikee.node import deployment

PAIR = CertificatePair(chain_pem="", key_pem="")
STATIC = build_static(
    [
        ("entryPoints", "Name:open Address::80"),
        ("entryPoints", "Name:lan Address::81 WhiteList.SourceRange:10.0.0.0/8 Compress:true Redirect.EntryPoint:open"),
        ("entryPoints", "Name:admin Address::82 Auth.Basic.Users:a:{SHA}b"),
    ],
    lambda name: b"",
)


def idle(monkeypatch: pytest.MonkeyPatch, *carried_out: str) -> list[str]:
    """The options that are told, with a compiler that carries out these fields of entry points."""

    def compile_snapshot(configuration: Any, *_: Any, **__: Any) -> SimpleNamespace:
        shown = [[getattr(point, field) for field in carried_out] for point in configuration.entry_points]
        return SimpleNamespace(snapshot=shown)

    monkeypatch.setattr(deployment, "compile_snapshot", compile_snapshot)
    return deployment._idle_options(STATIC, compile_snapshot(STATIC).snapshot, PAIR)


def test_options_of_entry_points_that_nobody_carries_out_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert idle(monkeypatch) == [
        "entryPoints.lan.redirect",
        "entryPoints.lan.whiteList",
        "entryPoints.lan.compress",
        "entryPoints.admin.auth",
    ]
    assert idle(monkeypatch, "white_list", "redirect") == ["entryPoints.lan.compress", "entryPoints.admin.auth"]
    assert idle(monkeypatch, "white_list", "redirect", "auth", "compress") == []
