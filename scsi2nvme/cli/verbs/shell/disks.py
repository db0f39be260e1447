"""Controllers and their namespaces, as nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from scsi2nvme.api import methods
from scsi2nvme.api.statistics import STATISTICS
from scsi2nvme.cli.sizes import size
from scsi2nvme.cli.verbs.shell.binding import COMMANDS as BINDING
from scsi2nvme.cli.verbs.shell.kind import Command, Kind, Place, Summary
from scsi2nvme.cli.verbs.shell.rows import Children, Row, count, named, shown

# Namespaces


def _devices(place: Place, row: Row) -> list[Row]:
    """Return the namespaces of a controller."""
    return [each for each in shown(place, "Devices") if each["Controller"] == row["Number"]]


def _is(one: Row, other: Row) -> bool:
    """Return whether two rows are of one namespace."""
    return (one["Controller"], one["NameSpace"]) == (other["Controller"], other["NameSpace"])


def _served_as(place: Place, device: Row) -> Iterator[str]:
    """Yield where a namespace is a logical unit."""
    for target in shown(place, "Targets"):
        for lun in target["LUNs"]:
            if _is(lun, device):
                yield f"{target['Target']} LUN {lun['LUN']}"


def _namespace(place: Place) -> Summary:
    device = place.about
    where = ", ".join(_served_as(place, device)) or "no target's"
    blocks = f"{size(device['PhysicalSize'])}, blocks of {device['SectorSize']}"
    words, good = _path(place, device)
    return f"{blocks}: {where}{words}", good


def _path(place: Place, device: Row) -> tuple[str, bool | None]:
    """Return what is to be said of a namespace that several controllers lead to."""
    path = next((each for each in shown(place, "Paths") if _is(each, device)), None)
    if path is None:
        return "", None
    leads = path["Way"] in ("optimized", "non-optimized")
    use = "in use" if path["InUse"] else "not in use"
    return f"; one of its ways, {use}, {path['Way']}", leads


NAMESPACE = Kind(_namespace)

# Controllers


def _structure(name: methods.StructureName, answer: str) -> Iterator[str]:
    """Yield what was read, as the verb of that name shows it."""
    from scsi2nvme.cli import inspection

    yield inspection.text(inspection.INSPECTIONS[name].decode(bytes.fromhex(answer)))


def _read(name: str, structure: methods.StructureName) -> Command:
    return Command(
        name,
        methods.READ,
        lambda about: {"structure": structure, "controller": str(about["Number"]), "nsid": 0},
        lines=lambda answer: _structure(structure, answer),
    )


def _health(place: Place) -> Summary:
    from scsi2nvme.cli import inspection

    which = methods.WhichStructure("smart-log", str(place.about["Number"]))
    raw = bytes.fromhex(place.view.of(methods.READ, which))
    log = inspection.smart_log(raw)
    warning = log["critical_warning"]
    words = f"{log['temperature'] - 273} °C, {log['percent_used']}% worn"
    return (f"{words}, critical warning {warning:02x}h", False) if warning else (words, True)


def _firmware(place: Place) -> Summary:
    return ", ".join({each["Firmware"] for each in _devices(place, place.about)}), None


HEALTH = Kind(_health, commands=(_read("smart_log", "smart-log"), _read("error_log", "error-log")))
FIRMWARE = Kind(_firmware)
NAMESPACES = Kind(
    lambda place: (count(len(_devices(place, place.about)), "namespace"), None),
    lambda place: {
        str(each["NameSpace"]): (NAMESPACE, each) for each in _devices(place, place.about)
    },
)


def _controller(place: Place) -> Summary:
    row = place.about
    words = row["State"] + f": {row['Reason']}" * bool(row["Reason"])
    return f"{row['DevicePath']}: {words}", {"live": True, "starting": None}.get(
        row["State"], False
    )


def _of_controller(place: Place) -> Children:
    row = place.about
    if not _devices(place, row):
        return {}
    return {
        "firmware": (FIRMWARE, row),
        "health": (HEALTH, row),
        "namespaces": (NAMESPACES, row),
    }


def _which(about: Row) -> Row:
    return {"controller": str(about["Number"])}


CONTROLLER = Kind(
    _controller,
    _of_controller,
    (
        Command("reset", methods.RESET, _which),
        Command(
            "remove",
            methods.REMOVE,
            _which,
            question="sessions with the target of {node} end",
        ),
        _read("id_ctrl", "id-ctrl"),
    ),
)


def _controllers(place: Place) -> Summary:
    rows = shown(place, "Controllers")
    live = sum(row["State"] == "live" for row in rows)
    return f"{live} of {len(rows)} live", live == len(rows)


def _each_controller(place: Place) -> Children:
    rows = shown(place, "Controllers")
    serials = {each["Controller"]: each["SerialNumber"] for each in shown(place, "Devices")}
    return named(
        CONTROLLER,
        ((serials.get(row["Number"]) or row["DevicePath"], row) for row in rows),
    )


def _specs(place: Place) -> Iterable[str]:
    """Return what a SPEC may begin with."""
    from scsi2nvme.drivers.transports import SCHEMES

    return (f"{name}:" for name in SCHEMES)


def known_specs(place: Place) -> Iterable[str]:
    return (row["DevicePath"] for row in shown(place, "Controllers"))


CONTROLLERS = Kind(
    _controllers,
    _each_controller,
    (
        Command("add", methods.ADD, values={"spec": _specs}),
        Command(
            "forget",
            methods.FORGET,
            question="others may have the names of {controller}",
            values={"controller": known_specs},
        ),
    ),
)

# Disks: namespaces, whichever controller they are of


def _disks(place: Place) -> Children:
    return named(
        NAMESPACE,
        ((f"{each['SerialNumber']}:{each['NameSpace']}", each) for each in shown(place, "Devices")),
    )


def _rates(answer: Any) -> Iterator[str]:
    """Yield what `scsi2nvme stat` shows."""
    from scsi2nvme.cli.verbs.stat import reports

    yield reports.table("disk", reports.lines(None, answer, "disk"))


DISKS = Kind(
    lambda place: (count(len(shown(place, "Devices")), "disk"), None),
    _disks,
    (Command("stat", STATISTICS, lines=_rates), *BINDING),
)
