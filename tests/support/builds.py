"""Builds of other versions, made of the tree by a declared evolution, and installations of them.

A build is a copy of `src/` with some texts replaced, and an engine file of its own. An installation is what `pip
install` leaves in a virtual environment: the command, the engine, the package; another build can be installed in its
place while it runs.
"""

import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import BIN, ROOT

Evolution = Mapping[str, Sequence[tuple[str, str]]]
"""By file below `src/traefikee`: texts that are there once, and what takes their place."""


def after(text: str, more: str) -> tuple[str, str]:
    """A text that something is added after."""
    return text, text + more


@dataclass(frozen=True)
class Build:
    """One version of the program.

    :ivar source: the folder that holds the package.
    :ivar engine: the engine's file.
    """

    version: str
    source: Path
    engine: Path


def present(folder: Path) -> Build:
    """The tree as it is."""
    folder.mkdir()
    engine = Path(shutil.copy2(BIN / "traefikee-engine", folder))
    return Build("0.1.0", ROOT / "src", engine)


def evolved(folder: Path, version: str, evolution: Evolution) -> Build:
    """A build that the tree may become."""
    build = present(folder)
    source = Path(shutil.copytree(build.source, folder / "src", ignore=shutil.ignore_patterns("__pycache__")))
    changes = {"__init__.py": [(f'__version__ = "{build.version}"', f'__version__ = "{version}"')], **evolution}
    for name, replacements in changes.items():
        path = source / "traefikee" / name
        text = path.read_text()
        for before, after in replacements:
            assert text.count(before) == 1, f"{name} has changed: {before!r} is there {text.count(before)} times"
            text = text.replace(before, after)
        path.write_text(text)
    return Build(version, source, build.engine)


class Installation:
    """A virtual environment with one build in it."""

    def __init__(self, folder: Path, build: Build) -> None:
        self.bin = folder / "bin"
        self._packages = folder / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
        for made in (self.bin, self._packages):
            made.mkdir(parents=True)
        interpreter = Path(os.path.realpath(sys.executable))
        (folder / "pyvenv.cfg").write_text(f"home = {interpreter.parent}\ninclude-system-site-packages = false\n")
        (self.bin / "python").symlink_to(interpreter)
        for name in ("traefikee", "traefikeectl"):
            script = (ROOT / "packaging/wheel/scripts" / name).read_text()
            (self.bin / name).write_text(script.replace("#!python", f"#!{self.bin / 'python'}", 1))
            (self.bin / name).chmod(0o755)
        self.install(build)

    def install(self, build: Build) -> None:
        """Put a build in the place of the one that is there."""
        fresh = self.bin / ".engine"
        os.link(build.engine, fresh)
        fresh.replace(self.bin / "traefikee-engine")
        paths = (build.source, sysconfig.get_path("purelib"))
        (self._packages / "traefikee.pth").write_text("".join(f"{path}\n" for path in paths))
