"""Directives: what a namespace has of them, and streams. Spec: NVMe Base 2.0c 5.12, 5.13, 8.7."""

from __future__ import annotations

import argparse
import struct
from typing import Any

from scsi2nvme.cli.errors import UsageError
from scsi2nvme.cli.passing.conversation import Conversation, Shown, succeed
from scsi2nvme.cli.passing.data import given_data
from scsi2nvme.cli.passing.row import (
    FORCE,
    HUMAN_READABLE,
    RAW_BINARY,
    Option,
    Row,
    always,
    namespace_id,
    number,
)
from scsi2nvme.cli.passing.shown import fields_of, hex_dump
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand
from scsi2nvme.nvme.directives import (
    IDENTIFY_PARAMETERS,
    STREAMS_PARAMETERS,
    DirectiveType,
    Receive,
)
from scsi2nvme.nvme.passing import directive_only_looks

_MOST_BYTES = 1 << 20
_STATUS_BYTES = 2 * (1 + 65535)  # a number, and so many identifiers
_STREAMS_STATUS = (DirectiveType.STREAMS, Receive.STATUS)
_PARAMETERS = {
    (DirectiveType.IDENTIFY, Receive.PARAMETERS): IDENTIFY_PARAMETERS,
    (DirectiveType.STREAMS, Receive.PARAMETERS): STREAMS_PARAMETERS,
}


def _cdw11(given: argparse.Namespace) -> int:
    return int(given.dir_oper | given.dir_type << 8 | given.dir_spec << 16)


def _checked(given: argparse.Namespace, length: int) -> int:
    """Return how many bytes are moved: whole dwords."""
    if length % 4 or length > _MOST_BYTES:
        raise UsageError(
            f"{given.subcommand}: --data-len {length}: give a multiple of 4, at most {_MOST_BYTES}"
        )
    return length


def _usual_bytes(given: argparse.Namespace) -> int:
    """Return how much an operation returns."""
    operation = (given.dir_type, given.dir_oper)
    if operation == _STREAMS_STATUS:
        return _STATUS_BYTES
    layout = _PARAMETERS.get(operation)
    return 0 if layout is None else layout.size


def _of_receive(given: argparse.Namespace) -> NvmeCommand:
    length = _checked(given, _usual_bytes(given) if given.data_len is None else given.data_len)
    return NvmeCommand(
        AdminOpcode.DIRECTIVE_RECEIVE,
        given.namespace_id,
        cdw10=max(length // 4 - 1, 0),
        cdw11=_cdw11(given),
        cdw12=given.req_resource,
        data_in=length,
        admin=True,
    )


def _receive(given: argparse.Namespace) -> Conversation[Shown]:
    done = yield from succeed(_of_receive(given), "dir-receive")
    raw = done.data
    head = (
        f"dir-receive: type {given.dir_type:#x}, operation {given.dir_oper:#x}, "
        f"spec {given.dir_spec:#x}, nsid {given.namespace_id:#x}, result {done.dw0:#x}"
    )
    lines, json = _told(given, done)
    return Shown((head, *lines), {"result": done.dw0, **json}, raw)


def _told(given: argparse.Namespace, done: Completion) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return what people, and programs, are shown of data."""
    operation = (given.dir_type, given.dir_oper)
    layout = _PARAMETERS.get(operation)
    if not given.human_readable:
        return hex_dump(done.data), {"data": done.data.hex()}
    if layout is not None and len(done.data) >= layout.size:
        values = layout.parse(done.data[: layout.size])
        return fields_of(values), dict(values.items())
    if operation == _STREAMS_STATUS and len(done.data) >= 2:
        (count,) = struct.unpack_from("<H", done.data)
        known = min(count, len(done.data) // 2 - 1)
        streams = list(struct.unpack_from(f"<{known}H", done.data, 2))
        return (f"\topen streams: {count}", *map("\t\t{:#x}".format, streams)), {"open": streams}
    return hex_dump(done.data), {"data": done.data.hex()}


def _send(given: argparse.Namespace) -> Conversation[Shown]:
    length = _checked(given, given.data_len)
    command = NvmeCommand(
        AdminOpcode.DIRECTIVE_SEND,
        given.namespace_id,
        cdw10=max(length // 4 - 1, 0),
        cdw11=_cdw11(given),
        cdw12=given.endir | given.target_dir << 8,
        data_out=given_data(given.input_file, length),
        admin=True,
    )
    done = yield from succeed(command, "dir-send")
    line = (
        f"dir-send: type {given.dir_type:#x}, operation {given.dir_oper:#x}, "
        f"spec {given.dir_spec:#x}, nsid {given.namespace_id:#x}, result {done.dw0:#x}"
    )
    return Shown((line,), {"result": done.dw0})


def _allocates(given: argparse.Namespace) -> bool:
    return not directive_only_looks(_of_receive(given))


_WHICH = (
    namespace_id(),
    Option("dir-type", "D", "directive: 0 Identify, 1 Streams", number(8)),
    Option("dir-spec", "S", "of the directive, as a stream", number(16)),
    Option("dir-oper", "O", "operation of the directive", number(8)),
)

ROWS = (
    Row(
        "dir-receive",
        "show which directives there are, and streams that are open",
        "Send Directive Receive: operation 1 of each directive returns its parameters, of Streams "
        "2 those that are open, and 3 gives some to the namespace alone, which wants --force "
        "while a daemon serves it.",
        (
            *_WHICH,
            Option("data-len", "l", "bytes to read (default: as the operation has)", default=None),
            Option("req-resource", "r", "streams that are asked for", number(16)),
            HUMAN_READABLE,
            RAW_BINARY,
            FORCE,
        ),
        _receive,
        _allocates,
    ),
    Row(
        "dir-send",
        "enable directives, and close streams",
        "Send Directive Send: operation 1 of Identify enables a directive or disables it, of "
        "Streams it closes one, and 2 gives back those that the namespace has alone. While a "
        "daemon serves the namespace it wants --force.",
        (
            *_WHICH,
            Option("data-len", "l", "bytes of data"),
            Option("target-dir", "T", "which directive is enabled", number(8)),
            Option("endir", "e", "1 enable, 0 disable", number(1)),
            Option("input-file", "i", "file of the data (default: standard input)", str, "-"),
            FORCE,
        ),
        _send,
        always,
    ),
)
