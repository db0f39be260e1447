"""Log pages that are looked at as a whole. Spec: NVMe Base 2.0c 5.16.1."""

from __future__ import annotations

from scsi2nvme.fields import Field, Structure


def _f(name: str, byte: int, last: int, doc: str = "") -> Field:
    return Field(name, byte, 0, 8 * (last - byte + 1), doc)


SELF_TEST_LOG, TELEMETRY_HOST, TELEMETRY_CONTROLLER = 0x06, 0x07, 0x08
LBA_STATUS_LOG = 0x0E
ENDURANCE_GROUP_LOG, PERSISTENT_EVENT_LOG, SANITIZE_STATUS_LOG = 0x09, 0x0D, 0x81

SANITIZE_STATUS = Structure(
    "Sanitize Status",
    512,
    (
        _f("sprog", 0, 1, "progress, of 65536"),
        Field("state", 2, 0, 3, "0 never, 1 succeeded, 2 in progress, 3 failed, 4 as 1, freed"),
        Field("passes", 2, 3, 5, "passes of overwriting that are done"),
        Field("global_erased", 3, 0, 1, "nothing was written since"),
        _f("cdw10_info", 4, 7, "dword 10 of the Sanitize command"),
        _f("time_over_write", 8, 11, "seconds"),
        _f("time_block_erase", 12, 15, "seconds"),
        _f("time_crypto_erase", 16, 19, "seconds"),
        _f("time_over_write_no_dealloc", 20, 23, "seconds"),
        _f("time_block_erase_no_dealloc", 24, 27, "seconds"),
        _f("time_crypto_erase_no_dealloc", 28, 31, "seconds"),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 256",
)

ENDURANCE_GROUP = Structure(
    "Endurance Group Information",
    512,
    (
        _f("critical_warning", 0, 0),
        _f("endurance_group_features", 1, 1),
        _f("avl_spare", 3, 3, "percent"),
        _f("avl_spare_threshold", 4, 4, "percent"),
        _f("percent_used", 5, 5),
        _f("domain_identifier", 6, 7),
        _f("endurance_estimate", 32, 47, "10^9 bytes"),
        _f("data_units_read", 48, 63, "10^9 bytes"),
        _f("data_units_written", 64, 79, "10^9 bytes"),
        _f("media_units_written", 80, 95, "10^9 bytes"),
        _f("host_read_cmds", 96, 111),
        _f("host_write_cmds", 112, 127),
        _f("media_data_integrity_err", 128, 143),
        _f("num_err_info_log_entries", 144, 159),
        _f("total_end_grp_cap", 160, 175, "bytes"),
        _f("unalloc_end_grp_cap", 176, 191, "bytes"),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 217",
)

LBA_STATUS_INFORMATION = Structure(
    "LBA Status Information",
    16,
    (
        _f("lslplen", 0, 3, "bytes of the log"),
        _f("nlslne", 4, 7, "namespaces that follow"),
        _f("estulb", 8, 11, "blocks that may be unreadable, of all; 0: not known"),
        _f("lsgc", 14, 15, "generation"),
    ),
    order="little",
    spec="NVM Command Set 1.0c 4.1.4.5",
)
LBA_STATUS_NAMESPACE = Structure(
    "LBA Status Log Namespace Element",
    16,
    (
        _f("neid", 0, 3, "namespace"),
        _f("nlrd", 4, 7, "ranges that follow; all ones: the whole namespace"),
        _f("ratype", 8, 8, "what Get LBA Status should be asked for"),
    ),
    order="little",
    spec="NVM Command Set 1.0c 4.1.4.5",
)
LBA_RANGE = Structure(
    "LBA Range Descriptor",
    16,
    (_f("rslba", 0, 7), _f("rnlb", 8, 11)),
    order="little",
    spec="NVM Command Set 1.0c 4.1.4.5",
)

TELEMETRY_HEADER = Structure(
    "Telemetry",
    512,
    (
        _f("lid", 0, 0),
        _f("ieee", 5, 7, "OUI"),
        _f("area1_last", 8, 9, "last block of data area 1, of 512 bytes"),
        _f("area2_last", 10, 11),
        _f("area3_last", 12, 13),
        _f("area4_last", 16, 19),
        _f("available", 382, 382, "of the controller-initiated log: there is one"),
        _f("generation", 383, 383),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 214",
)

PERSISTENT_EVENT_HEADER = Structure(
    "Persistent Event Log Header",
    512,
    (
        _f("lid", 0, 0),
        _f("total_num_of_events", 4, 7),
        _f("total_log_len", 8, 15, "bytes"),
        _f("log_revision", 16, 16),
        _f("head_len", 18, 19, "bytes after these"),
        _f("timestamp", 20, 25, "ms"),
        _f("timestamp_attributes", 26, 26, "origin and synch, as of the Timestamp feature"),
        _f("power_on_hours", 28, 43),
        _f("power_cycle_count", 44, 51),
        _f("pci_vid", 52, 53),
        _f("pci_ssvid", 54, 55),
        _f("sn", 56, 75, "serial number, ASCII"),
        _f("mn", 76, 115, "model number, ASCII"),
        _f("subnqn", 116, 371, "NQN, NUL terminated"),
        _f("generation", 372, 373),
        Field("context_exists", 376, 2, 1, "a reporting context is established"),
        _f("supported_events", 480, 511, "a bit of each type"),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 218",
)
PERSISTENT_EVENT = Structure(
    "Persistent Event Header",
    24,
    (
        _f("event_type", 0, 0),
        _f("event_type_rev", 1, 1),
        _f("event_header_len", 2, 2, "bytes after these"),
        _f("ctrl_id", 4, 5),
        _f("event_timestamp", 6, 11, "ms"),
        _f("event_timestamp_attributes", 12, 12),
        _f("vendor_specific_len", 20, 21, "bytes"),
        _f("event_len", 22, 23, "bytes, those of the vendor included"),
    ),
    order="little",
    spec="NVMe Base 2.0c figure 220",
)

BOOT_PARTITION_LOG = 0x15
BOOT_PARTITION_UNIT = 128 << 10
BOOT_PARTITION = Structure(
    "Boot Partition Header",
    16,
    (
        _f("lid", 0, 0),
        Field("bpsz", 4, 0, 15, "of each, times 128 KiB"),
        Field("abpid", 7, 7, 1, "the one that is active"),
    ),
    order="little",
    spec="NVMe Base 2.0c 5.16.1.21",
)
