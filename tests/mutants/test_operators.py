"""What `make mutants` plants."""

from __future__ import annotations

import pytest

from tests.mutants.judges import ROOT, Stage, beside_forks, forked_of, judges_of, subjects
from tests.mutants.operators import mutants


@pytest.mark.parametrize(
    ("path", "line", "planted"),
    [
        ("a.c", "    if (count < lu->blocks)", "    if (count <= lu->blocks)"),
        ("a.c", "    if (count < lu->blocks)", "    if (!count < lu->blocks)"),
        ("a.c", "    task->status = S2N_GOOD;", ""),
        ("a.c", "    s2n_put32(bhs, (uint32_t)moves);", "    s2n_put32(bhs, (uint16_t)moves);"),
        ("a.c", "    return a && b;", "    return a || b;"),
        ("a.py", "    if lba + blocks > capacity:", "    if lba - blocks > capacity:"),
        ("a.py", "    if short and not partial:", "    if short or not partial:"),
        ("a.py", "        self.lu.reset(cause)", "        pass"),
        ("a.py", "    return min(blocks, 65536)", "    return max(blocks, 65536)"),
    ],
)
def test_a_slip_is_planted(path: str, line: str, planted: str) -> None:
    found = {each.after for each in mutants(path, f"first\n{line}\n")}
    assert planted in found
    assert line not in found


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.c", "    /* if (a < b) */\n    /* more\n     * a < b\n     */\n"),
        ("a.c", "static int a = 0;\n#define B (1 + 2)\n"),
        ("a.py", "    block: int | None\n"),
        ("a.py", "    block: int  # and not a < b\n"),
        ("a.py", '    """If a < b\n    then a + b.\n    """\n    # a == b\n    import os\n'),
    ],
)
def test_what_does_nothing_is_left_alone(path: str, text: str) -> None:
    assert list(mutants(path, text)) == []


def test_every_subject_has_tests() -> None:
    for path in subjects():
        stages = judges_of(path)
        assert stages, path
        for stage in stages:
            for name in stage.tests:
                assert (ROOT / name).exists(), f"{path}: {name}"


def test_what_forks_run_is_not_run_again() -> None:
    assert all((ROOT / name).exists() for path in subjects() for name in forked_of(path))
    stage = Stage(tests=("tests/commands/test_mode.py::test_a", "tests/commands", "tests/model"))
    forked = forked_of("scsi2nvme/commands/mode.py")
    assert beside_forks(stage, forked) == Stage(tests=("tests/model",))
