"""Commands as people write them: `admin-passthru` and `io-passthru`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from scsi2nvme.cli.errors import UsageError
from scsi2nvme.cli.passing.blocks import METADATA_FILE, latency, read_data, written
from scsi2nvme.cli.passing.conversation import Conversation, Shown, SubsystemReset, succeed
from scsi2nvme.cli.passing.data import given_data
from scsi2nvme.cli.passing.row import (
    FORCE,
    RAW_BINARY,
    TIMEOUT,
    Option,
    Row,
    always,
    flag,
    namespace_id,
    number,
    only_zero,
)
from scsi2nvme.nvme import passing
from scsi2nvme.nvme.command import NvmeCommand

_DWORDS = tuple((f"cdw{n}", short) for n, short in zip(range(10, 16), "456789", strict=True))


def _command(
    given: argparse.Namespace, *, admin: bool, data_out: bytes = b"", metadata_out: bytes = b""
) -> NvmeCommand:
    return NvmeCommand(
        given.opcode,
        given.namespace_id,
        **{name: getattr(given, name) for name in ("cdw2", "cdw3", *dict(_DWORDS))},
        data_out=data_out,
        data_in=given.data_len if given.read else 0,
        metadata_out=metadata_out,
        metadata_in=given.metadata_len if given.read else 0,
        prefill=(given.prefill or 0) if given.read else 0,
        admin=admin,
        timeout_s=given.timeout / 1000 or None,
    )


def _changes(admin: bool) -> Callable[[argparse.Namespace], bool]:
    return lambda given: not passing.harmless(_command(given, admin=admin))


def _passthru(admin: bool) -> Callable[[argparse.Namespace], Conversation[Shown]]:
    kind = "Admin" if admin else "IO"

    def converse(given: argparse.Namespace) -> Conversation[Shown]:
        if given.read and given.write:
            raise UsageError(f"{given.subcommand}: give --read or --write, not both")
        for name in ("data_len", "metadata_len"):
            if getattr(given, name) and not (given.read or given.write):
                option = name.replace("_", "-")
                raise UsageError(f"{given.subcommand}: --{option}: give --read or --write, too")
        data_out, metadata_out = _given(given) if given.write else (b"", b"")
        command = _command(given, admin=admin, data_out=data_out, metadata_out=metadata_out)
        shown = (written(command),) if given.show_command or given.dry_run else ()
        if given.dry_run:
            return Shown(shown)
        before = time.monotonic()
        done = yield from succeed(command, given.subcommand)
        lines = (
            *shown,
            *latency(given, time.monotonic() - before),
            f"{kind} Command {command.name} is Success and result: {done.dw0:#010x}",
        )
        if given.read:
            return read_data(lines, done, given.input_file, given.metadata)
        return Shown(lines)

    return converse


def _given(given: argparse.Namespace) -> tuple[bytes, bytes]:
    """Return the data and metadata that are to be sent; --prefill is what files lack."""
    files = (given.input_file, given.data_len), (given.metadata, given.metadata_len)
    data, metadata = (given_data(name, size, given.prefill) for name, size in files)
    return data, metadata


def _subsystem_reset(given: argparse.Namespace) -> Conversation[Shown]:
    yield SubsystemReset()
    return Shown(("resetting subsystem: Success",))


def _options() -> tuple[Option, ...]:
    return (
        Option("opcode", "o", "opcode", number(8), None, required=True),
        Option("flags", "f", "0", only_zero("fused commands and SGLs are the driver's"), 0),
        Option("prefill", "p", "what bytes are that nobody fills (default: 0)", number(8), None),
        Option("rsvd", "R", "ignored, as by the kernel", number(16)),
        namespace_id(0),
        Option("data-len", "l", "bytes of data", number(21)),
        Option("metadata-len", "m", "bytes of metadata in a buffer of their own", number(21)),
        TIMEOUT,
        Option("cdw2", "2", "dword 2"),
        Option("cdw3", "3", "dword 3"),
        *(Option(name, short, f"dword {name[3:]}") for name, short in _DWORDS),
        Option("input-file", "i", "file of the data (default: standard input or output)", str, "-"),
        METADATA_FILE,
        RAW_BINARY,
        flag("show-command", "s", "show the command, too"),
        flag("dry-run", "d", "show the command, and do not send it"),
        flag("read", "r", "the data come from the controller"),
        flag("write", "w", "the data go to the controller"),
        flag("latency", "T", "tell how long it took"),
        FORCE,
    )


_DRIVERS = (
    "What the driver does itself is refused: queues, aborts, events and their features. While a "
    "daemon serves the controller, what may take from initiators what they use wants --force."
)

ROWS = (
    Row(
        "admin-passthru",
        "send any admin command",
        f"Send a controller any admin command. {_DRIVERS}",
        _options(),
        _passthru(admin=True),
        _changes(admin=True),
    ),
    Row(
        "io-passthru",
        "send any I/O command",
        f"Send a controller any I/O command. {_DRIVERS}",
        _options(),
        _passthru(admin=False),
        _changes(admin=False),
    ),
    Row(
        "subsystem-reset",
        "reset an NVM subsystem, all its controllers",
        "Reset an NVM subsystem, where it can be: all its controllers, others' as well. While a "
        "daemon serves it that wants --force; what is under way there is repeated.",
        (FORCE,),
        _subsystem_reset,
        always,
    ),
)
