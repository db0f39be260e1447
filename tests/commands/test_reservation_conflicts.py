"""Which commands a reservation stops, by the standards' tables."""

from __future__ import annotations

import pytest

from scsi2nvme import commands
from scsi2nvme.command import Command
from scsi2nvme.scsi.sense import BUS_DEVICE_RESET_FUNCTION_OCCURRED, I_T_NEXUS_LOSS_OCCURRED
from scsi2nvme.unit.reservations import Access
from tests.commands.reservations import (
    CONFLICT,
    EA,
    EA_AR,
    EA_RO,
    GOOD,
    TYPES,
    WE,
    WE_AR,
    WE_RO,
    access,
    out,
    outcome,
    reservation_bench,
)


@pytest.mark.parametrize(
    ("kind", "registrant", "stranger"),
    [
        (WE, (True, False), (True, False)),
        (EA, (False, False), (False, False)),
        (WE_RO, (True, True), (True, False)),
        (EA_RO, (True, True), (False, False)),
        (WE_AR, (True, True), (True, False)),
        (EA_AR, (True, True), (False, False)),
    ],
)
def test_who_may_read_and_write(
    kind: int, registrant: tuple[bool, bool], stranger: tuple[bool, bool]
) -> None:
    bench = reservation_bench()
    for name, key in (("a", 1), ("b", 2)):
        assert out(bench, name, "REGISTER", 0, key) == GOOD
    assert out(bench, "a", "RESERVE", 1, kind=kind) == GOOD
    assert access(bench, "a") == (True, True)
    assert access(bench, "b") == registrant
    assert access(bench, "c") == stranger


