"""nvme-cli's verbs for one command, from `ana-log` to `zns-reset-zone`."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.nvme.ana import ANA_GROUP, ANA_HEADER
from scsi2nvme.nvme.command import AdminOpcode, Completion, NvmeCommand, Opcode
from scsi2nvme.nvme.copying import SOURCE_RANGE
from scsi2nvme.nvme.directives import STREAMS_PARAMETERS
from scsi2nvme.nvme.log_structures import (
    LBA_RANGE,
    LBA_STATUS_INFORMATION,
    LBA_STATUS_NAMESPACE,
)
from scsi2nvme.nvme.reservations import ACQUIRE_DATA, REGISTER_DATA, RELEASE_DATA
from scsi2nvme.nvme.sets import DOMAIN, NVM_SET, PREDICTABLE_LATENCY
from scsi2nvme.nvme.structures import (
    EXTENDED_LBA_FORMAT,
    IDENTIFY_CONTROLLER,
    IDENTIFY_NVM_NAMESPACE,
    NAMESPACE_GRANULARITY,
    NAMESPACE_GRANULARITY_LIST,
)
from scsi2nvme.nvme.zoned import (
    CHANGED_ZONES,
    IDENTIFY_ZONED_NAMESPACE,
    LBA_FORMAT_EXTENSION,
    ZONE,
    ZONE_REPORT_HEADER,
    ZoneState,
)
from tests.cli.played import played


def shown(line: str, data: bytes) -> tuple[NvmeCommand, Any]:
    """Return the last command of a verb that is answered with data, and its JSON."""
    asked, told = played(line, lambda command: Completion(data=data.ljust(command.data_in, b"\0")))
    assert told.lines
    return asked[-1], told.json


@pytest.mark.parametrize(
    ("line", "opcode", "fields"),
    [
        (
            "resv-register -n 2 -c 1 -k 2 -r 2 -p 3 -i",
            Opcode.RESERVATION_REGISTER,
            {
                "nsid": 2,
                "cdw10": 2 | 1 << 3 | 3 << 30,
                "data_out": REGISTER_DATA.build(crkey=1, nrkey=2),
            },
        ),
        (
            "resv-acquire -c 1 -p 2 -t 3 -a 1",
            Opcode.RESERVATION_ACQUIRE,
            {"cdw10": 1 | 3 << 8, "data_out": ACQUIRE_DATA.build(crkey=1, prkey=2)},
        ),
        (
            "resv-release -c 1 -t 3 -a 1",
            Opcode.RESERVATION_RELEASE,
            {"cdw10": 1 | 3 << 8, "data_out": RELEASE_DATA.build(crkey=1)},
        ),
        (
            "dir-receive -D 1 -O 1",
            AdminOpcode.DIRECTIVE_RECEIVE,
            {"cdw10": 7, "cdw11": 0x101, "data_in": 32},
        ),
        ("dir-receive -O 1", AdminOpcode.DIRECTIVE_RECEIVE, {"cdw10": 1023, "data_in": 4096}),
        (
            "dir-receive -D 1 -O 2",
            AdminOpcode.DIRECTIVE_RECEIVE,
            {"cdw10": (128 << 10) // 4 - 1, "data_in": 128 << 10},
        ),
        (
            "dir-receive -D 1 -O 3 -r 5",
            AdminOpcode.DIRECTIVE_RECEIVE,
            {"cdw10": 0, "cdw11": 0x103, "cdw12": 5, "data_in": 0},
        ),
        (
            "dir-send -O 1 -T 1 -e 1",
            AdminOpcode.DIRECTIVE_SEND,
            {"cdw10": 0, "cdw11": 1, "cdw12": 0x101, "data_out": b""},
        ),
        ("dir-send -D 1 -O 1 -S 7", AdminOpcode.DIRECTIVE_SEND, {"cdw11": 7 << 16 | 0x101}),
        (
            "security-recv -p 1 -s 0x1234 -N 5 -x 512",
            AdminOpcode.SECURITY_RECEIVE,
            {"cdw10": 0x01123405, "cdw11": 512, "data_in": 512},
        ),
        (
            "security-recv -x 512 -t 4",
            AdminOpcode.SECURITY_RECEIVE,
            {"cdw11": 4, "data_in": 512},
        ),
        ("lockdown -o 0x84 -p 1 -f 1 -U 3", 0x24, {"cdw10": 0x8430, "cdw14": 3}),
        (
            "capacity-mgmt -o 1 -i 7 -l 5 -u 6",
            0x20,
            {"cdw10": 7 << 16 | 1, "cdw11": 5, "cdw12": 6},
        ),
        (
            "copy -d 0x100000002 -s 1,2 -b 3,4 -f -T 1 -S 9 -P 1 -p 2",
            Opcode.COPY,
            {
                "cdw10": 2,
                "cdw11": 1,
                "cdw12": 1 | 1 << 12 | 1 << 20 | 2 << 26 | 1 << 30,
                "cdw13": 9 << 16,
                "data_out": SOURCE_RANGE.build(slba=1, nlb=3) + SOURCE_RANGE.build(slba=2, nlb=4),
            },
        ),
        (
            "copy -d 0 -s 1 -b 3 -R 7 -A 8 -M 9",
            Opcode.COPY,
            {"data_out": SOURCE_RANGE.build(slba=1, nlb=3, eilbrt=7, elbat=8, elbatm=9)},
        ),
        ("zns-reset-zone -s 0x100000040", Opcode.ZONE_MANAGEMENT_SEND, {"cdw11": 1, "cdw13": 4}),
        ("zns-open-zone -a", Opcode.ZONE_MANAGEMENT_SEND, {"cdw10": 0, "cdw13": 0x103}),
        ("zns-id-ctrl", AdminOpcode.IDENTIFY, {"cdw10": 6, "cdw11": 2 << 24}),
        ("id-iocs", AdminOpcode.IDENTIFY, {"cdw10": 0x1C | 0xFFFF << 16}),
        ("nvm-id-ns -n 2", AdminOpcode.IDENTIFY, {"cdw10": 5, "cdw11": 0, "nsid": 2}),
        ("id-nvmset -i 3", AdminOpcode.IDENTIFY, {"cdw10": 4, "cdw11": 3}),
        ("list-endgrp -i 4", AdminOpcode.IDENTIFY, {"cdw10": 0x19, "cdw11": 4}),
        ("id-domain -d 5", AdminOpcode.IDENTIFY, {"cdw10": 0x18, "cdw11": 5}),
    ],
)
def test_a_verb_sends_its_command(line: str, opcode: int, fields: dict[str, Any]) -> None:
    asked, _ = played(line, lambda command: Completion(data=bytes(max(command.data_in, 4096))))
    command = asked[-1]
    assert (command.opcode, command.admin) == (opcode, not isinstance(opcode, Opcode))
    assert {name: getattr(command, name) for name in fields} == fields


def test_what_is_sent_by_a_security_protocol(tmp_path: Path) -> None:
    file = tmp_path / "payload"
    file.write_bytes(b"abcdefgh")
    (command,), _ = played(f"security-send -p 2 -s 1 -f {file} -t 4")
    assert (command.opcode, command.cdw10) == (AdminOpcode.SECURITY_SEND, 0x02000100)
    assert (command.cdw11, command.data_out) == (4, b"abcd")
    (command,), _ = played(f"security-send -f {file}")
    assert (command.cdw11, command.data_out) == (8, b"abcdefgh")
    with pytest.raises(UsageError, match="has 8 bytes"):
        played(f"security-send -f {file} -t 9")
    for name in ("missing", "/dev/null"):
        with pytest.raises(OperationError, match=r"No such file|0 bytes are not 1 to"):
            played(f"security-send -f {tmp_path / name}")


def test_by_which_ways_namespaces_are_reached() -> None:
    controller = IDENTIFY_CONTROLLER.build(cmic=8, nanagrpid=2, nn=3)
    log = ANA_HEADER.build(chgcnt=5, ngrps=2)
    log += ANA_GROUP.build(grpid=1, nnsids=2, chgcnt=4, state=2) + struct.pack("<2I", 1, 2)
    log += ANA_GROUP.build(grpid=2, nnsids=9, state=7)

    def answer(command: NvmeCommand) -> Completion:
        data = controller if command.opcode == AdminOpcode.IDENTIFY else log
        return Completion(data=data.ljust(command.data_in, b"\0"))

    asked, told = played("ana-log", answer)
    assert (asked[1].cdw10, asked[1].data_in) == (0x0C | 22 << 16, 16 + 2 * 32 + 3 * 4)
    one, other = told.json["ANA DESC LIST "]
    assert (told.json["chgcnt"], told.json["ngrps"]) == (5, 2)
    assert one == {
        "grpid": 1,
        "nnsids": 2,
        "chgcnt": 4,
        "state": "non-optimized",
        "NSIDS": [{"nsid": 1}, {"nsid": 2}],
    }
    assert (other["state"], other["NSIDS"]) == ("invalid state", [{"nsid": 0}])  # it ends there
    asked, _ = played("ana-log -g", answer)
    assert (asked[1].cdw10 >> 8 & 0x7F, asked[1].data_in) == (1, 16 + 2 * 32)
    controller = IDENTIFY_CONTROLLER.build()
    with pytest.raises(OperationError, match="no asymmetric namespace access"):
        played("ana-log", answer)


def test_streams_that_are_open() -> None:
    raw = STREAMS_PARAMETERS.build(msl=16, nso=2)
    assert shown("dir-receive -D 1 -O 1 -H", raw)[1]["nso"] == 2
    told = shown("dir-receive -D 1 -O 2 -H", struct.pack("<3H", 2, 5, 9))[1]
    assert told["open"] == [5, 9]
    told = shown("dir-receive -D 1 -O 2 -l 4 -H", struct.pack("<2H", 9, 5))[1]
    assert told["open"] == [5]
    assert shown("dir-receive -D 1 -O 2 -l 4", b"\1\0\5\0")[1] == {"result": 0, "data": "01000500"}


def test_lists_of_what_memory_is_divided_into() -> None:
    raw = bytes([1]).ljust(128, b"\0") + NVM_SET.build(nvmset_id=3, total_nvmset_cap=1 << 70)
    told = shown("id-nvmset", raw)[1]
    assert (told["nid"], [each["total_nvmset_cap"] for each in told["NVMSet"]]) == (1, [1 << 70])
    raw = bytes([255]).ljust(128, b"\0") + DOMAIN.build(dom_id=3)
    told = shown("id-domain", raw.ljust(4096, b"\0"))[1]
    assert (told["num_dom_entries"], len(told["domain_list"])) == (255, 31)
    told = shown("list-endgrp", struct.pack("<3H", 2, 7, 9))[1]
    assert told == {"num_endgrp_id": 2, "endgrp_list": [{"endgrp_id": 7}, {"endgrp_id": 9}]}
    raw = struct.pack("<H", 0xFFFF).ljust(4096, b"\1")
    assert shown("list-endgrp", raw)[1]["num_endgrp_id"] == 2047


def test_what_is_created_of_a_capacity_is_told() -> None:
    _, told = played("capacity-mgmt -o 1", lambda command: Completion(dw0=0x10007))
    assert (told.json, told.lines[1]) == ({"element_id": 7}, "Created Element Identifier: 7")
    assert len(played("capacity-mgmt -o 2 -i 7")[1].lines) == 1


def test_how_soon_a_set_answers() -> None:
    raw = PREDICTABLE_LATENCY.build(status=1, dtwin_time_estimate=9)
    command, told = shown("predictable-lat-log -i 2", raw)
    assert (command.cdw10 & 0xFF, command.cdw11 >> 16) == (0x0A, 2)
    assert (told["status"], told["dtwin_time_estimate"]) == (1, 9)


@pytest.mark.parametrize(
    ("verb", "lid"), [("pred-lat-event-agg-log", 0x0B), ("endurance-event-agg-log", 0x0F)]
)
def test_who_has_had_events(verb: str, lid: int) -> None:
    raw = struct.pack("<Q3H", 3, 5, 6, 7)
    command, told = shown(f"{verb} -e 2 -r", raw)
    assert (command.cdw10 & 0x80FF, command.data_in) == (1 << 15 | lid, 12)
    assert told == {"num_entries_avail": 3, "list_of_entries": [{"entry": 5}, {"entry": 6}]}
    assert shown(verb, raw)[1]["list_of_entries"][2] == {"entry": 7}
    for count in (0, 2045):
        with pytest.raises(UsageError, match="--log-entries is between 1 and 2044"):
            played(f"{verb} -e {count}")


def test_blocks_that_should_be_looked_at() -> None:
    parts = [
        LBA_STATUS_NAMESPACE.build(neid=1, nlrd=2, ratype=0x10),
        LBA_RANGE.build(rslba=5, rnlb=1),
        LBA_RANGE.build(rslba=9, rnlb=2),
        LBA_STATUS_NAMESPACE.build(neid=2, nlrd=0xFFFFFFFF, ratype=0x10),
        LBA_STATUS_NAMESPACE.build(neid=3, nlrd=1 << 31),
    ]
    length = 16 + sum(map(len, parts))
    log = LBA_STATUS_INFORMATION.build(lslplen=length, nlslne=4, lsgc=3) + b"".join(parts)
    command, told = shown("lba-status-log -r", log)
    assert (command.cdw10 & 0x80FF, command.data_in) == (1 << 15 | 0x0E, length)
    one, whole, endless = told["ns_elements"]
    assert one["descs"] == [{"rslba": 5, "rnlb": 1}, {"rslba": 9, "rnlb": 2}]
    assert (whole["neid"], whole["descs"], endless["descs"]) == (2, [], [])
    log = LBA_STATUS_INFORMATION.build(lslplen=1 << 31)
    with pytest.raises(OperationError, match="at most"):
        shown("lba-status-log", log)


def test_lists_of_identify() -> None:
    raw = NAMESPACE_GRANULARITY_LIST.build(**{"attributes": 1, "num-descriptors": 1})
    one = {"namespace-size-granularity": 1 << 40, "namespace-capacity-granularity": 4096}
    raw += 2 * NAMESPACE_GRANULARITY.build(**one)
    told = shown("id-ns-granularity", raw)[1]
    assert (told["attributes"], told["namespace-granularity-list"]) == (1, [one, one])
    raw = bytes(32) + (b"\1" + bytes(15) + bytes(range(16)))
    told = shown("id-uuid", raw)[1]["UUID-list"]
    assert told == [{"association": 1, "uuid": "00010203-0405-0607-0809-0a0b0c0d0e0f"}]
    assert shown("id-uuid", b"")[1] == {"UUID-list": []}
    assert shown("id-iocs", struct.pack("<2Q", 1, 5))[1] == {"iocs_0": 1, "iocs_1": 5}
    formats = EXTENDED_LBA_FORMAT.build(sts=0, pif=0) + EXTENDED_LBA_FORMAT.build(sts=16, pif=2)
    told = shown("nvm-id-ns", IDENTIFY_NVM_NAMESPACE.build(lbstm=7, pic=1, elbafs=formats))[1]
    assert (told["lbstm"], told["elbafs"][1]) == (7, {"sts": 16, "pif": 2})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("copy -d 0 -s 1,2 -b 3", "--blocks has 1 numbers, --slbs has 2"),
        ("copy -d 0 -s 1 -b 3 -A 1,2", "--expected-app-tags has 2 numbers"),
        ("dir-receive -l 6", "give a multiple of 4"),
        ("security-recv -x 0", "give --size"),
        ("zns-reset-zone", "give --start-lba of a zone, or --select-all"),
        ("zns-reset-zone -s 0 -a", "give --start-lba of a zone, or --select-all"),
        ("zns-report-zones -S 8", "--state is between 0 and 7"),
    ],
)
def test_what_makes_no_command_is_said(line: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        played(line)


# ---- zones ----

_ZONE_BLOCKS = 64
_EXTENSION = bytes(16) + LBA_FORMAT_EXTENSION.build(zsze=_ZONE_BLOCKS)


def zoned(count: int) -> Any:
    """Return what answers for a namespace with so many zones, that reports as many as fit."""

    def answer(command: NvmeCommand) -> Completion:
        if command.admin:
            return Completion(data=IDENTIFY_ZONED_NAMESPACE.build(mar=3, lbafes=_EXTENSION))
        first, room = command.cdw10 // _ZONE_BLOCKS, command.data_in // ZONE.size - 1
        found = range(first, count)[:room]
        zones = [
            ZONE.build(zt=2, zs=ZoneState.FULL, zcap=60, zslba=_ZONE_BLOCKS * n) for n in found
        ]
        told = len(found) if command.cdw13 >> 16 & 1 else count - first
        return Completion(data=ZONE_REPORT_HEADER.build(nz=told) + b"".join(zones))

    return answer


def test_zones_are_listed_page_by_page() -> None:
    asked, told = played("zns-report-zones -n 3", zoned(100))
    assert [each.cdw10 for each in asked if each.opcode == 0x7A] == [0, 0, 63 * 64]
    assert {each.nsid for each in asked} == {3}
    assert (told.json["nr_zones"], len(told.json["zone_list"])) == (100, 100)
    assert told.json["zone_list"][99] == {
        "slba": 99 * 64,
        "wp": 0,
        "cap": 60,
        "state": "FULL",
        "type": "SEQWRITE_REQ",
        "attrs": 0,
    }
    assert len(told.raw) == 100 * ZONE.size
    asked, told = played("zns-report-zones -s 64 -d 2 -S 5", zoned(100))
    assert [each.cdw13 for each in asked if each.opcode == 0x7A] == [5 << 8, 5 << 8 | 1 << 16]
    assert [zone["slba"] for zone in told.json["zone_list"]] == [64, 128]
    assert played("zns-report-zones", zoned(0))[1].json == {"nr_zones": 0, "zone_list": []}


def test_zones_that_change_meanwhile_end_the_list() -> None:
    """What is asked for behind the last zone is refused."""
    count = iter((100, 100, 63, 10))

    def answer(command: NvmeCommand) -> Any:
        return zoned(100 if command.admin else next(count))(command)

    told = played("zns-report-zones", answer)[1]
    assert len(told.json["zone_list"]) == 63

    def same(command: NvmeCommand) -> Any:
        return zoned(200)(command if command.admin else replace(command, cdw10=0))

    with pytest.raises(OperationError, match="the same zones again"):
        played("zns-report-zones", same)


def test_what_a_zoned_namespace_tells() -> None:
    for line in ("zns-id-ns", "zns-id-ns -H"):
        told = played(line, zoned(1))[1]
        assert told.json["mar"] == 3
        assert told.json["lbafe"] == [{"zsze": 0, "zdes": 0}, {"zsze": 64, "zdes": 0}]
        assert told.lines[-1] == "lbafe 1: {'zsze': 64, 'zdes': 0}"
    raw = CHANGED_ZONES.build(nrzid=2, zids=struct.pack("<3Q", 64, 128, 7))
    command, told = shown("zns-changed-zone-list -n 2 -r", raw)
    assert (command.cdw10 & 0x80FF, command.nsid) == (1 << 15 | 0xBF, 2)
    assert told == {"nrzid": 2, "zone_list": [{"slba": 64}, {"slba": 128}]}


def test_a_disk_has_its_zones_reset_and_listed(capfd: Any, tmp_path: Path) -> None:
    disk = "emulated:memory,size=4M,zoned=1M"
    assert main(["zns-report-zones", disk, "-o", "json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert [zone["state"] for zone in told["zone_list"]] == 4 * ["EMPTY"]
    assert main(["zns-open-zone", disk, "-s", "2048"]) == 0
    assert "zone at 0x800 is opened" in capfd.readouterr().out
    assert main(["zns-reset-zone", disk, "-s", "1"]) == 1
    assert "the controller answers" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("dir-receive {} -D 0 -O 1", "result 0"),
        ("security-recv {} -p 0 -x 512", "Success"),
        ("ana-log {}", "optimized"),
        ("nvm-id-ns {}", "lbstm"),
        ("set-feature {} -f 0x81 -d /dev/zero -l 8", "set-feature:0x81"),
    ],
)
def test_a_disk_is_asked(capfd: Any, line: str, told: str) -> None:
    disk = "emulated:memory,size=1M,streams=2,tcg=on,ana=optimized,rescap=on"
    assert main(line.format(disk).split()) == 0
    assert told in capfd.readouterr().out
