"""Walks the folder: one YAML file a case, with a command line, key-value pairs or a file, and what comes of them.

``UPDATE_GOLDEN=1`` rewrites what is expected; read the difference before keeping it. Files that a case names are in
``files/``; in the expected text certificates and keys stand as ``<a.example.crt>``.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from traefikee.compile.compiler import compile_snapshot
from traefikee.compile.snapshot import Snapshot
from traefikee.config.certificates import CertificatePair
from traefikee.config.dynamic_api import to_api
from traefikee.config.errors import ConfigurationError
from traefikee.config.model import Model
from traefikee.config.options import build_static
from traefikee.config.runtime import ObjectError
from traefikee.providers.files import load_files
from traefikee.providers.kv import decode
from traefikee.providers.mapping import dynamic_from_mapping

FOLDER = Path(__file__).parent
FILES = FOLDER / "files"
CASES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
MARK = "expect:\n"
INPUTS = {"deploy", "pairs", "prefix", "toml", "rejected", "api", "expect"}


def read_file(name: str) -> bytes:
    return (FILES / name).read_bytes()


def default_pair() -> CertificatePair:
    return CertificatePair(
        chain_pem=read_file("default.example.crt").decode(), key_pem=read_file("default.example.key").decode()
    )


def names() -> dict[str, str]:
    """From texts that are too long for a reader to names."""
    found = {}
    for path in FILES.glob("*.crt"):
        text = path.read_text()
        found[json.dumps(text)[1:-1]] = f"<{path.name}>"
        found[CertificatePair(chain_pem=text, key_pem="").id] = f"<{path.stem}>"
    for path in FILES.glob("*.key"):
        found[json.dumps(path.read_text())[1:-1]] = f"<{path.name}>"
    return found


def readable(value: Any) -> Any:
    text = json.dumps(value)
    for long, short in names().items():
        text = text.replace(long, short)
    return json.loads(text)


def brief(snapshot: Snapshot) -> dict[str, Any]:
    """The document without what has its usual value; a new field thus changes only the cases that use it.

    The names of chains, which are digests, are left out.
    """

    def unusual(value: Any) -> Any:
        if isinstance(value, Model):
            fields = type(value).model_fields
            shown = {name: getattr(value, name) for name in fields}
            kept = {name for name in shown if name == "type" or shown[name] != fields[name].default} - {"chain"}
            return {name: unusual(it) for name, it in shown.items() if name in kept}
        return [unusual(one) for one in value] if isinstance(value, tuple) else value

    shown: dict[str, Any] = readable(unusual(snapshot))
    return {name: part for name, part in shown.items() if part}


def sentences(errors: tuple[ObjectError, ...]) -> list[str]:
    return [f"{'(warning) ' if error.severity == 'warning' else ''}{error.sentence()}" for error in errors]


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    options = []
    for argument in case.get("deploy", []):
        name, equals, value = argument.removeprefix("--").partition("=")
        options.append((name, value if equals else None))
    try:
        static = build_static(options, read_file)
    except ConfigurationError as error:
        return {"problems": str(error).split("\n")}
    pairs = {key: str(value).encode() for key, value in case.get("pairs", {}).items()}
    provider = "file" if "toml" in case else "consul"
    if "toml" in case:
        decoded = dynamic_from_mapping(tomllib.loads(case["toml"]), provider)
    else:
        decoded = decode(pairs, case.get("prefix", "traefik"), provider)
    loaded, more = load_files(decoded.configuration, read_file, provider)
    compiled = compile_snapshot(
        static,
        {provider: loaded},
        revision=1,
        default_certificate=default_pair(),
        rejected=case.get("rejected", {}),
    )
    assert Snapshot.from_json(compiled.snapshot.to_json()) == compiled.snapshot
    result: dict[str, Any] = {"snapshot": brief(compiled.snapshot)}
    errors = sentences(decoded.errors + more + compiled.errors)
    if errors:
        result["errors"] = errors
    if decoded.notes:
        result["notes"] = list(decoded.notes)
    if case.get("api"):
        result["api"] = to_api(compiled.effective[provider])
    return result


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    path = FOLDER / f"{name}.yaml"
    text = path.read_text()
    case = yaml.safe_load(text)
    assert set(case) <= INPUTS, "a case has unknown parts"
    got = outcome(case)
    if os.environ.get("UPDATE_GOLDEN") == "1":
        kept = text.partition(MARK)[0]
        path.write_text(kept + MARK + indented(yaml.safe_dump(got, sort_keys=False, allow_unicode=True, width=110)))
    else:
        assert got == case.get("expect"), "UPDATE_GOLDEN=1 rewrites what is expected"


def indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


def test_the_folder_is_not_empty() -> None:
    assert len(CASES) >= 40
