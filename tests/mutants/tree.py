"""A copy of the checkout in which mutants live, with a build of its own."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, ClassVar

from tests.mutants.forks import Forks
from tests.mutants.judges import ROOT, SANITIZED, Stage, judges_of, stage_of
from tests.mutants.operators import Mutant, planted

BUILD_S, FIRST_S = 900.0, 120.0
# A stage may take so many times what it took before, and some seconds: what hangs is noticed, what
# only waits for the machine is not.
PATIENCE, GRACE_S = 6.0, 8.0
# What turns in circles is noticed sooner: a program takes less of a CPU, and one test less time.
PROGRAM_CPU_S, TEST_S = 20, 90
# Sanitizers map more than a program may have.
UNBOUNDED = ("sh", "-c", 'ulimit -Sv unlimited; exec "$0"')


class Tree:
    """The copy `place`. `check` plants one mutant, judges, and takes it away again."""

    # Of all trees together: what a stage took that succeeded, and which succeed without a mutant.
    _usual_s: ClassVar[dict[Stage, float]] = {}
    _sound: ClassVar[set[str]] = set()
    _asking: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, place: Path, native: bool = True) -> None:
        """Copy what has changed since the last run, and build what that concerns.

        Where no mutant is `native` the C tests are not built.
        """
        self.place = place
        self.build = place / "build" / "mutants"
        self._copy()
        self.sanitized = place / "build" / "sanitized"
        # What the project's own warnings refuse does not count.
        self._set_up(self.build, "werror=true")
        if self._run(
            ["ninja", "-C", str(self.build), "all" if native else self._extension()], BUILD_S
        ):
            raise RuntimeError(f"{place} does not build")
        self._install()
        self._stale = False
        self._originals: dict[str, bytes] = {}
        self._forks: dict[tuple[str, ...], Forks] = {}

    def _set_up(self, build: Path, *options: str) -> None:
        if not (build / "build.ninja").exists():
            usual = ("debug=false", "optimization=1", "b_lto=false", "b_ndebug=false")
            words = [f"-D{option}" for option in (*usual, *options)]
            if self._run(["meson", "setup", str(build), *words], BUILD_S):
                raise RuntimeError(f"{self.place} cannot be set up")

    def _copy(self) -> None:
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout
        wanted = {name for name in names.decode().split("\0") if name}
        kept = self.place / ".copied"
        for name in set(kept.read_text().split("\0") if kept.exists() else ()) - wanted:
            (self.place / name).unlink(missing_ok=True)
        for name in wanted:
            source, copy = ROOT / name, self.place / name
            if source.is_symlink() or source.is_file():
                copy.parent.mkdir(parents=True, exist_ok=True)
                if source.is_symlink() or not copy.exists() or not _same(source, copy):
                    copy.unlink(missing_ok=True)
                    shutil.copy(source, copy, follow_symlinks=False)
        kept.write_text("\0".join(sorted(wanted)))

    def ask_forks(self, mutant: Mutant, near: Sequence[str], tests: tuple[str, ...]) -> str:
        """Return which of some tests notices a mutant, "" if none does.

        They are not begun anew for each: what only importing would show is "import".
        """
        if tests not in self._forks:
            self._forks[tests] = Forks(self.place, self._environment(), tests)
        forks = self._forks[tests]
        text = (self.place / mutant.path).read_text()
        own = [name for stage in judges_of(mutant.path) for name in stage.tests]
        noticed = forks.judge(mutant.path, planted(mutant, text), [*near, *own])
        if noticed.startswith("tests/") and noticed not in self._sound:
            if forks.judge(mutant.path, text, [noticed], only=True):
                raise RuntimeError(f"without a mutant fails: {noticed}")
            self._sound.add(noticed)
        return noticed

    def close(self) -> None:
        """End what waits for mutants."""
        for forks in self._forks.values():
            forks.close()

    def check(self, mutant: Mutant, stages: Sequence[Stage]) -> str:
        """Return who noticed a mutant: a program or test of `stages`, "build", "time", or "".

        "same" is one whose machine code is that of the original.
        """
        noticed, stage = self._planted(mutant, stages)
        while noticed == "time" and stage:
            # The machine may have had other work: what do its tests take now?
            limit = self._limit(stage)
            if self._judge(stage, BUILD_S):
                raise RuntimeError(f"without a mutant fails: {stage}")
            if self._limit(stage) < 2 * limit:
                break
            noticed, stage = self._planted(mutant, stages)
        if noticed.startswith(("tests/", SANITIZED)):
            self._ask(noticed)
        return noticed

    def _ask(self, judge: str) -> None:
        """Raise RuntimeError if who noticed a mutant fails without one, too; one of a module."""
        module = judge.split("::")[0]
        with self._asking:
            if module not in self._sound:
                if self._judge(stage_of(judge), BUILD_S):
                    raise RuntimeError(f"without a mutant fails: {judge}")
                self._sound.add(module)

    def _planted(self, mutant: Mutant, stages: Sequence[Stage]) -> tuple[str, Stage | None]:
        path = self.place / mutant.path
        text, times = path.read_text(), path.stat()
        native = mutant.path.endswith(".c")
        original = self._compiled(mutant.path) if native else b""
        if not native:
            self._refresh()
        path.write_text(planted(mutant, text))
        try:
            if native and (compiled := self._compiled(mutant.path, again=True)) in (b"", original):
                return ("same" if compiled else "build"), None
            return self._judged(stages)
        finally:
            path.write_text(text)
            if not native:
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
                for compiled_file in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
                    compiled_file.unlink()

    def _compiled(self, path: str, again: bool = False) -> bytes:
        """Return a C file's machine code, b"" if it does not compile."""
        self._stale = True
        if again or path not in self._originals:
            name = self._object(path)
            if self._run(["ninja", "-C", str(self.build), name], BUILD_S):
                return b""
            code = (self.build / name).read_bytes()
            if again:
                return code
            self._originals[path] = code
        return self._originals[path]

    def _judged(self, stages: Sequence[Stage]) -> tuple[str, Stage | None]:
        for stage in stages:
            if noticed := self._judge(stage, self._limit(stage)):
                return noticed, stage
        return "", None

    def _limit(self, stage: Stage) -> float:
        usual = self._usual_s.get(stage)
        return FIRST_S if usual is None else GRACE_S + PATIENCE * usual

    def _judge(self, stage: Stage, limit: float) -> str:
        """Return who fails of a stage, "time" if it does not end, or "" if all succeed."""
        begun = time.monotonic()
        noticed = self._run_programs(stage, limit) if stage.programs else self._test(stage, limit)
        if not noticed:
            took = time.monotonic() - begun
            self._usual_s[stage] = max(took, self._usual_s.get(stage, 0.0))
        return noticed

    def _run_programs(self, stage: Stage, limit: float) -> str:
        build, prefix, words = self.build, "tests/c/", list[str]()
        if stage.sanitized:
            build, prefix, words = self.sanitized, SANITIZED, list(UNBOUNDED)
            self._set_up(build, "werror=false", "b_sanitize=address,undefined")
        for name in stage.programs:
            target = f"tests/c/{name}"
            if self._run(["ninja", "-C", str(build), target], BUILD_S):
                return "build"
            if failed := self._run([*words, str(build / target)], limit, PROGRAM_CPU_S):
                return "time" if failed == "time" else f"{prefix}{name}"
        return ""

    def _test(self, stage: Stage, limit: float) -> str:
        if not self._refresh():
            return "build"
        words = ["-q", "-x", "--tb=no", "-p", "no:cacheprovider", "-p", "no:xdist"]
        words += ["-m", "not slow", f"--timeout={TEST_S}", *stage.tests]
        with tempfile.TemporaryFile("w+") as told:
            failed = self._run([sys.executable, "-m", "pytest", *words], limit, told=told)
            told.seek(0)
            output = told.read()
        if not failed or failed == "time":
            return failed
        if "ERROR: not found: " in output:
            return ""  # a test that noticed other mutants and has another name now
        named = re.search(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", output, re.MULTILINE)
        return named[1] if named else stage.tests[0]

    def _refresh(self) -> bool:
        """Bring the extension up to date; False if it does not build."""
        if self._stale:
            if self._run(["ninja", "-C", str(self.build), self._extension()], BUILD_S):
                return False
            self._install()
            self._stale = False
        return True

    def _extension(self) -> str:
        declared = (self.build / "build.ninja").read_text()
        named = re.search(r"^build (_dataplane\S*\.so):", declared, re.MULTILINE)
        assert named is not None
        return named[1]

    def _install(self) -> None:
        """Put the extension where the copy's Python finds it."""
        for library in self.build.glob("_dataplane*.so"):
            target = self.place / "scsi2nvme" / library.name
            if not target.exists() or not _same(library, target):
                shutil.copy(library, target)

    def _object(self, path: str) -> str:
        """Return the name of one of a C file's objects, if possible one that its tests are of."""
        mangled = path.replace("/", "_")
        found = sorted(self.build.glob(f"tests/c/*.p/*{mangled}.o"))
        of_tests = [name for name in found if "fuzz" not in str(name)]
        dataplane = self.build / f"libdataplane.a.p/{mangled}.o"
        return str((of_tests or [dataplane])[0].relative_to(self.build))

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(self.place),
            "ASAN_OPTIONS": "hard_rss_limit_mb=4096",
            "UBSAN_OPTIONS": "halt_on_error=1",
            "MESONPY_EDITABLE_SKIP": str(ROOT / "build" / "editable"),
        }

    def _run(
        self,
        words: Sequence[str],
        limit: float,
        cpu_s: int = 0,
        told: IO[str] | int = subprocess.DEVNULL,
    ) -> str:
        """Run a program in the copy; return "" if it succeeds, "failed", or "time"."""
        process = subprocess.Popen(
            words,
            cwd=self.place,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if cpu_s:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_CPU, (cpu_s, cpu_s))
        try:
            return "" if process.wait(limit) == 0 else "failed"
        except subprocess.TimeoutExpired:
            return "time"
        finally:
            # Also what a test that failed has left running.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()
