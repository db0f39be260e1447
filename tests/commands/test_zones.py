"""What zones make of commands; the controllers themselves judge in tests/integration."""

from __future__ import annotations

import asyncio
import tracemalloc
from dataclasses import replace

import pytest

from scsi2nvme import engine
from scsi2nvme.command import Data
from scsi2nvme.commands import COMMANDS
from scsi2nvme.commands.read_write import block_command
from scsi2nvme.commands.zone_access import in_order
from scsi2nvme.commands.zones import DESCRIPTOR, HEADER
from scsi2nvme.executor import play
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.namespace import Zones
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_NAMESPACE
from scsi2nvme.nvme.zoned import ZONE as NVME_ZONE
from scsi2nvme.nvme.zoned import ZONE_REPORT_HEADER, ZoneState
from scsi2nvme.scsi.result import GOOD, Result
from scsi2nvme.scsi.sense import (
    ATTEMPT_TO_ACCESS_GAP_ZONE,
    INSUFFICIENT_ZONE_RESOURCES,
    INTERNAL_TARGET_FAILURE,
    INVALID_FIELD_IN_CDB,
    UNALIGNED_WRITE_COMMAND,
    WRITE_BOUNDARY_VIOLATION,
    ZONE_IS_OFFLINE,
    ZONE_IS_READ_ONLY,
)
from tests.model_controller import Lent, ModelExecutor
from tests.model_zones import ModelZones
from tests.support import FOUR_ZONES, Bench, code, make_bench, make_lu

ZONE, CAPACITY, BLOCK = 256, 192, 512
UNUSABLE = ((ZoneState.READ_ONLY, ZONE_IS_READ_ONLY), (ZoneState.OFFLINE, ZONE_IS_OFFLINE))


def zoned() -> tuple[Bench, ModelZones]:
    """Return a bench of 16 zones, and these."""
    bench = make_bench(zones=Zones(size=ZONE, capacity=CAPACITY, most_open=2))
    assert bench.zones is not None
    return bench, bench.zones


def write(bench: Bench, lba: int, blocks: int = 1) -> Result:
    data = b"\xa5" * blocks * BLOCK
    return bench.do("WRITE (16)", data, lba=lba, transfer_length=blocks)


def test_the_pieces_of_a_write_go_one_after_the_other() -> None:
    bench, _ = zoned()
    cdb = bytes.fromhex("8A 00 0000000000000000 00000064 00 00")
    translation = engine.run(engine.select(bench.nexus, 0, cdb), b"\xa5" * 100 * BLOCK)
    pieces: list[NvmeCommand] = []
    wanted = next(translation)
    while len(pieces) < 4:
        assert isinstance(wanted, NvmeCommand)  # what runs together is yielded as a tuple
        pieces.append(wanted)
        (done,) = bench.model.execute(wanted)
        if len(pieces) < 4:
            wanted = translation.send(done)
    assert [(each.slba, each.blocks) for each in pieces] == [(0, 32), (32, 32), (64, 32), (96, 4)]


def test_a_write_that_fails_half_way_goes_no_further() -> None:
    bench, _ = zoned()
    bench.model.bad_blocks[40] = StatusCode.WRITE_FAULT
    assert write(bench, 0, 100).sense is not None
    assert bench.model.opcodes().count(Opcode.WRITE) == 2
    bench.model.bad_blocks.clear()
    assert code(write(bench, 100)) == UNALIGNED_WRITE_COMMAND
    assert write(bench, 32) == GOOD


def test_a_write_longer_than_one_command_may_be_is_refused() -> None:
    most = make_lu(blocks=1 << 16).maximum_transfer_blocks
    large = Zones(size=1 << 15, capacity=1 << 15, most_open=2)
    bench = make_bench(zones=large, blocks=1 << 16)
    assert most < large.capacity
    assert code(write(bench, 0, most + 1)) == INVALID_FIELD_IN_CDB
    assert bench.model.executed == []
    assert write(bench, 0, most) == GOOD


