"""Mode page 0Ah, subpage 05h: which groups of commands are hints, and of what.

What a group's commands say of how their blocks are used, initiators set; of that NVMe knows how
often they are accessed, whether they follow each other, and whether somebody waits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.access_hints import NO_HINTS, AccessHints, Frequency, Latency, access_hint
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.unit.block_device import PERMANENT_STREAMS, BlockDevice
from scsi2nvme.unit.mode_pages.page import ModePage

_HEADER_BYTES = _DESCRIPTOR_BYTES = 16
GROUPS = 64  # whatever is known of them
_IO_CLASSES = (0, 1, 4, 5)

# Of an access patterns logical block markup descriptor. Spec: SBC-4 6.8.3.
ACCESS_PATTERNS = Structure(
    "Access patterns",
    3,
    (
        Field("acdlu", 0, 7, 1, "accessed while little else is"),
        Field("rlbsr", 0, 4, 2, "related to each other"),
        Field("overall_frequency", 1, 6, 2, "1: less than average, 2: more"),
        Field("read_write_frequency", 1, 4, 2, "1: rather read, 2: rather written"),
        Field("write_sequentiality", 1, 2, 2, "1: rather at random, 2: one behind the other"),
        Field("read_sequentiality", 1, 0, 2, "likewise"),
        Field("io_class", 2, 4, 4),
        Field("subsequent_io", 2, 2, 2, "2: other commands are likely to wait for it"),
        Field("osi_proximity", 2, 0, 2, "2: likely to be needed at the start of a system"),
    ),
    spec="SBC-4 6.8.3.1",
)
_MARKUP = 4  # where it stands in a group's descriptor
_OF_MARKUP = ("acdlu", "rlbsr", "access", "use")
_LESS, _MORE, _RATHER_READ, _RATHER_WRITTEN, _IN_SEQUENCE, _WAITED_FOR = 1, 2, 1, 2, 2, 2


def _at(group: int) -> int:
    return _HEADER_BYTES + group * _DESCRIPTOR_BYTES


def _descriptors() -> Iterator[Field]:
    """Yield the fields of a descriptor for each group, the first of which is none."""
    for group in range(GROUPS):
        byte = _at(group)
        yield Field(f"group_{group}_mode", byte, 6, 2, "IO ADVICE HINTS MODE")
        yield Field(f"group_{group}_st_enble", byte, 2, 1, "it is the stream of that number")
        yield Field(f"group_{group}_acdlu", byte + _MARKUP, 7, 1)
        yield Field(f"group_{group}_rlbsr", byte + _MARKUP, 4, 2)
        yield Field(f"group_{group}_access", byte + _MARKUP + 1, doc="frequency, sequentiality")
        yield Field(f"group_{group}_use", byte + _MARKUP + 2, doc="class, waiting, proximity")


def _defaults(facts: NamespaceFacts) -> Mapping[str, int]:
    """A group is a stream; nothing is said of how often, or how long, blocks are needed."""
    count = facts.streams.count if facts.streams else 0
    return {f"group_{group}_st_enble": group <= count for group in range(1 + PERMANENT_STREAMS)}


def _patterns(page: bytes) -> Iterator[Values]:
    """Yield what is said of each group."""
    for group in range(GROUPS):
        byte = _at(group) + _MARKUP
        yield ACCESS_PATTERNS.parse(page[byte : byte + ACCESS_PATTERNS.size])


def _wrong(values: Values, device: BlockDevice) -> str:
    """Name a field with a value that is reserved. Spec: SBC-4 6.8.3.1."""
    page = HINTS_GROUPING.layout.build(**values)
    for group, said in enumerate(_patterns(page)):
        if said.rlbsr == 0b10:
            return f"group_{group}_rlbsr"
        if 0b11 in (
            *(said.overall_frequency, said.read_write_frequency),
            *(said.write_sequentiality, said.read_sequentiality),
        ):
            return f"group_{group}_access"
        if said.io_class not in _IO_CLASSES or 0b11 in (said.subsequent_io, said.osi_proximity):
            return f"group_{group}_use"
    return ""


def _frequency(said: Values) -> Frequency:
    if said.overall_frequency == _LESS:
        return Frequency.SELDOM
    if said.overall_frequency != _MORE:
        return Frequency.UNKNOWN
    rather = {_RATHER_READ: Frequency.READ_OFTEN, _RATHER_WRITTEN: Frequency.WRITTEN_OFTEN}
    return rather.get(said.read_write_frequency, Frequency.OFTEN)


@lru_cache(maxsize=64)
def access_hints(page: bytes) -> AccessHints:
    """Return what the page says in NVMe's terms; how blocks are related has none there."""
    reads, writes = bytearray(), bytearray()
    for said in _patterns(page):
        frequency = _frequency(said)
        latency = Latency.LOW if said.subsequent_io == _WAITED_FOR else Latency.UNKNOWN
        for to, sequentiality in (
            (reads, said.read_sequentiality),
            (writes, said.write_sequentiality),
        ):
            sequential = sequentiality == _IN_SEQUENCE
            to.append(access_hint(frequency, latency, sequential=sequential))
    return AccessHints(bytes(reads), bytes(writes)) if any(reads + writes) else NO_HINTS


HINTS_GROUPING = ModePage(
    0x0A,
    Structure(
        "IO Advice Hints Grouping",
        _HEADER_BYTES + GROUPS * _DESCRIPTOR_BYTES,
        tuple(_descriptors()),
        spec="SBC-4 6.5.7",
    ),
    subpage=0x05,
    changeable=tuple(f"group_{group}_{name}" for group in range(GROUPS) for name in _OF_MARKUP),
    defaults=_defaults,
    wrong=_wrong,
    supported=lambda facts: facts.streams is not None and facts.zones is None,
)


PAGES = (HINTS_GROUPING,)
