"""A verifying random workload of four sessions: nothing is wrong, and a crash loses nothing.

SOAK_SECONDS says how long each test loads the daemon (20 by default).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench import load
from tests.daemon import Daemon
from tests.integration.disks import KINDS, spec

SECONDS = int(os.environ.get("SOAK_SECONDS", "20"))
SESSIONS = 4
TARGET_LOST = 3  # exit status of the load generator
ROUND_SECONDS = 3.0  # at most, before a crash

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * SECONDS + 300)]
both_kinds = pytest.mark.parametrize("kind", KINDS)
# Cells as small as a block with 512-byte blocks, a page otherwise; up to 128 KiB per command.
both_blocks = pytest.mark.parametrize(("block", "cell_bytes"), [(512, 512), (4096, 4096)])


def command(daemon: Daemon, cell_bytes: int, seed: int, *arguments: str) -> list[str]:
    """Return the load generator's command line."""
    return [
        str(load.program()),
        *("--url", daemon.url(), "--seed", str(seed), "--bytes", str(cell_bytes)),
        *arguments,
    ]


def workload(cell_bytes: int, seconds: int) -> list[str]:
    """Return the options of the workload: reads, writes with and without FUA, flushes."""
    return [
        *("--verify", "--operation", "mixed", "--sessions", str(SESSIONS), "--depth", "8"),
        *("--cells", str(131072 // cell_bytes), "--flush-every", "100"),
        *("--seconds", str(seconds)),
    ]


def finished(process: subprocess.Popen[str], status: int) -> dict[str, Any]:
    """Wait for the load generator and return what it measured."""
    output, errors = process.communicate(timeout=SECONDS + 120)
    assert process.returncode == status, f"status {process.returncode}: {output} {errors}"
    result: dict[str, Any] = json.loads(output)
    assert result["data_errors"] == 0
    return result


def begun(words: list[str]) -> subprocess.Popen[str]:
    """Start the load generator."""
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def under_way(words: list[str]) -> subprocess.Popen[str]:
    """Start the load generator, and return when its sessions are there."""
    process = subprocess.Popen(
        [*words, "--hold"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == {"sessions": SESSIONS}
    process.stdin.write("\n")
    process.stdin.flush()
    return process


@both_kinds
@both_blocks
def test_every_read_returns_what_was_written_last(
    kind: str, block: int, cell_bytes: int, tmp_path: Path
) -> None:
    with Daemon(tmp_path, spec(kind, tmp_path, block=block)) as daemon:
        words = command(daemon, cell_bytes, 1, *workload(cell_bytes, max(1, SECONDS // 2)))
        result = finished(begun(words), 0)
    assert result["errors"] == 0
    assert result["all_operations"] > 100
    assert result["flushes"] > 0
    assert daemon.log.read_text() == ""
    print(kind, block, json.dumps(result))


@both_kinds
def test_a_crash_loses_nothing_that_was_made_durable(kind: str, tmp_path: Path) -> None:
    """Kill -9, again and again; every write acknowledged with FUA or before a flush is there."""
    seed = random.SystemRandom().randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    note = tmp_path / "note"
    daemon = Daemon(tmp_path, spec(kind, tmp_path, block=4096, size_mib=32))
    daemon.start()
    crashes = checked = operations = 0
    while crashes < max(3, SECONDS // 5):
        number = seed + crashes  # so that no round mistakes the writes of another for its own
        busy = under_way(command(daemon, 4096, number, "--state", str(note), *workload(4096, 3600)))
        with pytest.raises(subprocess.TimeoutExpired):
            busy.wait(chance.uniform(0.5, ROUND_SECONDS))
        assert daemon.stop(signal.SIGKILL) == -signal.SIGKILL
        operations += finished(busy, TARGET_LOST)["all_operations"]
        crashes += 1
        daemon.start()
        check = finished(begun(command(daemon, 4096, number, "--check", str(note))), 0)
        checked += check["checked_cells"]
    assert daemon.stop() == 0
    assert checked > 0
    print(kind, json.dumps({"crashes": crashes, "checked": checked, "operations": operations}))
