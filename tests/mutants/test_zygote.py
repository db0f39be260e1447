"""Mutants that are planted in a process which has imported what they change."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from tests.mutants import zygote
from tests.mutants.forks import Forks
from tests.mutants.judges import ROOT

SOURCE = """
LIMIT = 7

def within(value: int) -> bool:
    return value < LIMIT

class Range:
    step = 2

    def ends(self) -> list[int]:
        return [end + self.step for end in range(3) if within(end)]
"""


def _changed(tmp_path: Path, before: str, after: str) -> bool | list[str]:
    """Whether a change is in what importing does; else the results with it and without."""
    path = tmp_path / "subject.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("subject", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert SOURCE.count(before) == 1
    changes = zygote.changes(path, SOURCE.replace(before, after))
    if changes is None:
        return True
    told = [f"{module.within(7)} {module.Range().ends()}"]
    for function, code in changes:
        function.__code__ = code
    return [*told, f"{module.within(7)} {module.Range().ends()}"]


def test_functions_are_changed_where_they_are(tmp_path: Path) -> None:
    plain = "False [2, 3, 4]"
    assert _changed(tmp_path, "value < LIMIT", "value <= LIMIT") == [plain, "True [2, 3, 4]"]
    assert _changed(tmp_path, "end + self", "end - self") == [plain, "False [-2, -1, 0]"]
    assert _changed(tmp_path, "range(3)", "range(1)") == [plain, "False [2]"]


def test_what_importing_does_is_not_changed(tmp_path: Path) -> None:
    assert _changed(tmp_path, "LIMIT = 7", "LIMIT = 8") is True
    assert _changed(tmp_path, "step = 2", "step = 3") is True


class _Test:
    """What stands for a test that calls something."""

    def __init__(self, nodeid: str, *calls: Callable[[], object]) -> None:
        self.nodeid = nodeid
        self.calls = calls


def _one() -> int:
    return 1


def _two() -> int:
    return _one() + 1


def test_who_calls_a_function_is_known() -> None:
    tests = [_Test("test_a.py::test_1", _one), _Test("test_a.py::test_2", _two)]
    tests += [_Test("test_b.py::test_1"), _Test("test_b.py::test_2", _one)]

    def run(test: Any, following: Any) -> None:
        for call in test.calls:
            call()

    callers = zygote.scout(cast("Any", tests), run)
    name = f"{Path(__file__).resolve()}:"
    # What the first test of a module has set up is for all of them.
    assert callers[f"{name}_one"] == {"test_a.py", "test_a.py::test_2", "test_b.py::test_2"}
    assert callers[f"{name}_two"] == {"test_a.py::test_2"}


def test_a_pytest_judges_in_forks() -> None:
    forks = Forks(ROOT, os.environ, ["tests/mutants/test_operators.py"])
    try:
        path = "tests/mutants/operators.py"
        text = (ROOT / path).read_text()
        fault = text.replace("stripped.startswith(begin)", "not stripped.startswith(begin)")
        assert forks.judge(path, fault, []).startswith("tests/mutants/test_operators.py::")
        assert forks.judge(path, text, []) == ""
    finally:
        forks.close()
