"""I/O commands: what is done to blocks. Spec: NVM Command Set 1.0c 3.2."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

from scsi2nvme.cli.errors import UsageError
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
    Option,
    Row,
    always,
    flag,
    namespace_id,
    number,
    numbers,
)
from scsi2nvme.cli.passing.shown import hex_dump
from scsi2nvme.nvme.command import Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.structures import DSM_RANGE

_DEALLOCATE = 25
_RANGES = 256
_AD, _IDW, _IDR = 1 << 2, 1 << 1, 1 << 0


def protected(command: NvmeCommand, given: argparse.Namespace) -> NvmeCommand:
    """Return a command with what PROTECTED says, in CDW12, CDW14 and CDW15."""
    said = given.prinfo << 26 | given.force_unit_access << 30 | given.limited_retry << 31
    tags = given.app_tag | given.app_tag_mask << 16
    return replace(command, cdw12=command.cdw12 | said, cdw14=given.ref_tag, cdw15=tags)


def _range_command(opcode: int, given: argparse.Namespace, **data: object) -> NvmeCommand:
    """Return a command for the blocks that were named, with its protection fields."""
    command = NvmeCommand(
        opcode,
        given.namespace_id,
        cdw10=given.start_block & 0xFFFFFFFF,
        cdw11=given.start_block >> 32,
        cdw12=given.block_count | ("deac" in given and given.deac) << _DEALLOCATE,
        cdw13=given.dsm if "dsm" in given else 0,
        **data,  # type: ignore[arg-type]
    )
    return protected(command, given) if "prinfo" in given else command


def _transfer(opcode: Opcode) -> Callable[[argparse.Namespace], Conversation[Shown]]:
    """Return the conversation of a command that moves blocks."""

    def converse(given: argparse.Namespace) -> Conversation[Shown]:
        namespace = yield from identify_namespace(given.namespace_id)
        block = 1 << current_format(namespace).lbads
        whole = (given.block_count + 1) * block
        length = given.data_size or whole
        if length < whole:
            raise UsageError(f"{given.subcommand}: --data-size {length}: the blocks have {whole}")
        data: dict[str, object] = {"data_in": whole, "metadata_in": given.metadata_size}
        if opcode is not Opcode.READ:
            metadata = given_data(given.metadata, given.metadata_size)
            data = {"data_out": given_data(given.data, whole), "metadata_out": metadata}
        command = _range_command(opcode, given, **data)
        shown = (written(command),) if given.show_command or given.dry_run else ()
        if given.dry_run:
            return Shown(shown)
        before = time.monotonic()
        done = yield from succeed(command, given.subcommand)
        lines = (*shown, *latency(given, time.monotonic() - before))
        if opcode is not Opcode.READ:
            return Shown((*lines, f"{given.subcommand}: Success"))
        return read_data(lines, done, given.data, given.metadata)

    return converse


def read_data(lines: tuple[str, ...], done: Completion, data: str, metadata: str) -> Shown:
    """Return what is shown of data and metadata that were read: what has no file of its own."""
    file, metadata_file = ("" if name == "-" else name for name in (data, metadata))
    if not file:
        lines = (*lines, *hex_dump(done.data))
    if done.metadata and not metadata_file:
        lines = (*lines, "metadata:", *hex_dump(done.metadata))
    return Shown(lines, {}, done.data, file, done.metadata, metadata_file)


def latency(given: argparse.Namespace, seconds: float) -> tuple[str, ...]:
    """Return what --latency shows."""
    return (f" latency: {given.subcommand}: {int(seconds * 1e6)} us",) if given.latency else ()


def written(command: NvmeCommand) -> str:
    """Return a command for people, as --show-command has it."""
    names = ("opcode", "nsid", "cdw2", "cdw3", *(f"cdw{n}" for n in range(10, 16)))
    told = " ".join(f"{name}:{getattr(command, name):#x}" for name in names)
    return f"{told} data_len:{len(command.data_out) or command.data_in:#x}"


def _plain(opcode: Opcode) -> Callable[[argparse.Namespace], Conversation[Shown]]:
    """Return the conversation of a command for blocks without data."""

    def converse(given: argparse.Namespace) -> Conversation[Shown]:
        yield from succeed(_range_command(opcode, given), given.subcommand)
        return Shown((f"{given.subcommand}: Success",))

    return converse


def _flush(given: argparse.Namespace) -> Conversation[Shown]:
    yield from succeed(NvmeCommand(Opcode.FLUSH, given.namespace_id), "flush")
    return Shown(("NVMe Flush: success",))


def _dsm(given: argparse.Namespace) -> Conversation[Shown]:
    counts = {len(given.blocks), len(given.slbs), len(given.ctx_attrs or given.blocks)}
    if len(counts) != 1 or not 1 <= len(given.blocks) <= _RANGES:
        raise UsageError(
            "dsm: give as many --slbs as --blocks, 1 to 256 (and --ctx-attrs, or none)"
        )
    attributes = given.ctx_attrs or (0,) * len(given.blocks)
    ranges = zip(attributes, given.blocks, given.slbs, strict=True)
    data = b"".join(DSM_RANGE.build(cattr=c, nlb=n, slba=s) for c, n, s in ranges)
    cdw11 = given.cdw11 or given.ad * _AD | given.idw * _IDW | given.idr * _IDR
    command = NvmeCommand(
        Opcode.DATASET_MANAGEMENT,
        given.namespace_id,
        cdw10=len(given.blocks) - 1,
        cdw11=cdw11,
        data_out=data,
    )
    yield from succeed(command, "dsm")
    return Shown(("NVMe DSM: success",))


_RANGE = (
    namespace_id(),
    Option("start-block", "s", "first block", number(64)),
    Option("block-count", "c", "how many blocks, less one", number(16)),
)
PROTECTED = (
    flag("limited-retry", "l", "have the controller try less hard"),
    flag("force-unit-access", "f", "from, or to, the medium itself"),
    Option("prinfo", "p", "protection information: action and checks", number(4)),
    Option("ref-tag", "r", "reference tag"),
    Option("app-tag-mask", "m", "application tag mask", number(16)),
    Option("app-tag", "a", "application tag", number(16)),
)
METADATA_FILE = Option(
    "metadata", "M", "file of the metadata (default: as the data, after them)", str, "-", "FILE"
)
_MOVED = (
    *_RANGE,
    Option("data-size", "z", "bytes of the data (default: what the blocks have)"),
    Option("metadata-size", "y", "bytes of metadata in a buffer of their own", number(21)),
    DATA_FILE,
    METADATA_FILE,
    *PROTECTED,
    Option("dsm", "D", "dataset management attributes", number(8)),
    flag("show-command", "v", "show the command, too"),
    flag("dry-run", "w", "show the command, and do not send it"),
    flag("latency", "t", "tell how long it took"),
)
_LIST = Option(
    "blocks", "b", "block counts, between commas", numbers(32), None, "LIST", required=True
)

ROWS = (
    Row(
        "flush",
        "make what was written durable",
        "Have a controller make durable what is in its volatile write cache.",
        (namespace_id(0xFFFFFFFF),),
        _flush,
    ),
    Row("read", "read blocks", "Read blocks.", _MOVED, _transfer(Opcode.READ)),
    Row(
        "write",
        "write blocks",
        "Write blocks. While a daemon serves them it wants --force.",
        (*_MOVED, FORCE),
        _transfer(Opcode.WRITE),
        always,
    ),
    Row(
        "compare",
        "compare blocks with data",
        "Compare blocks with data; it fails where they differ.",
        _MOVED,
        _transfer(Opcode.COMPARE),
    ),
    Row(
        "dsm",
        "say what blocks are for, or deallocate them",
        "Send Dataset Management. While a daemon serves the namespace it wants --force.",
        (
            namespace_id(),
            Option("ctx-attrs", "a", "context attributes, between commas", numbers(32), (), "LIST"),
            _LIST,
            Option("slbs", "s", "first blocks, between commas", numbers(64), None, "LIST", True),
            flag("ad", "d", "deallocate"),
            flag("idw", "w", "will be written as a whole"),
            flag("idr", "r", "will be read as a whole"),
            Option("cdw11", "c", "all of these, in place of them"),
            FORCE,
        ),
        _dsm,
        always,
    ),
    Row(
        "write-zeroes",
        "make blocks zero",
        "Write zeroes. While a daemon serves the blocks it wants --force.",
        (*_RANGE, flag("deac", "d", "deallocate them"), *PROTECTED, FORCE),
        _plain(Opcode.WRITE_ZEROES),
        always,
    ),
    Row(
        "write-uncor",
        "make blocks unreadable until they are written",
        "Mark blocks as unreadable. While a daemon serves them it wants --force.",
        (*_RANGE, FORCE),
        _plain(Opcode.WRITE_UNCORRECTABLE),
        always,
    ),
    Row(
        "verify",
        "have a controller verify blocks",
        "Have a controller see whether blocks can be read.",
        (*_RANGE, *PROTECTED),
        _plain(Opcode.VERIFY),
    ),
)
