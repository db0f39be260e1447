"""The namespaces of controllers, and the rings by which the kernel's target reaches them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scsi2nvme.cli.sizes import size
from scsi2nvme.cli.verbs.list.columns import aligned

if TYPE_CHECKING:
    from scsi2nvme.cli.inspection import Json


def table(shown: Json) -> str:
    """Return `devices` for people: a line per namespace, with the state of its controller."""
    heads = ("Device", "NSID", "Serial", "Model", "Size", "Block", "Firmware", "State")
    states = {one["Number"]: one["State"] for one in shown.get("Controllers", ())}
    rows = [heads] + [
        (
            row["DevicePath"],
            str(row["NameSpace"]),
            row["SerialNumber"],
            row["ModelNumber"],
            size(row["PhysicalSize"]),
            str(row["SectorSize"]),
            row["Firmware"],
            states.get(row["Controller"], "live"),
        )
        for row in shown["Devices"]
    ]
    return "\n".join(aligned(rows))


def reasons(shown: Json) -> str:
    """Return why controllers are not live, for people: a line each."""
    return "\n".join(
        f"controller {one['DevicePath']} is {one['State']}: {one['Reason']}"
        for one in shown.get("Controllers", ())
        if one["Reason"]
    )


def borrowed(shown: Json) -> str:
    """Return what controllers have of this machine's memory, for people: a line each."""
    return "\n".join(
        f"controller {one['DevicePath']} has borrowed {size(one['HostMemory'])} of memory"
        for one in shown.get("Controllers", ())
        if one.get("HostMemory")
    )


def paths(shown: Json) -> str:
    """Return which controllers lead to what several share, for people: the one in use is marked."""
    heads = ("Shared disk", "NSID", "Group", "In use", "Device", "Told to initiators", "Way")
    order = sorted(shown["Paths"], key=lambda row: (row["SerialNumber"], row["NameSpace"]))
    rows = [heads] + [
        (
            row["SerialNumber"],
            str(row["NameSpace"]),
            str(row["Group"]),
            "yes" if row["InUse"] else "",
            row["DevicePath"],
            row["Access"],
            row["Way"],
        )
        for row in order
    ]
    return "\n".join(aligned(rows))


def targets(shown: Json) -> str:
    """Return our portal's targets for people: a line per LUN."""
    heads = ("Target", "LUN", "Device", "NSID", "Size")
    rows = [heads] + [
        (
            target["Target"],
            str(row["LUN"]),
            row["DevicePath"],
            str(row["NameSpace"]),
            size(row["PhysicalSize"]),
        )
        for target in shown["Targets"]
        for row in target["LUNs"]
        or [{"LUN": "-", "DevicePath": "-", "NameSpace": "-", "PhysicalSize": 0}]
    ]
    return "\n".join(aligned(rows))


def sessions(shown: Json) -> str:
    """Return who is logged in at our portal, for people."""
    heads = ("Initiator", "ISID", "Target", "Connections")
    rows = [heads] + [
        (row["Initiator"], row["ISID"], row["Target"] or "discovery", str(row["Connections"]))
        for row in shown["Sessions"]
    ]
    return "\n".join(aligned(rows))


def rings(shown: Json) -> str:
    """Return the rings of the kernel's target for people: how data move, and who serves them."""
    heads = (
        *("Backstore", "Configuration", "In place", "Copied", "Pages", "Withdrawals"),
        *("Reactor", "Moves"),
    )
    rows = [heads] + [
        (
            row["Backstore"],
            row["Config"],
            str(row["InPlace"]) if row["ZeroCopy"] else "-",
            str(row["Copied"]),
            str(row["Pages"]),
            str(row["Withdrawals"]),
            str(row["Reactor"]),
            str(row["Moves"]),
        )
        for row in shown["Rings"]
    ]
    return "\n".join(aligned(rows))
