"""What a log page is: one row. Spec: SPC-4 7.3.2; NVMe Base 2.0 5.16.1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum

from scsi2nvme.commands.thresholds import identify_namespace
from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.nvme.command import BROADCAST_NSID, AdminOpcode, Completion, NvmeCommand
from scsi2nvme.nvme.lba_status import Action, get_lba_status
from scsi2nvme.nvme.log_page import get_log_page
from scsi2nvme.nvme.structures import SMART_LOG
from scsi2nvme.records import dataclass
from scsi2nvme.unit.logical_unit import LogicalUnit

DATA_UNIT_BYTES = 512_000  # Spec: NVMe Base 2.0 figure 208 (Data Units Read)
ZERO_CELSIUS = 273  # kelvin, as the SMART log rounds it


@dataclass(frozen=True)
class Log:
    """A log of the controller, and how many bytes are read of it. Spec: NVMe Base 2.0 5.16.1."""

    name: str
    identifier: int
    size: int


SMART = Log("SMART", 0x02, SMART_LOG.size)
ERROR_LOG_ENTRIES = 64  # that are looked at, the newest


@dataclass(frozen=True)
class Feature:
    """A feature of the controller; `selector` is CDW11. Spec: NVMe Base 2.0 5.15, 5.27."""

    name: str
    identifier: int
    selector: int = 0


@dataclass(frozen=True)
class NamespaceData:
    """What an Identify of the namespace tells now; `identifier` is CNS."""

    name: str
    identifier: int


@dataclass(frozen=True)
class Unreadable:
    """Which blocks of the namespace are known to be unreadable, a number of runs at most."""

    name: str
    most: int
    identifier: int = AdminOpcode.GET_LBA_STATUS


NAMESPACE = NamespaceData("Identify Namespace", 0x00)
Need = Log | Feature | NamespaceData | Unreadable


def get(need: Need, nsid: int) -> NvmeCommand:
    """Return the command that asks for what a page needs."""
    if isinstance(need, Log):
        return get_log(need)
    if isinstance(need, NamespaceData):
        return identify_namespace(nsid)
    if isinstance(need, Unreadable):
        return get_lba_status(nsid, Action.TRACKED, 0, need.most)
    return NvmeCommand(
        AdminOpcode.GET_FEATURES, cdw10=need.identifier, cdw11=need.selector, admin=True
    )


def answer(need: Need, completion: Completion) -> bytes:
    """Return what has come of it: data, or a feature's value."""
    return completion.dw0.to_bytes(4, "little") if isinstance(need, Feature) else completion.data


def get_log(log: Log) -> NvmeCommand:
    """Return the command that reads a log of the controller."""
    return get_log_page(log.identifier, BROADCAST_NSID, log.size)


class Linking(IntEnum):
    """FORMAT AND LINKING. Spec: SPC-4 7.3.2."""

    BOUNDED_COUNTER = 0b00
    ASCII_LIST = 0b01
    UNBOUNDED_COUNTER = 0b10
    BINARY_LIST = 0b11


PAGE_HEADER = Structure(
    "Log page header",
    4,
    (
        Field("ds", 0, 7, 1, "LOG SELECT with SP does not save the page"),
        Field("spf", 0, 6, 1, "subpage format"),
        Field("page_code", 0, 0, 6),
        Field("subpage_code", 1),
        Field("page_length", 2, 0, 16),
    ),
    spec="SPC-4 7.3.2",
)

PARAMETER_HEADER = Structure(
    "Log parameter header",
    4,
    (
        Field("parameter_code", 0, 0, 16),
        Field("du", 2, 7, 1),
        Field("tsd", 2, 5, 1),
        Field("etc", 2, 4, 1),
        Field("tmc", 2, 2, 2),
        Field("format_and_linking", 2, 0, 2),
        Field("parameter_length", 3),
    ),
    spec="SPC-4 7.3.2",
)

COUNTER = Structure("Error counter", 8, (Field("count", 0, 0, 64),), spec="SPC-4 7.3.14")


@dataclass(frozen=True)
class Parameter:
    """One log parameter."""

    code: int
    value: bytes
    linking: Linking = Linking.BINARY_LIST
    stays: bool = False  # a bounded counter that has come to its end: DU

    @property
    def data(self) -> bytes:
        """The parameter with its header."""
        header = PARAMETER_HEADER.build(
            parameter_code=self.code,
            du=self.stays,
            format_and_linking=self.linking,
            parameter_length=len(self.value),
        )
        return header + self.value


Logs = Mapping[Need, bytes]


def _nothing(lu: LogicalUnit, values: Mapping[int, bytes], logs: Logs) -> None:
    """Set nothing: there is nothing that could be set."""


@dataclass(frozen=True)
class LogPage:
    """One row.

    `parameters` ascend by code, and are made of what `needs` asks for. `counters`: the page holds
    counters, so PC matters. A page without `parameters` is a list of pages.

    `settable`: which parameters LOG SELECT may set of this logical unit, by their codes, and how
    many bytes each has; `set` gets those that it does set, and what the page needs. `resets`: these
    become zero when asked, and with `reset_only` nothing else. `keeps`: the page tells what
    outlives a restart.
    """

    code: int
    name: str
    spec: str
    parameters: Callable[[LogicalUnit, Logs], tuple[Parameter, ...]] | None = None
    needs: tuple[Need, ...] = ()
    subpage: int = 0
    counters: bool = False
    settable: Callable[[LogicalUnit], Mapping[int, int]] = lambda lu: {}
    set: Callable[[LogicalUnit, Mapping[int, bytes], Logs], None] = _nothing
    resets: bool = False
    reset_only: bool = False
    keeps: bool = False
    supported: Callable[[LogicalUnit], bool] = lambda lu: True

    def saveable(self, lu: LogicalUnit) -> bool:
        """Whether anything of it is saved (DS is zero)."""
        return self.keeps or bool(self.settable(lu))

    def resettable(self, lu: LogicalUnit) -> Mapping[int, int]:
        """Return what can be returned to zero, as `settable` does."""
        return self.settable(lu) if self.resets else {}


def smart_log(logs: Logs) -> Values:
    """Return the SMART log of a page that needs it."""
    return SMART_LOG.parse(logs[SMART])


def saturated(value: int, structure: Structure, name: str) -> int:
    """Return what fits: the controller's counters have 128 bits."""
    return min(value, structure.by_name[name].maximum)


def celsius(kelvin: int) -> int:
    """Return a temperature in SPC's form; 0 kelvin means that there is no sensor."""
    return min(max(kelvin - ZERO_CELSIUS, 0), 0xFE) if kelvin else 0xFF
