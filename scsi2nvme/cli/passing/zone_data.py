"""What is written to zones, and sent to manage them as it is. Spec: ZNS Command Set 1.1b 3.4."""

from __future__ import annotations

import argparse
import time

from scsi2nvme.cli.errors import UsageError
from scsi2nvme.cli.passing.blocks import METADATA_FILE, PROTECTED, latency, protected
from scsi2nvme.cli.passing.conversation import (
    Conversation,
    Shown,
    current_format,
    identify_namespace,
    succeed,
)
from scsi2nvme.cli.passing.data import given_data
from scsi2nvme.cli.passing.row import (
    DATA_FILE,
    FORCE,
    OUTPUT_FORMAT,
    TIMEOUT,
    Option,
    Row,
    always,
    flag,
    namespace_id,
    number,
)
from scsi2nvme.cli.passing.shown import hex_dump
from scsi2nvme.cli.passing.zones import zone_format
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.protection import PRACT, TUPLE_BYTES
from scsi2nvme.nvme.zoned import FLUSH_RANDOM_WRITE_AREA, SET_DESCRIPTOR_EXTENSION, ZDES_UNIT

_EXTENDED = 1 << 4  # of FLBAS: metadata at the end of each block
_TYPE = 7  # of DPS: 0 is no protection information
_MOST_BLOCKS = 1 << 16
_MOST_BYTES = 2 << 20
_SELECT_ALL, _OPTION = 1 << 8, 1 << 9  # CDW13 of Zone Management Send
_PARTIAL = 1 << 16  # CDW13 of Zone Management Receive
_REMAP = 1 << 25
_LOW = (1 << 32) - 1


def _blocks(given: argparse.Namespace) -> Conversation[int]:
    """Return how many blocks --data-size has; UsageError unless it has whole ones."""
    namespace = yield from identify_namespace(given.namespace_id)
    form = current_format(namespace)
    # Spec: NVM Command Set 1.0b 5.2.2.1. The disk makes the tuple, and there is nothing beside it.
    made = given.prinfo << 26 & PRACT and namespace.dps & _TYPE and form.ms == TUPLE_BYTES
    behind = form.ms if namespace.flbas & _EXTENDED and not made else 0
    block: int = (1 << form.lbads) + behind
    count, rest = divmod(int(given.data_size), block)
    if rest or not 0 < count <= _MOST_BLOCKS:
        raise UsageError(f"zns-zone-append: --data-size is 1 to {_MOST_BLOCKS} times {block}")
    return count


def _append(given: argparse.Namespace) -> Conversation[Shown]:
    count = yield from _blocks(given)
    data = given_data(given.data, given.data_size)
    command = NvmeCommand(
        Opcode.ZONE_APPEND,
        given.namespace_id,
        cdw10=given.zslba & _LOW,
        cdw11=given.zslba >> 32,
        cdw12=count - 1 | given.piremap * _REMAP,
        data_out=data,
        metadata_out=given_data(given.metadata, given.metadata_size),
    )
    command = protected(command, given)
    before = time.monotonic()
    done = yield from succeed(command, "zns-zone-append")
    took = latency(given, time.monotonic() - before)
    # The completion's lower half is enough: the block is in the zone that begins at --zslba.
    lba = given.zslba + (done.dw0 - given.zslba & _LOW)
    return Shown((*took, f"Success appended data to LBA {lba:x}"), {"lba": lba})


def _send(
    given: argparse.Namespace, lba: int, cdw13: int, data: bytes = b""
) -> Conversation[Shown]:
    command = NvmeCommand(
        Opcode.ZONE_MANAGEMENT_SEND,
        given.namespace_id,
        cdw10=lba & _LOW,
        cdw11=lba >> 32,
        cdw13=cdw13,
        data_out=data,
        timeout_s=given.timeout / 1000 or None,
    )
    yield from succeed(command, given.subcommand)
    return Shown((f"{given.subcommand}: Success",))


def _set_extension(given: argparse.Namespace) -> Conversation[Shown]:
    length = (yield from zone_format(given.namespace_id)).zdes * ZDES_UNIT
    if not length:
        raise UsageError("zns-set-zone-desc: zones of this namespace have no such data")
    cdw13 = SET_DESCRIPTOR_EXTENSION | given.zrwaa * _OPTION
    return (yield from _send(given, given.start_lba, cdw13, given_data(given.data, length)))


