"""The generated C tables say what the command table says."""

from __future__ import annotations

import re
import subprocess
import sys
from enum import IntEnum
from pathlib import Path

import pytest

from scsi2nvme.command import Command, Counted, Hot, Transfer
from scsi2nvme.commands import COMMANDS
from scsi2nvme.ctables import constants, header
from scsi2nvme.scsi.status import Status
from scsi2nvme.scsi.task_attribute import TaskAttribute

ROOT = Path(__file__).parent.parent
ROWS = re.compile(r"\{ /\* (?P<name>.*?) \*/\n(?P<body>.*?)\{(?P<mask>0x[^}]*)\}\},", re.DOTALL)


def bodies() -> dict[str, tuple[list[str], bytes]]:
    """Return the values, as they are written, and the mask of each row in the header."""
    found = {}
    for row in ROWS.finditer(header()):
        words = re.findall(r"[\w&]+", row["body"])
        mask = bytes(int(byte, 16) for byte in row["mask"].split(", "))
        found[row["name"]] = (words, mask)
    return found


def test_every_row_is_there_in_order() -> None:
    assert list(bodies()) == [row.name for row in COMMANDS]


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_a_row_says_what_the_table_says(row: Command) -> None:
    values, mask = bodies()[row.name]
    hot = "NULL" if row.hot is Hot.NO else f"&s2n_hot_{row.hot.name.lower()}"
    transfer = f"S2N_TRANSFER_{row.transfer.name}"
    assert values[:3] == [f"0x{row.opcode:02x}", str(row.length), f"S2N_{row.data.name}"]
    assert values[3:6] == [transfer, hot, str(row.zero_length_means)]
    asks, zones, counted = values[-3:]
    assert (asks, zones) == (str(int(row.asks_for_state)), str(int(row.reads_zones)))
    assert counted == f"S2N_COUNTED_{row.counted.name}"
    assert len(mask) == 32
    own = row.structure.mask
    assert all(accepted & ~allowed == 0 for accepted, allowed in zip(mask, own, strict=False))
    assert not any(mask[row.length :])


BITS = re.compile(r"\{0x([0-9a-f]+), (\d+), (\d+)\}|\{(0), 0, 0\}")


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
@pytest.mark.parametrize("behind", [0x00, 0xFF])
def test_fields_are_in_words_that_the_cdb_has(row: Command, behind: int) -> None:
    """A CDB of 6 bytes has two more behind it, which mean nothing."""
    cdb = bytes((37 * number + 11) % 256 for number in range(row.length))
    room = cdb.ljust(8, bytes([behind]))
    body = next(each["body"] for each in ROWS.finditer(header()) if each["name"] == row.name)
    fields = row.structure.by_name
    _, lba, count, fua, _, unmap, protect, group = BITS.findall(body)
    for name, bits in {
        "lba": lba,
        row.length_field: count,
        "fua": fua,
        "unmap": unmap,
        row.protect_field: protect,
        "group": group,
    }.items():
        if not name or name not in fields:
            assert bits == ("", "", "", "0")
            continue
        mask, at, shift = int(bits[0], 16), int(bits[1]), int(bits[2])
        word = room[at : at + 8]
        assert len(word) == 8
        assert int.from_bytes(word, "big") >> shift & mask == fields[name].read(cdb, "big")


def test_what_is_in_the_head_of_the_queue_implicitly() -> None:
    """No other command may pass one that is ORDERED. Spec: SPC-4 5.3."""
    heads = {row.name for row in COMMANDS if row.asks_for_state}
    assert heads == {"INQUIRY", "REPORT LUNS", "REQUEST SENSE", "TEST UNIT READY"}


def test_what_writes_zones_is_never_hot() -> None:
    """Its order is the engine's affair."""
    kinds = {row.hot for row in COMMANDS if row.reads_zones}
    assert kinds == {Hot.READ, Hot.FLUSH, Hot.READY, Hot.PRE_FETCH, Hot.VERIFY}


def test_the_mask_of_read_10() -> None:
    """LBA, group, length, DPO, FUA and FUA_NV; neither RDPROTECT nor NACA."""
    _, mask = bodies()["READ (10)"]
    assert mask[:10] == bytes.fromhex("ff 1a ffffffff 3f ffff 00")


