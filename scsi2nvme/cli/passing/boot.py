"""Boot partitions, as a log. Spec: NVMe Base 2.0c 8.2, 5.16.1.21."""

from __future__ import annotations

import argparse

from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.passing.conversation import Conversation, Shown, log_pages
from scsi2nvme.cli.passing.logs import MOST_BYTES
from scsi2nvme.cli.passing.row import OUTPUT_FORMAT, Option, Row, number
from scsi2nvme.nvme.log_structures import BOOT_PARTITION, BOOT_PARTITION_LOG, BOOT_PARTITION_UNIT


def _boot_partition(given: argparse.Namespace) -> Conversation[Shown]:
    size, lsp = BOOT_PARTITION.size, given.lsp
    head = BOOT_PARTITION.parse((yield from log_pages(BOOT_PARTITION_LOG, size, nsid=0, lsp=lsp)))
    length = head.bpsz * BOOT_PARTITION_UNIT
    if not length:
        raise OperationError("boot-part-log: the controller has no boot partitions")
    if length > MOST_BYTES:
        raise OperationError(f"boot-part-log: {length} bytes, at most {MOST_BYTES} are read")
    data = yield from log_pages(BOOT_PARTITION_LOG, length, nsid=0, offset=size, lsp=lsp)
    lines = (
        f"Boot Partition Size: {length >> 10} KiB",
        f"Active BPID: {head.abpid}",
        f"{length} bytes of boot partition {lsp & 1} are in {given.output_file}",
    )
    # nvme-cli's names of the log's identifier, and of the size in units of 128 KiB.
    json = {"count": head.lid, "abpid": head.abpid, "bpsz": head.bpsz}
    return Shown(lines, json, data, file=given.output_file)


ROWS = (
    Row(
        "boot-part-log",
        "write a boot partition to a file",
        "Write what a boot partition holds to a file, which nobody else may read if it is new.",
        (
            Option("lsp", "s", "boot partition, 0 or 1 (default: 0)", number(7)),
            Option("output-file", "f", "where it goes", str, None, "FILE", required=True),
            OUTPUT_FORMAT,
        ),
        _boot_partition,
    ),
)
