"""A fault that is planted is found by a short run, and named with its row and field.

It is the fuzzers that are judged here, not the product.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme import commands, ctables, engine, status_map
from scsi2nvme.cli.daemon import bearers
from scsi2nvme.command import Command, Task, Transfer
from scsi2nvme.commands import (
    compare_and_write,
    log,
    log_pages,
    protection,
    provisioning,
    read_write,
    vpd_pages,
)
from scsi2nvme.fields import Field
from scsi2nvme.fuzz import bulk
from scsi2nvme.fuzz.finding import Finding
from scsi2nvme.fuzz.runner import Failure
from scsi2nvme.native import hot
from scsi2nvme.native.nvme import QueuePair
from scsi2nvme.native.transport import Region
from scsi2nvme.nvme.command import NvmeCommand
from scsi2nvme.nvme.protection import CHECK_GUARD
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.result import GOOD, NvmeError, Result, Translation
from scsi2nvme.scsi.sense import Sense
from scsi2nvme.scsi.status import Status
from scsi2nvme.target.iscsi import text
from scsi2nvme.target.iscsi.login import Login
from scsi2nvme.target.iscsi.text import TextExchange
from scsi2nvme.typed import table
from scsi2nvme.unit import block_device, mode_parameters
from scsi2nvme.unit.mode_pages.control import CONTROL
from tests.fuzz.hunting import CSRC, SEED, NativePath, hunt
from tests.support import row

pytestmark = pytest.mark.slow
Patch = pytest.MonkeyPatch
# What is found ends the hunt; where it is rare, one seed needs more examples than another.
MANY = 3000


def plant(monkeypatch: Patch, name: str, **changes: Any) -> None:
    """Replace a row of the command table by a faulty one."""
    good = row(name)
    bad = replace(good, **changes)
    table = tuple(bad if each is good else each for each in commands.COMMANDS)
    monkeypatch.setattr(commands, "COMMANDS", table)
    monkeypatch.setitem(commands.actions(good.opcode), good.service_action, bad)


def with_field(name: str, field: Field) -> tuple[Field, ...]:
    """Return a row's fields with one of them replaced."""
    return tuple(field if each.name == field.name else each for each in row(name).fields)


def assert_found(found: Iterator[Failure], subject: str, *fields: str) -> None:
    """A finding must name the subject and the field, or one of several that it may show in."""
    others = []
    for failure in found:
        if failure.subject == subject and failure.field in fields:
            assert failure.message.startswith(f"{subject}: {failure.field}: ")
            return
        others.append(failure)
    pytest.fail(f"{subject}: {' or '.join(fields)} is not found, but {others}")


# The command table


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("READ (10)", Field("transfer_length", 7, 0, 8)),
        ("READ (16)", Field("lba", 2, 0, 56)),
        ("WRITE (6)", Field("lba", 1, 0, 20)),
        ("LOG SENSE", Field("allocation_length", 8, 0, 8)),
        ("WRITE SAME (16)", Field("number_of_blocks", 10, 0, 24)),
    ],
)
def test_a_field_of_the_wrong_width(monkeypatch: Patch, name: str, field: Field) -> None:
    plant(monkeypatch, name, fields=with_field(name, field))
    assert_found(hunt(name), name, field.name)


@pytest.mark.parametrize(
    ("name", "transfer", "property_name"),
    [
        ("WRITE SAME (10)", Transfer.BLOCKS, "blocks add up"),
        ("VERIFY (10)", Transfer.BLOCKS, "native agrees"),
        ("COMPARE AND WRITE", Transfer.BLOCKS, "native agrees"),
        ("WRITE (12)", Transfer.BYTES, "blocks add up"),
    ],
)
def test_a_wrong_length_law(
    monkeypatch: Patch, name: str, transfer: Transfer, property_name: str
) -> None:
    """Which shows first where blocks are named, or in what an NVMe command has of data."""
    plant(monkeypatch, name, transfer=transfer)
    found = hunt(name, property_name, examples=MANY)
    assert_found(found, name, row(name).length_field, "data")


