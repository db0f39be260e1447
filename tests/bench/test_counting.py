"""What counting costs: how it is told, and that the program builds without it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench import counting

ROOT = Path(__file__).parents[2]
REPORT = {
    "instructions": {"with": 1710.2, "without": 1552.1},
    "nanoseconds": {"with": 150.0, "without": 140.0},
    "cpu_us": 4.0,
}


def test_the_share_is_of_all_that_the_target_takes() -> None:
    lines = counting.markdown(REPORT).splitlines()
    assert "| instructions | 1552 | 1710 | 158 |" in lines
    assert lines[-1] == "The target takes 4.00 µs of CPU time for it: 0.25%."


def test_what_callgrind_has_counted_is_found() -> None:
    assert counting.collected("==7== Events    : Ir\n==7== Collected : 4212\n") == 4212


def test_it_builds_without_counting() -> None:
    source, made = ROOT / "scsi2nvme/csrc/statistics.c", ROOT / "build/editable"
    flags = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-DS2N_UNCOUNTED"]
    folders = [
        f"-I{ROOT / each}" for each in ("scsi2nvme/csrc", "drivers/csrc", "drivers/nvme/csrc")
    ]
    subprocess.run(["cc", *flags, *folders, f"-I{made}", "-fsyntax-only", str(source)], check=True)
