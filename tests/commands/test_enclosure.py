"""Diagnostic pages of an enclosure, by NVMe-MI."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand
from scsi2nvme.scsi.result import GOOD
from scsi2nvme.scsi.sense import (
    ENCLOSURE_FAILURE,
    ENCLOSURE_SERVICES_FAILURE,
    ENCLOSURE_SERVICES_TRANSFER_FAILURE,
    ENCLOSURE_SERVICES_TRANSFER_REFUSED,
    ENCLOSURE_SERVICES_UNAVAILABLE,
    INVALID_FIELD_IN_CDB,
    INVALID_FIELD_IN_PARAMETER_LIST,
    PARAMETER_LIST_LENGTH_ERROR,
    UNSUPPORTED_ENCLOSURE_FUNCTION,
    SenseCode,
)
from tests.support import Bench, code, make_bench

STATUS = bytes.fromhex("02000008 00000000 01000000")
SUPPORTED = bytes.fromhex("0d000005 01 02 0d 00 40")
PAGES = {0x02: STATUS, 0x0D: SUPPORTED}


def told(command: NvmeCommand) -> Completion:
    assert (command.cdw10, command.cdw11, command.cdw13) == (0x0804, 0x08, 4096)
    page = PAGES.get(command.cdw12, b"")
    return Completion(data=page.ljust(command.data_in, b"\xcc"), dw0=0 if page else 0x04)


def bench_with(
    receive: Callable[[NvmeCommand], Completion] = told, *, allowed: bool = True, nvmsr: int = 0b11
) -> Bench:
    bench = make_bench(controller={"oacs": 1 << 6, "nvmsr": nvmsr})
    bench.lu.enclosure_allowed = allowed
    bench.model.admin[AdminOpcode.NVME_MI_RECEIVE] = receive
    bench.model.admin[AdminOpcode.NVME_MI_SEND] = lambda command: Completion()
    return bench


def receive(bench: Bench, page: int, length: int = 0xFFFF) -> bytes:
    fields = {"pcv": 1, "page_code": page, "allocation_length": length}
    return bench.do("RECEIVE DIAGNOSTIC RESULTS", **fields).data_in


def refused(bench: Bench, page: int) -> SenseCode | None:
    fields = {"pcv": 1, "page_code": page, "allocation_length": 0xFFFF}
    return code(bench.do("RECEIVE DIAGNOSTIC RESULTS", **fields))


def test_its_pages_are_those_of_the_disk() -> None:
    bench = bench_with()
    assert receive(bench, 0x00) == bytes.fromhex("00000005 00 01 02 0d 40")
    assert receive(bench, 0x02) == STATUS
    assert receive(bench, 0x02, 5) == STATUS[:5]
    assert refused(bench, 0x05) == INVALID_FIELD_IN_CDB
    assert bench.do("INQUIRY", allocation_length=96).data_in[6] & 0x40  # ENCSERV


@pytest.mark.parametrize(("allowed", "nvmsr"), [(False, 0b11), (True, 0b01)])
def test_it_is_there_where_it_is_and_may_be(allowed: bool, nvmsr: int) -> None:
    bench = bench_with(allowed=allowed, nvmsr=nvmsr)
    assert receive(bench, 0x00) == bytes.fromhex("00000002 00 40")
    assert refused(bench, 0x02) == INVALID_FIELD_IN_CDB
    result = bench.do("SEND DIAGNOSTIC", STATUS, pf=1, parameter_list_length=len(STATUS))
    assert code(result) == INVALID_FIELD_IN_PARAMETER_LIST
    assert not bench.do("INQUIRY", allocation_length=96).data_in[6] & 0x40
    assert bench.model.executed == []


def test_a_control_page_is_sent() -> None:
    bench = bench_with()
    fields = {"pf": 1, "parameter_list_length": len(STATUS) + 1}
    assert bench.do("SEND DIAGNOSTIC", STATUS + b"\xff", **fields) == GOOD
    (command,) = bench.model.executed
    assert (command.opcode, command.data_out) == (AdminOpcode.NVME_MI_SEND, STATUS)
    assert (command.cdw10, command.cdw11, command.cdw13) == (0x0804, 0x09, len(STATUS))
    result = bench.do("SEND DIAGNOSTIC", STATUS[:-1], pf=1, parameter_list_length=len(STATUS) - 1)
    assert code(result) == PARAMETER_LIST_LENGTH_ERROR
    long = b"\x02\x00\x0f\xfd" + bytes(0xFFD)  # more than a message has
    result = bench.do("SEND DIAGNOSTIC", long, pf=1, parameter_list_length=len(long))
    assert code(result) == INVALID_FIELD_IN_PARAMETER_LIST


@pytest.mark.parametrize(
    ("status", "sense"),
    [
        (0x02, ENCLOSURE_SERVICES_FAILURE),
        (0x03, INVALID_FIELD_IN_PARAMETER_LIST),
        (0x04, INVALID_FIELD_IN_PARAMETER_LIST),
        (0x23, ENCLOSURE_SERVICES_FAILURE),
        (0x24, ENCLOSURE_SERVICES_TRANSFER_FAILURE),
        (0x25, ENCLOSURE_FAILURE),
        (0x26, ENCLOSURE_SERVICES_TRANSFER_REFUSED),
        (0x27, UNSUPPORTED_ENCLOSURE_FUNCTION),
        (0x28, ENCLOSURE_SERVICES_UNAVAILABLE),
        (0x29, None),  # degraded: done all the same
    ],
)
def test_what_the_response_says_is_sense(status: int, sense: SenseCode | None) -> None:
    bench = bench_with()
    bench.model.admin[AdminOpcode.NVME_MI_SEND] = lambda command: Completion(dw0=0xABCD00 | status)
    result = bench.do("SEND DIAGNOSTIC", STATUS, pf=1, parameter_list_length=len(STATUS))
    assert code(result) == sense if sense is not None else result == GOOD


def test_a_page_that_is_another_one_is_not_handed_on() -> None:
    bench = bench_with(lambda command: Completion(data=STATUS.ljust(4096, b"\0")))
    assert refused(bench, 0x01) == ENCLOSURE_SERVICES_FAILURE
    assert receive(bench, 0x00) == bytes.fromhex("00000002 00 40")  # it does not say which


def test_a_page_is_received_as_it_is_after_another_was_sent() -> None:
    bench = bench_with()
    translate = bytes.fromhex("4000000a 03 03 0000000000000007")
    fields = {"pf": 1, "parameter_list_length": len(translate)}
    assert bench.do("SEND DIAGNOSTIC", translate, **fields) == GOOD
    control = STATUS[:4] + b"\xff" * 8
    fields = {"pf": 1, "parameter_list_length": len(control)}
    assert bench.do("SEND DIAGNOSTIC", control, **fields) == GOOD
    assert bench.do("RECEIVE DIAGNOSTIC RESULTS", allocation_length=64).data_in == STATUS
    bench.lu.enclosure_allowed = False  # it may have gone since
    result = bench.do("RECEIVE DIAGNOSTIC RESULTS", allocation_length=64)
    assert code(result) == INVALID_FIELD_IN_CDB


@pytest.mark.parametrize(("length", "whole"), [(4096 - 4, True), (4096 - 3, False)])
def test_a_page_that_no_message_carries_is_not_told_in_part(length: int, whole: bool) -> None:
    page = b"\x02\x00" + length.to_bytes(2, "big") + bytes(4092)
    bench = bench_with(lambda command: Completion(data=page))
    assert receive(bench, 0x02, 4096) == page  # nobody asked for more
    if whole:
        assert receive(bench, 0x02) == page
    else:
        assert refused(bench, 0x02) == ENCLOSURE_SERVICES_TRANSFER_FAILURE
