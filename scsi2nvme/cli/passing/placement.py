"""I/O Management: where data is placed, by reclaim unit handles. Spec: NVMe Base 2.1 7.3, 7.4."""

from __future__ import annotations

import argparse

from scsi2nvme.cli.errors import UsageError
from scsi2nvme.cli.passing.conversation import Conversation, Shown, succeed
from scsi2nvme.cli.passing.data import given_data
from scsi2nvme.cli.passing.row import DATA_FILE, FORCE, Option, Row, always, namespace_id, number
from scsi2nvme.cli.passing.shown import hex_dump
from scsi2nvme.nvme.command import NvmeCommand
from scsi2nvme.nvme.passing import IO_MANAGEMENT_RECEIVE, IO_MANAGEMENT_SEND

_MOST_BYTES = 2 << 20


def _receive(given: argparse.Namespace) -> Conversation[Shown]:
    length = given.data_len
    if not 0 < length <= _MOST_BYTES or length % 4:
        raise UsageError(f"io-mgmt-recv: --data-len is a multiple of 4, at most {_MOST_BYTES}")
    command = NvmeCommand(
        IO_MANAGEMENT_RECEIVE,
        given.namespace_id,
        cdw10=given.mo | given.mos << 16,
        cdw11=length // 4 - 1,
        data_in=length,
    )
    data = (yield from succeed(command, "io-mgmt-recv")).data
    head = f"io-mgmt-recv: Success, mos:{given.mos} mo:{given.mo} nsid:{given.namespace_id}"
    file = "" if given.data == "-" else given.data
    return Shown((head,) if file else (head, *hex_dump(data)), {}, data, file)


def _send(given: argparse.Namespace) -> Conversation[Shown]:
    if given.data_len > _MOST_BYTES:
        raise UsageError(f"io-mgmt-send: --data-len is at most {_MOST_BYTES}")
    command = NvmeCommand(
        IO_MANAGEMENT_SEND,
        given.namespace_id,
        cdw10=given.mo | given.mos << 16,
        data_out=given_data(given.data, given.data_len),
    )
    yield from succeed(command, "io-mgmt-send")
    return Shown(
        (f"io-mgmt-send: Success, mos:{given.mos} mo:{given.mo} nsid:{given.namespace_id}",)
    )


_OPTIONS = (
    namespace_id(),
    Option("mos", "s", "management operation specific", number(16)),
    Option("mo", "m", "management operation: 1 reclaim unit handles", number(8)),
    DATA_FILE,
    Option("data-len", "l", "bytes of data"),
)

ROWS = (
    Row(
        "io-mgmt-recv",
        "ask where a namespace's data is placed",
        "Send I/O Management Receive: reclaim unit handles, and how much room each has.",
        _OPTIONS,
        _receive,
    ),
    Row(
        "io-mgmt-send",
        "have a namespace's data placed elsewhere",
        "Send I/O Management Send: reclaim unit handles refer to other reclaim units from now on. "
        "While a daemon serves the namespace it wants --force.",
        (*_OPTIONS, FORCE),
        _send,
        always,
    ),
)
