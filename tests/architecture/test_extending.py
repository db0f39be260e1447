"""The examples of docs/extending.md work: laid over a copy of the program, each passes its tests.

An example is a folder of docs/examples: files to add, where they belong, and perhaps
`edit.patch`, which changes what is there. What it names, the page shows.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import scsi2nvme._dataplane

from tests.architecture.imports import FOLDERS, ROOT

EXAMPLES = ROOT / "docs" / "examples"
PAGE = ROOT / "docs" / "extending.md"
MORE_PAGES = (ROOT / "docs" / "architecture.md", ROOT / "CONTRIBUTING.md", ROOT / "README.md")
TOP = (*FOLDERS, "tests", "bench", "docs")
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
# Example: the tests of the whole table that the new row joins.
OF_THE_TABLE = {
    "capability": ["tests/drivers/emulated/test_features.py"],
    "command": ["tests/commands/test_vectors.py", "tests/test_ctables.py"],
    "hot_command": ["tests/test_ctables.py", "tests/native/test_hot.py"],
    "log_page": ["tests/commands/test_vectors.py", "tests/commands/test_log.py"],
    "transport": ["tests/drivers/test_transports.py", "tests/cli/test_spec.py"],
    "verb": ["tests/cli/test_verbs.py"],
    "vpd_page": ["tests/commands/test_vectors.py", "tests/commands/test_vpd_pages.py"],
}


def files(example: str) -> list[str]:
    """Return what an example adds, as paths of the checkout."""
    folder = EXAMPLES / example
    found = (path for path in folder.rglob("*") if path.suffix in (".py", ".c", ".h"))
    return sorted(path.relative_to(folder).as_posix() for path in found)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the program and its tests, with the extension that was built."""
    root = tmp_path / "checkout"
    unwanted = shutil.ignore_patterns("__pycache__", "*.so")
    for folder in (*FOLDERS, "tests", "docs", "bench"):
        shutil.copytree(ROOT / folder, root / folder, symlinks=True, ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE", "meson.build"):
        shutil.copy(ROOT / name, root)
    extension = scsi2nvme._dataplane.__file__
    assert extension is not None
    shutil.copy(extension, root / "scsi2nvme" / "_dataplane.abi3.so")
    return root


def apply(example: str, root: Path) -> None:
    """Lay an example over a checkout."""
    folder = EXAMPLES / example
    shutil.copytree(folder, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.patch"))
    if (folder / "edit.patch").exists():
        command = ["git", "apply", "-C1", "--recount", str(folder / "edit.patch")]
        environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(root.parent)}
        subprocess.run(command, cwd=root, env=environment, check=True)


def build(root: Path) -> None:
    """Build the extension and the C tests of a checkout, quickly, and run those."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "LD_PRELOAD": ""}
    options = ("-Db_lto=false", "-Dbuildtype=debug", "-Dwerror=true")
    for command in (
        ["meson", "setup", "build", *options],
        ["ninja", "-C", "build", "_dataplane.abi3.so", "tests/c/test_hot"],
        ["build/tests/c/test_hot"],
    ):
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    shutil.copy(root / "build" / "_dataplane.abi3.so", root / "scsi2nvme")


def run_tests(root: Path, tests: list[str]) -> subprocess.CompletedProcess[str]:
    """Run tests of a checkout; an editable install of this one steps aside."""
    environment = {
        **os.environ,
        "MESONPY_EDITABLE_SKIP": str(ROOT / "build" / "editable"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(root),
        "PYTHONSAFEPATH": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    return subprocess.run(
        [*command, *tests], cwd=root, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("example", NAMES)
def test_an_example_works(example: str, copy: Path) -> None:
    apply(example, copy)
    if example == "hot_command":
        build(copy)
    own = [name for name in files(example) if name.startswith("tests/")]
    done = run_tests(copy, [*own, *OF_THE_TABLE[example]])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("example", NAMES)
def test_an_example_is_no_part_of_the_program(example: str) -> None:
    assert not [name for name in files(example) if (ROOT / name).exists()]


def shown() -> list[tuple[str, str]]:
    """Return every piece of code that the page shows, and the file that it is from."""
    return re.findall(
        r"^<!-- (docs/examples/\S+) -->\n```\w+\n(.*?)^```$",
        PAGE.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )


@pytest.mark.parametrize(("file", "code"), shown(), ids=lambda value: value.partition("\n")[0])
def test_the_page_shows_what_is_run(file: str, code: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    for piece in code.split("…\n"):
        assert piece in text


def test_every_example_is_shown() -> None:
    assert {file.split("/")[2] for file, _ in shown()} == set(NAMES)


def words(page: Path) -> set[str]:
    """Return what a page sets as code in its text, one word each."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return set(re.findall(r"`([\w./]+)`", text))


@pytest.mark.parametrize("page", [PAGE, *MORE_PAGES], ids=lambda page: page.name)
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    added = {name for example in NAMES for name in files(example)}
    paths = {word for word in words(page) if re.match(rf"(?:{'|'.join(TOP)})/", word)}
    assert not [path for path in paths if not (ROOT / path).exists() and path not in added]


def test_the_names_that_the_page_names_are_there() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in all_sources())
    names = {word.rpartition(".")[2] for word in words(PAGE) if "/" not in word}
    names -= {"md", "py"}  # files that every folder or the root has
    assert not [name for name in names if not re.search(rf"\b{name}\b", sources)]


def all_sources() -> list[Path]:
    """Return every source file of the program and of the examples."""
    folders = [ROOT / folder for folder in FOLDERS] + [EXAMPLES]
    paths = (path for folder in folders for path in folder.rglob("*"))
    return [path for path in paths if path.suffix in {".py", ".c", ".h", ".patch"}]
