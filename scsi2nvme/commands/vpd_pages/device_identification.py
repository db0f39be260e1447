"""VPD page 83h."""

from __future__ import annotations

from scsi2nvme.command import Task
from scsi2nvme.commands.vpd_pages.designators import (
    Association,
    logical_unit_designators,
    name_string,
    port_designators,
)
from scsi2nvme.commands.vpd_pages.page import VpdPage


def device_identification(task: Task) -> bytes:
    """Spec: SPC-4 7.8.6; SNTR 1.5 6.1.4; RFC 7143 4.2.4 (names of port and device)."""
    port = task.nexus.target
    device = name_string(Association.TARGET_DEVICE, port.device) if port.device else b""
    return logical_unit_designators(task.lu) + port_designators(port) + device


PAGES = (VpdPage(0x83, "Device Identification", "SPC-4 7.8.6", device_identification),)
