"""SECURITY PROTOCOL IN and OUT."""

from __future__ import annotations

import pytest

from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand
from scsi2nvme.scsi.sense import (
    INVALID_COMMAND_OPERATION_CODE,
    INVALID_FIELD_IN_CDB,
    FieldPointer,
)
from scsi2nvme.scsi.status import Status
from tests.support import Bench, code, make_bench

DISCOVERY = {"security_protocol": 0x01, "protocol_specific": 0x0001}


def secure_bench(**controller: int) -> Bench:
    """Return a bench whose controller answers with what it was asked for, padded with CCh."""
    bench = make_bench(controller=controller)
    bench.lu.security = True

    def receive(command: NvmeCommand) -> bytes:
        return command.cdw10.to_bytes(4, "big").ljust(command.data_in, b"\xcc")

    bench.model.admin[AdminOpcode.SECURITY_RECEIVE] = receive
    bench.model.admin[AdminOpcode.SECURITY_SEND] = lambda command: None
    return bench


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        ({"allocation_length": 48}, 48),
        ({"allocation_length": 1, "inc_512": 1}, 512),
        ({"allocation_length": 3, "inc_512": 1}, 1536),
        # Not more than one command moves: MDTS.
        ({"allocation_length": 0xFFFFFFFF}, 16384),
        ({"allocation_length": 0xFFFFFFFF, "inc_512": 1}, 16384),
    ],
)
def test_in_is_security_receive(fields: dict[str, int], length: int) -> None:
    bench = secure_bench()
    result = bench.do("SECURITY PROTOCOL IN", **DISCOVERY, **fields)
    assert result.status is Status.GOOD
    (command,) = bench.model.executed
    assert (command.nsid, command.cdw11, command.data_in) == (0, length, length)
    assert command.cdw10 == 0x01000100  # SECP, SPSP1, SPSP0, NSSF
    assert result.data_in == bytes.fromhex("01000100").ljust(length, b"\xcc")


@pytest.mark.parametrize(("inc_512", "length"), [(0, 48), (0, 16384), (1, 1), (1, 32)])
def test_out_is_security_send(inc_512: int, length: int) -> None:
    bench = secure_bench()
    data = bytes([0xA5]) * (length * 512 if inc_512 else length)
    fields = {"security_protocol": 0xEA, "protocol_specific": 0x1234, "inc_512": inc_512}
    result = bench.do("SECURITY PROTOCOL OUT", data, **fields, transfer_length=length)
    assert result.status is Status.GOOD
    (command,) = bench.model.executed
    assert (command.cdw10, command.cdw11) == (0xEA123400, len(data))
    assert command.data_out == data


@pytest.mark.parametrize(("inc_512", "length"), [(0, 16385), (1, 33)])
def test_out_is_not_parted(inc_512: int, length: int) -> None:
    bench = secure_bench()
    data = bytes(length * 512 if inc_512 else length)
    fields = {"security_protocol": 1, "inc_512": inc_512, "transfer_length": length}
    result = bench.do("SECURITY PROTOCOL OUT", data, **fields)
    assert code(result) == INVALID_FIELD_IN_CDB
    assert result.sense is not None
    assert result.sense.pointer == FieldPointer(6, 7)
    assert not bench.model.executed


@pytest.mark.parametrize("name", ["SECURITY PROTOCOL IN", "SECURITY PROTOCOL OUT"])
def test_no_data_is_no_command(name: str) -> None:
    bench = secure_bench()
    assert bench.do(name, **DISCOVERY).status is Status.GOOD
    assert not bench.model.executed


def test_nothing_is_sent_to_the_list_of_protocols() -> None:
    bench = secure_bench()
    result = bench.do("SECURITY PROTOCOL OUT", bytes(8), transfer_length=8)
    assert code(result) == INVALID_FIELD_IN_CDB
    assert result.sense is not None
    assert result.sense.pointer == FieldPointer(1, 7)


def test_what_the_controller_refuses() -> None:
    bench = secure_bench()
    bench.model.faults[AdminOpcode.SECURITY_RECEIVE] = [0x002]
    result = bench.do("SECURITY PROTOCOL IN", **DISCOVERY, allocation_length=48)
    assert code(result) == INVALID_FIELD_IN_CDB


@pytest.mark.parametrize(("security", "oacs"), [(False, 0x1F), (True, 0x1E)])
@pytest.mark.parametrize("name", ["SECURITY PROTOCOL IN", "SECURITY PROTOCOL OUT"])
def test_only_where_it_is_wanted_and_there(name: str, security: bool, oacs: int) -> None:
    bench = secure_bench(oacs=oacs)
    bench.lu.security = security
    assert code(bench.do(name, **DISCOVERY)) == INVALID_COMMAND_OPERATION_CODE
    asked = bench.do(
        "REPORT SUPPORTED OPERATION CODES",
        reporting_options=1,
        requested_opcode=0xA2,
        allocation_length=255,
    )
    assert asked.data_in == bytes([0, 1, 0, 0])
