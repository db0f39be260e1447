"""Mode page 08h."""

from __future__ import annotations

from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.mode_pages.page import FeatureField, ModePage

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
    feature=FeatureField("wce", 0x06, lambda facts: facts.volatile_write_cache, flushes=True),
)


PAGES = (CACHING,)
