"""The NVMe Management Interface in band: enclosure services by NVMe-MI Send and Receive.

Spec: NVMe Base 2.0 5.21, 5.22; NVMe-MI 1.2 4.3 (in-band tunneling), 5.8, 5.9.
"""

from __future__ import annotations

from enum import IntEnum

from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand

OACS_MANAGEMENT = 6  # bit
NVMSR_ENCLOSURE = 1  # bit: the NVM subsystem is part of an enclosure
# NVMe-MI message header in CDW10: a request of an NVMe-MI command.
REQUEST = 0x0804
MOST_BYTES = 4096  # of a message's data


class ManagementOpcode(IntEnum):
    """NVMe-MI commands. Spec: NVMe-MI 1.2 figure 63."""

    SES_RECEIVE = 0x08
    SES_SEND = 0x09


class ManagementStatus(IntEnum):
    """What a response says, in DW0 of a completion. Spec: NVMe-MI 1.2 figure 29."""

    SUCCESS = 0x00
    INVALID_OPCODE = 0x03
    INVALID_PARAMETER = 0x04
    INVALID_COMMAND_SIZE = 0x05
    INVALID_INPUT_SIZE = 0x06
    ACCESS_DENIED = 0x07
    ENCLOSURE_SERVICES_FAILURE = 0x23
    ENCLOSURE_SERVICES_TRANSFER_FAILURE = 0x24
    ENCLOSURE_FAILURE = 0x25
    ENCLOSURE_SERVICES_TRANSFER_REFUSED = 0x26
    UNSUPPORTED_ENCLOSURE_FUNCTION = 0x27
    ENCLOSURE_SERVICES_UNAVAILABLE = 0x28
    ENCLOSURE_DEGRADED = 0x29


def ses_receive(page_code: int) -> NvmeCommand:
    """Return the command that reads an enclosure's page, as long as a message may be."""
    return NvmeCommand(
        AdminOpcode.NVME_MI_RECEIVE,
        cdw10=REQUEST,
        cdw11=ManagementOpcode.SES_RECEIVE,
        cdw12=page_code,
        cdw13=MOST_BYTES,
        data_in=MOST_BYTES,
        admin=True,
    )


def ses_send(page: bytes) -> NvmeCommand:
    """Return the command that sends an enclosure a page of at most `MOST_BYTES`."""
    return NvmeCommand(
        AdminOpcode.NVME_MI_SEND,
        cdw10=REQUEST,
        cdw11=ManagementOpcode.SES_SEND,
        cdw13=len(page),
        data_out=page,
        admin=True,
    )
