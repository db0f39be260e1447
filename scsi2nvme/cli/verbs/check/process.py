"""What a process is granted, and where it keeps its state."""

from __future__ import annotations

import os
import re
import resource
import shlex
from collections.abc import Iterator

from scsi2nvme.cli.daemon import descriptors
from scsi2nvme.cli.daemon.privileges import Capability
from scsi2nvme.cli.daemon.state import JsonStore, check_directory
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.verbs.check.finding import Finding, Level, ok
from scsi2nvme.cli.verbs.check.situation import Situation
from scsi2nvme.drivers.pci.sysfs import read_text
from scsi2nvme.drivers.vfio.iommu import MORE_LOCKED_MEMORY
from scsi2nvme.drivers.vfio.noiommu import RESERVE

_ENOUGH = 64 << 20  # bytes of DMA memory, for a disk and a reactor
_HUGE_PAGES = "kernel/mm/hugepages/hugepages-2048kB/free_hugepages"


def locked_memory(situation: Situation) -> Iterator[Finding]:
    """Look whether DMA memory may be locked, by whoever runs this."""
    held = re.search(
        r"^CapEff:\s*([0-9a-f]+)", read_text(situation.system.proc / "self/status"), re.M
    )
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if held and int(held[1], 16) >> Capability.IPC_LOCK & 1:
        yield ok("no limit: the process has CAP_IPC_LOCK")
    elif limit == resource.RLIM_INFINITY or limit >= _ENOUGH:
        yield ok("no limit" if limit == resource.RLIM_INFINITY else f"{limit >> 10} KiB")
    else:
        what = f"the limit of locked memory is {limit >> 10} KiB; {MORE_LOCKED_MEMORY}"
        yield Finding.told(Level.WRONG, what.replace(", or run: ", "; run: "))


def open_files(situation: Situation) -> Iterator[Finding]:
    """Look how many connections there may be."""
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= descriptors.WANTED:
        yield ok("no limit" if limit == resource.RLIM_INFINITY else f"{limit}")
    else:
        left = max(limit - descriptors.RESERVE, 0)
        what = f"the limit of open files leaves about {left} connections"
        yield Finding(Level.WARNING, what, f"ulimit -Hn {descriptors.WANTED}")


def huge_pages(situation: Situation) -> Iterator[Finding]:
    """Look for what DMA memory without an IOMMU consists of."""
    free = read_text(situation.system.sys / _HUGE_PAGES)
    if int(free or 0):
        yield ok(f"{free} huge pages are free")
    else:
        yield Finding(Level.WRONG, "no huge page is free", RESERVE)


def state(situation: Situation) -> Iterator[Finding]:
    """Look whether the state directory can be written, and what is there makes sense."""
    where = situation.state_dir
    if not where.exists():
        parent = next(each for each in where.parents if each.exists())
        if os.access(parent, os.W_OK):
            yield ok(f"{where} will be made")
        else:
            what = f"{where} is not there, and cannot be made in {parent}"
            yield Finding(Level.WRONG, what, f"sudo install -d -m 700 {shlex.quote(str(where))}")
        return
    try:
        check_directory(where)
        if not os.access(where, os.W_OK):
            raise OperationError(f"state directory {where}: Permission denied; run: sudo -i")
        for directory in (where, where / "units"):
            if directory.is_dir():
                for file in sorted(directory.glob("*.json")):
                    JsonStore(directory).load(_key(file.stem))
    except OperationError as error:
        yield Finding.told(Level.WRONG, error)
    else:
        yield ok(f"{where}")


def _key(stem: str) -> str:
    from urllib.parse import unquote

    return unquote(stem)
