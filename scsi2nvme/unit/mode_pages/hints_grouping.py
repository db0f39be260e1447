"""Mode page 0Ah, subpage 05h: which groups of commands are hints, and of what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from scsi2nvme.fields import Field, Structure
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.unit.block_device import PERMANENT_STREAMS
from scsi2nvme.unit.mode_pages.page import ModePage

_HEADER_BYTES = _DESCRIPTOR_BYTES = 16
_GROUPS = 64  # whatever is known of them


def _descriptors() -> Iterator[Field]:
    """Yield the fields of a descriptor for each group, the first of which is none."""
    for group in range(_GROUPS):
        byte = _HEADER_BYTES + group * _DESCRIPTOR_BYTES
        yield Field(f"group_{group}_mode", byte, 6, 2, "IO ADVICE HINTS MODE")
        yield Field(f"group_{group}_st_enble", byte, 2, 1, "it is the stream of that number")


def _defaults(facts: NamespaceFacts) -> Mapping[str, int]:
    """A group is a stream; nothing is said of how often, or how long, blocks are needed."""
    count = facts.streams.count if facts.streams else 0
    return {f"group_{group}_st_enble": group <= count for group in range(1 + PERMANENT_STREAMS)}


HINTS_GROUPING = ModePage(
    0x0A,
    Structure(
        "IO Advice Hints Grouping",
        _HEADER_BYTES + _GROUPS * _DESCRIPTOR_BYTES,
        tuple(_descriptors()),
        spec="SBC-4 6.5.7",
    ),
    subpage=0x05,
    defaults=_defaults,
    supported=lambda facts: facts.streams is not None and facts.zones is None,
)


PAGES = (HINTS_GROUPING,)
