"""Which CPU the interrupts of a device that vfio-pci has come to.

Spec: Linux Documentation/core-api/irq/irq-affinity.rst; the names are vfio-pci's.
"""

from __future__ import annotations

import re

from scsi2nvme.drivers.pci.sysfs import System

_LINE = re.compile(r" *(\d+):.*\bvfio-msix\[(\d+)\]\((\S+)\)$")


def numbers(address: str, system: System) -> dict[int, int]:
    """Return the kernel's number of each connected MSI-X vector of a function; OSError."""
    found = {}
    for line in (system.proc / "interrupts").read_text().splitlines():
        match = _LINE.match(line)
        if match and match[3] == address:
            found[int(match[2])] = int(match[1])
    return found


def steer(address: str, cpus: dict[int, int], system: System) -> None:
    """Have vectors interrupt these CPUs; OSError if the kernel does not let us."""
    known = numbers(address, system)
    for vector, cpu in cpus.items():
        if vector in known:
            path = system.proc / "irq" / str(known[vector]) / "smp_affinity_list"
            path.write_text(f"{cpu}\n")