def test_a_write_does_not_cross_zones_without_gaps() -> None:
    bench = make_bench(zones=Zones(ZONE, ZONE, reads_cross=True))
    assert code(write(bench, ZONE - 1, 2)) == WRITE_BOUNDARY_VIOLATION
    assert bench.model.executed == []
    assert bench.do("READ (16)", lba=ZONE - 1, transfer_length=2).data_in == bytes(2 * BLOCK)


@pytest.mark.parametrize("lba", [CAPACITY, ZONE - 1])
def test_gaps_are_no_blocks(lba: int) -> None:
    bench, _ = zoned()
    assert code(bench.do("READ (16)", lba=lba, transfer_length=1)) == ATTEMPT_TO_ACCESS_GAP_ZONE
    assert code(write(bench, lba)) == ATTEMPT_TO_ACCESS_GAP_ZONE
    assert bench.model.executed == []


def test_what_writes_have_opened_gives_way() -> None:
    bench, zones = zoned()
    for zone in range(4):
        assert write(bench, zone * ZONE) == GOOD
    assert zones.states.count(ZoneState.CLOSED) == 2
    zones.states[0:4] = [ZoneState.EXPLICITLY_OPENED] * 2 + [ZoneState.CLOSED] * 2
    assert code(write(bench, 2 * ZONE + 1)) == INSUFFICIENT_ZONE_RESOURCES
    assert code(bench.do("OPEN ZONE", zone_id=4 * ZONE)) == INSUFFICIENT_ZONE_RESOURCES
    assert code(bench.do("OPEN ZONE", all=1)) == INSUFFICIENT_ZONE_RESOURCES


@pytest.mark.parametrize(("state", "sense"), UNUSABLE)
@pytest.mark.parametrize("name", ["OPEN ZONE", "CLOSE ZONE", "FINISH ZONE", "RESET WRITE POINTER"])
def test_zones_that_are_of_no_use_any_more(name: str, state: ZoneState, sense: object) -> None:
    bench, zones = zoned()
    zones.states[1] = state
    assert code(bench.do(name, zone_id=ZONE)) == sense
    assert code(write(bench, ZONE)) == sense
    assert bench.do(name, all=1) == GOOD
    option = 6 if state is ZoneState.READ_ONLY else 7
    report = bench.do("REPORT ZONES", allocation_length=512, reporting_options=option).data_in
    assert len(report) == HEADER.size + DESCRIPTOR.size


@pytest.mark.parametrize("written", [0, 1, CAPACITY - 1])
def test_a_zone_that_is_closed_keeps_what_was_written(written: int) -> None:
    bench, zones = zoned()
    assert bench.do("OPEN ZONE", zone_id=ZONE) == GOOD
    if written:
        assert write(bench, ZONE, written) == GOOD
    assert bench.do("CLOSE ZONE", zone_id=ZONE) == GOOD
    assert zones.states[1] is (ZoneState.CLOSED if written else ZoneState.EMPTY)
    assert zones.pointers[1] == ZONE + written
    read = bench.do("READ (16)", lba=ZONE, transfer_length=written or 1)
    assert read.data_in == (b"\xa5" * written * BLOCK or bytes(BLOCK))


def test_a_zone_that_was_closed_unwritten_is_empty() -> None:
    bench, zones = zoned()
    zones.states[1] = ZoneState.CLOSED  # by another host
    for option, count in ((1, 16), (4, 0)):
        fields = {"allocation_length": 4096, "reporting_options": option}
        data = bench.do("REPORT ZONES", **fields).data_in
        assert HEADER.parse(data).zone_list_length == count * DESCRIPTOR.size


@pytest.mark.parametrize("allocation", [0, 8, 63, 64, 65, 128, 191])
def test_reports_are_cut_by_the_allocation_length(allocation: int) -> None:
    bench, _ = zoned()
    whole = bench.do("REPORT ZONES", allocation_length=4096).data_in
    assert bench.do("REPORT ZONES", allocation_length=allocation).data_in == whole[:allocation]
    partial = bench.do("REPORT ZONES", allocation_length=allocation, partial=1).data_in
    if len(partial) >= HEADER.size:
        told = HEADER.parse(partial).zone_list_length
        assert told == (allocation - HEADER.size) // DESCRIPTOR.size * DESCRIPTOR.size


