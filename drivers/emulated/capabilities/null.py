"""A medium that takes no time and no room: reads and writes succeed, and move nothing.

For measurements of everything but the disk. What is read is whatever the buffer held before.
"""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Controller
from scsi2nvme.drivers.scheme import Option, parse_switch

NULL = Option(
    "null",
    "on|off",
    "emulated only, for measurements: reads and writes move nothing, what is written is lost and "
    "what is read is garbage, that of others too (default off)",
    parse_switch,
    80,
    "null",
    subject="a choice",
)


def _start(controller: Controller) -> None:
    model = controller.model
    if not controller.settings[NULL.keyword]:
        return
    model.moves_nothing = True
    for namespace in model.active:
        model.attach(namespace)


CAPABILITY = Capability("null", options=(NULL,), settings={NULL.keyword: False}, start=_start)