def test_a_wrong_zero_length_convention(monkeypatch: Patch) -> None:
    plant(monkeypatch, "READ (6)", zero_length_means=0)
    found = hunt("READ (6)", "native agrees", examples=MANY)
    assert_found(found, "READ (6)", "transfer_length")


def test_a_wrong_cdb_length(monkeypatch: Patch) -> None:
    plant(monkeypatch, "TEST UNIT READY", length=10)
    assert_found(hunt("TEST UNIT READY"), "TEST UNIT READY", "length")


def test_an_nvme_command_that_the_row_does_not_list(monkeypatch: Patch) -> None:
    plant(monkeypatch, "WRITE SAME (10)", nvme=("Write",))
    found = hunt("WRITE SAME (10)", "within limits", examples=MANY)
    assert_found(found, "WRITE SAME (10)", "nvme")


def test_a_missing_check_of_reserved_bits(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Command, "reserved_bit", lambda self, cdb: None)
    findings = list(hunt("SYNCHRONIZE CACHE (10)", "reserved bits", shrink=True))
    assert [each.subject for each in findings] == ["SYNCHRONIZE CACHE (10)"]
    assert findings[0].field == "byte 1 bit 0"  # shrunk to the first reserved bit


def test_a_missing_check_of_naca(monkeypatch: Patch) -> None:
    unchecked = engine.run

    def run(request: engine.Request, *data: Any) -> Translation:
        found = request.command
        whole = bytearray(request.cdb)
        if found is not None and len(whole) >= found.length:
            found.structure.by_name["naca"].write(whole, 0, "big")
        return unchecked(replace(request, cdb=bytes(whole)), *data)

    monkeypatch.setattr(engine, "run", run)
    assert_found(hunt("INQUIRY", "NACA"), "INQUIRY", "naca")


# Translations


def test_an_off_by_one_in_split(monkeypatch: Patch) -> None:
    def split(lu: Any, lba: int, blocks: int, *_: Any) -> Iterator[tuple[int, int]]:
        while blocks:
            count = min(blocks, lu.nvme_maximum_blocks + 1)
            if lu.optimal_boundary_blocks:
                count = min(count, lu.optimal_boundary_blocks - lba % lu.optimal_boundary_blocks)
            yield lba, count
            lba += count
            blocks -= count

    monkeypatch.setattr(read_write, "split", split)
    assert_found(hunt("READ (10)", "within limits", examples=MANY), "READ (10)", "transfer_length")


def test_a_check_of_tuples_that_is_left_out(monkeypatch: Patch) -> None:
    monkeypatch.setitem(protection._CHECKS, 0b001, CHECK_GUARD)
    found = hunt("READ (16)", "tuples are checked", examples=300)
    assert_found(found, "READ (16)", "rdprotect")


def test_a_piece_that_is_left_out(monkeypatch: Patch) -> None:
    whole = read_write.split

    def split(*where: Any) -> Iterator[tuple[int, int]]:
        return iter(list(whole(*where))[:1])

    monkeypatch.setattr(read_write, "split", split)
    assert_found(
        hunt("WRITE (16)", "blocks add up", examples=MANY), "WRITE (16)", "transfer_length"
    )


