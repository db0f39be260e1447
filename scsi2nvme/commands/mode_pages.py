"""The table of mode pages, and what MODE SELECT has set.

A page is a row: its layout, its default values and which fields may change.
A field may stand for a feature of the controller; its value is asked of the
controller whenever it is wanted, everything else lives in `ModeState`.
Spec: SPC-4 7.5, SBC-3 6.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from scsi2nvme.fields import Field, Structure

if TYPE_CHECKING:
    from scsi2nvme.unit.logical_unit import LogicalUnit


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
class FeatureBit:
    """A one-bit field that is bit 0 of a controller's feature. Spec: NVMe Base 2.0 5.27."""

    field: str
    identifier: int  # FID
    present: Callable[[LogicalUnit], bool]


@dataclass(frozen=True)
class ModePage:
    """One row. Offsets in `layout` count from the page's first byte."""

    code: int
    layout: Structure
    subpage: int = 0
    changeable: tuple[str, ...] = ()
    defaults: Callable[[LogicalUnit], Mapping[str, int]] = lambda lu: {}
    feature: FeatureBit | None = None

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


class ModeState:
    """The mode parameters of one logical unit, but for the controller's features.

    Saved values outlive a restart; a logical unit reset returns to them.
    Spec: SPC-4 5.10 (current, default, saved and changeable values).
    """

    def __init__(self, lu: LogicalUnit) -> None:
        self._lu = lu
        # The block length that MODE SELECT asked FORMAT UNIT for. Spec: SBC-3 6.4.2.1.
        self.pending_block_bytes: int | None = None
        self._saved = self._load()
        self._current = dict(self._saved)

    @property
    def swp(self) -> bool:
        """Software write protect. Spec: SPC-4 7.5.8."""
        return self._control("swp")

    @property
    def descriptor_sense(self) -> bool:
        """D_SENSE: sense data in descriptor format. Spec: SPC-4 7.5.8."""
        return self._control("d_sense")

    @property
    def task_aborted_status(self) -> bool:
        """TAS: TASK ABORTED for commands that another nexus aborts. Spec: SPC-4 7.5.8."""
        return self._control("tas")

    def _control(self, name: str) -> bool:
        return bool(self.field(CONTROL, name))

    def field(self, page: ModePage, name: str) -> int:
        """Return the current value of a page's field."""
        return page.layout.parse(self.values(page, PageControl.CURRENT))[name]

    def values(self, page: ModePage, control: PageControl) -> bytes:
        """Return a page's bytes; its header, and a field that is a feature, are zero."""
        if control is PageControl.CHANGEABLE:
            own = page.layout.by_name
            return page.layout.build(**{name: own[name].maximum for name in page.changeable})
        default = page.layout.build(**page.defaults(self._lu))
        if control is PageControl.DEFAULT:
            return default
        chosen = self._current if control is PageControl.CURRENT else self._saved
        # What may not change follows the namespace, whatever was set or saved before.
        mask = self.values(page, PageControl.CHANGEABLE)
        own_values = chosen.get(_key(page), default)
        return bytes(
            was & ~bits | now & bits
            for was, now, bits in zip(default, own_values, mask, strict=True)
        )

    def change(self, page: ModePage, values: bytes) -> None:
        """Make `values` a page's current ones. The caller has checked them."""
        self._current[_key(page)] = values
        self._lu.on_change()

    def save(self) -> None:
        """Save the current values of every page."""
        self._saved = dict(self._current)
        pages = {key: values.hex() for key, values in self._saved.items()}
        self._lu.store.save(self._store_key, {"pages": pages})

    def reset(self) -> None:
        """Return to the saved values: a logical unit reset. Spec: SPC-4 5.10."""
        self._current = dict(self._saved)
        self.pending_block_bytes = None

    @property
    def _store_key(self) -> str:
        return f"mode/{self._lu.identity}"

    def _load(self) -> dict[str, bytes]:
        """Return what was saved; a page whose layout has another size counts as unsaved."""
        stored = self._lu.store.load(self._store_key) or {}
        saved = {key: bytes.fromhex(values) for key, values in stored.get("pages", {}).items()}
        sizes = {_key(page): page.layout.size for page in PAGES}
        return {key: values for key, values in saved.items() if sizes.get(key) == len(values)}


