"""What hypervisors and clusters send, as bytes, and what they must be answered.

Each story is named for who sends it. They are written after what is public of these hosts:
VMware's manuals and the targets that were made for ESXi, Microsoft's sample of its class driver,
sg3_utils and fence-agents. The logical unit has 65536 blocks of 512 bytes, each byte of block n is
n, of the first 16.
"""

from __future__ import annotations

from dataclasses import replace

from scsi2nvme.scsi.status import Status
from tests.commands.vectors import Step, block, hexed

# ESXi (VAAI)

# Both ends by NAA designators, the same logical unit here, as within a datastore.
NAA = "61234564151617181112131000000000"
_NAA = f"E4000000 01030010 {NAA} 00000000 00000200"
_NAMED_TWICE = _NAA + _NAA
# 4 MiB at once (DataMover.MaxHWTransferSize): 8192 blocks.
_FOUR_MIB = "02000018 0000 0001 0000 2000 0000000000000000 0000000000004000"
# The list identifier is of no effect (LIST ID USAGE 11b): SNLID said that this may be.
_CLONED = Step(
    "83 00 0000000000000000 0000006C 00 00",
    out=hexed("00 18 0040 00000000 0000001C 00000000" + _NAMED_TWICE + _FOUR_MIB),
)
_TWO_SEGMENTS = Step(
    "83 00 0000000000000000 00000088 00 00",
    out=hexed(
        "01 10 0040 00000000 00000038 00000000"
        + _NAMED_TWICE
        # DC: the destination's blocks are counted.
        + "02020018 0000 0001 0000 0001 0000000000000003 0000000000005000"
        + "02020018 0000 0001 0000 0001 0000000000000004 0000000000005001"
    ),
)


def read(lba: int, *blocks: int) -> Step:
    """Return a READ (16), and what the blocks hold, each byte of one."""
    cdb = f"88 00 {lba:016X} {len(blocks):08X} 00 00"
    return Step(cdb, data=b"".join(map(block, blocks)))


def _swap(old: int, new: int) -> Step:
    """Return a COMPARE AND WRITE of one block, of a heartbeat."""
    return Step("89 00 0000000000000005 000000 01 00 00", out=block(old) + block(new))


# Persistent reservations


def out(action: int, key: int = 0, new: int = 0, *, kind: int = 0, aptpl: int = 0) -> Step:
    """Return a PERSISTENT RESERVE OUT of 24 bytes."""
    data = key.to_bytes(8, "big") + new.to_bytes(8, "big") + bytes([0, 0, 0, 0, aptpl, 0, 0, 0])
    return Step(f"5F {action:02X} {kind:02X} 0000 00000018 00", out=data)


REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, IGNORING = range(7)
_WE_RO = 5  # Write Exclusive, Registrants Only


def by(nexus: str, step: Step) -> Step:
    """Return a step as another nexus takes it."""
    return replace(step, nexus=nexus)


def refused(nexus: str, step: Step) -> Step:
    """Return a step of a nexus that meets the other one's reservation."""
    return replace(step, nexus=nexus, status=Status.RESERVATION_CONFLICT)


def keys(generation: int, *each: int) -> Step:
    """Return a READ KEYS, and what it tells."""
    data = generation.to_bytes(4, "big") + (8 * len(each)).to_bytes(4, "big")
    return Step(
        "5E 00 0000000000 0400 00", data=data + b"".join(key.to_bytes(8, "big") for key in each)
    )


def held(generation: int, key: int, kind: int) -> Step:
    """Return a READ RESERVATION, and who holds one."""
    data = generation.to_bytes(4, "big") + bytes([0, 0, 0, 16]) + key.to_bytes(8, "big")
    return Step("5E 01 0000000000 0400 00", data=data + bytes([0, 0, 0, 0, 0, kind, 0, 0]))


def free(generation: int) -> Step:
    """Return a READ RESERVATION where there is none."""
    return Step("5E 01 0000000000 0400 00", data=generation.to_bytes(4, "big") + bytes(4))


_WRITE = Step("2A 00 00000040 00 0001 00", out=block(0xA5))
_READ = Step("28 00 00000001 00 0001 00", data=block(1))
_PREEMPTED = Step("00 00 00 00 00 00", sense=(0x6, 0x2A, 0x05))  # REGISTRATIONS PREEMPTED
_RESERVATIONS_PREEMPTED = Step("00 00 00 00 00 00", sense=(0x6, 0x2A, 0x03))
_RELEASED = Step("00 00 00 00 00 00", sense=(0x6, 0x2A, 0x04))

# Windows makes keys of a node's number and a mark.
_A, _B = 0x0000_0001_6D73_0000, 0x0000_0002_6D73_0000

