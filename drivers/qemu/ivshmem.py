"""The server side of QEMU's inter-VM shared memory device, for its doorbell.

A message-signalled interrupt is a memory write; `ivshmem-doorbell` turns a
write of `peer << 16 | vector` to its doorbell register into a signal on that
peer's eventfd. We are the peer. Spec: QEMU docs/specs/ivshmem-spec.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from scsi2nvme.drivers.memory import memory_file

DOORBELL = 12  # offset in BAR0
OUR_PEER = 1
_DEVICE_PEER = 0
_PROTOCOL_VERSION = 0
_SHARED_MEMORY = -1


def message_data(vector: int) -> int:
    """Return what has to be written to the doorbell to signal our `vector`."""
    return OUR_PEER << 16 | vector


def greet(server: socket.socket, eventfds: Sequence[int]) -> None:
    """Introduce ourselves and the device to the device at the socket's other end.

    The device waits for the shared memory only; the rest it takes in the
    background, so that the doorbell works some time later.
    """

    def send(number: int, fds: Sequence[int] = ()) -> None:
        socket.send_fds(server, [number.to_bytes(8, "little", signed=True)], list(fds))

    memory = memory_file("scsi2nvme-ivshmem", size=4096)
    try:
        send(_PROTOCOL_VERSION)
        send(_DEVICE_PEER)
        send(_SHARED_MEMORY, [memory])
        for eventfd in eventfds:
            send(OUR_PEER, [eventfd])
        own = os.eventfd(0)
        try:
            for _ in eventfds:
                send(_DEVICE_PEER, [own])
        finally:
            os.close(own)
    finally:
        os.close(memory)
