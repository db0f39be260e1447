"""The kernel's target, as nodes: what it may have, and the targets that `export` makes there.

The shell itself asks the kernel, as the verb does: the daemon has no power over its target.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from pathlib import Path
from typing import Any

from scsi2nvme.api import methods
from scsi2nvme.api.method import Method, doc
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.sizes import size
from scsi2nvme.cli.verbs.shell.kind import Command, Kind, Place, Summary
from scsi2nvme.cli.verbs.shell.rows import count, named, shown
from scsi2nvme.records import dataclass


def _exports(place: Place) -> list[methods.Export] | None:
    """Return what the kernel's target may have; None where it is not served."""
    try:
        return place.view.of(methods.EXPORTS)
    except OperationError:
        return None


def _kernel(place: Place) -> Summary:
    exports = _exports(place)
    return ("not served", None) if exports is None else (count(len(exports), "export"), None)


def _export(place: Place) -> Summary:
    rings = [row for row in shown(place, "Rings") if row["Config"] == place.about.config]
    use = "a backstore" if rings else "no backstore"
    return f"{size(place.about.size)}, {use}", True if rings else None


# Targets of the kernel's


@dataclass(frozen=True, slots=True)
class WhichTarget:
    """A target of the kernel's that `export` makes."""

    controller: str = field(metadata=doc("its number in the daemon, or its PCI address"))
    iqn: str | None = field(
        default=None, metadata=doc("the target's iSCSI name, unless it is named after the disk")
    )


@dataclass(frozen=True, slots=True)
class NewTarget(WhichTarget):
    """What it is to be."""

    nsids: tuple[int, ...] = field(default=(), metadata=doc("namespaces, between commas; or all"))
    portals: tuple[str, ...] = field(
        default=(), metadata=doc("where the kernel is to listen, between commas")
    )
    initiators: tuple[str, ...] = field(
        default=(), metadata=doc("who may log in, between commas; or everyone")
    )
    chap: str | None = field(
        default=None, metadata=doc("a file with the table [chap], and perhaps [mutual_chap]")
    )


_EXPORT = Method(
    "",
    "make a controller's namespaces a target of the kernel's; what that has and is not asked for "
    "goes",
    NewTarget,
    list[str],
)
_UNEXPORT = Method(
    "", "take such a target down, and its backstores with it", WhichTarget, list[str]
)


def _made(state_dir: Path, method: Method[Any, Any], new: NewTarget) -> list[str]:
    from scsi2nvme.cli.verbs.export import kernel_target

    done = kernel_target.export(
        new.controller,
        state_dir,
        nsids=new.nsids,
        iqn=new.iqn,
        portals=new.portals,
        initiators=new.initiators,
        chap=new.chap,
    )
    return [*kernel_target.lines(done)]


def _taken_down(state_dir: Path, method: Method[Any, Any], which: WhichTarget) -> list[str]:
    from scsi2nvme.cli.verbs.export import kernel_target

    name, was_there = kernel_target.unexport(which.controller, state_dir, iqn=which.iqn)
    return [f"target {name}: {'gone' if was_there else 'there was none'}"]


def _controllers(place: Place) -> Iterable[str]:
    return dict.fromkeys(row.names[0] for row in _exports(place) or ())


EXPORT = Kind(_export)
KERNEL = Kind(
    _kernel,
    lambda place: named(EXPORT, ((one.name, one) for one in _exports(place) or ())),
    (
        Command("export", _EXPORT, perform=_made, values={"controller": _controllers}),
        Command(
            "unexport",
            _UNEXPORT,
            question="initiators of the kernel's target lose the disks of {controller}",
            perform=_taken_down,
            values={"controller": _controllers},
        ),
    ),
)
