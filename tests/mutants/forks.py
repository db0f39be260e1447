"""The side of `make mutants` that asks a pytest which forks for each mutant."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.mutants.zygote import REPLY

LIMIT_S = 600.0  # for all tests of a mutant


class Forks:
    """A pytest in the checkout `place`, and what it is to judge by; `close` it."""

    def __init__(self, place: Path, environment: Mapping[str, str], tests: Sequence[str]) -> None:
        """Begin; the first answer is there when all has been collected."""
        ours, theirs = os.pipe()
        words = ["-q", "-s", "-p", "tests.mutants.zygote", "-p", "no:cacheprovider"]
        words += ["-p", "no:xdist", "-m", "not slow", "--timeout=90", *tests]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *words],
            cwd=place,
            env={**environment, REPLY: str(theirs)},
            pass_fds=[theirs],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        os.close(theirs)
        self._replies = os.fdopen(ours)

    def judge(self, path: str, source: str, first: Sequence[str], *, only: bool = False) -> str:
        """Return which test fails with this source: see `tests.mutants.zygote`.

        Raises:
            RuntimeError: The tests could not be collected.
        """
        request = {"path": path, "source": source, "first": first, "only": only}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({**request, "limit_s": LIMIT_S}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # what it has not answered says so
        if not (answer := self._replies.readline()):
            raise RuntimeError("the tests cannot be collected")
        return answer.removesuffix("\n")

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._replies.close()
