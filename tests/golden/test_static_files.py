"""Walks the folder ``static``: one YAML file a case, with a configuration file and flags, and what comes of them.

``UPDATE_GOLDEN=1`` rewrites what is expected; read the difference before keeping it. What has its default is left out.
Files that a case names are in ``files/``; in the expected text certificates and keys stand as ``<a.example.crt>``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from traefikee.config.documents import parse_document
from traefikee.config.errors import ConfigurationError
from traefikee.config.model import Model
from traefikee.config.options import build_static
from traefikee.config.settings import FileSettings, read_settings
from traefikee.config.static import StaticConfiguration

FOLDER = Path(__file__).parent / "static"
FILES = Path(__file__).parent / "files"
CASES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
MARK = "expect:\n"
INPUTS = {"name", "file", "flags", "expect"}


def read_file(name: str) -> bytes:
    return (FILES / name).read_bytes()


def load(case: dict[str, Any]) -> tuple[FileSettings, StaticConfiguration]:
    settings = read_settings(parse_document(case["name"], case["file"].encode()))
    flags = [flag.removeprefix("--").partition("=") for flag in case.get("flags", [])]
    return settings, build_static(
        [(name, value if equals else None) for name, equals, value in flags], read_file, settings
    )


def brief(value: Any) -> Any:
    """The configuration without what has its default."""
    if isinstance(value, Model):
        fields = type(value).model_fields
        shown = {name: getattr(value, name) for name in fields}
        return {
            name: brief(it)
            for name, it in shown.items()
            if it != fields[name].get_default(call_default_factory=True) or name == "entry_points"
        }
    return [brief(one) for one in value] if isinstance(value, tuple) else value


def readable(value: Any) -> Any:
    text = json.dumps(value)
    for path in (*FILES.glob("*.crt"), *FILES.glob("*.key")):
        text = text.replace(json.dumps(path.read_text())[1:-1], f"<{path.name}>")
    return json.loads(text)


def outcome(case: dict[str, Any]) -> dict[str, Any]:
    try:
        _, static = load(case)
    except ConfigurationError as error:
        return {"problems": str(error).split("\n")}
    return {"configuration": readable(brief(static))}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    path = FOLDER / f"{name}.yaml"
    text = path.read_text()
    case = yaml.safe_load(text)
    assert set(case) <= INPUTS, "a case has unknown parts"
    got = outcome(case)
    if os.environ.get("UPDATE_GOLDEN") == "1":
        shown = yaml.safe_dump(got, sort_keys=False, allow_unicode=True, width=110)
        indented = "".join(f"  {line}\n" for line in shown.splitlines())
        path.write_text(text.partition("\n" + MARK)[0].rstrip("\n") + "\n" + MARK + indented)
    else:
        assert got == case.get("expect"), "UPDATE_GOLDEN=1 rewrites what is expected"


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("sample-")])
def test_the_three_forms_mean_the_same(name: str) -> None:
    case = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    _, wanted = load(yaml.safe_load((FOLDER / "sample-toml.yaml").read_text()))
    assert load(case)[1] == wanted


def test_the_folder_is_not_empty() -> None:
    assert len(CASES) >= 12
