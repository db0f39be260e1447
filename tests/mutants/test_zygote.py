"""Mutants that are planted in a process which has imported what they change."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tests.mutants import zygote

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
