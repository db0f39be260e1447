"""Streams that a controller refuses: told of once, and used no more, by the hot path either."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from scsi2nvme.nvme.command import Opcode
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.unit.mode_pages.hints_grouping import HINTS_GROUPING
from tests.commands.test_access_hints import SWAP, saying
from tests.commands.vectors import block
from tests.service.bench import Bench, played, settle
from tests.service.test_mover import GOOD, ended
from tests.service.test_tasks import failed
from tests.support import SEVEN_STREAMS, row


def test_streams_that_are_refused_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    cdb = row("WRITE (16)").build(lba=5, transfer_length=1, group=2)

    async def story(bench: Bench) -> None:
        bench.ready()
        served = bench.service._registry.units[bench.lu]
        assert served.parameters.grouped_streams == 5
        bench.controller.model.faults[Opcode.WRITE] = [StatusCode.INVALID_FIELD]
        assert (await ended(bench.submit(cdb, block(7)))).status == GOOD
        await settle()
        await bench.drained()
        assert (served.parameters.grouped_streams, served.stale) == (0, False)
        bench.ready()
        bench.ready()  # of mode pages, and of INQUIRY data
        assert (await ended(bench.submit(cdb, block(7)))).status == GOOD
        dtypes = [each.cdw12 >> 20 & 0xF for each in bench.controller.model.executed]
        assert dtypes == [1, 0, 0]

    with caplog.at_level(logging.WARNING):
        played(story, streams=SEVEN_STREAMS)
    assert [each for each in caplog.messages if "writes of streams are refused" in each] == [
        "disk SN0001, namespace 1: writes of streams are refused; there are none from now on"
    ]


def test_what_initiators_say_of_groups_is_the_hot_path_s_to_tell() -> None:
    data = bytes(8) + HINTS_GROUPING.with_header(saying({9: SWAP}), saveable=False)
    cdb = row("MODE SELECT (10)").build(pf=1, parameter_list_length=len(data))

    async def story(bench: Bench) -> None:
        bench.ready()
        served = bench.service._registry.units[bench.lu]
        assert served.parameters.write_hints == b""
        assert (await ended(bench.submit(cdb, data))).status == GOOD
        await settle()
        await bench.drained()
        assert (served.parameters.write_hints[8:10], served.stale) == (b"\0\4", False)
        bench.lu.reset(None)  # it was not saved
        await settle()
        await bench.drained()
        assert (served.parameters.write_hints, served.stale) == (b"", False)

    played(story, streams=SEVEN_STREAMS)


def test_hints_that_are_refused_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    data = bytes(8) + HINTS_GROUPING.with_header(saying({0: SWAP}), saveable=False)
    select = row("MODE SELECT (10)").build(pf=1, parameter_list_length=len(data))
    cdb = row("READ (16)").build(lba=5, transfer_length=1)

    async def story(bench: Bench) -> None:
        bench.ready()
        served = bench.service._registry.units[bench.lu]
        assert (await ended(bench.submit(select, data))).status == GOOD
        await settle()
        await bench.drained()
        assert served.parameters.read_hints[:1] == b"\4"
        bench.controller.model.executed.clear()
        bench.controller.model.faults[Opcode.READ] = [StatusCode.INVALID_FIELD]
        refused: dict[str, Any] = {
            "nvme_opcode": Opcode.READ,
            "status": StatusCode.INVALID_FIELD,
            "dnr": True,
        }
        assert (await failed(bench, cdb, **refused)).status == GOOD  # by the hot path, at first
        await bench.drained()
        assert (await ended(bench.submit(cdb))).status == GOOD
        assert (await failed(bench, cdb, **refused)).status == 2  # for no hint
        assert (served.parameters.read_hints, served.stale) == (b"", False)
        assert [each.cdw13 for each in bench.controller.model.executed] == [4, 0, 0]

    with caplog.at_level(logging.WARNING):
        played(story, streams=SEVEN_STREAMS)
    (told,) = (each for each in caplog.messages if "is refused" in each)
    assert told == (
        "disk SN0001, namespace 1: what initiators say of how blocks are used is refused; "
        "it is told no more"
    )


def test_what_was_under_way_when_hints_were_refused_is_repeated_without() -> None:
    data = bytes(8) + HINTS_GROUPING.with_header(saying({0: SWAP}), saveable=False)
    select = row("MODE SELECT (10)").build(pf=1, parameter_list_length=len(data))

    async def story(bench: Bench) -> None:
        bench.ready()
        assert (await ended(bench.submit(select, data))).status == GOOD
        await settle()
        await bench.drained()
        model = bench.controller.model
        model.executed.clear()
        model.faults[Opcode.READ] = [StatusCode.INVALID_FIELD]
        tasks = []
        for name, opcode, moved in (
            ("READ (16)", Opcode.READ, b""),  # by which it is found out
            ("READ (16)", Opcode.READ, b""),
            ("WRITE (16)", Opcode.WRITE, block(1)),
        ):
            cdb = row(name).build(lba=5, transfer_length=1)
            why: dict[str, Any] = {"nvme_opcode": opcode, "status": StatusCode.INVALID_FIELD}
            tasks.append(await failed(bench, cdb, moved, dnr=True, **why))
            assert not bench.lu.access_hints
        await bench.drained()
        assert [each.status for each in tasks] == [GOOD] * 3
        assert [each.cdw13 for each in model.executed] == [4, 0, 0, 0]

    played(story, streams=SEVEN_STREAMS)