def test_data_of_the_wrong_place(monkeypatch: Patch) -> None:
    def data_commands(
        opcode: Any, lu: Any, lba: int, data: bytes, cdw12: int, _: Any, cdw13: int
    ) -> Iterator[NvmeCommand]:
        for start, count in read_write.split(lu, lba, len(data) // lu.block_bytes):
            piece = data[: count * lu.block_bytes]  # always the first
            yield read_write.block_command(
                opcode, lu, start, count, cdw12=cdw12, cdw13=cdw13, data_out=piece
            )

    monkeypatch.setattr(read_write, "data_commands", data_commands)
    found = hunt("WRITE (10)", "blocks add up", examples=MANY)
    assert_found(found, "WRITE (10)", "transfer_length")


def test_a_range_that_is_not_unmapped(monkeypatch: Patch) -> None:
    whole = provisioning._unmap_ranges
    monkeypatch.setattr(provisioning, "_unmap_ranges", lambda task: whole(task)[:-1])
    found = hunt("UNMAP", "blocks add up", examples=MANY)
    assert_found(found, "UNMAP", "parameter_list_length")


def test_a_dataset_management_without_limits(monkeypatch: Patch) -> None:
    monkeypatch.setattr(block_device, "_DSM_RANGES", 1 << 16)
    whole = provisioning._dataset_management

    def unlimited(lu: Any, ranges: Any) -> Iterator[NvmeCommand]:
        limits = lu.facts.nvm_controller
        raw = bytearray(limits.raw)
        limits.structure.write(raw, dmrl=0, dmrsl=0, dmsl=0)
        lu.facts = replace(lu.facts, nvm_controller=limits.structure.parse(raw))
        return whole(lu, ranges)

    monkeypatch.setattr(provisioning, "_dataset_management", unlimited)
    fields = {each.field for each in hunt("UNMAP", "within limits", examples=MANY)}
    assert fields & {"dmrl", "dmrsl", "dmsl"}


def test_a_comparison_that_finds_no_difference(monkeypatch: Patch) -> None:
    monkeypatch.setattr(compare_and_write, "_first_difference", lambda ours, theirs: None)
    found = hunt("COMPARE AND WRITE", "blocks add up", examples=MANY)
    assert_found(found, "COMPARE AND WRITE", "number_of_blocks")


def test_a_failure_that_is_swallowed(monkeypatch: Patch) -> None:
    def careless(task: Task) -> Translation:
        try:
            return (yield from read_write.write(task))
        except NvmeError:
            return GOOD

    plant(monkeypatch, "WRITE (10)", translate=careless)
    found = hunt("WRITE (10)", "blocks add up", examples=MANY)
    assert_found(found, "WRITE (10)", "status")


def test_an_allocation_length_that_changes_the_data(monkeypatch: Patch) -> None:
    good = row("INQUIRY").translate

    def shorter(task: Task) -> Translation:
        result: Result = yield from good(task)
        whole = bytearray(result.data_in)
        whole[4] = min(whole[4], max(task.cdb.allocation_length - 5, 0))
        return replace(result, data_in=bytes(whole))

    plant(monkeypatch, "INQUIRY", translate=shorter)
    found = hunt("INQUIRY", "allocation length", examples=MANY)
    assert_found(found, "INQUIRY", "allocation_length")


def test_a_translation_that_does_not_end(monkeypatch: Patch) -> None:
    def endless(task: Task) -> Translation:
        while True:
            try:
                yield NvmeCommand(0)
            except NvmeError:
                continue

    plant(monkeypatch, "TEST UNIT READY", translate=endless)
    (found,) = hunt("TEST UNIT READY", "one legal outcome", examples=20)
    assert "no end" in found.message


# Statuses, sense and pages


def test_a_status_that_becomes_good(monkeypatch: Patch) -> None:
    good = status_map.Meaning(Status.GOOD)
    monkeypatch.setitem(status_map.TABLE, StatusCode.COMPARE_FAILURE, good)
    monkeypatch.setattr(
        status_map,
        "result_of_status",
        lambda opcode, status, dnr, lba: status_map._result(
            status_map.meaning_of(status), dnr, reading=False, lba=None
        ),
    )
    found = hunt("NVMe status COMPARE FAILURE")
    assert_found(found, "NVMe status COMPARE FAILURE", "outcome")


def test_sense_data_of_the_wrong_length(monkeypatch: Patch) -> None:
    whole = Sense.fixed
    monkeypatch.setattr(Sense, "fixed", lambda self: whole(self)[:17])
    found = hunt("NVMe status WRITE FAULT")
    assert_found(found, "NVMe status WRITE FAULT", "sense")


def test_a_field_pointer_that_is_lost(monkeypatch: Patch) -> None:
    whole = Sense.descriptor
    monkeypatch.setattr(Sense, "descriptor", lambda self: whole(replace(self, pointer=None)))
    assert [each.field for each in hunt("READ (10)", "one legal outcome")] == ["pointer"]


def test_a_mode_page_that_is_not_stored(monkeypatch: Patch) -> None:
    monkeypatch.setattr(mode_parameters.ModeParameters, "change", lambda self, page, values: None)
    found = next(hunt("Control", "mode page", examples=MANY))
    assert found.subject == "Control"
    assert set(found.field.split(", ")) <= set(CONTROL.changeable)


def test_a_vpd_page_of_the_wrong_length(monkeypatch: Patch) -> None:
    monkeypatch.setattr(vpd_pages, "build", lambda page, task: bytes([0, page.code, 0, 9, 1]))
    assert_found(hunt("Block Limits", "VPD"), "Block Limits", "page_length")


def test_log_parameters_in_the_wrong_order(monkeypatch: Patch) -> None:
    good = next(each for each in log_pages.PAGES if each.name == "Temperature")
    parameters = good.parameters
    assert parameters is not None
    bad = replace(good, parameters=lambda lu, logs: parameters(lu, logs)[::-1])
    pages = tuple(bad if each is good else each for each in log_pages.PAGES)
    for module in (log_pages, log):
        monkeypatch.setattr(module, "PAGES", pages)
    assert_found(hunt("Temperature", "log page"), "Temperature", "parameter_code")


# Logins


def test_a_login_without_a_proof(monkeypatch: Patch) -> None:
    whole = Login._authenticate

    def careless(self: Any, keys: Any, replies: Any) -> Any:
        answer = whole(self, keys, replies)
        self._authenticated = True
        return answer

    monkeypatch.setattr(Login, "_authenticate", careless)
    assert_found(hunt("Login phase", examples=MANY), "Login phase", "CHAP_R")


def test_a_text_response_that_is_too_long(monkeypatch: Patch) -> None:
    whole = TextExchange._feed

    def unlimited(self: Any, bhs: bytes, data: bytes, maximum: int) -> Any:
        return whole(self, bhs, data, 1 << 24)

    monkeypatch.setattr(TextExchange, "_feed", unlimited)
    monkeypatch.setattr(text, "format_pairs", lambda pairs: bytes(600))
    found = hunt("Text negotiation", examples=100)
    assert_found(found, "Text negotiation", "data_segment_length")


def test_a_damaged_record_that_counts_for_none(monkeypatch: Patch) -> None:
    """What is not on record is anybody's to take."""

    def forgiving(value: object, kind: type[Any]) -> Any:
        try:
            return table(value, kind)
        except ValueError:
            return bearers.Record((), ())

    monkeypatch.setattr(bearers, "table", forgiving)
    assert_found(hunt("Record of names"), "Record of names", "content")


# The native side

HOT = ("hot.c", "hot_kind.c", "hot_compare.c", "hot_provisioning.c", "hot_verify.c")


def native(monkeypatch: Patch, folder: Path, change: Callable[[str], str] = str) -> None:
    """Let the fuzzer see a hot path that is compiled now, its source changed."""
    sources = {name: change((CSRC / name).read_text()) for name in HOT}
    headers = {"tables_gen.h": ctables.header(), "constants_gen.h": ctables.constants()}
    headers["hot_sqe.h"] = change((CSRC / "hot_sqe.h").read_text())
    path = NativePath(folder, headers, sources)
    monkeypatch.setattr(hot, "hot_translate", path.hot_translate)
    monkeypatch.setattr(hot, "hot_data_bytes", path.hot_data_bytes)
    monkeypatch.setattr(hot, "hot_miscompare", path.hot_miscompare)


def throw(name: str) -> None:
    """Throw dice for CDBs of the rows whose names begin so, until there is a Finding."""
    for number in range(8):
        bulk.batch(SEED, number, 3000, name)


def test_the_native_path_compiled_apart_agrees(monkeypatch: Patch, tmp_path: Path) -> None:
    native(monkeypatch, tmp_path)
    assert list(hunt("READ", "native", examples=20)) == []


@pytest.mark.parametrize("field", ["rdprotect", "naca"])
def test_a_wrong_hot_mask(monkeypatch: Patch, tmp_path: Path, field: str) -> None:
    monkeypatch.setattr(ctables, "_DECLINED", ctables._DECLINED - {field})
    native(monkeypatch, tmp_path)
    assert_found(hunt("READ (10)", "native agrees", examples=MANY), "READ (10)", field)
    with pytest.raises(Finding, match=rf"READ \(10\): {field}"):
        throw("READ (10)")


@pytest.mark.parametrize(
    ("subject", "before", "after"),
    [
        ("READ (16)", "cdw12 | (blocks - 1)", "cdw12 | blocks"),
        ("READ (16)", "NVME_FUA = 1 << 30", "NVME_FUA = 1 << 29"),
        ("READ (16)", "lba % lu->boundary_blocks", "(lba + 1) % lu->boundary_blocks"),
        ("READ (16)", "count > lu->blocks - lba", "count > lu->blocks - lba + 1"),
        (
            "READ (16)",
            "le64(sqe + AT_SLBA, plan->lba);\n    s2n_put_le64(sqe + AT_CDW12",
            "le32(sqe + AT_SLBA, (uint32_t)plan->lba);\n    s2n_put_le64(sqe + AT_CDW12",
        ),
        ("READ (16)", "lu->zone_capacity - at", "lu->zone_blocks - at"),
        ("WRITE (16)", "if (!row->reads_zones ||", "if ("),
        ("WRITE (16)", "(!lu->zone_blocks ||", "(true ||"),
        ("UNMAP", "plan->blocks == lu->unmap_ranges", "false"),
        ("UNMAP", "total > lu->unmap_blocks", "total > UINT64_MAX"),
        ("UNMAP", "blocks < lu->unmap_range_blocks", "true"),
        ("UNMAP", "at + AT_SLBA, lba", "at + AT_SLBA, lba + 1"),
        ("WRITE SAME (16)", "unmap && lu->write_zeroes_deallocates", "unmap"),
        ("WRITE SAME (16)", "memcpy(data->at + at, data->at, bytes)", "(void)at"),
        ("VERIFY (16)", "plan->limit = lu->verify_blocks", "plan->limit = lu->maximum_blocks"),
        ("WRITE AND VERIFY (16)", "plan->cdw12 = NVME_FUA", "plan->cdw12 = 0"),
        ("COMPARE AND WRITE", "second_cdw12 = cdw12_of(row, cdb)", "second_cdw12 = 0"),
        ("COMPARE AND WRITE", "count <= lu->fused_blocks", "count < lu->fused_blocks"),
        ("COMPARE AND WRITE", "sqe[AT_FUSE] = plan->fuse", "sqe[AT_FUSE] = S2N_FUSED_FIRST"),
        ("COMPARE AND WRITE", ".data_at = (uint32_t)(plan->bytes / 2)", ".data_at = 0"),
        ("COMPARE AND WRITE", ".cdw12 = cdw12_of(row, cdb)", ".cdw12 = 0"),
        ("COMPARE AND WRITE", "at < length && expected[at]", "false && expected[at]"),
        ("WRITE AND VERIFY (16)", "[descriptor][at >= 0]", "[descriptor][1]"),
    ],
)
def test_a_fault_in_the_native_translation(
    monkeypatch: Patch, tmp_path: Path, subject: str, before: str, after: str
) -> None:
    changes: list[int] = []

    def change(source: str) -> str:
        changes.append(source.count(before))
        return source.replace(before, after)

    native(monkeypatch, tmp_path, change)
    assert sum(changes) == 1
    findings = list(hunt(subject, "native agrees", examples=MANY))
    assert [each.subject for each in findings] == [subject]
    with pytest.raises(Finding, match=re.escape(subject)):
        throw(subject)


def test_a_native_path_that_just_steps_aside(monkeypatch: Patch) -> None:
    monkeypatch.setattr(hot, "hot_translate", lambda parameters, cdb, data_out=b"": None)
    assert_found(hunt("WRITE (16)", "native takes"), "WRITE (16)", "hot")


def test_a_prp_that_points_elsewhere(monkeypatch: Patch) -> None:
    place = QueuePair.place

    def wrong(self: QueuePair, sqe: bytes, buffer: Region, **others: int) -> int | None:
        moved = replace(buffer, iova=(buffer.iova & ~7) if buffer.length else buffer.iova)
        return place(self, sqe, moved, **others)

    monkeypatch.setattr(QueuePair, "place", wrong)
    findings = list(hunt("Submission queue entry"))
    assert findings
    assert findings[0].field in ("prp list", "prp1")
