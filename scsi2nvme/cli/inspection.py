"""What can be read of a controller, as nvme-cli does: which command reads it, how it is shown.

JSON has nvme-cli's keys, which are the field names of `scsi2nvme.nvme.structures`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from scsi2nvme.drivers.nvme.admin import (
    CNS_CONTROLLER,
    CNS_NAMESPACE,
    LogPage,
    identify,
)
from scsi2nvme.fields import Structure
from scsi2nvme.nvme.command import BROADCAST_NSID, NvmeCommand
from scsi2nvme.nvme.log_page import get_log_page
from scsi2nvme.nvme.namespace import NamespaceFacts, lba_formats
from scsi2nvme.nvme.structures import (
    ERROR_LOG_ENTRY,
    IDENTIFY_CONTROLLER,
    IDENTIFY_NAMESPACE,
    POWER_STATE,
    SMART_LOG,
)
from scsi2nvme.records import dataclass

if TYPE_CHECKING:
    from scsi2nvme.api.methods import StructureName

Json = dict[str, Any]

_ZERO_CELSIUS_K = 273
_PERCENT = ("avail_spare", "spare_thresh", "percent_used")
_TEXT = ("sn", "mn", "fr", "subnqn")
_HEX = ("fguid", "nguid", "eui64")
_SENSORS = range(1, 9)
_PREFERRED_SIZES = ("npwg", "npwa", "npdg", "npda", "nows")  # where NSFEAT says so
# nvme-cli's names of a power state's fields.
_POWER = {
    "max_power": "mp",
    "entry_lat": "enlat",
    "exit_lat": "exlat",
    "read_tput": "rrt",
    "read_lat": "rrl",
    "write_tput": "rwt",
    "write_lat": "rwl",
    "idle_power": "idlp",
    "idle_scale": "ips",
    "active_power": "actp",
    "active_power_work": "apw",
    "active_scale": "aps",
}


def _plain(structure: Structure, raw: bytes, but: Iterable[str] = ()) -> Json:
    """Return the fields of `raw` by name: text, identifiers in hex, else numbers."""
    values = structure.parse(raw)
    shown: Json = {}
    for name in structure.by_name:
        if name in _TEXT:
            shown[name] = values.text(name)
        elif name in _HEX:
            shown[name] = values.bytes(name).hex()
        elif name not in but:
            shown[name] = values[name]
    return shown


def _rows(structure: Structure, raw: bytes) -> Iterator[bytes]:
    for start in range(0, len(raw) - structure.size + 1, structure.size):
        yield raw[start : start + structure.size]


def id_ctrl(raw: bytes) -> Json:
    """Return Identify Controller as `nvme id-ctrl -o json` does."""
    values = IDENTIFY_CONTROLLER.parse(raw)
    shown = _plain(IDENTIFY_CONTROLLER, raw, but=("psds",))
    states = list(_rows(POWER_STATE, values.bytes("psds")))[: values.npss + 1]
    shown["psds"] = []
    for state in map(POWER_STATE.parse, states):
        row = {key: state[name] for key, name in _POWER.items()}
        row["flags"] = state.mxps | state.nops << 1
        shown["psds"].append(row)
    return shown


def id_ns(raw: bytes) -> Json:
    """Return Identify Namespace as `nvme id-ns -o json` does."""
    values = IDENTIFY_NAMESPACE.parse(raw)
    absent = () if values.nsfeat & 0x10 else _PREFERRED_SIZES
    shown = _plain(IDENTIFY_NAMESPACE, raw, but=("lbafs", *absent))
    shown["lbafs"] = [{"ms": row.ms, "ds": row.lbads, "rp": row.rp} for row in lba_formats(values)]
    return shown


def smart_log(raw: bytes) -> Json:
    """Return the SMART log as `nvme smart-log -o json` does: absent sensors left out."""
    values = SMART_LOG.parse(raw)
    absent = [f"temperature_sensor_{n}" for n in _SENSORS if not values[f"temperature_sensor_{n}"]]
    return _plain(SMART_LOG, raw, but=absent)


def error_log(raw: bytes) -> Json:
    """Return the error log as `nvme error-log -o json` does."""
    return {"errors": [_plain(ERROR_LOG_ENTRY, entry) for entry in _rows(ERROR_LOG_ENTRY, raw)]}


def _with_units(shown: Json) -> Json:
    """Return a SMART log with units, where nobody can guess them."""
    return {
        key: f"{value} K ({value - _ZERO_CELSIUS_K} °C)"
        if key.startswith("temperature") and value
        else f"{value} %"
        if key in _PERCENT
        else value
        for key, value in shown.items()
    }


def _errors_alone(shown: Json) -> Json:
    """Return an error log without entries that no error has used. Spec: NVMe Base 2.0c 5.16.1.2."""
    return {"errors": [row for row in shown["errors"] if row["error_count"]] or "none"}


def devices(facts: Iterable[tuple[int, str, NamespaceFacts]]) -> Json:
    """Return namespaces as `nvme list -o json` does; each comes with its controller's number, too.

    Its path does not tell controllers apart: two in memory may have one.
    """
    return {
        "Devices": [
            {
                "NameSpace": namespace.nsid,
                "Controller": number,
                "DevicePath": path,
                "Firmware": namespace.controller.text("fr"),
                "ModelNumber": namespace.controller.text("mn"),
                "SerialNumber": namespace.controller.text("sn"),
                "UsedBytes": namespace.namespace.nuse * namespace.block_bytes,
                "MaximumLBA": namespace.capacity_blocks,
                "PhysicalSize": namespace.capacity_blocks * namespace.block_bytes,
                "SectorSize": namespace.block_bytes,
            }
            for number, path, namespace in facts
        ]
    }


@dataclass(frozen=True, slots=True)
class Inspection:
    """One structure of a controller or a namespace, by the name of nvme-cli's verb.

    `command` builds the NVMe command from an NSID and the controller's ELPE + 1, `told` is for
    people what `decode` returns.
    """

    name: StructureName
    doc: str
    command: Callable[[int, int], NvmeCommand]
    decode: Callable[[bytes], Json]
    per_namespace: bool = False
    told: Callable[[Json], Json] = lambda shown: shown


def _log(lid: int, length: int) -> NvmeCommand:
    """Return the command that reads a log of the controller, as nvme-cli does: RAE is clear."""
    return get_log_page(lid, BROADCAST_NSID, length, retain=False)


INSPECTIONS: dict[str, Inspection] = {
    row.name: row
    for row in (
        Inspection(
            "id-ctrl",
            "Identify Controller",
            lambda nsid, entries: identify(CNS_CONTROLLER),
            id_ctrl,
        ),
        Inspection(
            "id-ns",
            "Identify Namespace",
            lambda nsid, entries: identify(CNS_NAMESPACE, nsid),
            id_ns,
            per_namespace=True,
        ),
        Inspection(
            "smart-log",
            "SMART / Health Information log",
            lambda nsid, entries: _log(LogPage.SMART, SMART_LOG.size),
            smart_log,
            told=_with_units,
        ),
        Inspection(
            "error-log",
            "Error Information log, newest entry first",
            lambda nsid, entries: _log(LogPage.ERROR, min(entries, 64) * ERROR_LOG_ENTRY.size),
            error_log,
            told=_errors_alone,
        ),
    )
}


def _cell(value: object) -> str:
    if isinstance(value, Mapping):
        return "  ".join(f"{key}:{item}" for key, item in value.items())
    return str(value)


def text(shown: Json) -> str:
    """Return a decoded structure for people: a line per field, lists numbered."""
    lines = []
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        if not isinstance(value, list):
            lines.append(f"{name:<{width}} : {_cell(value)}")
        for number, row in enumerate(value if isinstance(value, list) else ()):
            lines.append(f"{name:<{width}} {number:>2} : {_cell(row)}")
    return "\n".join(lines)
