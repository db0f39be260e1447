"""VPD page 88h."""

from __future__ import annotations

from scsi2nvme.command import Task
from scsi2nvme.commands.vpd_pages.designators import port_designators
from scsi2nvme.commands.vpd_pages.page import VpdPage
from scsi2nvme.fields import Field, Structure
from scsi2nvme.unit.ports import PortName

SCSI_PORT = Structure(
    "SCSI port designation descriptor header",
    12,
    (
        Field("relative_port", 2, 0, 16),
        Field("initiator_transport_id_length", 6, 0, 16),
        Field("target_descriptors_length", 10, 0, 16),
    ),
    spec="SPC-4 7.8.14",
)


def scsi_ports(task: Task) -> bytes:
    """Return every target port of the logical unit. Spec: SPC-4 7.8.14."""
    ports = task.lu.target_ports_of(task.nexus)
    return b"".join(
        _scsi_port(port) for port in sorted(ports, key=lambda port: port.relative_identifier)
    )


def _scsi_port(port: PortName) -> bytes:
    descriptors = port_designators(port)
    header = SCSI_PORT.build(
        relative_port=port.relative_identifier, target_descriptors_length=len(descriptors)
    )
    return header + descriptors


PAGES = (VpdPage(0x88, "SCSI Ports", "SPC-4 7.8.14", scsi_ports),)