def test_the_mask_of_synchronize_cache_10() -> None:
    """IMMED, but not SYNC_NV."""
    _, mask = bodies()["SYNCHRONIZE CACHE (10)"]
    assert mask[:10] == bytes.fromhex("ff 02 ffffffff 3f ffff 00")


def test_the_first_row_of_each_operation_code() -> None:
    numbers = re.search(r"s2n_first_row\[256\] = \{(.*?)\}", header(), re.DOTALL)
    assert numbers is not None
    first = [int(number) for number in re.findall(r"\d+", numbers[1])]
    assert len(first) == 256
    for opcode, index in enumerate(first):
        rows = [number for number, row in enumerate(COMMANDS, 1) if row.opcode == opcode]
        assert index == (rows[0] if rows else 0)


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [
        (Transfer, "S2N_TRANSFER_"),
        (Counted, "S2N_COUNTED_"),
        (Status, "S2N_"),
        (TaskAttribute, "S2N_ATTRIBUTE_"),
    ],
)
def test_c_counts_as_python_does(kind: type[IntEnum], prefix: str) -> None:
    for member in kind:
        assert f"    {prefix}{member.name} = {member.value},\n" in constants()


CHECKING = ("VERIFY", "WRITE AND VERIFY")
WITHOUT_12 = ("SYNCHRONIZE CACHE", "PRE-FETCH", "WRITE SAME")


def test_what_is_hot() -> None:
    hot = {row.name for row in COMMANDS if row.hot is not Hot.NO}
    assert hot == {
        *(f"{name} ({length})" for name in ("READ", "WRITE") for length in (6, 10, 12, 16)),
        *(f"{name} ({length})" for name in CHECKING for length in (10, 12, 16)),
        *(f"{name} ({length})" for name in WITHOUT_12 for length in (10, 16)),
        "COMPARE AND WRITE",
        "WRITE ATOMIC (16)",
        "UNMAP",
        "TEST UNIT READY",
    }


def test_what_counts_as_what() -> None:
    counted = {row.name: row.counted for row in COMMANDS}
    reads = {name for name, kind in counted.items() if kind is Counted.READ}
    writes = {name for name, kind in counted.items() if kind is Counted.WRITE}
    assert reads == {f"READ ({length})" for length in (6, 10, 12, 16, 32)}
    assert writes == {
        *(f"WRITE ({length})" for length in (6, 10, 12, 16, 32)),
        *(f"WRITE AND VERIFY ({length})" for length in (10, 12, 16, 32)),
        *(f"WRITE SAME ({length})" for length in (10, 16, 32)),
        *(f"WRITE ATOMIC ({length})" for length in (16, 32)),
        *("COMPARE AND WRITE", "ORWRITE (16)", "WRITE SCATTERED (16)"),
        *("WRITE SCATTERED (32)", "WRITE STREAM (16)", "WRITE STREAM (32)"),
    }
    assert [name for name, kind in counted.items() if kind is Counted.DISCARD] == ["UNMAP"]


def generate(folder: Path) -> Path:
    """Run the generator as the build does: with the standard library alone."""
    output = folder / "tables_gen.h"
    command = [sys.executable, "-S", "-B", "-m", "scsi2nvme.ctables"]
    done = subprocess.run(
        [*command, output, folder / "constants_gen.h", folder / "tables_gen.d"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return output


def test_the_generator_writes_the_header_and_what_it_depends_on(tmp_path: Path) -> None:
    output = generate(tmp_path)
    assert output.read_text() == header()
    assert (tmp_path / "constants_gen.h").read_text() == constants()
    target, _, sources = (tmp_path / "tables_gen.d").read_text().partition(": ")
    assert target == str(output)
    names = {Path(source).relative_to(ROOT.resolve()).as_posix() for source in sources.split()}
    assert {"scsi2nvme/ctables.py", "scsi2nvme/commands/read_write.py"} <= names


def test_an_unchanged_header_is_left_alone(tmp_path: Path) -> None:
    before = generate(tmp_path).stat().st_mtime_ns
    assert generate(tmp_path).stat().st_mtime_ns == before