STORIES: dict[str, tuple[Step, ...]] = {
    "ESXi asks what can be copied": (
        Step(
            "84 03 0000000000000000 00000400 00 00",
            data=hexed(
                "0000002B 01 000000 0010 0040 00001000 10000000 00000000 00000000 00000000 0000"
                "0004 04 09 00 00 000000 03 02 0A E4"
            ),
        ),
        # Only the head of it.
        Step("84 03 0000000000000000 00000004 00 00", data=hexed("0000002B")),
    ),
    "ESXi clones": (
        _CLONED,
        read(0x4000, *range(16)),
        _CLONED,  # and again, under no other identifier
        _TWO_SEGMENTS,
        read(0x5000, 3, 4),
    ),
    "ESXi clones what it does not see": (
        Step(
            _CLONED.cdb,
            out=_CLONED.out[:24] + bytes(4) + _CLONED.out[28:],  # another designator
            sense=(0xA, 0x08, 0x04),
        ),
        read(0x4000, 0),
    ),
    "ESXi locks (ATS)": (
        _swap(5, 0xA5),
        read(5, 0xA5),
        # Somebody else has taken it.
        replace(_swap(6, 0xEE), nexus="b", sense=(0xE, 0x1D, 0x00)),
        read(5, 0xA5),
        _swap(0xA5, 5),
        read(5, 5),
    ),
    "ESXi clears (WRITE SAME)": (
        # 1 MiB with a block of zeroes, then with UNMAP.
        Step("93 00 0000000000000000 00000800 00 00", out=block(0)),
        read(0, 0, 0),
        Step("93 08 0000000000000008 00000800 00 00", out=block(0)),
        read(8, 0),
    ),
    "ESXi gives space back (UNMAP)": (
        Step(
            "42 00 00000000 00 0028 00",
            out=hexed(
                "0026 0020 00000000"
                "0000000000000000 00000800 00000000 0000000000001000 00000800 00000000"
            ),
        ),
        read(1, 0),
    ),
    "Windows validates reservations": (
        out(IGNORING, 0, _A),
        out(RESERVE, _A, kind=_WE_RO),
        keys(1, _A),
        held(1, _A, _WE_RO),
        by("b", keys(1, _A)),
        by("b", held(1, _A, _WE_RO)),
        # Who is not registered reads, and does not write.
        by("b", _READ),
        refused("b", _WRITE),
        refused("b", out(RESERVE, _B, kind=_WE_RO)),
        by("b", out(IGNORING, 0, _B)),
        by("b", _WRITE),
        refused("b", out(RESERVE, _B, kind=_WE_RO)),
        # The other node takes the disk over, and keeps it.
        by("b", out(PREEMPT, _B, _A, kind=_WE_RO)),
        by("b", held(3, _B, _WE_RO)),
        _PREEMPTED,
        refused("a", _WRITE),
        _READ,
        refused("a", out(RESERVE, _A, kind=_WE_RO)),
        refused("a", out(PREEMPT, _A, _B, kind=_WE_RO)),
        keys(3, _B),
        # It registers again, and gives all up.
        out(IGNORING, 0, _A),
        by("b", out(RELEASE, _B, kind=_WE_RO)),
        _RELEASED,
        free(4),
        out(CLEAR, _A),
        by("b", _RESERVATIONS_PREEMPTED),
        by("b", keys(5)),
    ),
    "Windows defends and challenges": (
        out(REGISTER, 0, _A),
        out(RESERVE, _A, kind=_WE_RO),
        out(RESERVE, _A, kind=_WE_RO),  # every three seconds: no change
        by("b", out(REGISTER, 0, _B)),
        by("b", keys(2, _A, _B)),
        refused("b", out(RESERVE, _B, kind=_WE_RO)),
        held(2, _A, _WE_RO),
        # Another type than it has is a conflict, also for who holds it.
        refused("a", out(RESERVE, _A, kind=1)),
        # A key that is not its own.
        refused("b", out(CLEAR, _A)),
        by("b", out(REGISTER, _B, 0)),
        out(RELEASE, _A, kind=_WE_RO),
        free(3),
        out(REGISTER, _A, 0),
        keys(4),
    ),
    "Pacemaker fences (fence_scsi)": (
        by("a", out(IGNORING, 0, 1, aptpl=1)),
        by("a", out(RESERVE, 1, kind=_WE_RO)),
        by("b", out(IGNORING, 0, 2, aptpl=1)),
        by("b", keys(2, 1, 2)),
        by("b", held(2, 1, _WE_RO)),
        by("b", _WRITE),
        # It registers again with the key that it has: what comes first on each start.
        by("b", out(IGNORING, 0, 2, aptpl=1)),
        by("a", out(PREEMPT_AND_ABORT, 1, 2, kind=_WE_RO)),
        by("b", _PREEMPTED),
        refused("b", _WRITE),
        by("b", _READ),
        by("b", keys(4, 1)),  # fence_scsi_check: its key is gone
        refused("b", out(PREEMPT_AND_ABORT, 2, 1, kind=_WE_RO)),
        by("b", out(IGNORING, 0, 2, aptpl=1)),
        by("b", _WRITE),
    ),
    # After a reboot the same key comes by another port: the old registration goes.
    "Pacemaker comes back by another port (fence_scsi)": (
        by("a", out(IGNORING, 0, 1, aptpl=1)),
        by("a", out(RESERVE, 1, kind=_WE_RO)),
        by("b", out(IGNORING, 0, 1, aptpl=1)),
        by("b", keys(2, 1, 1)),
        by("b", out(PREEMPT, 1, 1, kind=_WE_RO)),
        by("b", held(3, 1, _WE_RO)),
        by("b", keys(3, 1)),
        by("b", _WRITE),
        _PREEMPTED,
        refused("a", _WRITE),
    ),
}
