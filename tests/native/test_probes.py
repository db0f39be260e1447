"""The trace points that docs/watching.md names are those of the native part."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from scsi2nvme import _dataplane

WATCHING = Path(__file__).parents[2] / "docs/watching.md"
NOTE = re.compile(r"Provider: scsi2nvme\s+Name: (\w+)\n.*\n\s+Arguments: (.*)")


def probes() -> dict[str, set[int]]:
    """Return by name with how many arguments each place of a probe is."""
    command = ["readelf", "--notes", "--wide", _dataplane.__file__]
    notes = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, set[int]] = {}
    for name, arguments in NOTE.findall(notes):
        found.setdefault(name, set()).add(len(arguments.split()))
    return found


def documented() -> dict[str, set[int]]:
    """Return the table of probes; what stands in parentheses belongs to the argument before it."""
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", WATCHING.read_text(), re.M)
    bare = ((name, re.sub(r"\([^)]*\)", "", arguments)) for name, arguments in rows)
    known = {"command_received", "sqe_placed", "cqe_taken", "command_answered"}
    return {name: {arguments.count(",") + 1} for name, arguments in bare if name in known}


def test_each_probe_is_there_with_its_arguments() -> None:
    assert documented() == probes()


def test_examples_use_probes_that_are_there() -> None:
    text = WATCHING.read_text()
    used = re.findall(r"usdt:\$LIB:scsi2nvme:(\w+)|sdt_scsi2nvme:(\w+)", text)
    assert used
    for names in used:
        assert "".join(names) in probes()
