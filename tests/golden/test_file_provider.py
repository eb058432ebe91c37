"""Walks the folder ``provider``: one YAML file a case, with files of the file provider, and what comes of them.

``UPDATE_GOLDEN=1`` rewrites what is expected; read the difference before keeping it. Certificates, keys and users that
a case names are in ``files/``; in the expected text certificates and keys stand as ``<a.example.crt>``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.golden.test_golden import brief, default_pair, indented, read_file, sentences
from traefikee.compile.compiler import compile_snapshot
from traefikee.compile.snapshot import Snapshot
from traefikee.config.documents import parse_document
from traefikee.config.errors import ConfigurationError
from traefikee.config.options import build_static
from traefikee.config.runtime import located
from traefikee.node.publishing import Runtime, text
from traefikee.providers.file.content import PROVIDER, Content, read_content

FOLDER = Path(__file__).parent / "provider"
CASES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
MARK = "\nexpect:\n"
INPUTS = {"deploy", "files", "expect"}
DEPLOY = ["--entryPoints=Name:http Address::80", "--entryPoints=Name:https Address::443 TLS"]


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    options = [argument.removeprefix("--").partition("=") for argument in case.get("deploy", DEPLOY)]
    static = build_static([(name, value if equals else None) for name, equals, value in options], read_file)
    try:
        documents = [parse_document(name, content.encode()) for name, content in case["files"].items()]
        content = read_content(documents, read_file)
    except ConfigurationError as error:
        return {"problems": str(error).split("\n")}
    assert Content.model_validate_json(content.to_json()) == content, "it travels"
    said = {PROVIDER: content.configuration}
    objects = {key: text(item) for key, item in Runtime(said, {}).objects().items()}
    assert Runtime.load(objects).heard == said, "the next leader finds it"
    compiled = compile_snapshot(static, said, revision=1, default_certificate=default_pair())
    assert Snapshot.from_json(compiled.snapshot.to_json()) == compiled.snapshot
    shown = brief(compiled.snapshot)
    result: dict[str, Any] = {name: shown[name] for name in ("routes", "services") if name in shown}
    certificates = {one["name"]: one["tls"]["certificates"] for one in shown["entry_points"] if "tls" in one}
    if any(certificates.values()):
        result["certificates"] = certificates
    errors = sentences((*content.errors, *(located(error, content.places) for error in compiled.errors)))
    return result | ({"errors": errors} if errors else {})


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    path = FOLDER / f"{name}.yaml"
    source = path.read_text()
    case = yaml.safe_load(source)
    assert set(case) <= INPUTS, "a case has unknown parts"
    got = outcome(case)
    if os.environ.get("UPDATE_GOLDEN") == "1":
        shown = yaml.safe_dump(got, sort_keys=False, allow_unicode=True, width=110)
        path.write_text(source.partition(MARK)[0].rstrip("\n") + MARK + indented(shown))
    else:
        assert got == case.get("expect"), "UPDATE_GOLDEN=1 rewrites what is expected"


def test_the_folder_is_not_empty() -> None:
    assert len(CASES) >= 10