# SPC-4 table 66, SBC-3 table 13, and SPC-2 table 9 for the second column: which
# commands of others a reservation stops. READ: exclusive access stops them.
READ, WRITE, ALWAYS, OWN = Access.READ, Access.WRITE, Access.ALWAYS, Access.OWN
RESERVATION_TABLE: dict[str, tuple[Access, bool]] = {
    "SANITIZE, OVERWRITE": (Access.WRITE, False),
    "SANITIZE, BLOCK ERASE": (Access.WRITE, False),
    "SANITIZE, CRYPTOGRAPHIC ERASE": (Access.WRITE, False),
    "SANITIZE, EXIT FAILURE MODE": (Access.WRITE, False),
    "COMPARE AND WRITE": (WRITE, False),
    **dict.fromkeys(
        (
            "COPY OPERATION ABORT",
            "EXTENDED COPY (LID1)",
            "EXTENDED COPY (LID4)",
            "RECEIVE COPY FAILURE DETAILS (LID1)",
            "RECEIVE COPY OPERATING PARAMETERS",
            "RECEIVE COPY STATUS (LID1)",
            "RECEIVE COPY STATUS (LID4)",
            "RECEIVE ROD TOKEN INFORMATION",
            "REPORT ALL ROD TOKENS",
            "WRITE USING TOKEN",
        ),
        (WRITE, False),
    ),
    "FORMAT UNIT": (WRITE, False),
    "GET LBA STATUS (16)": (READ, False),
    "GET PHYSICAL ELEMENT STATUS": (READ, False),
    "INQUIRY": (ALWAYS, True),
    "LOG SELECT": (WRITE, False),
    "LOG SENSE": (ALWAYS, True),
    "MODE SELECT (6)": (WRITE, False),
    "MODE SELECT (10)": (WRITE, False),
    "MODE SENSE (6)": (READ, False),
    "MODE SENSE (10)": (READ, False),
    "ORWRITE (16)": (WRITE, False),
    "PERSISTENT RESERVE IN, READ KEYS": (ALWAYS, False),
    "PERSISTENT RESERVE IN, READ RESERVATION": (ALWAYS, False),
    "PERSISTENT RESERVE IN, REPORT CAPABILITIES": (ALWAYS, False),
    "PERSISTENT RESERVE IN, READ FULL STATUS": (ALWAYS, False),
    "PERSISTENT RESERVE OUT, REGISTER": (OWN, False),
    "PERSISTENT RESERVE OUT, RESERVE": (OWN, False),
    "PERSISTENT RESERVE OUT, RELEASE": (OWN, False),
    "PERSISTENT RESERVE OUT, CLEAR": (OWN, False),
    "PERSISTENT RESERVE OUT, PREEMPT": (OWN, False),
    "PERSISTENT RESERVE OUT, PREEMPT AND ABORT": (OWN, False),
    "PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY": (OWN, False),
    "PERSISTENT RESERVE OUT, REGISTER AND MOVE": (OWN, False),
    "PERSISTENT RESERVE OUT, REPLACE LOST RESERVATION": (OWN, False),
    "POPULATE TOKEN": (READ, False),
    "PRE-FETCH (10)": (READ, False),
    "PRE-FETCH (16)": (READ, False),
    "PREVENT ALLOW MEDIUM REMOVAL": (WRITE, False),
    "READ (6)": (READ, False),
    "READ (10)": (READ, False),
    "READ (12)": (READ, False),
    "READ (16)": (READ, False),
    "READ (32)": (READ, False),
    **{
        f"READ BUFFER ({length}), {mode}": (READ, False)
        for length in (10, 16)
        for mode in ("data", "descriptor", "echo", "echo descriptor", "error history")
    },
    "READ CAPACITY (10)": (ALWAYS, True),
    "READ CAPACITY (16)": (ALWAYS, True),
    "READ DEFECT DATA (10)": (READ, False),
    "READ DEFECT DATA (12)": (READ, False),
    "RELEASE (6)": (OWN, True),
    "RELEASE (10)": (OWN, True),
    "REPORT IDENTIFYING INFORMATION": (READ, False),
    "REPORT LUNS": (ALWAYS, True),
    "REPORT SUPPORTED OPERATION CODES": (READ, False),
    "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS": (READ, False),
    "REPORT TARGET PORT GROUPS": (ALWAYS, False),
    "REPORT TIMESTAMP": (ALWAYS, False),
    "REQUEST SENSE": (ALWAYS, True),
    "RESERVE (6)": (OWN, False),
    "RESERVE (10)": (OWN, False),
    "SECURITY PROTOCOL IN": (READ, False),
    "SECURITY PROTOCOL OUT": (WRITE, False),
    "SEEK (10)": (READ, False),
    "SEEK (6)": (READ, False),
    "SEND DIAGNOSTIC": (WRITE, False),
    "RECEIVE DIAGNOSTIC RESULTS": (WRITE, False),
    "SET IDENTIFYING INFORMATION": (WRITE, False),
    "SET TARGET PORT GROUPS": (WRITE, False),
    "SET TIMESTAMP": (WRITE, False),
    "START STOP UNIT": (WRITE, False),
    "SYNCHRONIZE CACHE (10)": (WRITE, False),
    "SYNCHRONIZE CACHE (16)": (WRITE, False),
    "TEST UNIT READY": (ALWAYS, False),
    "UNMAP": (WRITE, False),
    "VERIFY (10)": (READ, False),
    "VERIFY (12)": (READ, False),
    "VERIFY (16)": (READ, False),
    "VERIFY (32)": (READ, False),
    "WRITE (6)": (WRITE, False),
    "WRITE (10)": (WRITE, False),
    "WRITE (12)": (WRITE, False),
    "WRITE (16)": (WRITE, False),
    "WRITE (32)": (WRITE, False),
    "WRITE AND VERIFY (10)": (WRITE, False),
    "WRITE AND VERIFY (32)": (WRITE, False),
    "WRITE AND VERIFY (12)": (WRITE, False),
    "WRITE AND VERIFY (16)": (WRITE, False),
    **{
        f"WRITE BUFFER, {mode}": (WRITE, False)
        for mode in (
            "data",
            "echo",
            "download and activate",
            "download, save and activate",
            "download with offsets and activate",
            "download with offsets, save and activate",
            "download with offsets, select events, save and defer",
            "download with offsets, save and defer",
            "activate deferred",
        )
    },
    # ZBC-2 (commands allowed in the presence of reservations).
    **dict.fromkeys(
        ("OPEN ZONE", "CLOSE ZONE", "FINISH ZONE", "RESET WRITE POINTER"), (WRITE, False)
    ),
    "REPORT ZONES": (READ, False),
    "GET STREAM STATUS": (READ, False),
    **dict.fromkeys(
        (
            "WRITE ATOMIC (16)",
            "WRITE ATOMIC (32)",
            "WRITE LONG (10)",
            "WRITE LONG (16)",
            "WRITE SCATTERED (16)",
            "WRITE SCATTERED (32)",
            "WRITE STREAM (16)",
            "WRITE STREAM (32)",
            "STREAM CONTROL",
            "BACKGROUND CONTROL",
        ),
        (WRITE, False),
    ),
    "WRITE SAME (10)": (WRITE, False),
    "WRITE SAME (16)": (WRITE, False),
    "WRITE SAME (32)": (WRITE, False),
}


