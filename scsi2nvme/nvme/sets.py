"""What a subsystem's memory is divided into: domains, endurance groups, NVM sets.

Spec: NVMe Base 2.0c 5.17 (Identify), 5.16.1 (logs), 5.3 (Capacity Management).
"""

from __future__ import annotations

from scsi2nvme.fields import Field, Structure

PREDICTABLE_LATENCY_LOG, PREDICTABLE_LATENCY_EVENTS_LOG = 0x0A, 0x0B
ENDURANCE_EVENTS_LOG = 0x0F
LIST_HEADER_BYTES = 128  # of NVM sets, and of domains: byte 0 counts what follows


def _f(name: str, byte: int, last: int, doc: str = "") -> Field:
    return Field(name, byte, 0, 8 * (last - byte + 1), doc)


def _structure(name: str, size: int, fields: tuple[Field, ...], spec: str) -> Structure:
    return Structure(name, size, fields, order="little", spec=f"NVMe Base 2.0c {spec}")


NVM_SET = _structure(
    "NVM Set Attributes Entry",
    128,
    (
        _f("nvmset_id", 0, 1),
        _f("endurance_group_id", 2, 3),
        _f("random_4k_read_typical", 8, 11, "100 ns"),
        _f("optimal_write_size", 12, 15, "bytes"),
        _f("total_nvmset_cap", 16, 31, "bytes"),
        _f("unalloc_nvmset_cap", 32, 47, "bytes"),
    ),
    "5.17.2.4 (CNS 04h)",
)
DOMAIN = _structure(
    "Domain Attributes Entry",
    128,
    (
        _f("dom_id", 0, 1),
        _f("dom_cap", 16, 31, "bytes"),
        _f("unalloc_dom_cap", 32, 47, "bytes"),
        _f("max_egrp_dom_cap", 48, 63, "bytes"),
    ),
    "5.17.2.17 (CNS 18h)",
)
PREDICTABLE_LATENCY = _structure(
    "Predictable Latency Per NVM Set",
    512,
    (
        Field("status", 0, 0, 3, "0 not used, 1 deterministic window, 2 the other"),
        _f("event_type", 2, 3, "what is near or past its limit"),
        _f("dtwin_reads_typical", 32, 39, "4 KiB reads"),
        _f("dtwin_writes_typical", 40, 47, "writes of the optimal size"),
        _f("dtwin_time_maximum", 48, 55, "ms"),
        _f("ndwin_time_minimum_high", 56, 63, "ms"),
        _f("ndwin_time_minimum_low", 64, 71, "ms"),
        _f("dtwin_reads_estimate", 128, 135),
        _f("dtwin_writes_estimate", 136, 143),
        _f("dtwin_time_estimate", 144, 151, "ms"),
    ),
    "5.16.1.11",
)
