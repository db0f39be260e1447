"""Every row of the command table keeps to a vector, and the lists of pages are these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from scsi2nvme import commands
from scsi2nvme.command import Command, Task
from scsi2nvme.commands import log_pages, vpd_pages
from scsi2nvme.nvme.command import AdminOpcode
from scsi2nvme.nvme.structures import SELF_TEST_RESULT
from scsi2nvme.scsi.result import GOOD, Translation
from scsi2nvme.unit import mode_pages
from tests.commands import playing
from tests.commands.vectors import VECTORS, block
from tests.support import Bench, bench_of, row

by_name = pytest.mark.parametrize("name", VECTORS)

# The engine finds the logical unit ready, or not: nothing is left to the translation.
NOTHING_TO_DO = {"TEST UNIT READY"}

SELF_TEST_LOG = 0x06


def bench_of_vectors(name: str) -> Bench:
    bench = bench_of(row(name), blocks=4096)
    bench.model.unsanitary = {0x0C}  # a cryptographic erase that may be left
    bench.model.logs[SELF_TEST_LOG] = bytes(4) + SELF_TEST_RESULT.build(code=1) * 20  # passed
    bench.model.admin[AdminOpcode.DEVICE_SELF_TEST] = lambda command: None
    for lba in range(16):
        bench.model.fill(lba, block(lba))
    return bench


def differences(name: str) -> Iterator[str]:
    """Yield what comes otherwise than a vector says."""
    return playing.differences(bench_of_vectors(name), VECTORS[name])


@by_name
def test_a_row_keeps_to_its_vector(name: str) -> None:
    assert list(differences(name)) == []


@pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda command: command.name)
def test_every_row_has_a_vector(command: Command) -> None:
    selected = [commands.find(bytes.fromhex(step.cdb)) for step in VECTORS[command.name]]
    assert command in selected


@pytest.mark.parametrize("name", [name for name in VECTORS if name not in NOTHING_TO_DO])
def test_a_row_that_does_nothing_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(task: Task) -> Translation:
        yield from ()
        return GOOD

    good = row(name)
    stub = replace(good, translate=nothing)
    monkeypatch.setitem(commands.actions(good.opcode), good.service_action, stub)
    assert list(differences(name))


# A page that is added or lost by mistake changes what initiators see of every disk.


def test_the_list_of_vpd_pages() -> None:
    assert [page.code for page in vpd_pages.PAGES] == [
        *(0x00, 0x80, 0x83, 0x86, 0x87, 0x88, 0x8A, 0x8D, 0x8F, 0x92, 0xB0, 0xB1, 0xB2, 0xB4, 0xB6),
        *(0xB7, 0xDE),
    ]


def test_the_list_of_mode_pages() -> None:
    assert [(page.code, page.subpage) for page in mode_pages.PAGES] == [
        *((0x01, 0), (0x02, 0), (0x03, 0), (0x04, 0), (0x07, 0), (0x08, 0), (0x0A, 0), (0x0A, 1)),
        (0x0A, 2),
        *((0x0A, 5), (0x0A, 6), (0x1A, 0), (0x1A, 1), (0x1C, 0), (0x1C, 2)),
    ]


def test_the_list_of_log_pages() -> None:
    assert [(page.code, page.subpage) for page in log_pages.PAGES] == [
        (0x00, 0x00),
        (0x00, 0xFF),
        *((code, 0) for code in (0x02, 0x03, 0x05, 0x06, 0x07, 0x0C)),
        *((0x0D, subpage) for subpage in (0x00, 0x01, 0x02, 0xFF)),
        *((code, 0) for code in (0x0E, 0x0F, 0x10, 0x11, 0x15)),
        *((0x15, subpage) for subpage in (0x01, 0x02, 0xFF)),
        *((0x19, subpage) for subpage in (0x00, 0x20, 0xFF)),
        (0x1A, 0),
        (0x2F, 0),
    ]
