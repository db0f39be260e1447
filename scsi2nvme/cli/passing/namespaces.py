"""Which namespaces there are: created, deleted, attached and detached.

Spec: NVMe Base 2.0c 5.19 (Namespace Attachment), 5.20 (Namespace Management).
"""

from __future__ import annotations

import argparse
import re
import struct

from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.passing.conversation import (
    Conversation,
    Shown,
    identify_namespace,
    succeed,
)
from scsi2nvme.cli.passing.row import (
    ALL_NAMESPACES,
    FORCE,
    TIMEOUT,
    Option,
    Row,
    always,
    namespaces_data,
    number,
    numbers,
)
from scsi2nvme.drivers.nvme import admin
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.nvme.namespace import flbas_of, index_of, lba_formats
from scsi2nvme.nvme.passing import Attachment, Management
from scsi2nvme.nvme.structures import IDENTIFY_BYTES, IDENTIFY_CONTROLLER, IDENTIFY_NAMESPACE

_MOST_CONTROLLERS = IDENTIFY_BYTES // 2 - 1
_TIMEOUT_S = 120.0
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}


def _bytes(text: str) -> int:
    """Return bytes for `4096`, `10G` (of 1000) or `10Gi` (of 1024)."""
    found = re.fullmatch(r"([0-9]{1,20})([KMGTP]?)(i?)", text)
    if found is None or (found[3] and not found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 10G or 10Gi")
    unit: int = (1024 if found[3] else 1000) ** _UNITS[found[2]]
    return int(found[1]) * unit


# ---- create-ns ----


def _common() -> Conversation[Values]:
    """Return what Identify tells of all namespaces, or of the first where it tells nothing."""
    common = yield from identify_namespace(ALL_NAMESPACES)
    if any(one.lbads for one in lba_formats(common)):
        return common
    return (yield from identify_namespace(1))


def _form(given: argparse.Namespace) -> Conversation[tuple[int, int]]:
    """Return FLBAS, and the bytes of its blocks, 0 where nothing needs them."""
    in_bytes = given.nsze_si is not None or given.ncap_si is not None
    if not given.block_size and not in_bytes:
        return given.flbas, 0
    formats = lba_formats((yield from _common()))
    if not given.block_size:
        index = index_of(given.flbas)
        if index >= len(formats) or not formats[index].lbads:
            raise OperationError(f"create-ns: it has no LBA format {index}")
        return given.flbas, 1 << formats[index].lbads
    for index, one in enumerate(formats):
        if 1 << one.lbads == given.block_size and not one.ms:
            return flbas_of(index), given.block_size
    raise OperationError(f"create-ns: it has no blocks of {given.block_size} bytes")


def _blocks(blocks: int | None, size: int | None, block_bytes: int) -> int:
    return (blocks or 0) if size is None else size // block_bytes


def _check_create(given: argparse.Namespace) -> None:
    if (given.nsze is None) == (given.nsze_si is None):
        raise UsageError("create-ns: give its size, by --nsze or by --nsze-si")
    if given.ncap is not None and given.ncap_si is not None:
        raise UsageError("create-ns: give --ncap or --ncap-si, not both")
    if given.flbas and given.block_size:
        raise UsageError("create-ns: give --flbas or --block-size, not both")


def _create(given: argparse.Namespace) -> Conversation[Shown]:
    _check_create(given)
    flbas, block_bytes = yield from _form(given)
    nsze = _blocks(given.nsze, given.nsze_si, block_bytes)
    all_of_it = given.ncap is None and given.ncap_si is None
    ncap = nsze if all_of_it else _blocks(given.ncap, given.ncap_si, block_bytes)
    data = IDENTIFY_NAMESPACE.build(
        nsze=nsze,
        ncap=ncap,
        flbas=flbas,
        dps=given.dps,
        nmic=given.nmic,
        anagrpid=given.anagrp_id,
        nvmsetid=given.nvmset_id,
        endgid=given.endg_id,
    )
    command = _command(
        given,
        AdminOpcode.NAMESPACE_MANAGEMENT,
        Management.CREATE,
        cdw11=given.csi << 24,
        data_out=data,
    )
    completion = yield from succeed(command, "create-ns")
    nsid = completion.dw0
    return Shown((f"create-ns: Success, created nsid:{nsid}",), {"nsid": nsid})


def _command(
    given: argparse.Namespace,
    opcode: AdminOpcode,
    select: int,
    nsid: int = 0,
    *,
    cdw11: int = 0,
    data_out: bytes = b"",
) -> NvmeCommand:
    return NvmeCommand(
        opcode,
        nsid,
        cdw10=select,
        cdw11=cdw11,
        data_out=data_out,
        admin=True,
        timeout_s=given.timeout / 1000 or _TIMEOUT_S,
    )


# ---- delete-ns, attach-ns, detach-ns ----


def _delete(given: argparse.Namespace) -> Conversation[Shown]:
    nsid = given.namespace_id
    command = _command(given, AdminOpcode.NAMESPACE_MANAGEMENT, Management.DELETE, nsid)
    yield from succeed(command, "delete-ns")
    return Shown((f"delete-ns: Success, deleted nsid:{_told(nsid)}",), {"nsid": nsid})


def _told(nsid: int) -> str:
    return "all" if nsid == ALL_NAMESPACES else str(nsid)


def _controllers(given: argparse.Namespace) -> Conversation[tuple[int, ...]]:
    """Return those that are given, or that which is asked."""
    if given.controllers:
        found = tuple(sorted(set(given.controllers)))
        if len(found) > _MOST_CONTROLLERS:
            raise UsageError(f"--controllers: {len(found)} are more than {_MOST_CONTROLLERS}")
        return found
    completion = yield from succeed(admin.identify(admin.CNS_CONTROLLER))
    return (IDENTIFY_CONTROLLER.parse(completion.data).cntlid,)


def _attachment(verb: str, select: int, given: argparse.Namespace) -> Conversation[Shown]:
    controllers = yield from _controllers(given)
    data = struct.pack(f"<{1 + len(controllers)}H", len(controllers), *controllers)
    nsid, opcode = given.namespace_id, AdminOpcode.NAMESPACE_ATTACHMENT
    data = data.ljust(IDENTIFY_BYTES, b"\0")
    yield from succeed(_command(given, opcode, select, nsid, data_out=data), verb)
    return Shown((f"{verb}: Success, nsid:{nsid}",), {"nsid": nsid})


def _attach(given: argparse.Namespace) -> Conversation[Shown]:
    return _attachment("attach-ns", Attachment.ATTACH, given)


def _detach(given: argparse.Namespace) -> Conversation[Shown]:
    return _attachment("detach-ns", Attachment.DETACH, given)


def _namespace(doc: str) -> Option:
    return Option("namespace-id", "n", doc, default=None, metavar="NSID", required=True)


_CONTROLLERS = Option(
    "controllers",
    "c",
    "identifiers of controllers, between commas (default: the one that is asked)",
    numbers(16),
    (),
    "LIST",
)

ROWS = (
    Row(
        "create-ns",
        "create a namespace",
        "Create a namespace of what is unallocated. No controller has it, and no initiator sees "
        "it, until it is attached.",
        (
            Option("nsze", "s", "its size, in blocks", number(64), None),
            Option("ncap", "c", "its capacity, in blocks (default: its size)", number(64), None),
            Option("flbas", "f", "LBA format, as FLBAS has it", number(8)),
            Option("dps", "d", "protection information, as DPS has it", number(8)),
            Option("nmic", "m", "1: several controllers may have it", number(8)),
            Option("anagrp-id", "a", "ANA group"),
            Option("nvmset-id", "i", "NVM set", number(16)),
            Option("endg-id", "e", "endurance group", number(16)),
            Option("csi", "y", "I/O command set", number(8)),
            TIMEOUT,
            Option("block-size", "b", "bytes of a block, in place of --flbas"),
            Option("nsze-si", "S", "its size in bytes, as 10G or 10Gi", _bytes, None, "SIZE"),
            Option("ncap-si", "C", "its capacity in bytes", _bytes, None, "SIZE"),
            FORCE,
        ),
        _create,
        always,
    ),
    Row(
        "delete-ns",
        "delete a namespace, and all that is in it",
        "Delete a namespace: all data in it are gone. While a daemon serves it, it wants --force: "
        "its logical units are gone, too, and initiators are told.",
        (_namespace("namespace; 0xFFFFFFFF: all"), TIMEOUT, FORCE),
        _delete,
        always,
        destroys=namespaces_data,
    ),
    Row(
        "attach-ns",
        "attach a namespace to a controller",
        "Attach a namespace to a controller. A daemon that serves the controller serves the "
        "namespace from then on, and initiators are told.",
        (_namespace("namespace"), _CONTROLLERS, TIMEOUT, FORCE),
        _attach,
        always,
    ),
    Row(
        "detach-ns",
        "detach a namespace from a controller",
        "Detach a namespace from a controller; what is in it stays. While a daemon serves it, it "
        "wants --force: its logical units are gone, and initiators are told.",
        (_namespace("namespace"), _CONTROLLERS, TIMEOUT, FORCE),
        _detach,
        always,
    ),
)
