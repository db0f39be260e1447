"""What a mode page is: one row. Spec: SPC-4 7.5.7."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from enum import IntEnum
from functools import cached_property

from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.records import dataclass
from scsi2nvme.unit.block_device import BlockDevice


class PageControl(IntEnum):
    """Which values MODE SENSE returns. Spec: SPC-4 6.11.1."""

    CURRENT = 0
    CHANGEABLE = 1
    DEFAULT = 2
    SAVED = 3


PAGE_0 = Structure(
    "Mode page header",
    2,
    (
        Field("ps", 0, 7, 1, "parameters saveable"),
        Field("spf", 0, 6, 1, "subpage format"),
        Field("page_code", 0, 0, 6),
        Field("page_length", 1),
    ),
    spec="SPC-4 7.5.7",
)

SUBPAGE = Structure(
    "Mode subpage header",
    4,
    (
        Field("ps", 0, 7, 1, "parameters saveable"),
        Field("spf", 0, 6, 1, "subpage format"),
        Field("page_code", 0, 0, 6),
        Field("subpage_code", 1),
        Field("page_length", 2, 0, 16),
    ),
    spec="SPC-4 7.5.7",
)


@dataclass(frozen=True)
class FeatureField:
    """A field that is a controller's feature. Spec: NVMe Base 2.0 5.27.

    `shown` returns what the field is of the feature's value; `set` the value that the field makes
    of the one that was. `per_namespace`: the feature is the namespace's own, not the controller's.
    `flushes`: what a cache holds reaches the medium when the field becomes zero. `needed`: without
    it there is no page, else it is as if the controller had no such feature.
    """

    field: str
    identifier: int  # FID
    present: Callable[[NamespaceFacts], bool]
    shown: Callable[[int], int] = lambda value: value & 1
    set: Callable[[int, int], int] = lambda was, field: field
    per_namespace: bool = False
    flushes: bool = False
    needed: bool = True


@dataclass(frozen=True)
class ModePage:
    """One row. Offsets in `layout` count from the page's first byte.

    `unsaved` are changeable fields that are not saved; `only_where` has those that may change of
    some namespaces only. `wrong` names a field whose value, with the
    others', makes no sense of this device, "" if all do. `derived` are default values that follow
    the capacity, of whose changes initiators are told by that (2A/09h).
    """

    code: int
    layout: Structure
    subpage: int = 0
    changeable: tuple[str, ...] = ()
    defaults: Callable[[NamespaceFacts], Mapping[str, int]] = lambda facts: {}
    derived: Callable[[BlockDevice], Mapping[str, int]] = lambda device: {}
    feature: FeatureField | None = None
    unsaved: tuple[str, ...] = ()
    only_where: Mapping[str, Callable[[NamespaceFacts], bool]] = field(default_factory=dict)
    wrong: Callable[[Values, BlockDevice], str] = lambda values, device: ""
    supported: Callable[[NamespaceFacts], bool] = lambda facts: True

    @cached_property
    def key(self) -> str:
        """What its saved values are kept by."""
        return f"{self.code:02x}/{self.subpage:02x}"

    def changeable_bits(self, facts: NamespaceFacts) -> bytes:
        """Return the bytes with the bits set that MODE SELECT may change, but for a feature's."""
        if all(where(facts) for where in self.only_where.values()):
            return self._changeable_somewhere
        own, held = self.layout.by_name, self.only_where
        names = (name for name in self.changeable if name not in held or held[name](facts))
        return self.layout.build(**{name: own[name].maximum for name in names})

    @cached_property
    def _changeable_somewhere(self) -> bytes:
        own = self.layout.by_name
        return self.layout.build(**{name: own[name].maximum for name in self.changeable})

    @property
    def saveable(self) -> bool:
        """Whether any of its fields can be saved (PS), but for a feature's."""
        return bool(set(self.changeable) - set(self.unsaved))

    @property
    def name(self) -> str:
        """The page's name as the standard prints it."""
        return self.layout.name

    @property
    def header(self) -> Structure:
        """The layout of the page's first bytes."""
        return SUBPAGE if self.subpage else PAGE_0

    def with_header(self, values: bytes, saveable: bool) -> bytes:
        """Return the page as it is sent: `values` are its bytes without a header."""
        header = {
            "ps": int(saveable),
            "page_code": self.code,
            "page_length": self.layout.size - self.header.size,
        }
        if self.subpage:
            header |= {"spf": 1, "subpage_code": self.subpage}
        return self.header.build(**header) + values[self.header.size :]
