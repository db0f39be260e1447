"""Copies between the logical units of a daemon, as an initiator asks for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.commands.copy_parameters import CSCD
from scsi2nvme.commands.token_parameters import ROD_TOKEN, RodType
from scsi2nvme.commands.vpd_pages.designators import DESIGNATOR_HEADER
from tests.commands.test_extended_copy import parameters, segment
from tests.commands.test_rod_tokens import ZERO, populating, writing
from tests.daemon import IQN, Daemon
from tests.integration.disks import spec
from tests.iscsi_client import Initiator
from tests.iscsi_pdu import ScsiResult
from tests.support import row

BLOCK = 4096
MIB = 1 << 20
NAA = 3


def pattern(seed: int, size: int) -> bytes:
    return b"".join((seed << 32 | n).to_bytes(16, "big") * 32 for n in range(size // 512))


def names(one: Initiator, lun: int) -> bytes:
    """Return the CSCD descriptor of a logical unit, by what it tells of itself."""
    page = one.command(
        lun, row("INQUIRY").build(evpd=1, page_code=0x83, allocation_length=512), data_in=512
    ).data[4:]
    while page:
        header = DESIGNATOR_HEADER.parse(page)
        value, page = page[4 : 4 + header.length], page[4 + header.length :]
        if header.designator_type == NAA and header.association == 0:
            return CSCD.build(
                type_code=0xE4,
                code_set=header.code_set,
                designator_type=NAA,
                designator_length=len(value),
                designator=value,
            )
    raise AssertionError("no NAA designator")


def copy(one: Initiator, cscds: list[bytes], segments: list[bytes], **values: Any) -> ScsiResult:
    data = parameters(cscds, segments, **values)
    cdb = row("EXTENDED COPY (LID1)").build(parameter_list_length=len(data))
    return one.command(0, cdb, data_out=data)


def write(one: Initiator, lun: int, lba: int, data: bytes) -> None:
    cdb = row("WRITE (10)").build(lba=lba, transfer_length=len(data) // BLOCK)
    assert one.command(lun, cdb, data_out=data).status == 0


def read(one: Initiator, lun: int, lba: int, size: int) -> bytes:
    cdb = row("READ (10)").build(lba=lba, transfer_length=size // BLOCK)
    return one.command(lun, cdb, data_in=size).data


@pytest.mark.parametrize("kind", ["emulated", "qemu"])
def test_blocks_are_copied_within_and_between_namespaces(kind: str, tmp_path: Path) -> None:
    words = spec(kind, tmp_path, block=BLOCK) + ",namespaces=2"
    with Daemon(tmp_path, words) as daemon, Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        for lun in (0, 1):
            one.command(lun, bytes(6))
        data = pattern(1, 3 * MIB)
        for at in range(0, 3, 1):
            write(one, 0, 256 * at, data[at * MIB : (at + 1) * MIB])
        units = [names(one, 0), names(one, 1)]
        blocks = 3 * MIB // BLOCK
        done = copy(one, units, [segment(0, 100, blocks, 0, 1), segment(0, 1000, blocks)])
        assert done.status == 0, done.sense_triple
        for lun, lba in ((1, 100), (0, 1000)):
            for at in range(3):
                found = read(one, lun, lba + 256 * at, MIB)
                assert found == data[at * MIB : (at + 1) * MIB], (lun, at)


def of_tokens(one: Initiator, name: str, data: bytes, lun: int = 0) -> ScsiResult:
    cdb = row(name).build(list_identifier=1, parameter_list_length=len(data))
    return one.command(lun, cdb, data_out=data)


def populate(one: Initiator, *ranges: tuple[int, int]) -> bytes:
    """Return a new token of LUN 0."""
    done = of_tokens(one, "POPULATE TOKEN", populating(ranges))
    assert done.status == 0, done.sense_triple
    cdb = row("RECEIVE ROD TOKEN INFORMATION").build(list_identifier=1, allocation_length=1024)
    return one.command(0, cdb, data_in=1024).data[38:]


@pytest.mark.parametrize("kind", ["emulated", "qemu"])
def test_tokens_stand_for_blocks_until_they_change(kind: str, tmp_path: Path) -> None:
    words = spec(kind, tmp_path, block=BLOCK) + ",namespaces=2"
    with Daemon(tmp_path, words) as daemon, Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        for lun in (0, 1):
            one.command(lun, bytes(6))
        data = pattern(1, MIB)
        write(one, 0, 0, data)
        token = populate(one, (8, 100), (200, 56))
        assert ROD_TOKEN.parse(token).rod_type == RodType.CHANGE_VULNERABLE
        stands_for = data[8 * BLOCK : 108 * BLOCK] + data[200 * BLOCK :]
        for lun, lba in ((1, 1), (0, 300)):
            done = of_tokens(one, "WRITE USING TOKEN", writing(token, [(lba, 156)]), lun)
            assert done.status == 0, done.sense_triple
            assert read(one, lun, lba, 156 * BLOCK) == stands_for
        write(one, 0, 108, data[:BLOCK])  # beside it, by the hot path
        assert of_tokens(one, "WRITE USING TOKEN", writing(ZERO, [(1, 9)]), 1).status == 0
        assert read(one, 1, 0, 11 * BLOCK) == bytes(10 * BLOCK) + stands_for[9 * BLOCK :][:BLOCK]
        assert of_tokens(one, "WRITE USING TOKEN", writing(token, [(1, 1)]), 1).status == 0
        write(one, 0, 107, data[:BLOCK])
        done = of_tokens(one, "WRITE USING TOKEN", writing(token, [(1, 1)]), 1)
        assert done.sense_triple == (5, 0x23, 0x06)
