"""Mode page 1Ch."""

from __future__ import annotations

from scsi2nvme.fields import Field, Structure, Values
from scsi2nvme.unit.block_device import BlockDevice
from scsi2nvme.unit.mode_pages.page import ModePage

_METHODS = (0, 2, 3, 4, 5, 6)  # MRIE: asynchronous events (1h) are obsolete


def _wrong(values: Values, device: BlockDevice) -> str:
    if values.mrie not in _METHODS:
        return "mrie"
    return "test" if values.test and values.dexcpt else ""


INFORMATIONAL_EXCEPTIONS_CONTROL = ModePage(
    0x1C,
    Structure(
        "Informational Exceptions Control",
        12,
        (
            Field("perf", 2, 7, 1),
            Field("ebf", 2, 5, 1),
            Field("ewasc", 2, 4, 1, "warnings are reported"),
            Field("dexcpt", 2, 3, 1, "failures that are predicted are not reported"),
            Field("test", 2, 2, 1),
            Field("ebackerr", 2, 1, 1),
            Field("logerr", 2, 0, 1),
            Field("mrie", 3, 0, 4, "6h: reported on request only"),
            Field("interval_timer", 4, 0, 32, "100 ms"),
            Field("report_count", 8, 0, 32),
        ),
        spec="SBC-3 6.4.6, SPC-4 7.5.11",
    ),
    changeable=("ewasc", "dexcpt", "test", "mrie", "interval_timer", "report_count"),
    unsaved=("test",),
    defaults=lambda facts: {"ewasc": 1, "mrie": 6},
    wrong=_wrong,
)


PAGES = (INFORMATIONAL_EXCEPTIONS_CONTROL,)
