"""What the events of the Persistent Event log say, one row each. Spec: NVMe Base 2.0c 5.16.1.14."""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.structures import SMART_LOG
from scsi2nvme.records import dataclass


class EventKind(IntEnum):
    """Event Type. Spec: NVMe Base 2.0c figure 221."""

    SMART_SNAPSHOT = 0x01
    FIRMWARE_COMMIT = 0x02
    TIMESTAMP_CHANGE = 0x03
    RESET = 0x04
    HARDWARE_ERROR = 0x05
    CHANGE_NAMESPACE = 0x06
    FORMAT_START = 0x07
    FORMAT_COMPLETION = 0x08
    SANITIZE_START = 0x09
    SANITIZE_COMPLETION = 0x0A
    SET_FEATURE = 0x0B
    TELEMETRY_CREATED = 0x0C
    THERMAL_EXCURSION = 0x0D
    VENDOR = 0xDE
    TCG = 0xDF


class Action(IntEnum):
    """What a Get Log Page (LSP) does with the context, the log as it is read piece by piece.

    A controller has one, for one reader, who is to release it. Spec: NVMe Base 2.0c figure 217.
    """

    READ = 0b00
    ESTABLISH = 0b01  # and read
    RELEASE = 0b10


@dataclass(frozen=True)
class EventRow:
    """A kind of event. `layout` is that of its data's first bytes, None where nobody reads them."""

    kind: EventKind
    name: str
    layout: Structure | None = None


def _layout(name: str, size: int, *fields: tuple[str, int, int]) -> Structure:
    """Return a structure of whole bytes: names, with their first and last byte."""
    return Structure(
        name,
        size,
        tuple(Field(field, first, 0, 8 * (last - first + 1)) for field, first, last in fields),
        order="little",
        spec="NVMe Base 2.0c 5.16.1.14.1",
    )


FIRMWARE_COMMIT = _layout(
    "Firmware Commit Event",
    22,
    ("old_fw_rev", 0, 7),
    ("new_fw_rev", 8, 15),
    ("fw_commit_action", 16, 16),
    ("fw_slot", 17, 17),
    ("sct_fw", 18, 18),
    ("sc_fw", 19, 19),
    ("vndr_assign_fw_commit_rc", 20, 21),
)
TIMESTAMP_CHANGE = _layout(
    "Timestamp Change Event",
    16,
    ("previous_timestamp", 0, 5),
    ("previous_timestamp_attributes", 6, 6),
    ("ml_secs_since_reset", 8, 15),
)
RESET = _layout(
    "Power-on or Reset Event, with one descriptor",
    44,
    ("fw_rev", 0, 7),
    ("ctrl_id", 8, 9),
    ("fw_act", 10, 10),
    ("op_in_prog", 11, 11),
    ("ctrl_power_cycle", 24, 27),
    ("power_on_ml_secs", 28, 35),
    ("ctrl_timestamp", 36, 41),
    ("ctrl_timestamp_attributes", 42, 42),
)
HARDWARE_ERROR = _layout("NVM Subsystem Hardware Error Event", 4, ("nss_hw_err_code", 0, 1))
CHANGE_NAMESPACE = _layout(
    "Change Namespace Event",
    48,
    ("nsmgt_cdw10", 0, 3),
    ("nsze", 8, 15),
    ("nscap", 24, 31),
    ("flbas", 32, 32),
    ("dps", 33, 33),
    ("nmic", 34, 34),
    ("ana_grp_id", 36, 39),
    ("nvmset_id", 40, 41),
    ("nsid", 44, 47),
)
FORMAT_START = _layout(
    "Format NVM Start Event", 12, ("nsid", 0, 3), ("fna", 4, 4), ("format_nvm_cdw10", 8, 11)
)
FORMAT_COMPLETION = _layout(
    "Format NVM Completion Event",
    12,
    ("nsid", 0, 3),
    ("smallest_fpi", 4, 4),
    ("format_nvm_status", 5, 5),
    ("compln_info", 6, 7),
    ("status_field", 8, 11),
)
SANITIZE_START = _layout(
    "Sanitize Start Event", 12, ("sanicap", 0, 3), ("sani_cdw10", 4, 7), ("sani_cdw11", 8, 11)
)
SANITIZE_COMPLETION = _layout(
    "Sanitize Completion Event",
    8,
    ("sani_prog", 0, 1),
    ("sani_status", 2, 3),
    ("cmpln_info", 4, 5),
)
SET_FEATURE = Structure(
    "Set Feature Event, without data",
    12,
    (
        Field("dword_cnt", 0, 0, 3, "dwords of the command that follow, from CDW10 on"),
        Field("cmd_cmpln_dw0", 0, 3, 1, "dword 0 of the completion follows"),
        Field("mem_buf_cnt", 2, 0, 16, "bytes of data that follow"),
        Field("cdw10", 4, 0, 32),
        Field("cdw11", 8, 0, 32),
    ),
    order="little",
    spec="NVMe Base 2.0c 5.16.1.14.1.11",
)
THERMAL_EXCURSION = _layout("Thermal Excursion Event", 2, ("over_temp", 0, 0), ("threshold", 1, 1))

EVENTS: dict[int, EventRow] = {
    row.kind: row
    for row in (
        EventRow(EventKind.SMART_SNAPSHOT, "SMART / health log snapshot", SMART_LOG),
        EventRow(EventKind.FIRMWARE_COMMIT, "firmware commit", FIRMWARE_COMMIT),
        EventRow(EventKind.TIMESTAMP_CHANGE, "timestamp change", TIMESTAMP_CHANGE),
        EventRow(EventKind.RESET, "power-on or reset", RESET),
        EventRow(EventKind.HARDWARE_ERROR, "NVM subsystem hardware error", HARDWARE_ERROR),
        EventRow(EventKind.CHANGE_NAMESPACE, "change namespace", CHANGE_NAMESPACE),
        EventRow(EventKind.FORMAT_START, "format NVM start", FORMAT_START),
        EventRow(EventKind.FORMAT_COMPLETION, "format NVM completion", FORMAT_COMPLETION),
        EventRow(EventKind.SANITIZE_START, "sanitize start", SANITIZE_START),
        EventRow(EventKind.SANITIZE_COMPLETION, "sanitize completion", SANITIZE_COMPLETION),
        EventRow(EventKind.SET_FEATURE, "set feature", SET_FEATURE),
        EventRow(EventKind.TELEMETRY_CREATED, "telemetry log created"),
        EventRow(EventKind.THERMAL_EXCURSION, "thermal excursion", THERMAL_EXCURSION),
        EventRow(EventKind.VENDOR, "vendor specific"),
        EventRow(EventKind.TCG, "TCG"),
    )
}