@pytest.mark.parametrize("lba", [0, CAPACITY - 1, CAPACITY, ZONE - 1, ZONE, 5 * ZONE + CAPACITY])
@pytest.mark.parametrize("option", [0x00, 0x3E])
def test_as_many_are_counted_as_are_listed(option: int, lba: int) -> None:
    """The list's length is of all from there on, whatever fits (ZBC-2, REPORT ZONES)."""
    bench, _ = zoned()
    fields = {"zone_start_lba": lba, "reporting_options": option}
    whole = bench.do("REPORT ZONES", allocation_length=4096, **fields).data_in
    counted = bench.do("REPORT ZONES", allocation_length=64, **fields).data_in
    assert int.from_bytes(whole[:4], "big") == len(whole) - 64
    assert counted[:4] == whole[:4]


def test_a_list_of_other_zones_is_not_handed_on() -> None:
    bench, zones = zoned()
    zones.zones = Zones(size=2 * ZONE, capacity=CAPACITY)
    assert code(bench.do("REPORT ZONES", allocation_length=4096)) == INTERNAL_TARGET_FAILURE


def test_of_a_part_of_the_namespace_not_all_zones_are_reset() -> None:
    bench, _ = zoned()
    bench.lu.limit = 3 * ZONE * BLOCK + 7
    assert bench.lu.capacity_blocks == 3 * ZONE
    assert code(bench.do("RESET WRITE POINTER", all=1)) == INVALID_FIELD_IN_CDB
    counted = {"zone_id": ZONE, "zone_count": 3}
    assert code(bench.do("RESET WRITE POINTER", **counted)) == INVALID_FIELD_IN_CDB


def test_reads_are_cut_at_zones_unless_they_may_cross() -> None:
    def boundary(noiob: int, *, reads_cross: bool = False) -> int:
        zones = Zones(ZONE, ZONE, reads_cross=reads_cross)
        return make_lu(zones=zones, namespace={"noiob": noiob}).optimal_boundary_blocks

    assert [boundary(noiob) for noiob in (0, 64, 48)] == [ZONE, 64, ZONE]
    assert boundary(0, reads_cross=True) == 0


def test_what_write_same_may_write_is_written() -> None:
    """As much as the Block Limits page says, though no one command moves as much."""
    bench = make_bench(zones=Zones(0x10000, 0x10000), blocks=0x20000)
    most = bench.lu.maximum_write_same_blocks
    assert bench.do("WRITE SAME (16)", bytes(BLOCK), number_of_blocks=most) == GOOD
    assert bench.do("WRITE SAME (16)", ndob=1, lba=0x10000, number_of_blocks=most) == GOOD


def of_one_block(count: int) -> Bench:
    """Return a bench of so many empty zones, of one block each."""

    def receive(command: NvmeCommand) -> bytes:
        number = command.data_in // NVME_ZONE.size - 1
        empty = {"zt": 2, "zs": ZoneState.EMPTY, "zcap": 1}
        listed = (
            NVME_ZONE.build(**empty, zslba=at, wp=at)
            for at in range(command.slba, command.slba + number)
        )
        return b"".join((ZONE_REPORT_HEADER.build(nz=number), *listed))

    bench = make_bench(zones=FOUR_ZONES)
    bench.model.io[Opcode.ZONE_MANAGEMENT_RECEIVE] = receive
    raw = bytearray(bench.lu.facts.namespace.raw)
    IDENTIFY_NAMESPACE.write(raw, nsze=count)
    namespace = IDENTIFY_NAMESPACE.parse(bytes(raw))
    bench.lu.facts = replace(bench.lu.facts, namespace=namespace, zones=Zones(1, 1))
    return bench


def test_what_is_only_counted_is_not_kept() -> None:
    bench = of_one_block(2048)
    fields = {"allocation_length": 128, "reporting_options": 1}
    tracemalloc.start()
    data = bench.do("REPORT ZONES", **fields).data_in
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert HEADER.parse(data).zone_list_length == 2048 * DESCRIPTOR.size
    assert len(data) == HEADER.size + DESCRIPTOR.size
    assert peak < 450_000


