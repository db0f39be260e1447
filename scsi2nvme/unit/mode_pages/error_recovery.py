"""Mode pages 01h and 07h."""

from __future__ import annotations

from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.mode_pages.page import FeatureField, ModePage

_TLER, _TLER_MS = 0xFFFF, 100

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
            Field("per", 2, 2, 1, "recovered errors may be reported (MRIE 3h)"),
            Field("dte", 2, 1, 1),
            Field("read_retry_count", 3),
            Field("lbpere", 7, 7, 1),
            Field("write_retry_count", 8),
            Field("recovery_time_limit", 10, 0, 16, "multiples of 100 ms, 0: the device's own"),
        ),
        spec="SBC-3 6.4.8",
    ),
    changeable=("per",),
    defaults=lambda facts: {"awre": 1, "arre": 1},
    # TLER of Error Recovery. Spec: NVM Command Set 1.0 4.1.3.2.
    feature=FeatureField(
        "recovery_time_limit",
        0x05,
        lambda facts: True,
        shown=lambda value: min((value & _TLER) * _TLER_MS, 0xFFFF // _TLER_MS * _TLER_MS),
        set=lambda was, limit: was & ~_TLER | limit // _TLER_MS,
        per_namespace=True,
        needed=False,
    ),
    wrong=lambda values, device: (
        "recovery_time_limit" if values.recovery_time_limit % _TLER_MS else ""
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


PAGES = (READ_WRITE_ERROR_RECOVERY, VERIFY_ERROR_RECOVERY)
