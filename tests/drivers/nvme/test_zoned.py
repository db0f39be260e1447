"""Which zoned namespaces the driver takes, and what it learns of them."""

from __future__ import annotations

import asyncio

import pytest

from scsi2nvme.drivers.nvme import identify
from scsi2nvme.drivers.nvme.errors import StatusError
from scsi2nvme.drivers.nvme.quirks import Quirk
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand
from scsi2nvme.nvme.namespace import NamespaceFacts, Zones
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import IDENTIFY_CONTROLLER, IDENTIFY_NAMESPACE, LBA_FORMAT
from scsi2nvme.nvme.zoned import (
    IDENTIFY_ZONED_NAMESPACE,
    LBA_FORMAT_EXTENSION,
    NO_LIMIT,
    ZONE,
    ZONE_REPORT_HEADER,
)

REFUSED = Completion(StatusCode.INVALID_FIELD, dnr=True)
ZSZE, ZCAP = 256, 200
LBAFS = LBA_FORMAT.build(lbads=9) + LBA_FORMAT.build(lbads=12)
NAMESPACE: dict[str, int | bytes] = {
    "nsze": 16 * ZSZE,
    "ncap": 16 * ZSZE,
    "flbas": 1,
    "nlbaf": 1,
    "lbafs": LBAFS,
}
EXTENSIONS = LBA_FORMAT_EXTENSION.build(zsze=8 * ZSZE) + LBA_FORMAT_EXTENSION.build(
    zsze=ZSZE, zdes=2
)
ZONED: dict[str, int | bytes] = {"mar": NO_LIMIT, "mor": NO_LIMIT, "lbafes": EXTENSIONS}
FIRST: dict[str, int] = {"zt": 2, "zs": 1, "zcap": ZCAP}


def found(
    *,
    namespace: dict[str, int | bytes] | None = None,
    zoned: dict[str, int | bytes] | None = None,
    first: dict[str, int] | None = None,
    report: Completion | None = None,
) -> NamespaceFacts | None:
    """Return what the driver makes of a zoned namespace with these fields."""
    zone = ZONE.build(**FIRST | (first or {}))
    told = report or Completion(data=ZONE_REPORT_HEADER.build(nz=1) + zone)
    identified = {
        (0x00, 0): IDENTIFY_NAMESPACE.build(**NAMESPACE | (namespace or {})),
        (0x02, 0): (1).to_bytes(4, "little"),
        (0x03, 0): bytes([4, 1, 0, 0, 2]),
        (0x05, 2): IDENTIFY_ZONED_NAMESPACE.build(**ZONED | (zoned or {})),
    }

    async def execute(command: NvmeCommand) -> Completion:
        if not command.admin:
            return told
        if command.opcode != AdminOpcode.IDENTIFY:
            return REFUSED
        data = identified.get((command.cdw10 & 0xFF, command.cdw11 >> 24))
        return REFUSED if data is None else Completion(data=data.ljust(4096, b"\0"))

    controller = IDENTIFY_CONTROLLER.parse(IDENTIFY_CONTROLLER.build(ver=0x020000, nn=1))
    return asyncio.run(identify.read_namespaces(execute, controller, Quirk(0))).get(1)


@pytest.mark.parametrize(
    ("fields", "most_open", "reads_cross"),
    [
        ({}, None, False),
        ({"mor": 3}, 4, False),
        ({"mor": 9, "mar": 5}, 6, False),
        ({"ozcs": 1}, None, True),
    ],
)
def test_how_it_is_divided(
    fields: dict[str, int | bytes], most_open: int | None, reads_cross: bool
) -> None:
    facts = found(zoned=fields)
    assert facts is not None
    assert facts.zones == Zones(ZSZE, ZCAP, most_open, reads_cross, extension_bytes=128)
    assert identify.same_namespace(facts, facts)
    other = found(first={"zcap": ZCAP - 1})
    assert other is not None
    assert not identify.same_namespace(facts, other)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"zoned": {"zoc": 1}}, "variable"),
        ({"namespace": {"nsze": 16 * ZSZE + 1}}, "no whole number of zones"),
        ({"zoned": {"lbafes": bytes(32)}}, "no whole number of zones"),
        ({"first": {"zcap": 0}}, "first zone"),
        ({"first": {"zcap": ZSZE + 1}}, "first zone"),
        ({"first": {"zt": 0}}, "first zone"),
        ({"report": Completion(data=bytes(128))}, "first zone"),
        ({"report": REFUSED}, "cannot be read"),
    ],
)
def test_what_is_left_out(
    given: dict[str, object], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert found(**given) is None  # type: ignore[arg-type]
    (line,) = [each for each in caplog.messages if "left out" in each]
    assert words in line


def test_what_may_be_there_another_time_is_not_left_out() -> None:
    with pytest.raises(StatusError):
        found(report=Completion(StatusCode.NAMESPACE_NOT_READY))