def _flush(given: argparse.Namespace) -> Conversation[Shown]:
    return (yield from _send(given, given.lba, FLUSH_RANDOM_WRITE_AREA))


def _management_send(given: argparse.Namespace) -> Conversation[Shown]:
    if given.data_len > _MOST_BYTES:
        raise UsageError(f"zns-zone-mgmt-send: --data-len is at most {_MOST_BYTES}")
    cdw13 = given.zsa | given.select_all * _SELECT_ALL | given.zsaso * _OPTION
    data = given_data(given.data, given.data_len)
    return (yield from _send(given, given.start_lba, cdw13, data))


def _management_receive(given: argparse.Namespace) -> Conversation[Shown]:
    length = given.data_len
    if not 0 < length <= _MOST_BYTES or length % 4:
        raise UsageError(
            f"zns-zone-mgmt-recv: --data-len is a multiple of 4, at most {_MOST_BYTES}"
        )
    command = NvmeCommand(
        Opcode.ZONE_MANAGEMENT_RECEIVE,
        given.namespace_id,
        cdw10=given.start_lba & _LOW,
        cdw11=given.start_lba >> 32,
        cdw12=length // 4 - 1,
        cdw13=given.zra | given.zrasf << 8 | given.partial * _PARTIAL,
        data_in=length,
    )
    data = (yield from succeed(command, "zns-zone-mgmt-recv")).data
    head = f"zone-mgmt-recv: Success, action:{given.zra} zone:{given.start_lba:x}"
    return Shown((head, *hex_dump(data)), {"data": data.hex()}, data)


def _first(long: str, short: str, doc: str) -> Option:
    return Option(long, short, doc, number(64), None, required=True)


_START = Option("start-lba", "s", "first block of the zone", number(64))
_FORCED = "While a daemon serves the namespace it wants --force."

ROWS = (
    Row(
        "zns-zone-append",
        "write blocks to a zone, wherever its write pointer is",
        f"Append blocks to a zone, and show where they are. {_FORCED}",
        (
            namespace_id(),
            _first("zslba", "s", "first block of the zone"),
            Option("data-size", "z", "bytes of the data", number(32), None, required=True),
            Option("metadata-size", "y", "bytes of metadata in a buffer of their own", number(21)),
            DATA_FILE,
            METADATA_FILE,
            *PROTECTED,
            flag("piremap", "P", "have the reference tag follow the block, type 1"),
            flag("latency", "t", "tell how long it took"),
            FORCE,
        ),
        _append,
        always,
    ),
    Row(
        "zns-set-zone-desc",
        "attach data to a zone's descriptor",
        f"Set the Zone Descriptor Extension of an empty zone, which is closed after. {_FORCED}",
        (
            namespace_id(),
            _first("start-lba", "s", "first block of the zone"),
            flag("zrwaa", "r", "with a zone random write area"),
            DATA_FILE,
            TIMEOUT,
            FORCE,
        ),
        _set_extension,
        always,
    ),
    Row(
        "zns-zrwa-flush-zone",
        "have blocks of a random write area stay as they are",
        f"Flush a zone's random write area, up to a block. {_FORCED}",
        (namespace_id(), _first("lba", "l", "the last block that is flushed"), TIMEOUT, FORCE),
        _flush,
        always,
    ),
    Row(
        "zns-zone-mgmt-send",
        "send any management of zones",
        f"Send Zone Management Send. {_FORCED}",
        (
            namespace_id(),
            _START,
            flag("zsaso", "o", "the action's own option"),
            flag("select-all", "a", "every zone that it suits"),
            Option("zsa", "z", "action", number(8), None, required=True),
            Option("data-len", "l", "bytes of data"),
            DATA_FILE,
            TIMEOUT,
            FORCE,
        ),
        _management_send,
        always,
    ),
    Row(
        "zns-zone-mgmt-recv",
        "ask for any report of zones",
        "Send Zone Management Receive.",
        (
            OUTPUT_FORMAT,
            namespace_id(),
            _START,
            Option("zra", "z", "action: 0 report, 1 with descriptor extensions", number(8)),
            Option("zrasf", "S", "which zones, as zns-report-zones --state", number(8)),
            flag("partial", "p", "count only those that are returned"),
            Option("data-len", "l", "bytes of data"),
        ),
        _management_receive,
    ),
)
