"""The error history over the portal, from an emulated controller's telemetry and events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scsi2nvme.commands.error_history import DIRECTORY, ENTRY, STATUS_HEADER
from scsi2nvme.nvme.log_structures import PERSISTENT_EVENT_HEADER
from tests.daemon import IQN, Daemon
from tests.integration.disks import spec
from tests.iscsi_client import Initiator
from tests.support import row


def test_an_initiator_reads_telemetry(tmp_path: Path) -> None:
    logs: dict[str, Any] = {"telemetry": "on", "event-log": "on"}
    disk = spec("emulated", tmp_path, size_mib=1, history="on", **logs)
    with Daemon(tmp_path, disk) as daemon, Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        one.hear()

        def read(number: int, length: int, offset: int = 0) -> bytes:
            cdb = row("READ BUFFER (10), error history").build(
                buffer_id=number, buffer_offset=offset, allocation_length=length
            )
            return one.command(0, cdb, data_in=length).data

        directory = read(1, 2088)
        first = ENTRY.parse(directory[DIRECTORY.size :])
        length = first.maximum_available_length
        assert (first.buffer_id, first.buffer_format) == (0x10, 1)
        whole = read(0x10, length)
        assert STATUS_HEADER.parse(whole).set_three_length == length // 512 - 1
        assert b"".join(read(0x10, 4096, at) for at in range(0, length, 4096)) == whole
        last = ENTRY.parse(directory[-ENTRY.size :])
        assert (last.buffer_id, last.buffer_format) == (0x12, 0)
        events = read(0x12, last.maximum_available_length)
        told = PERSISTENT_EVENT_HEADER.parse(events[:512])
        assert (told.lid, told.total_log_len) == (0x0D, len(events))
        assert told.total_num_of_events > 2
        assert read(0xFF, 0) == b""
