"""Queue pairs: what they need, and how they are full."""

from __future__ import annotations

import pytest

from scsi2nvme.native.emulator import EmulatedPort, Emulator
from scsi2nvme.native.nvme import QueuePair
from scsi2nvme.native.transport import Region
from tests.native import PAGE


@pytest.mark.parametrize(("depth", "misalignment"), [(1, 0), (64, 0), (4, 512)])
def test_a_queue_pair_needs_room_and_alignment(
    memory: Region, depth: int, misalignment: int
) -> None:
    emulator = Emulator()
    port = EmulatedPort(emulator)
    place = Region(memory.vaddr + misalignment, memory.iova + misalignment, 8 * PAGE)
    with pytest.raises(OSError, match="queue pair 1"):
        QueuePair(port, 1, depth, place)
    port.close()
    emulator.close()


def test_a_full_queue_says_so(memory: Region) -> None:
    emulator = Emulator()
    port = EmulatedPort(emulator)
    queue = QueuePair(port, 1, 4, memory)
    cids = [queue.place(bytes(64), None, 0, 0) for _ in range(4)]
    assert cids[3] is None
    assert len(set(cids[:3])) == 3
    assert queue.free_slots == 0
    queue.abandon(0x371)
    assert [each.status for each in queue.poll()] == [0x371] * 3
    queue.close()
    port.close()
    emulator.close()
