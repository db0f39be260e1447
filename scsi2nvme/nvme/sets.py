"""What a subsystem's memory is divided into: domains, endurance groups, NVM sets, media units.

Spec: NVMe Base 2.0c 5.17 (Identify), 5.16.1 (logs), 5.3 (Capacity Management).
"""

from __future__ import annotations

from scsi2nvme.fields import Field, Structure

PREDICTABLE_LATENCY_LOG, PREDICTABLE_LATENCY_EVENTS_LOG = 0x0A, 0x0B
ENDURANCE_EVENTS_LOG = 0x0F
MEDIA_UNITS_LOG, CAPACITY_CONFIGURATIONS_LOG = 0x10, 0x11
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
MEDIA_UNITS = _structure(
    "Media Unit Status",
    16,
    (
        _f("nmu", 0, 1, "media units"),
        _f("cchans", 2, 3, "channels"),
        _f("sel_config", 4, 5, "the capacity configuration that was selected"),
    ),
    "5.16.1.16",
)
MEDIA_UNIT = _structure(
    "Media Unit Status Descriptor",
    14,
    (
        _f("muid", 0, 1),
        _f("domainid", 2, 3),
        _f("endgid", 4, 5),
        _f("nvmsetid", 6, 7),
        _f("cap_adj_fctr", 8, 9),
        _f("avl_spare", 10, 10, "percent"),
        _f("percent_used", 11, 11),
        _f("mucs", 12, 12, "channels, whose identifiers stand behind this"),
        _f("cio", 13, 13, "where, from its beginning on"),
    ),
    "5.16.1.16",
)
CHANNEL_IDENTIFIER_BYTES = 2
CAPACITY_CONFIGURATIONS = _structure(
    "Supported Capacity Configuration List", 16, (_f("sccn", 0, 0),), "5.16.1.17"
)
CAPACITY_CONFIGURATION = _structure(
    "Capacity Configuration Descriptor",
    32,
    (_f("cap_config_id", 0, 1), _f("domainid", 2, 3), _f("egcn", 4, 5)),
    "5.16.1.17",
)
ENDURANCE_GROUP_CONFIGURATION = _structure(
    "Endurance Group Configuration Descriptor",
    80,
    (
        _f("endgid", 0, 1),
        _f("cap_adj_factor", 2, 3),
        _f("tegcap", 16, 31, "bytes"),
        _f("segcap", 32, 47, "bytes"),
    ),
    "5.16.1.17",
)
CHANNEL_CONFIGURATION = _structure(
    "Channel Configuration Descriptor",
    4,
    (_f("chanid", 0, 1), _f("chmus", 2, 3)),
    "5.16.1.17",
)
MEDIA_UNIT_CONFIGURATION = _structure(
    "Media Unit Configuration Descriptor",
    8,
    (_f("muid", 0, 1), _f("mudl", 6, 7)),
    "5.16.1.17",
)
IDENTIFIER = _structure("Identifier", 2, (_f("value", 0, 1),), "5.16.1.17")
