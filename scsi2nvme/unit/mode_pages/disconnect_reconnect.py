"""Mode page 02h."""

from __future__ import annotations

from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.mode_pages.page import ModePage

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


PAGES = (DISCONNECT_RECONNECT,)
