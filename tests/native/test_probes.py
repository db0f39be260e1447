"""Trace points: the extension that was built says where they are, and they cost nothing."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict

from scsi2nvme import _dataplane

# Their names, and how many arguments each has: what people's scripts rely on.
PROBES = {"command_received": 3, "sqe_placed": 3, "cqe_taken": 3, "command_answered": 2}
_PROBE = re.compile(
    r"Provider: (\S+)\n +Name: (\S+)\n +Location: \S+ Base: \S+ Semaphore: 0x0+\n"
    r" +Arguments: (.+)\n"
)


def test_the_extension_has_its_probes() -> None:
    """Without a semaphore each is one instruction, and no branch around it."""
    command = ["readelf", "--notes", "--wide", _dataplane.__file__]
    notes = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = defaultdict(set)
    for provider, name, arguments in _PROBE.findall(notes):
        found[provider].add((name, len(arguments.split())))
    assert found == {"scsi2nvme": set(PROBES.items())}, notes
