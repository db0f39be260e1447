"""The least that a ring's handler costs ends what the kernel puts into a ring."""

from __future__ import annotations

import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench import load

OFFSET, RING, MAP = 4096, 1 << 16, 1 << 20
DATA = OFFSET + RING
SIZE_BYTES = 256 << 20
# <linux/target_core_user.h>: where an entry has what, and where the mailbox.
IOV, LEAST, PAD, COMMAND, TMR = 48, 112, 0, 1, 2
HEAD, TAIL = 12, 64
GOOD, CHECK_CONDITION, READ_LEN = 0, 2, 2


@dataclass(frozen=True)
class Answer:
    """What is in an entry afterwards."""

    uflags: int
    status: int
    read_length: int
    sense: bytes


class PlayedKernel:
    """A ring in a file, which stands for the device as long as nobody sleeps on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = bytearray(MAP)
        self.at = 0
        self.commands: list[int] = []
        struct.pack_into("<HHII", self.data, 0, 2, 1, OFFSET, RING)

    def start_at(self, at: int) -> None:
        """Have the first entry there."""
        self.at = at
        struct.pack_into("<I", self.data, TAIL, at)

    def put(self, operation: int, length: int) -> int:
        """Add an entry; returns where it is."""
        entry = OFFSET + self.at
        struct.pack_into("<I", self.data, entry, length | operation)
        self.at = (self.at + length) % RING
        return entry

    def send(self, cdb: bytes, *extents: tuple[int, int]) -> None:
        """Add a command; of its data each extent has offset and length."""
        cdb_at = max(IOV + 16 * len(extents), LEAST)
        entry = self.put(COMMAND, cdb_at + 16)
        self.commands.append(entry)
        struct.pack_into("<I", self.data, entry + 8, len(extents))
        struct.pack_into("<Q", self.data, entry + 24, entry + cdb_at)
        for number, extent in enumerate(extents):
            struct.pack_into("<QQ", self.data, entry + IOV + 16 * number, *extent)
        self.data[entry + cdb_at : entry + cdb_at + len(cdb)] = cdb

    def run(self, *options: str) -> list[Answer]:
        """Let the program serve the ring to its end."""
        struct.pack_into("<I", self.data, HEAD, self.at)
        self.path.write_bytes(self.data)
        program = load.compiled("ring_floor.c", libraries=("-static",))
        with self.path.open("rb+") as file:
            file.seek(0, 2)  # nothing is read from it: the device is gone
            command = [str(program), str(SIZE_BYTES), hex(MAP), *options]
            done = subprocess.run(command, stdin=file, capture_output=True, check=True, timeout=20)
        self.doorbells = len(done.stdout) // 4
        self.data[:] = self.path.read_bytes()
        return [self._answer(entry) for entry in self.commands]

    def _answer(self, entry: int) -> Answer:
        status, read_length = struct.unpack_from("<B3xI", self.data, entry + 8)
        return Answer(
            self.data[entry + 7], status, read_length, bytes(self.data[entry + 16 : entry + 34])
        )

    @property
    def tail(self) -> int:
        """How far the program has got."""
        return int(struct.unpack_from("<I", self.data, TAIL)[0])


@pytest.fixture
def kernel(tmp_path: Path) -> PlayedKernel:
    return PlayedKernel(tmp_path / "ring")


def test_all_commands_end_with_one_doorbell(kernel: PlayedKernel) -> None:
    kernel.start_at(RING - 128 - 64)
    kernel.send(bytes([0x28]) + bytes(9), (DATA, 4096))
    kernel.put(PAD, 64)
    kernel.put(TMR, 112)
    kernel.send(bytes([0x2A]) + bytes(9), (DATA, 4096), (DATA + 8192, 4096))
    kernel.send(bytes([0x35]) + bytes(9))
    answers = kernel.run("--spin", "50")
    assert [(each.status, each.uflags) for each in answers] == [(GOOD, 0)] * 3
    assert kernel.doorbells == 1
    assert kernel.tail == kernel.at


def test_what_a_disk_is_asked_for_is_told(kernel: PlayedKernel) -> None:
    kernel.send(bytes([0x12, 0, 0, 0, 255, 0]), (DATA, 255))
    kernel.send(bytes([0x25]) + bytes(9), (DATA + 4096, 8))
    kernel.send(bytes([0x12, 1, 0x83, 0, 255, 0]), (DATA + 8192, 255))
    kernel.send(bytes([0x5E]) + bytes(9), (DATA + 8192, 255))
    inquiry, capacity, page, other = kernel.run()
    assert (inquiry.status, inquiry.uflags, inquiry.read_length) == (GOOD, READ_LEN, 36)
    assert kernel.data[DATA : DATA + 1] == b"\0"
    assert kernel.data[DATA + 8 : DATA + 36] == b"FLOOR   Empty ring      0   "
    assert (capacity.status, capacity.uflags) == (GOOD, 0)
    told = struct.unpack_from(">II", kernel.data, DATA + 4096)
    assert told == (SIZE_BYTES // 512 - 1, 512)
    for refused in (page, other):
        assert refused.status == CHECK_CONDITION
        assert (refused.sense[0], refused.sense[2], refused.sense[12]) == (0x70, 5, 0x20)


@pytest.mark.parametrize("copies", [False, True])
def test_data_are_left_alone_or_copied(kernel: PlayedKernel, copies: bool) -> None:
    pages = [DATA + 4096 * number for number in (0, 2, 4, 5)]
    kernel.data[pages[0] : pages[0] + 4096] = bytes(range(256)) * 16
    kernel.data[pages[1] : pages[1] + 4096] = bytes(reversed(range(256))) * 16
    written = [bytes(kernel.data[page : page + 4096]) for page in pages[:2]]
    kernel.send(bytes([0x8A]) + bytes(15), (pages[0], 4096), (pages[1], 4096))
    kernel.send(bytes([0x88]) + bytes(15), (pages[2], 4096), (pages[3], 4096))
    kernel.run(*(["--copy"] if copies else []))
    read = [bytes(kernel.data[page : page + 4096]) for page in pages[2:]]
    assert read == (written if copies else [bytes(4096)] * 2)


def test_data_beyond_the_mapping_are_not_touched(kernel: PlayedKernel) -> None:
    kernel.send(bytes([0x28]) + bytes(9), (MAP - 4096, 8192))
    with pytest.raises(subprocess.CalledProcessError) as failed:
        kernel.run("--copy")
    assert failed.value.returncode == 1
