"""`scsi2nvme explain`: every row of the tables in words, and no word of a traceback."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme import status_map
from scsi2nvme.__main__ import main
from scsi2nvme.cli.errors import MISUSED, UsageError
from scsi2nvme.cli.verbs.explain.explanations import KINDS
from scsi2nvme.command import Command
from scsi2nvme.commands import COMMANDS
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.scsi.sense import LOGICAL_UNIT_NOT_READY_FORMAT_IN_PROGRESS as FORMATTING
from scsi2nvme.scsi.sense import FieldPointer, Sense, SenseCode, SenseKey
from scsi2nvme.scsi.sense_data import TEXTS


def explain(kind: str, text: str) -> list[str]:
    return list(KINDS[kind](text))


def test_a_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "cdb", "28 00 00 00 10 00 00", "00 08 00"]) == 0
    assert capsys.readouterr().out == (
        "READ (10), 28h, 10 bytes. Spec: SBC-3 5.11\n"
        "  OPCODE           40 (28h)  [byte 0]\n"
        "  RDPROTECT        0  [byte 1, bits from 5]: "
        "protection information that is moved, and checked\n"
        "  DPO              0  [byte 1, bit 4]: disable page out\n"
        "  FUA              0  [byte 1, bit 3]: force unit access\n"
        "  LBA              4096 (1000h)  [bytes 2-5]\n"
        "  TRANSFER LENGTH  8  [bytes 7-8]\n"
        "  NACA             0  [byte 9, bit 2]: normal ACA: must be zero\n"
        "moves data in: TRANSFER LENGTH blocks\n"
        "becomes NVMe Read, in the native data plane while nothing unusual holds\n"
    )


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_every_command(row: Command) -> None:
    values = {name: 1 for name in row.structure.decoded if name not in ("opcode", "service_action")}
    lines = explain("cdb", row.build(**values).hex())
    assert lines[0].startswith(f"{row.name}, ")
    for name in values:
        shown = name.upper().replace("_", " ")
        assert [line for line in lines if re.match(rf"  {re.escape(shown)} +1  \[byte", line)]
    assert not [line for line in lines if line.startswith("refused")]


@pytest.mark.parametrize(
    ("cdb", "refusal"),
    [
        ("e4", "20h/00h INVALID COMMAND OPERATION CODE, for byte 0 of the CDB"),
        ("9e 1f", "24h/00h INVALID FIELD IN CDB, for byte 1, bit 4 of the CDB"),
        ("9e", "20h/00h INVALID COMMAND OPERATION CODE, for byte 0 of the CDB"),
        ("28 0 0", "24h/00h INVALID FIELD IN CDB, for byte 3 of the CDB: it has 3 bytes"),
        (
            "28 1 0 0 0 0 0 0 0 0",
            "24h/00h INVALID FIELD IN CDB, for byte 1, bit 0 of the CDB: it is reserved",
        ),
    ],
)
def test_what_is_refused_is_told_with_its_place(cdb: str, refusal: str) -> None:
    assert f"refused: ILLEGAL REQUEST, {refusal}" in explain("cdb", cdb)


def test_service_actions_are_listed() -> None:
    rows = sorted((row.service_action, row.name) for row in COMMANDS if row.opcode == 0x9E)
    others = ", ".join(f"9Eh/{action:02X}h {name}" for action, name in rows)
    assert others.startswith("9Eh/10h READ CAPACITY (16), ")
    assert f"of this operation code there are: {others}" in explain("cdb", "9e1f")


@pytest.mark.parametrize(
    "written", ["3/11/00", "03/11/00", "3 11 0", "0x3/0x11/0x0", "3h/11h/00h", "3, 11, 0"]
)
def test_a_sense_code_is_read_as_people_write_it(written: str) -> None:
    assert explain("sense", written) == [
        "MEDIUM ERROR, 11h/00h UNRECOVERED READ ERROR",
        "told for NVMe Unrecovered Read Error (SCT 2h SC 81h)",
        "told for NVMe Deallocated or Unwritten Logical Block (SCT 2h SC 87h)",
    ]


@pytest.mark.parametrize(("asc", "ascq"), TEXTS)
def test_every_additional_sense_code(asc: int, ascq: int) -> None:
    text = f"{asc:02X}h/{ascq:02X}h {TEXTS[asc, ascq]}"
    assert explain("sense", f"{asc:X}/{ascq:X}") == [text]


def test_codes_of_others_are_told_as_such() -> None:
    assert explain("sense", "77/1") == ["77h/01h is none that scsi2nvme sends"]
    assert explain("sense", "b/77/1") == ["ABORTED COMMAND, 77h/01h is none that scsi2nvme sends"]


def test_sense_data_are_decoded() -> None:
    code = SenseCode(SenseKey.ILLEGAL_REQUEST, 0x26, 0, "")
    pointer = FieldPointer(5, 3, in_cdb=False)
    told = Sense(code, information=4660, command_specific=16, pointer=pointer, deferred=True)
    words = [
        "of an earlier command: ILLEGAL REQUEST, 26h/00h INVALID FIELD IN PARAMETER LIST",
        "INFORMATION: 4660 (1234h)",
        "COMMAND-SPECIFIC INFORMATION: 10h",
        "it is about byte 5, bit 3 of the parameter list",
    ]
    assert explain("sense", told.fixed().hex(" ")) == words
    assert explain("sense", told.descriptor().hex()) == words
    formatting = Sense(FORMATTING, progress=16384)
    assert "progress: 25.0 %" in explain("sense", formatting.fixed().hex())


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "f0 00 03 00 00 00 4d 0a",
            [
                "MEDIUM ERROR, no additional sense code",
                "INFORMATION: 77 (4Dh)",
                "cut: 8 bytes of 18",
            ],
        ),
        (
            "70 00 05 00 00 00 00 06 00 00 00 00 26 00 00 c0 00 01",
            [
                "ILLEGAL REQUEST, 26h/00h INVALID FIELD IN PARAMETER LIST",
                "not counted: what follows the 14 bytes that are announced",
            ],
        ),
        (
            "72 05 26 00 00 00 00 00 00 00",
            ["ILLEGAL REQUEST, 26h/00h INVALID FIELD IN PARAMETER LIST"],
        ),
    ],
)
def test_what_is_cut_of_sense_data_is_told(text: str, lines: list[str]) -> None:
    told = [line for line in explain("sense", text) if not line.startswith("told for NVMe")]
    assert told == lines


@pytest.mark.parametrize("status", list(StatusCode), ids=lambda status: status.name)
def test_every_nvme_status(status: StatusCode) -> None:
    lines = explain("nvme", f"{status:x}")
    assert lines == explain("nvme", f"{status >> 8:x}/{status & 0xFF:02x}")
    assert lines[0].startswith(status.text)
    outcome = status_map.meaning_of(status).outcome
    text = outcome.text if isinstance(outcome, SenseCode) else outcome.name.replace("_", " ")
    assert any(line.startswith("told to initiators: ") and text in line for line in lines)


def test_the_bits_beside_a_status_are_told() -> None:
    assert explain("nvme", "0x6281")[1:3] == [
        "do not retry (DNR): the same command would fail again",
        "more in the controller's error log (M)",
    ]
    transient = "while DNR is zero: NOT READY, 04h/01h"
    assert any(line.startswith(transient) for line in explain("nvme", "0082"))
    assert not any(line.startswith(transient) for line in explain("nvme", "4082"))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("cdb", "foo"),
        ("cdb", "28 000"),
        ("cdb", "00" * 261),
        ("sense", "foo"),
        ("sense", "9/0/0"),
        ("sense", "12 34 56 78"),
        ("sense", "70"),
        ("sense", "70 00 05 00 00 00 00"),
        ("sense", "3/111/0"),
        ("nvme", "8/0"),
        ("nvme", "0/100"),
        ("nvme", "8000"),
        ("nvme", "1/2/3"),
    ],
)
def test_nonsense_is_refused_in_one_line(
    kind: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", kind, text]) == MISUSED
    told = capsys.readouterr()
    assert not told.out
    assert re.fullmatch(r"scsi2nvme: .*\n", told.err)


@given(st.sampled_from(sorted(KINDS)), st.text("0123456789abcdefxhH/ ,", max_size=60))
def test_anything_is_explained_or_refused(kind: str, text: str) -> None:
    try:
        assert explain(kind, text)
    except UsageError as error:
        assert str(error)  # noqa: PT017
