"""What goes wrong with a controller. Messages are for people."""

from __future__ import annotations

from scsi2nvme.nvme.command import Completion, NvmeCommand


class ControllerError(Exception):
    """The controller does not do what it must."""


class ControllerGoneError(ControllerError):
    """The controller does not answer at all: resetting it is of no use."""


class UnsupportedControllerError(ControllerError):
    """The controller is of a kind that cannot be driven: no reset mends that."""


class UnansweredError(ControllerError):
    """A command that the driver can do without does not end, and is left out from now on."""


class StatusError(ControllerError):
    """A command that the driver itself needs failed; `completion` tells how."""

    def __init__(self, command: NvmeCommand, completion: Completion) -> None:
        status = completion.status
        super().__init__(f"{command.name} failed with status {status >> 8:X}/{status & 0xFF:02X}")
        self.completion = completion
