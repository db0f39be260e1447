"""What is received and sent by a socket until the data plane has it."""

from __future__ import annotations

import asyncio
import socket

from scsi2nvme.target.iscsi.pdu import BHS_BYTES, DEFAULT_DATA_SEGMENT_LENGTH, HEADER, padding

_LINGER_SECONDS = 2.0


def has_gone(sock: socket.socket) -> bool:
    """Whether a peer that has just been accepted has closed its end, and sent nothing before.

    Who opens and closes connections without end costs little so, and takes nobody's place.
    """
    try:
        return not sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


async def receive_pdu(sock: socket.socket) -> tuple[bytes, bytes]:
    """Receive a PDU of a login: its header, and its data without padding."""
    bhs = await receive_exactly(sock, BHS_BYTES)
    header = HEADER.parse(bhs)
    length = header.data_segment_length
    # What is refused by its header is not waited for.
    if header.total_ahs_length or length > DEFAULT_DATA_SEGMENT_LENGTH:
        length = 0
    data = await receive_exactly(sock, length + padding(length))
    return bhs, data[:length]


async def receive_exactly(sock: socket.socket, length: int) -> bytes:
    """Receive exactly `length` bytes; EOFError if the peer closes before."""
    received = bytearray()
    while len(received) < length:
        part = await _receive_some(sock, length - len(received))
        if not part:
            raise EOFError("closed by the peer")
        received += part
    return bytes(received)


async def _receive_some(sock: socket.socket, maximum: int) -> bytes:
    # sock_recv does not suspend while there is data: a peer that never stops
    # sending would have the loop to itself.
    await asyncio.sleep(0)
    return await asyncio.get_running_loop().sock_recv(sock, maximum)


async def say_goodbye(sock: socket.socket, pdu: bytes) -> None:
    """Send a last PDU and let the peer read it.

    To close over unread bytes resets the connection, and the PDU may be lost.
    """
    await asyncio.get_running_loop().sock_sendall(sock, pdu)
    sock.shutdown(socket.SHUT_WR)
    try:
        async with asyncio.timeout(_LINGER_SECONDS):
            while await _receive_some(sock, 65536):
                pass
    except TimeoutError:
        return
