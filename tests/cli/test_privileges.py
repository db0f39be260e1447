"""Root's powers, as few as the daemon needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import resources

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