def test_a_list_that_is_longer_than_its_length_can_tell() -> None:
    data = of_one_block(1 << 32).do("REPORT ZONES", allocation_length=128).data_in
    assert HEADER.parse(data).zone_list_length == 0xFFFFFFC0


@pytest.mark.parametrize(("lba", "blocks"), [(0, 8), (160, 32)])
def test_a_write_that_a_reset_repeats_may_have_been_done(lba: int, blocks: int) -> None:
    """It is done where the write pointer and the blocks say so, and nowhere else."""
    bench, _ = zoned()
    execute = bench.model.io[Opcode.WRITE]
    for at in range(0, lba, 32):
        assert write(bench, at, 32) == GOOD

    def again(command: NvmeCommand) -> Completion:
        execute(command)
        return Completion(StatusCode.ZONE_INVALID_WRITE, dnr=True, repeated=True)

    def in_vain(command: NvmeCommand) -> Completion:
        return Completion(StatusCode.ZONE_INVALID_WRITE, dnr=True, repeated=repeated)

    bench.model.io[Opcode.WRITE] = in_vain
    repeated = True
    assert code(write(bench, lba, blocks)) == UNALIGNED_WRITE_COMMAND
    bench.model.io[Opcode.WRITE] = again
    assert write(bench, lba, blocks) == GOOD
    bench.model.io[Opcode.WRITE] = in_vain
    other = b"\x11" * blocks * BLOCK
    result = bench.do("WRITE (16)", other, lba=lba, transfer_length=blocks)
    assert code(result) == UNALIGNED_WRITE_COMMAND
    repeated = False
    assert code(write(bench, lba, blocks)) == UNALIGNED_WRITE_COMMAND


def test_a_repeated_write_of_data_that_stay_in_memory_may_have_been_done() -> None:
    bench, _ = zoned()
    execute = bench.model.io[Opcode.WRITE]

    def again(command: NvmeCommand) -> Completion:
        execute(command)
        return Completion(StatusCode.ZONE_INVALID_WRITE, dnr=True, repeated=True)

    bench.model.io[Opcode.WRITE] = again
    data = bytearray(b"\xa5" * 8 * BLOCK)
    copied = block_command(Opcode.WRITE, bench.lu, 0, 8, memory=Lent(memoryview(data)))
    result = asyncio.run(play(in_order(bench.lu, [copied]), ModelExecutor(bench.model)))
    assert result == GOOD


def test_who_changes_the_medium_without_its_data_is_write_protected() -> None:
    """And as such known to whatever keeps changes of blocks in order."""
    takes_no_blocks = {
        row.name
        for row in COMMANDS
        if row.modifies_medium and (row.data is not Data.OUT or row.transfer.counts_bytes)
    }
    erases = {f"SANITIZE, {how}" for how in ("BLOCK ERASE", "CRYPTOGRAPHIC ERASE", "OVERWRITE")}
    zones = {"CLOSE ZONE", "FINISH ZONE", "OPEN ZONE", "RESET WRITE POINTER"}
    assert takes_no_blocks >= zones | erases | {"SANITIZE, EXIT FAILURE MODE", "UNMAP"}


def test_a_format_keeps_the_format_and_the_zones() -> None:
    bench, _ = zoned()
    before = bench.lu.zones
    assert bench.do("FORMAT UNIT") == GOOD
    (command,) = (each for each in bench.model.executed if each.opcode == AdminOpcode.FORMAT_NVM)
    assert (command.cdw10, bench.lu.zones) == (0, before)


def test_no_format_changes_the_block_length_of_zones() -> None:
    bench, _ = zoned()
    bench.lu.mode.pending_block_bytes = 4096
    assert code(bench.do("FORMAT UNIT")) == INVALID_FIELD_IN_CDB
    assert AdminOpcode.FORMAT_NVM not in bench.model.opcodes()