def _key(page: ModePage) -> str:
    return f"{page.code:02x}/{page.subpage:02x}"


def _control_defaults(lu: LogicalUnit) -> Mapping[str, int]:
    minutes = lu.facts.controller.edstt if lu.facts.controller_bit("oacs", 4) else 0
    return {
        "gltsd": 1,
        "queue_algorithm_modifier": 1,  # tasks are reordered without restriction
        "tas": 1,
        "busy_timeout_period": 0xFFFF,
        "self_test_completion_time": min(minutes * 60, 0xFFFF),
    }


READ_WRITE_ERROR_RECOVERY = ModePage(
    0x01,
    Structure(
        "Read-Write Error Recovery",
        12,
        (
            Field("awre", 2, 7, 1, "writes reallocate defective blocks"),
            Field("arre", 2, 6, 1, "reads reallocate defective blocks"),
            Field("tb", 2, 5, 1),
            Field("rc", 2, 4, 1),
            Field("eer", 2, 3, 1),
            Field("per", 2, 2, 1),
            Field("dte", 2, 1, 1),
            Field("read_retry_count", 3),
            Field("lbpere", 7, 7, 1),
            Field("write_retry_count", 8),
            Field("recovery_time_limit", 10, 0, 16, "milliseconds, 0: the device's own"),
        ),
        spec="SBC-3 6.4.8",
    ),
    defaults=lambda lu: {"awre": 1, "arre": 1},
)
DISCONNECT_RECONNECT = ModePage(
    0x02,
    Structure(
        "Disconnect-Reconnect",
        16,
        (
            Field("buffer_full_ratio", 2),
            Field("buffer_empty_ratio", 3),
            Field("bus_inactivity_limit", 4, 0, 16),
            Field("disconnect_time_limit", 6, 0, 16),
            Field("connect_time_limit", 8, 0, 16),
            Field("maximum_burst_size", 10, 0, 16, "512 bytes; 0: as negotiated at login"),
            Field("emdp", 12, 7, 1),
            Field("fair_arbitration", 12, 4, 3),
            Field("dimm", 12, 3, 1),
            Field("dtdc", 12, 0, 3),
            Field("first_burst_size", 14, 0, 16, "512 bytes; 0: as negotiated at login"),
        ),
        spec="SPC-4 7.5.10",
    ),
)
VERIFY_ERROR_RECOVERY = ModePage(
    0x07,
    Structure(
        "Verify Error Recovery",
        12,
        (
            Field("eer", 2, 3, 1),
            Field("per", 2, 2, 1),
            Field("dte", 2, 1, 1),
            Field("verify_retry_count", 3),
            Field("verify_recovery_time_limit", 10, 0, 16, "milliseconds"),
        ),
        spec="SBC-3 6.4.9",
    ),
)
CACHING = ModePage(
    0x08,
    Structure(
        "Caching",
        20,
        (
            Field("ic", 2, 7, 1),
            Field("abpf", 2, 6, 1),
            Field("cap", 2, 5, 1),
            Field("disc", 2, 4, 1),
            Field("size", 2, 3, 1),
            Field("wce", 2, 2, 1, "writes end before the data is on the medium"),
            Field("mf", 2, 1, 1),
            Field("rcd", 2, 0, 1),
            Field("demand_read_retention_priority", 3, 4, 4),
            Field("write_retention_priority", 3, 0, 4),
            Field("disable_prefetch_transfer_length", 4, 0, 16),
            Field("minimum_prefetch", 6, 0, 16),
            Field("maximum_prefetch", 8, 0, 16),
            Field("maximum_prefetch_ceiling", 10, 0, 16),
            Field("fsw", 12, 7, 1),
            Field("lbcss", 12, 6, 1),
            Field("dra", 12, 5, 1),
            Field("sync_prog", 12, 1, 2),
            Field("nv_dis", 12, 0, 1),
            Field("number_of_cache_segments", 13),
            Field("cache_segment_size", 14, 0, 16),
        ),
        spec="SBC-3 6.4.5",
    ),
    feature=FeatureBit("wce", 0x06, lambda lu: lu.volatile_write_cache),
)
CONTROL = ModePage(
    0x0A,
    Structure(
        "Control",
        12,
        (
            Field("tst", 2, 5, 3),
            Field("tmf_only", 2, 4, 1),
            Field("dpicz", 2, 3, 1),
            Field("d_sense", 2, 2, 1, "sense data in descriptor format"),
            Field("gltsd", 2, 1, 1),
            Field("rlec", 2, 0, 1),
            Field("queue_algorithm_modifier", 3, 4, 4),
            Field("nuar", 3, 3, 1),
            Field("qerr", 3, 1, 2),
            Field("vs", 4, 7, 1),
            Field("rac", 4, 6, 1),
            Field("ua_intlck_ctrl", 4, 4, 2),
            Field("swp", 4, 3, 1, "software write protect"),
            Field("ato", 5, 7, 1),
            Field("tas", 5, 6, 1, "task aborted status"),
            Field("atmpe", 5, 5, 1),
            Field("rwwp", 5, 4, 1),
            Field("autoload_mode", 5, 0, 3),
            Field("busy_timeout_period", 8, 0, 16, "100 ms, FFFFh: no limit"),
            Field("self_test_completion_time", 10, 0, 16, "seconds, of the extended self-test"),
        ),
        spec="SPC-4 7.5.8",
    ),
    changeable=("d_sense", "swp", "tas"),
    defaults=_control_defaults,
)
CONTROL_EXTENSION = ModePage(
    0x0A,
    Structure(
        "Control Extension",
        32,
        (
            Field("tcmos", 4, 2, 1),
            Field("scsip", 4, 1, 1),
            Field("ialuae", 4, 0, 1),
            Field("initial_command_priority", 5, 0, 4),
            Field("maximum_sense_data_length", 6),
        ),
        spec="SPC-4 7.5.9",
    ),
    subpage=0x01,
)
POWER_CONDITION = ModePage(
    0x1A,
    Structure(
        "Power Condition",
        40,
        (
            Field("pm_bg_precedence", 2, 6, 2),
            Field("standby_y", 2, 0, 1),
            Field("idle_c", 3, 3, 1),
            Field("idle_b", 3, 2, 1),
            Field("idle_a", 3, 1, 1),
            Field("standby_z", 3, 0, 1),
            Field("idle_a_timer", 4, 0, 32, "100 ms"),
            Field("standby_z_timer", 8, 0, 32, "100 ms"),
            Field("idle_b_timer", 12, 0, 32, "100 ms"),
            Field("idle_c_timer", 16, 0, 32, "100 ms"),
            Field("standby_y_timer", 20, 0, 32, "100 ms"),
            Field("ccf_idle", 39, 6, 2),
            Field("ccf_standby", 39, 4, 2),
            Field("ccf_stopped", 39, 2, 2),
        ),
        spec="SPC-4 7.5.13",
    ),
)
INFORMATIONAL_EXCEPTIONS_CONTROL = ModePage(
    0x1C,
    Structure(
        "Informational Exceptions Control",
        12,
        (
            Field("perf", 2, 7, 1),
            Field("ebf", 2, 5, 1),
            Field("ewasc", 2, 4, 1, "warnings are reported"),
            Field("dexcpt", 2, 3, 1, "informational exceptions are not reported"),
            Field("test", 2, 2, 1),
            Field("ebackerr", 2, 1, 1),
            Field("logerr", 2, 0, 1),
            Field("mrie", 3, 0, 4, "6h: reported on request only"),
            Field("interval_timer", 4, 0, 32, "100 ms"),
            Field("report_count", 8, 0, 32),
        ),
        spec="SBC-3 6.4.6, SPC-4 7.5.11",
    ),
    changeable=("ewasc", "dexcpt"),
    defaults=lambda lu: {"ewasc": 1, "mrie": 6},
)

# In the order in which MODE SENSE returns them all. Spec: SPC-4 6.11.1.
PAGES = (
    READ_WRITE_ERROR_RECOVERY,
    DISCONNECT_RECONNECT,
    VERIFY_ERROR_RECOVERY,
    CACHING,
    CONTROL,
    CONTROL_EXTENSION,
    POWER_CONDITION,
    INFORMATIONAL_EXCEPTIONS_CONTROL,
)
