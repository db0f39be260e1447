"""Root's powers, as few as the daemon needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from scsi2nvme.cli.daemon.descriptors import WANTED
from scsi2nvme.cli.daemon.privileges import KEPT

DROP = "from scsi2nvme.cli.daemon import privileges; privileges.drop()"
# A thread that comes later, and a program that is started.
REPORT = """
import subprocess, threading
print(open("/proc/thread-self/status").read())
thread = threading.Thread(target=lambda: print(open("/proc/thread-self/status").read()))
thread.start()
thread.join()
subprocess.run(["cat", "/proc/self/status"])
"""


def masks(script: str) -> list[tuple[int, int]]:
    """Return the permitted and effective capabilities that a script reports."""
    command = [sys.executable, "-c", script]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    permitted, effective = (re.findall(rf"Cap{name}:\s*(\w+)", said) for name in ("Prm", "Eff"))
    return [(int(a, 16), int(b, 16)) for a, b in zip(permitted, effective, strict=True)]


def test_what_is_not_kept_is_gone_for_good() -> None:
    before, *_ = masks(REPORT)
    mask = sum(1 << number for number in KEPT)
    after = masks(DROP + REPORT)
    assert len(after) == 3
    assert set(after) == {(before[0] & mask, before[1] & mask)}
    assert os.geteuid() or before != after[0]


def of_unit(setting: str) -> str:
    unit = resources.files("scsi2nvme.cli.verbs.install_units") / "data/scsi2nvme.service"
    (value,) = re.findall(rf"^{setting}=(.*)$", unit.read_text(), re.MULTILINE)
    return str(value)


def test_the_unit_grants_no_more() -> None:
    granted = set(of_unit("CapabilityBoundingSet").split())
    assert granted == {f"CAP_{capability.name}" for capability in KEPT}


def test_the_unit_lets_it_open_as_many_files_as_it_wants() -> None:
    assert int(of_unit("LimitNOFILE")) == WANTED


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has powers to give up")
@pytest.mark.parametrize(("joined", "given"), [(True, True), (False, False)])
def test_files_may_be_given_to_a_group_that_was_joined(
    tmp_path: Path, joined: bool, given: bool
) -> None:
    """As the control socket is given to `control_group`, once root's powers are gone."""
    group = 65533
    (tmp_path / "socket").touch()
    join = f"privileges.join({group}); " if joined else ""
    script = DROP.replace("privileges.drop()", f"{join}privileges.drop()") + (
        f"\nimport os; os.chown({str(tmp_path / 'socket')!r}, -1, {group})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ("PermissionError" not in done.stderr) == given
    assert ((tmp_path / "socket").stat().st_gid == group) == given
