"""The kinds of interrupts of a device that vfio-pci has, and which CPU they come to.

MSI-X and MSI are messages, of which each queue pair has its own as far as they go. INTx is a
level: the kernel masks it as it tells of it, and until it is asked to unmask it, once completions
were collected, nothing more comes. It is one for all, so the control thread's queue pairs have
it, and reactors poll.

Spec: Linux Documentation/core-api/irq/irq-affinity.rst; the names are vfio-pci's.
"""

from __future__ import annotations

import re

from scsi2nvme.drivers.pci.sysfs import System
from scsi2nvme.drivers.vfio.abi import IrqIndex
from scsi2nvme.drivers.vfio.kinds import KINDS

_LINE = re.compile(r" *(\d+):.*\bvfio-msix?\[(\d+)\]\((\S+)\)$")


def numbers(address: str, system: System) -> dict[int, int]:
    """Return the kernel's number of each connected MSI-X or MSI vector of a function; OSError."""
    found = {}
    for line in (system.proc / "interrupts").read_text().splitlines():
        match = _LINE.match(line)
        if match and match[3] == address:
            found[int(match[2])] = int(match[1])
    return found


def kinds_from(best: str) -> dict[str, IrqIndex]:
    """Return the kinds to try by their names, from the best one on."""
    return {name: IrqIndex[name.upper()] for name in KINDS[KINDS.index(best) : -1]}


def steer(address: str, cpus: dict[int, int], system: System) -> None:
    """Have vectors interrupt these CPUs; OSError if the kernel does not let us."""
    known = numbers(address, system)
    for vector, cpu in cpus.items():
        if vector in known:
            path = system.proc / "irq" / str(known[vector]) / "smp_affinity_list"
            path.write_text(f"{cpu}\n")
