"""SCSI ports by name, and the I_T nexus that two of them make."""

from __future__ import annotations

from functools import cached_property

from scsi2nvme.records import dataclass

# What an iSCSI name may have at most. Spec: RFC 7143 4.2.7.1.
ISCSI_NAME_BYTES = 223


@dataclass(frozen=True)
class PortName:
    """A SCSI port by its transport's name, here iSCSI. Spec: RFC 7143 4.2.4.

    `name` is an initiator or target port name: `iqn…,i,0x…` or `iqn…,t,0x…`.
    """

    device: str  # the iSCSI name
    isid: bytes = b""  # initiator ports: 6 bytes
    portal_group_tag: int = 1  # target ports

    @cached_property
    def name(self) -> str:
        """The port's full name."""
        if self.isid:
            return f"{self.device},i,0x{self.isid.hex()}"
        return f"{self.device},t,0x{self.portal_group_tag:04x}"

    @property
    def relative_identifier(self) -> int:
        """RELATIVE TARGET PORT IDENTIFIER of a target port. Spec: SAM-5 4.6.5.3."""
        return self.portal_group_tag

    @property
    def target_port_group(self) -> int:
        """TARGET PORT GROUP of a target port. Spec: SPC-4 5.15.2.2."""
        return self.portal_group_tag


def nexus_key(initiator: PortName, target: PortName) -> str:
    """Return what identifies an I_T nexus across reconnects: the names of its ports."""
    return f"{initiator.name}|{target.name}"


@dataclass(eq=False)
class ITNexus:
    """One initiator port at one target port."""

    initiator: PortName
    target: PortName

    @property
    def key(self) -> str:
        """See `nexus_key`."""
        return nexus_key(self.initiator, self.target)
