"""A copy of the checkout in which mutants live, with a build of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.operators import Mutant

ROOT = Path(__file__).resolve().parents[2]
TREE = ROOT / "build" / "mutants"
BUILD = TREE / "build" / "mutants"
LIMIT_S = 300.0  # of a build, or of the tests: what hangs is noticed

# Fast tests of what lies under a path, the soonest to fail first; those of C come before.
_ALWAYS = ("tests/model/test_model.py",)
_TESTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("scsi2nvme/csrc/", ("tests/native", "tests/target/iscsi/test_portal.py")),
    ("target/iscsi/csrc/", ("tests/target/iscsi",)),
    ("target/tcmu/csrc/", ("tests/target/tcmu",)),
    ("drivers/nvme/csrc/", ("tests/native", "tests/drivers/nvme")),
    ("scsi2nvme/commands/", ("tests/commands", "tests/test_engine.py")),
    ("scsi2nvme/engine.py", ("tests/test_engine.py", "tests/commands")),
    ("scsi2nvme/status_map.py", ("tests/test_status_map.py", "tests/test_engine.py")),
)
SUBJECTS = tuple(prefix for prefix, _ in _TESTS)


def judges_of(path: str) -> tuple[str, ...]:
    """Return the pytest arguments that judge a file."""
    chosen = next(tests for prefix, tests in _TESTS if path.startswith(prefix))
    return (*chosen, "tests/test_first_failing_block.py", *_ALWAYS)


def subjects() -> list[Path]:
    """Return the files that are mutated, relative to the checkout."""
    files = [path for prefix in SUBJECTS for path in _under(ROOT / prefix)]
    return sorted(path.relative_to(ROOT) for path in files)


def _under(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return [path for path in place.rglob("*") if path.suffix in (".c", ".py")]


class Tree:
    """The copy. `check` plants one mutant, judges, and takes it away again."""

    def __init__(self) -> None:
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
        shutil.rmtree(TREE, ignore_errors=True)
        for name in names.decode().split("\0"):
            if name and ((ROOT / name).is_symlink() or (ROOT / name).is_file()):
                (TREE / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, TREE / name, follow_symlinks=False)
        options = ("-Dbuildtype=debug", "-Db_lto=false", "-Db_ndebug=false", "-Dwerror=false")
        self._run(["meson", "setup", str(BUILD), *options])
        if not self._builds():
            raise RuntimeError(f"{TREE} does not build")

    def check(self, mutant: Mutant) -> str:
        """Return who noticed a mutant: "build", "C tests", "tests", or "" for nobody."""
        path = TREE / mutant.path
        text = path.read_text()
        lines = text.split("\n")
        assert lines[mutant.number - 1] == mutant.before
        lines[mutant.number - 1] = mutant.after
        path.write_text("\n".join(lines))
        try:
            return self._judged(mutant.path)
        finally:
            path.write_text(text)

    def whole(self, paths: Sequence[str]) -> bool:
        """Whether the tests of these files succeed without a mutant."""
        return self._builds() and not any(self._judged(path) for path in paths)

    def _judged(self, path: str) -> str:
        if not self._builds():
            return "build"
        if path.endswith(".c") and not self._run(
            ["meson", "test", "-C", str(BUILD), "--no-rebuild"]
        ):
            return "C tests"
        words = ["-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *judges_of(path)]
        return "" if self._run([sys.executable, "-m", "pytest", *words]) else "tests"

    def _builds(self) -> bool:
        """Build, and put the extension where the copy's Python finds it."""
        if not self._run(["ninja", "-C", str(BUILD), "all", "meson-test-prereq"]):
            return False
        for library in BUILD.glob("_dataplane*.so"):
            shutil.copy2(library, TREE / "scsi2nvme" / library.name)
        return True

    @staticmethod
    def _run(words: Sequence[str]) -> bool:
        """Run a program in the copy; False if it fails, or does not end in time."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(TREE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "MESONPY_EDITABLE_SKIP": str(ROOT / "build" / "editable"),
        }
        process = subprocess.Popen(
            words,
            cwd=TREE,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(LIMIT_S) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return False
