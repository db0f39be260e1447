"""The tables' rows in words: for the pages made of them, and for `scsi2nvme explain`."""

from __future__ import annotations

from scsi2nvme.command import Command, Transfer
from scsi2nvme.scsi.sense import SenseCode
from scsi2nvme.scsi.status import Status


def code(row: Command) -> str:
    """Return a command's operation code, and its service action if it has one."""
    action = "" if row.service_action is None else f"/{row.service_action:02X}h"
    return f"{row.opcode:02X}h{action}"


def field_name(name: str) -> str:
    """Return a field's name as standards write it."""
    return name.upper().replace("_", " ")


def length_law(row: Command) -> str:
    """Return how much data a CDB announces, "" for none."""
    count = field_name(row.length_field)
    zero = f" ({row.zero_length_means} if zero)" if row.zero_length_means else ""
    return {
        Transfer.NONE: "",
        Transfer.BYTES: f"{count}{zero} bytes" if count else f"{row.zero_length_means} bytes",
        Transfer.BLOCKS: f"{count}{zero} blocks",
        Transfer.TWICE_BLOCKS: f"twice {count} blocks",
        Transfer.ONE_BLOCK: "one block",
        Transfer.ONE_BLOCK_UNLESS_NDOB: "one block, none with NDOB",
        Transfer.BYTCHK: f"by BYTCHK: 01b {count} blocks, 11b one block, else none",
        Transfer.OFFSET_AND_BLOCKS: f"LOGICAL BLOCK DATA OFFSET and {count} blocks",
        Transfer.BYTES_OR_512: f"{count} bytes, with INC_512 512 each",
        Transfer.FORMAT_HEADER: "4 bytes with FMTDATA, 8 with LONGLIST as well, and what follows",
    }[row.transfer]


def sense_code(code: SenseCode) -> str:
    """Return a sense key and an additional sense code."""
    key = code.key.name.replace("_", " ")
    return f"{key}, {code.asc:02X}h/{code.ascq:02X}h {code.text}"


def outcome(outcome: SenseCode | Status | None) -> str:
    """Return how a command ends: a status, or the sense of CHECK CONDITION; "" for None."""
    if outcome is None:
        return ""
    return outcome.name.replace("_", " ") if isinstance(outcome, Status) else sense_code(outcome)
