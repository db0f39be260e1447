"""RESERVE and RELEASE. Spec: SPC-2 7.16, 7.17, 7.21, 7.22."""

from __future__ import annotations

from scsi2nvme.command import Command, Task
from scsi2nvme.scsi.result import Translation
from scsi2nvme.unit.reservations import Access


def reserve_unit(task: Task) -> Translation:
    """Spec: SPC-2 7.21, 7.22."""
    yield from task.lu.reservations.refresh()
    return task.lu.reservations.reserve_unit(task.nexus)


def release_unit(task: Task) -> Translation:
    """Spec: SPC-2 7.16, 7.17."""
    yield from task.lu.reservations.refresh()
    return task.lu.reservations.release_unit(task.nexus)


def _row(name: str, opcode: int, length: int, *, reserves: bool, spec: str) -> Command:
    return Command(
        f"{name} ({length})",
        opcode,
        length,
        spec,
        reserve_unit if reserves else release_unit,
        access=Access.OWN,
        of_reservations=True,
        legacy_reserve_allows=not reserves,
        needs_ready=False,
        doc="Third-party and extent reservations are obsolete and refused.",
    )


COMMANDS = (
    _row("RESERVE", 0x16, 6, reserves=True, spec="SPC-2 7.22"),
    _row("RELEASE", 0x17, 6, reserves=False, spec="SPC-2 7.17"),
    _row("RESERVE", 0x56, 10, reserves=True, spec="SPC-2 7.21"),
    _row("RELEASE", 0x57, 10, reserves=False, spec="SPC-2 7.16"),
)
