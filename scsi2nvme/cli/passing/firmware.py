"""Firmware: download, commit, and what the slots hold. Spec: NVMe Base 2.0c 5.12, 5.13, 3.11."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.passing.conversation import Conversation, Done, Shown, log_pages, succeed
from scsi2nvme.cli.passing.row import (
    FORCE,
    OUTPUT_FORMAT,
    RAW_BINARY,
    Option,
    Row,
    always,
    number,
)
from scsi2nvme.drivers.nvme import admin
from scsi2nvme.drivers.nvme.admin import LogPage
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand
from scsi2nvme.nvme.status import StatusCode, describe
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER

_LOG_BYTES, _SLOTS, _REVISION_BYTES = 512, 7, 8
_DWORD = 4
_UNIT_BYTES = 4096  # of FWUG
_PIECE_BYTES = 24 << 10  # at a time, as far as FWUG allows: what a daemon takes with a request
_COMMIT_S = 300.0
MOST_BYTES = 64 << 20  # of an image
_NEEDED: dict[int, str] = {
    StatusCode.FIRMWARE_NEEDS_CONVENTIONAL_RESET: "conventional reset",
    StatusCode.FIRMWARE_NEEDS_SUBSYSTEM_RESET: "NVM subsystem reset",
    StatusCode.FIRMWARE_NEEDS_CONTROLLER_RESET: "controller reset",
}


def _image(name: str) -> bytes:
    """Return an image; OperationError if it cannot be one."""
    try:
        with Path(name).open("rb") as file:
            image = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise OperationError(f"{name}: {error.strerror}") from None
    if not image or len(image) > MOST_BYTES or len(image) % _DWORD:
        raise OperationError(
            f"{name}: {len(image)} bytes are no firmware image: it has whole groups of four, and "
            f"{MOST_BYTES >> 20} MiB at most"
        )
    return image


def _granularity() -> Conversation[int]:
    """Return what pieces begin at multiples of, as the controller says, or a page."""
    completion = yield from succeed(admin.identify(admin.CNS_CONTROLLER), "fw-download")
    fwug = IDENTIFY_CONTROLLER.parse(completion.data).fwug
    return _DWORD if fwug == 0xFF else _UNIT_BYTES * max(fwug, 1)


def _download(given: argparse.Namespace) -> Conversation[Shown]:
    opened_here = re.match("[a-z]{3,}:", given.controller)
    if opened_here and given.action is None:
        raise UsageError(
            "fw-download: a controller that is opened by its SPEC forgets the image when it is "
            "let go of: give --action and --slot as well, to commit it"
        )
    image = _image(given.fw)
    unit = yield from _granularity()
    step = given.xfer or max(_PIECE_BYTES // unit * unit, unit)
    if step % _DWORD:
        raise UsageError("fw-download: --xfer is a multiple of 4 bytes")
    for at in range(0, len(image), step):
        piece = image[at : at + step]
        command = NvmeCommand(
            AdminOpcode.FIRMWARE_IMAGE_DOWNLOAD,
            cdw10=len(piece) // _DWORD - 1,
            cdw11=given.offset + at // _DWORD,
            data_out=piece,
            admin=True,
        )
        yield from succeed(command, f"fw-download, {at} of {len(image)} bytes done")
        yield Done((at + len(piece)) / len(image))
    shown = Shown(("Firmware download success",), {"size": len(image)})
    if given.action is None:
        return shown
    committed = yield from _commit(given)
    return Shown((*shown.lines, *committed.lines), shown.json | committed.json)


def _commit(given: argparse.Namespace) -> Conversation[Shown]:
    slot, action = given.slot, given.action
    command = NvmeCommand(
        AdminOpcode.FIRMWARE_COMMIT,
        cdw10=slot | action << 3 | getattr(given, "bpid", 0) << 31,
        admin=True,
        timeout_s=_COMMIT_S,
    )
    completion: Completion = yield command
    status = completion.status
    json = {"slot": slot, "action": action, "needs": _NEEDED.get(status, "")}
    if status in _NEEDED:
        what = f"firmware action:{action} slot:{slot}, but firmware requires {_NEEDED[status]}"
        return Shown((f"Success activating {what}",), json)
    if status:
        hint = ""
        if status == StatusCode.FIRMWARE_NEEDS_MAXIMUM_TIME:
            hint = "; activate it by a reset: --action 1"
        raise OperationError(f"fw-commit: the controller answers: {describe(status)}{hint}")
    return Shown((f"Success committing firmware action:{action} slot:{slot}",), json)


def _log(given: argparse.Namespace) -> Conversation[Shown]:
    raw = yield from log_pages(LogPage.FIRMWARE, _LOG_BYTES, nsid=0)
    lines = [f"Firmware Log for device:{given.controller}", f"afi  : {raw[0]:#x}"]
    json: dict[str, int | str] = {"Active Firmware Slot (afi)": raw[0]}
    for slot in range(1, _SLOTS + 1):
        held = raw[_REVISION_BYTES * slot :][:_REVISION_BYTES]
        if any(held):
            value = int.from_bytes(held, "little")
            text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in held)
            lines.append(f"frs{slot} : {value:#018x} ({text})")
            json[f"Firmware Rev Slot {slot}"] = f"{value} ({text})"
    return Shown(tuple(lines), {given.controller: json}, raw)


_SLOT = Option("slot", "s", "slot, 0: the controller chooses (default: 0)", number(3))


def _action(default: int | None) -> Option:
    doc = "0 store; 1 store, 2 activate what is stored: by the next reset; 3 store and run it now"
    return Option("action", "a", doc, number(3), default)


ROWS = (
    Row(
        "fw-download",
        "send a firmware image to a controller",
        "Send a firmware image to a controller, which keeps it in its memory until it is committed "
        "(fw-commit), or reset. With --action, it is committed at once. A daemon wants --force: "
        "a wrong image can make the disk useless.",
        (
            Option("fw", "f", "file of the image", str, None, "FILE", required=True),
            Option("xfer", "x", "bytes at a time (default: as the controller likes, 24 KiB)"),
            Option("offset", "O", "dwords of the image that were sent before"),
            _SLOT,
            _action(None),
            FORCE,
        ),
        _download,
        always,
    ),
    Row(
        "fw-commit",
        "store a firmware image that was downloaded, and activate it",
        "Store a firmware image that was downloaded, activate it, or both. Initiators are told "
        "once other firmware runs. A daemon wants --force.",
        (
            _SLOT,
            _action(0),
            Option("bpid", "b", "boot partition, with --action 6 or 7", number(1)),
            FORCE,
        ),
        _commit,
        always,
        alias="fw-activate",
    ),
    Row(
        "fw-log",
        "firmware slots: what each holds, and which one runs",
        "Show the firmware slots: the revision that each holds, which one runs (bits 2:0 of afi), "
        "and which one will after the next reset (bits 6:4).",
        (OUTPUT_FORMAT, RAW_BINARY),
        _log,
    ),
)
