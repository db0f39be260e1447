"""The program's disk: the wheel of this checkout, what it needs of Python, and the tests."""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.system.disk import BUILD, ROOT, digest, make_disk, run

PYTHON = "3.11"
WHEELS_FOR = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
# Tools that run on the host only.
HOST_TOOLS = ("mypy", "ruff", "types-", "pytest-xdist")

FOLDERS = ("scsi2nvme", "target", "drivers", "fuzz", "tests")
FILES = ("meson.build", "pyproject.toml", "README.md", "LICENSE")
SUFFIXES = (".py", ".c", ".h", ".sh", ".build")

PIP = (sys.executable, "-m", "pip")


def _requirements() -> list[str]:
    """Return what the program and its tests need of Python in the machine."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    return [name for name in wanted if not name.startswith(HOST_TOOLS)]


def site_key(week: str) -> str:
    """Return what `build_site` depends on."""
    return digest(Path(__file__).read_bytes(), " ".join(_requirements()).encode(), week.encode())


def build_site(directory: Path) -> None:
    """Download the requirements for the machine's Python."""
    run(
        *(*PIP, "install", "--quiet", "--no-compile", "--target", directory / "site"),
        *("--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}"),
        *(f"--abi={abi}" for abi in (f"cp{PYTHON.replace('.', '')}", "abi3", "none")),
        *(f"--platform={platform}" for platform in WHEELS_FOR),
        *_requirements(),
    )
    _compile(directory / "site")


def _compile(tree: Path) -> None:
    """Spare the machine the compilation, if this is the same Python."""
    if sys.version.startswith(f"{PYTHON}."):
        run(sys.executable, "-m", "compileall", "-q", tree)


def _sources() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                yield path
    yield from (ROOT / name for name in FILES)


def key(site: Path) -> str:
    """Return what `build` depends on."""
    parts = [site.name.encode()]
    for path in _sources():
        parts += [str(path.relative_to(ROOT)).encode(), path.read_bytes()]
    return digest(*parts)


def build(directory: Path, site: Path) -> None:
    """Build the wheel and lay it out beside requirements and tests, as a checkout would be."""
    run(
        *(*PIP, "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        *(f"--config-settings=build-dir={BUILD / 'meson'}", "--wheel-dir", directory, ROOT),
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    (wheel,) = directory.glob("*.whl")
    tree = directory / "tree"
    run(*PIP, "install", "--quiet", "--no-deps", "--no-compile", "--target", tree, wheel)
    shutil.rmtree(tree / "bin")
    command = tree / "bin/scsi2nvme"
    command.parent.mkdir()
    command.write_text('#!/bin/sh\nexec python3 -m scsi2nvme "$@"\n')
    command.chmod(0o755)
    shutil.copytree(ROOT / "tests", tree / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    _compile(tree)
    shutil.copytree(site / "site", tree / "site")
    (tree / "site/scsi2nvme.pth").write_text("/opt/scsi2nvme\n")
    make_disk(directory / "disk", tree, "256M")
    shutil.rmtree(tree)
