"""Finding and reading the files of the file provider."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from traefikee.config.documents import Document, parse_document
from traefikee.config.errors import ConfigurationError
from traefikee.config.static import FileOptions
from traefikee.providers.file import source
from traefikee.providers.file.source import find_files, fingerprint, read_source

BACKEND = '[backends.{0}.servers.one]\nurl = "http://10.0.0.7"\n'


def problems(options: FileOptions) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read_source(options)
    return str(caught.value).split("\n")


def test_files_below_a_directory_come_in_name_order(tmp_path: Path) -> None:
    for name in ("b.toml", "a/z.yml", "a/deep/y.JSON", "c.yaml", "notes.txt", "d.tmpl", "a.toml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "a/loop").symlink_to(tmp_path)
    found = [os.path.relpath(name, tmp_path) for name in find_files(FileOptions(directory=str(tmp_path)))]
    assert found == ["a/deep/y.JSON", "a/z.yml", "a.toml", "b.toml", "c.yaml", "d.tmpl"]


def test_what_they_say_is_put_together(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(BACKEND.format("a"))
    (tmp_path / "b.toml").write_text(BACKEND.format("b"))
    content = read_source(FileOptions(directory=str(tmp_path)))
    assert sorted(content.configuration.backends) == ["a", "b"]
    assert content.files == (str(tmp_path / "a.toml"), str(tmp_path / "b.toml"))
    assert content.errors == ()


def test_the_tables_of_the_configuration_file() -> None:
    document = parse_document("traefik.toml", BACKEND.format("a").encode())
    assert list(read_source(FileOptions(), document).configuration.backends) == ["a"]
    assert read_source(FileOptions(), Document("traefik.toml", {})).configuration.backends == {}


def test_all_that_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[backends\n")
    (tmp_path / "b.yaml").write_text("backends: [\n")
    (tmp_path / "c.toml").write_text(BACKEND.format("c") + "[unknown]\n")
    (tmp_path / "d.toml").symlink_to("nowhere")
    told = problems(FileOptions(directory=str(tmp_path)))
    assert [line.replace(f"{tmp_path}/", "")[:12] for line in told] == [
        "a.toml:1: is",
        "b.yaml:2: is",
        "d.toml: ther",
        "c.toml:3: un",
    ]


def test_a_template_is_named_as_one(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("# {{ nothing }}\n[backends]\n{{ range $i := until 3 }}\n[backends.b{{ $i }}]\n{{ end }}\n")
    assert problems(FileOptions(filename=str(path))) == [
        f"{path}:3: holds a template action ({{{{ ... }}}}): templates are not run; run it before, and name the file "
        "that comes of it"
    ]


def test_a_template_in_a_directory_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "rules.tmpl").touch()
    (told,) = problems(FileOptions(directory=str(tmp_path)))
    assert told.startswith(f"{tmp_path}/rules.tmpl: is a template, and templates are not run")


def test_what_is_not_there(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    for options in (FileOptions(filename=missing), FileOptions(directory=missing)):
        assert problems(options) == [f"{missing}: there is no such file or directory"]
    assert problems(FileOptions(filename=str(tmp_path))) == [f"{tmp_path}: cannot be read: Is a directory"]
    assert problems(FileOptions(filename="\0")) == ["\0: cannot be read: its name is not valid"]


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "LARGEST", 1 << 20)
    path = tmp_path / "rules.toml"
    path.write_bytes(b"#" * (1 << 20))
    assert read_source(FileOptions(filename=str(path))).configuration.backends == {}
    path.write_bytes(b"#" * ((1 << 20) + 1))
    assert problems(FileOptions(filename=str(path))) == [f"{path}: is larger than 1 MiB"]


def test_the_fingerprint_changes_with_the_files(tmp_path: Path) -> None:
    options = FileOptions(directory=str(tmp_path / "rules"))
    seen = [fingerprint(options)]

    def changed() -> bool:
        seen.append(fingerprint(options))
        return seen[-1] != seen[-2]

    (tmp_path / "rules").mkdir()
    assert changed()
    assert not changed()
    path = tmp_path / "rules/a.toml"
    path.write_text("x")
    assert changed()
    path.write_text("xy")
    assert changed()
    # Of the same size, but another file.
    (tmp_path / "new").write_text("yz")
    (tmp_path / "new").rename(path)
    assert changed()
    path.unlink()
    assert changed()
