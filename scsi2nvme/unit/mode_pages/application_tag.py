"""Mode page 0Ah, subpage 02h: which application tag is expected of which blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.protection import ApplicationTag
from scsi2nvme.unit.block_device import BlockDevice
from scsi2nvme.unit.mode_pages.page import ModePage

_DESCRIPTORS = 4
_HEADER_BYTES, _DESCRIPTOR_BYTES = 16, 24


class _Descriptor(NamedTuple):
    """One that says something: whose count is not zero. `end` is the block behind its last one."""

    number: int
    last: int
    tag: int
    lba: int
    end: int


def _fields(n: int) -> tuple[Field, ...]:
    byte = _HEADER_BYTES + n * _DESCRIPTOR_BYTES
    return (
        Field(f"last_{n}", byte, 7, 1, "those that follow are not valid"),
        Field(f"tag_{n}", byte + 6, 0, 16),
        Field(f"lba_{n}", byte + 8, 0, 64, "where the descriptor before ends"),
        Field(f"count_{n}", byte + 16, 0, 64, "blocks; 0: the descriptor is ignored"),
    )


def _descriptors(values: Values) -> Iterator[_Descriptor]:
    """Yield those that are valid. Spec: SBC-4 6.5.3.2."""
    for n in range(_DESCRIPTORS):
        last, tag, lba, count = (values[f"{name}_{n}"] for name in ("last", "tag", "lba", "count"))
        if count:
            yield _Descriptor(n, last, tag, lba, lba + count)
        if last:
            return


def _wrong(values: Values, device: BlockDevice) -> str:
    """Ranges follow each other from block 0 to the last one, which the standard leaves out.

    RETURNED LOGICAL BLOCK ADDRESS, which their sum is to be, is its address. Who counts it as
    well is not refused.
    """
    ends, before = (device.capacity_blocks - 1, device.capacity_blocks), 0
    said = list(_descriptors(values))
    for each in said:
        if each.lba != before:
            return f"lba_{each.number}"
        before = each.end
    if said and before not in ends:
        return f"count_{said[-1].number}"
    if not any(values[f"last_{n}"] for n in range(_DESCRIPTORS)):
        return f"last_{_DESCRIPTORS - 1}"
    return ""


def application_tags(values: Values) -> tuple[ApplicationTag, ...]:
    """Return what the page says."""
    return tuple(ApplicationTag(range(d.lba, d.end), d.tag) for d in _descriptors(values))


APPLICATION_TAG = ModePage(
    0x0A,
    Structure(
        "Application Tag",
        _HEADER_BYTES + _DESCRIPTORS * _DESCRIPTOR_BYTES,
        tuple(field for n in range(_DESCRIPTORS) for field in _fields(n)),
        spec="SBC-4 6.5.3",
    ),
    subpage=0x02,
    changeable=tuple(field.name for n in range(_DESCRIPTORS) for field in _fields(n)),
    defaults=lambda facts: {"last_0": 1},
    wrong=_wrong,
    supported=lambda facts: facts.moves_protection,
)


PAGES = (APPLICATION_TAG,)
