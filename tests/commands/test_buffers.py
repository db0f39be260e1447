"""READ BUFFER and WRITE BUFFER: the data buffer and the echo buffer."""

from __future__ import annotations

from scsi2nvme.scsi.sense import COMMAND_SEQUENCE_ERROR, INVALID_FIELD_IN_CDB, SenseCode
from scsi2nvme.scsi.status import Status
from scsi2nvme.unit.buffers import DATA_BYTES, ECHO_BYTES
from tests.support import Bench, code, make_bench


def write(bench: Bench, mode: str, data: bytes, **fields: int) -> SenseCode | None:
    name = f"WRITE BUFFER, {mode}"
    return code(bench.do(name, data, parameter_list_length=len(data), **fields))


def test_what_was_never_written_is_zero() -> None:
    bench = make_bench()
    write(bench, "data", b"\x11" * 8, buffer_offset=16)
    read = bench.do("READ BUFFER (16), data", allocation_length=0xFFFFFFFF)
    assert read.data_in == (bytes(16) + b"\x11" * 8).ljust(DATA_BYTES, b"\0")


def test_the_data_buffer_has_an_end() -> None:
    bench = make_bench()
    for data, offset in ((8, DATA_BYTES - 4), (4, DATA_BYTES + 4), (4, 2)):
        refused = write(bench, "data", bytes(data), buffer_offset=offset)
        assert refused == INVALID_FIELD_IN_CDB
    assert write(bench, "data", b"", buffer_offset=DATA_BYTES) is None
    past = bench.do("READ BUFFER (16), data", buffer_offset=1 << 63, allocation_length=4)
    assert code(past) == INVALID_FIELD_IN_CDB
    at_end = bench.do("READ BUFFER (10), data", buffer_offset=DATA_BYTES, allocation_length=4)
    assert (at_end.status, at_end.data_in) == (Status.GOOD, b"")


def test_there_is_one_data_buffer() -> None:
    bench = make_bench()
    assert write(bench, "data", bytes(4), buffer_id=1) == INVALID_FIELD_IN_CDB
    refused = bench.do("READ BUFFER (10), data", buffer_id=1, allocation_length=4)
    assert refused.sense is not None
    assert refused.sense.pointer is not None
    assert (refused.sense.pointer.byte, refused.sense.pointer.bit) == (2, 7)


def test_an_echo_is_of_its_nexus_and_ends_with_it() -> None:
    bench, size = make_bench(), ECHO_BYTES
    assert write(bench, "echo", bytes(size + 1)) == INVALID_FIELD_IN_CDB
    assert write(bench, "echo", b"\x11" * size) is None
    other = bench.do("READ BUFFER (10), echo", nexus=bench.other(), allocation_length=4)
    assert code(other) == COMMAND_SEQUENCE_ERROR
    own = bench.do("READ BUFFER (10), echo", allocation_length=0xFFFF)
    assert own.data_in == b"\x11" * size
    bench.lu.detach(bench.nexus)
    bench.lu.attach(bench.nexus)
    bench.lu.take_attention(bench.nexus)
    gone = bench.do("READ BUFFER (10), echo", allocation_length=4)
    assert code(gone) == COMMAND_SEQUENCE_ERROR


def test_a_reset_empties_the_buffers() -> None:
    bench = make_bench()
    write(bench, "data", b"\x11" * 8)
    write(bench, "echo", b"\x11" * 8)
    bench.lu.reset(None)
    assert bench.do("READ BUFFER (10), data", allocation_length=8).data_in == bytes(8)
    assert code(bench.do("READ BUFFER (10), echo", allocation_length=8)) == COMMAND_SEQUENCE_ERROR


def test_a_mode_that_there_is_not_is_a_wrong_field() -> None:
    bench = make_bench()
    for opcode in (0x3B, 0x3C):
        refused = bench.run(bytes((opcode, 0x01, *bytes(8))))
        assert refused.sense is not None
        assert (refused.sense.code, refused.sense.pointer and refused.sense.pointer.byte) == (
            INVALID_FIELD_IN_CDB,
            1,
        )
