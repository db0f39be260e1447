"""QEMU's qtest socket: the binding of drivers/qemu/csrc/qtest.h."""

from __future__ import annotations

from scsi2nvme._dataplane import ffi, lib
from scsi2nvme.native.handle import check
from scsi2nvme.native.transport import Port


class QtestPort(Port):
    """Doorbells behind a qtest socket, and access to all that QEMU's machine has there."""

    def __init__(self, fd: int, bar0: int, stride: int) -> None:
        """Take over `fd`. `bar0` is the guest's physical address of the registers."""
        super().__init__(lib.s2n_port_qtest(fd, bar0, stride))

    def command(self, line: str) -> int:
        """Send one qtest command; return the value that it reads, if any.

        Callable from any thread. OSError if the socket died.
        """
        value = ffi.new("uint64_t *")
        check(lib.s2n_qtest_command(self.native, line.encode(), value), f"qtest {line}")
        return int(value[0])