@pytest.mark.parametrize("command", commands.COMMANDS, ids=lambda command: command.name)
def test_every_row_says_what_the_standards_say_of_reservations(
    command: Command,
) -> None:
    assert (command.access, command.legacy_reserve_allows) == RESERVATION_TABLE[command.name]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    ("name", "fields", "stopped"),
    [
        ("START STOP UNIT", {"start": 1}, False),
        ("START STOP UNIT", {"start": 0}, True),
        ("START STOP UNIT", {"start": 1, "power_condition": 1}, True),
        ("PREVENT ALLOW MEDIUM REMOVAL", {"prevent": 0}, False),
        ("PREVENT ALLOW MEDIUM REMOVAL", {"prevent": 1}, True),
    ],
)
def test_rows_whose_fields_decide(
    kind: int, name: str, fields: dict[str, int], stopped: bool
) -> None:
    bench = reservation_bench()
    out(bench, "a", "REGISTER", 0, 1)
    out(bench, "a", "RESERVE", 1, kind=kind)
    expected = CONFLICT if stopped else GOOD
    assert outcome(bench.do(name, nexus=bench.other("b"), **fields)) == expected
    assert outcome(bench.do(name, **fields)) == GOOD


def test_what_reserve_lets_others_do() -> None:
    bench = reservation_bench()
    assert outcome(bench.do("RESERVE (6)")) == GOOD
    conflicts = {
        command.name
        for command in commands.COMMANDS
        if bench.lu.reservations.conflicts(
            bench.other("b"), command, command.structure.parse(command.build())
        )
    }
    fields_allow = {"PREVENT ALLOW MEDIUM REMOVAL"}  # PREVENT=0
    present = {command.name for command in commands.COMMANDS}
    stopped = {name for name, (_, allowed) in RESERVATION_TABLE.items() if not allowed}
    assert conflicts == (stopped & present) - fields_allow
    assert outcome(bench.do("MODE SENSE (6)", nexus=bench.other("b"), page_code=0x3F)) == CONFLICT
    assert outcome(bench.do("START STOP UNIT", nexus=bench.other("b"), start=1)) == GOOD


@pytest.mark.parametrize(
    "command",
    [each for each in commands.COMMANDS if each.opcode in (0x5E, 0x5F)],
    ids=lambda command: command.name,
)
@pytest.mark.parametrize("name", ["a", "b"])
def test_reserve_excludes_persistent_reservations_of_all(command: Command, name: str) -> None:
    bench = reservation_bench()
    bench.do("RESERVE (10)")
    assert outcome(bench.run(command.build(), nexus=bench.other(name))) == CONFLICT


@pytest.mark.parametrize("end", ["release", "logout", "loss", "reset"])
def test_what_ends_a_reserve(end: str) -> None:
    bench = reservation_bench()
    bench.do("RESERVE (6)")
    match end:
        case "release":
            bench.do("RELEASE (6)")
        case "logout":
            bench.lu.detach(bench.nexus)
        case "loss":
            bench.lu.detach(bench.nexus, I_T_NEXUS_LOSS_OCCURRED)
        case "reset":
            bench.other("b")
            bench.lu.reset(BUS_DEVICE_RESET_FUNCTION_OCCURRED)
            bench.lu.take_attention(bench.other("b"))
    assert outcome(bench.do("TEST UNIT READY", nexus=bench.other("b"))) == GOOD
