"""Requests without end, in sessions that are in order otherwise."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator

from bench.hosts import BLOCK_BYTES, READ, Address, Host, flood, hosts, transfer
from tests.iscsi_pdu import TASK_MANAGEMENT_RESPONSE

UNMAPPED = bytes([0, 22, 0, 16, 0, 0, 0, 0]) + struct.pack(">QI4x", 0, 64)
UNMAP = struct.pack(">BxxxxxxHx", 0x42, len(UNMAPPED))
_CONTROL_PAGE_BYTES = 4 + 12  # behind the header of the mode parameters
_MODE_SENSE = bytes([0x1A, 0x08, 0x0A, 0, _CONTROL_PAGE_BYTES, 0])
_MODE_SELECT = bytes([0x15, 0x10, 0, 0, _CONTROL_PAGE_BYTES, 0])
_START = bytes([0x1B, 0, 0, 0, 1, 0])
_ABORT_TASK, _ABORT_TASK_SET, _LOGICAL_UNIT_RESET, _COLD_RESET = 1, 2, 5, 7
_QUERY_TASK_SET = 10
_NOBODY = 0xFFFFFFF0  # no task has this tag


def _task_management(function: int, referenced: int = 0xFFFFFFFF) -> Callable[[Host], None]:
    def request(host: Host) -> None:
        host.request_task_management(function, referenced=referenced)

    return request


def unmaps_that_are_aborted(address: Address, target: str) -> Iterator[None]:
    """A host that aborts what the disk does not end."""
    host = Host(address, 0, target)
    while True:
        host.submit(UNMAP, data=UNMAPPED)
        host.request_task_management(_ABORT_TASK, referenced=host._itt)
        while host.receive().opcode != TASK_MANAGEMENT_RESPONSE:
            pass
        yield


def _control_page(host: Host) -> bytes:
    """Return the parameter list of a MODE SELECT that leaves the Control page as it is."""
    while True:
        sensed = host.command(0, _MODE_SENSE, data_in=_CONTROL_PAGE_BYTES)
        if not sensed.status:  # unit attentions
            return bytes([0, 0, 0, 0, sensed.data[4] & 0x3F]) + sensed.data[5:]


def mode_selects(address: Address, target: str) -> Iterator[None]:
    """Four sessions with 32 MODE SELECT commands each, that change nothing."""
    everybody = list(hosts(address, target))
    page = _control_page(everybody[0])
    yield from flood(everybody, lambda host: host.submit(_MODE_SELECT, data=page), 32)


def starts(address: Address, target: str) -> Iterator[None]:
    """Four sessions with 32 START STOP UNIT commands each, to start what runs."""
    yield from flood(hosts(address, target), lambda host: host.submit(_START), 32)


def compares(address: Address, target: str) -> Iterator[None]:
    """Four sessions with 32 COMPARE AND WRITE commands each, no two of the same block."""
    everybody = list(hosts(address, target))
    lbas = {
        host.name: itertools.cycle(range(first, first + 32))
        for host, first in zip(everybody, itertools.count(8192, 32))
    }

    def request(host: Host) -> None:
        cdb = struct.pack(">BxQxxxBxx", 0x89, next(lbas[host.name]), 1)
        host.submit(cdb, data=bytes(2 * BLOCK_BYTES))

    yield from flood(everybody, request, 32)


def aborts_of_nothing(address: Address, target: str) -> Iterator[None]:
    """Four sessions with 16 ABORT TASK requests each, for tasks that there are not."""
    yield from flood(hosts(address, target), _task_management(_ABORT_TASK, _NOBODY), 16)


def queries(address: Address, target: str) -> Iterator[None]:
    """Four sessions with 16 QUERY TASK SET requests each."""
    yield from flood(hosts(address, target), _task_management(_QUERY_TASK_SET), 16)


def aborts_of_reads(address: Address, target: str) -> Iterator[None]:
    """Four sessions that send 32 reads each, and abort them."""
    everybody = list(hosts(address, target))
    while True:
        for host in everybody:
            for _ in range(32):
                host.submit(transfer(READ, 65536), data_in=65536)
            host.request_task_management(_ABORT_TASK_SET)
        for host in everybody:
            while host.receive().opcode != TASK_MANAGEMENT_RESPONSE:
                pass
            yield


def unit_resets(address: Address, target: str) -> Iterator[None]:
    """A host that resets the logical unit over and over."""
    yield from flood(hosts(address, target, 1), _task_management(_LOGICAL_UNIT_RESET), 1)


def cold_resets(address: Address, target: str) -> Iterator[None]:
    """Four sessions with 16 requests each that the target refuses."""
    yield from flood(hosts(address, target), _task_management(_COLD_RESET), 16)


def pings(address: Address, target: str) -> Iterator[None]:
    """Four sessions with 16 NOP-Outs of 4 KiB each."""
    data = bytes(4096)

    def request(host: Host) -> None:
        itt, nobody = host.next_itt(), 0xFFFFFFFF
        header = (itt, nobody, host.cmd_sn, host.exp_stat_sn)
        host.send(struct.pack(">BBxx12xIIII16x", 0x40, 0x80, *header), data)

    yield from flood(hosts(address, target), request, 16)


def texts(address: Address, target: str) -> Iterator[None]:
    """Four sessions that ask for all targets again and again."""

    def request(host: Host) -> None:
        host.send(host.text_bhs(), b"SendTargets=All\0")

    yield from flood(hosts(address, target), request, 1)
