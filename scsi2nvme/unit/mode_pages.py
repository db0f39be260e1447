"""The table of mode pages.

A page is a row: its layout, its default values and which fields may change.
A field may stand for a feature of the controller; its value is asked of the
controller whenever it is wanted, everything else lives in `ModeParameters`.
Spec: SPC-4 7.5, SBC-3 6.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from scsi2nvme.fields import Field, Structure
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
class FeatureBit:
    """A one-bit field that is bit 0 of a controller's feature. Spec: NVMe Base 2.0 5.27."""

    field: str
    identifier: int  # FID
    present: Callable[[BlockDevice], bool]


@dataclass(frozen=True)
class ModePage:
    """One row. Offsets in `layout` count from the page's first byte."""

    code: int
    layout: Structure
    subpage: int = 0
    changeable: tuple[str, ...] = ()
    defaults: Callable[[BlockDevice], Mapping[str, int]] = lambda device: {}
    feature: FeatureBit | None = None

    @property
    def key(self) -> str:
        """What its saved values are kept by."""
        return f"{self.code:02x}/{self.subpage:02x}"

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


def _control_defaults(device: BlockDevice) -> Mapping[str, int]:
    minutes = device.facts.controller.edstt if device.facts.controller_bit("oacs", 4) else 0
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
    defaults=lambda device: {"awre": 1, "arre": 1},
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
    feature=FeatureBit("wce", 0x06, lambda device: device.volatile_write_cache),
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
    defaults=lambda device: {"ewasc": 1, "mrie": 6},
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
