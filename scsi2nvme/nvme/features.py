"""Features: their names and the bits of their values. Spec: NVMe Base 2.0c 5.27.1."""

from __future__ import annotations

from scsi2nvme.fields import Field, Structure
from scsi2nvme.records import dataclass


def _value(name: str, *fields: tuple[str, int, int, str]) -> Structure:
    """Return CDW11, or DW0, of a feature, from (name, least significant bit, width, doc)."""
    return Structure(
        name,
        4,
        tuple(Field(each, bit // 8, bit % 8, width, doc) for each, bit, width, doc in fields),
        order="little",
        spec="NVMe Base 2.0c 5.27.1",
    )


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """A feature: `value` is what CDW11 and DW0 hold, `data_bytes` what comes as data besides."""

    fid: int
    value: Structure
    data_bytes: int = 0

    @property
    def name(self) -> str:
        """Its name in the specification's spelling."""
        return self.value.name


ROWS = (
    FeatureRow(
        0x01,
        _value(
            "Arbitration",
            ("ab", 0, 3, "burst, a power of two; 7: no limit"),
            ("lpw", 8, 8, "low priority weight, 0's based"),
            ("mpw", 16, 8, "medium priority weight, 0's based"),
            ("hpw", 24, 8, "high priority weight, 0's based"),
        ),
    ),
    FeatureRow(
        0x02, _value("Power Management", ("ps", 0, 5, "power state"), ("wh", 5, 3, "workload hint"))
    ),
    FeatureRow(0x03, _value("LBA Range Type", ("num", 0, 6, "ranges, 0's based")), 4096),
    FeatureRow(
        0x04,
        _value(
            "Temperature Threshold",
            ("tmpth", 0, 16, "kelvin"),
            ("tmpsel", 16, 4, "0: composite, 1 to 8: a sensor"),
            ("thsel", 20, 2, "0: over, 1: under"),
        ),
    ),
    FeatureRow(
        0x05,
        _value(
            "Error Recovery",
            ("tler", 0, 16, "time limit of retries, 100 ms"),
            ("dulbe", 16, 1, "deallocated blocks are errors"),
        ),
    ),
    FeatureRow(0x06, _value("Volatile Write Cache", ("wce", 0, 1, "enabled"))),
    FeatureRow(
        0x07,
        _value(
            "Number of Queues",
            ("ncqa", 16, 16, "completion queues, 0's based"),
            ("nsqa", 0, 16, "submission queues, 0's based"),
        ),
    ),
    FeatureRow(
        0x08,
        _value(
            "Interrupt Coalescing",
            ("thr", 0, 8, "entries, 0's based"),
            ("time", 8, 8, "100 us"),
        ),
    ),
    FeatureRow(
        0x09,
        _value(
            "Interrupt Vector Configuration",
            ("iv", 0, 16, "vector"),
            ("cd", 16, 1, "coalescing disabled"),
        ),
    ),
    FeatureRow(0x0A, _value("Write Atomicity Normal", ("dn", 0, 1, "AWUPF only is kept"))),
    FeatureRow(
        0x0B,
        _value(
            "Asynchronous Event Configuration",
            ("smart", 0, 8, "critical warnings"),
            ("nan", 8, 1, "namespaces"),
            ("fan", 9, 1, "firmware activation"),
            ("tln", 10, 1, "telemetry"),
            ("anacn", 11, 1, "asymmetric access"),
        ),
    ),
    FeatureRow(0x0C, _value("Autonomous Power State Transition", ("apste", 0, 1, "enabled")), 256),
    FeatureRow(0x0D, _value("Host Memory Buffer", ("ehm", 0, 1, "enabled")), 4096),
    FeatureRow(0x0E, _value("Timestamp"), 8),
    FeatureRow(0x0F, _value("Keep Alive Timer", ("kato", 0, 32, "ms"))),
    FeatureRow(
        0x10,
        _value(
            "Host Controlled Thermal Management",
            ("tmt2", 0, 16, "kelvin"),
            ("tmt1", 16, 16, "kelvin"),
        ),
    ),
    FeatureRow(0x11, _value("Non-Operational Power State Config", ("noppme", 0, 1, "permissive"))),
    FeatureRow(0x12, _value("Read Recovery Level Config", ("rrl", 0, 4, "level"))),
    FeatureRow(0x13, _value("Predictable Latency Mode Config", ("plme", 0, 1, "enabled")), 512),
    FeatureRow(
        0x14,
        _value("Predictable Latency Mode Window", ("wsel", 0, 3, "1: deterministic, 2: the other")),
    ),
    FeatureRow(0x16, _value("Host Behavior Support"), 512),
    FeatureRow(0x17, _value("Sanitize Config", ("nodrm", 0, 1, "no-deallocate is a warning"))),
    FeatureRow(0x80, _value("Software Progress Marker", ("pbslc", 0, 8, "pre-boot loads"))),
    FeatureRow(0x81, _value("Host Identifier", ("exhid", 0, 1, "128 bits")), 8),
    FeatureRow(
        0x82,
        _value(
            "Reservation Notification Mask",
            ("regpre", 1, 1, "registration preempted"),
            ("resrel", 2, 1, "reservation released"),
            ("respre", 3, 1, "reservation preempted"),
        ),
    ),
    FeatureRow(0x83, _value("Reservation Persistence", ("ptpl", 0, 1, "through power loss"))),
    FeatureRow(
        0x84,
        _value(
            "Namespace Write Protection Config",
            ("wps", 0, 3, "0: none, 1: protected, 2: until power cycle, 3: for good"),
        ),
    ),
)

BY_FID: dict[int, FeatureRow] = {row.fid: row for row in ROWS}
