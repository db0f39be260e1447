"""nvme-cli's verbs that tell what there is, how worn it is, and who has reserved it."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.cli.errors import UsageError
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.log_structures import ENDURANCE_GROUP
from scsi2nvme.nvme.reservations import (
    REGISTERED_CONTROLLER,
    REGISTERED_CONTROLLER_EXTENDED,
    RESERVATION_NOTIFICATION,
    RESERVATION_STATUS,
)
from scsi2nvme.nvme.structures import IDENTIFY_INDEPENDENT_NAMESPACE, IDENTIFY_NVM_CONTROLLER
from tests.cli.played import played

HOST = bytes(range(16))


def shown(line: str, data: bytes) -> tuple[NvmeCommand, Any]:
    asked, told = played(line, lambda command: Completion(data=data.ljust(command.data_in, b"\0")))
    assert told.lines
    return asked[-1], told.json


def test_identify_data_beside_the_usual() -> None:
    command, told = shown("nvm-id-ctrl", IDENTIFY_NVM_CONTROLLER.build(vsl=3, dmsl=1 << 40))
    assert (command.opcode, command.cdw10, command.cdw11) == (AdminOpcode.IDENTIFY, 6, 0)
    assert told == {
        "vsl": 3,
        "wzsl": 0,
        "wusl": 0,
        "dmrl": 0,
        "dmrsl": 0,
        "dmsl": 1 << 40,
        "aocs": 0,
    }
    raw = IDENTIFY_INDEPENDENT_NAMESPACE.build(nmic=1, endgid=2, nstat=1)
    command, told = shown("cmdset-ind-id-ns -n 2 -H", raw)
    assert (command.cdw10, command.nsid) == (8, 2)
    assert (told["nmic"], told["endgid"], told["nstat"]) == (1, 2, 1)


@pytest.mark.parametrize(
    ("verb", "lid", "expected"),
    [
        (
            "supported-log-pages",
            0x00,
            {"supported_logs": [{"lid_0x2 ": 1}, {"lid_0xff ": 0x10001}]},
        ),
        ("fid-support-effects-log", 0x12, {"fid_support": [{"fid_2": 1}, {"fid_255": 0x10001}]}),
        (
            "mi-cmd-support-effects-log",
            0x13,
            {"mi_command_support": [{"mi_cmd_2": 1}, {"mi_cmd_255": 0x10001}]},
        ),
    ],
)
def test_what_is_supported(verb: str, lid: int, expected: Any) -> None:
    words = [0] * 256
    words[2], words[3], words[255] = 1, 2, 0x10001
    command, told = shown(verb, struct.pack("<256I", *words))
    assert (command.cdw10, command.data_in) == (lid | 255 << 16, 1024)
    assert told == expected


def test_how_worn_a_group_is() -> None:
    data = ENDURANCE_GROUP.build(percent_used=7, data_units_written=1 << 100)
    command, told = shown("endurance-log -g 3", data)
    assert (command.cdw10 & 0xFF, command.cdw11 >> 16) == (9, 3)
    assert (told["percent_used"], told["data_units_written"]) == (7, 1 << 100)


def test_what_has_happened_to_reservations() -> None:
    command, told = shown("resv-notif-log", RESERVATION_NOTIFICATION.build(lpc=5, type=2, nsid=1))
    assert command.cdw10 & 0xFF == 0x80
    assert told == {"count": 5, "rn_log_type": 2, "num_logs": 0, "NSID": 1}


@pytest.mark.parametrize("count", [1, 1000])
def test_who_is_registered(count: int) -> None:
    head = RESERVATION_STATUS.build(gen=9, rtype=1, regctl=count)
    one = REGISTERED_CONTROLLER.build(cntlid=4, holds=1, hostid=5, rkey=6)
    command, told = shown("resv-report -n 2 -d 12", head + one)
    assert (command.opcode, command.admin, command.nsid) == (Opcode.RESERVATION_REPORT, False, 2)
    assert (command.cdw10, command.cdw11, command.data_in) == (11, 0, 48)
    assert told == {
        "gen": 9,
        "rtype": 1,
        "regctl": count,
        "ptpls": 0,
        "regctls": [{"cntlid": 4, "rcsts": 1, "hostid": 5, "rkey": 6}],
    }
    one = REGISTERED_CONTROLLER_EXTENDED.build(
        cntlid=4, rkey=6, hostid=int.from_bytes(HOST, "little")
    )
    command, told = shown("resv-report -e -d 32", head.ljust(64, b"\0") + one)
    assert command.cdw11 == 1
    assert told["regctlext"] == [{"cntlid": 4, "rcsts": 0, "rkey": 6, "hostid": HOST.hex()}]


@pytest.mark.parametrize(
    "line", ["resv-report -d 5", "resv-report -e -d 15", "resv-report -d 600000"]
)
def test_what_no_report_fits_into(line: str) -> None:
    with pytest.raises(UsageError, match="--numd is between"):
        played(line)


def test_a_disk_tells_of_its_reservations(capfd: Any) -> None:
    disk = "emulated:memory,size=1M,rescap=on"
    assert main(["resv-report", disk, "-o", "json"]) == 0
    assert json.loads(capfd.readouterr().out) == {
        "gen": 0,
        "rtype": 0,
        "regctl": 0,
        "ptpls": 0,
        "regctls": [],
    }
