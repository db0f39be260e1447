"""The QEMU transport, and the qtest port against a peer that misbehaves."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from scsi2nvme.drivers.memory import SharedMemory
from scsi2nvme.drivers.qemu.transport import QemuOptions, QemuTransport
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.native.nvme import QueuePair
from scsi2nvme.native.qtest import QtestPort
from scsi2nvme.native.transport import Port
from scsi2nvme.nvme.command import NvmeCommand, Opcode
from scsi2nvme.nvme.registers import ALL_ONES_32, ALL_ONES_64, CC, Register, encode

BAR0 = 0xC0000000


@contextmanager
def port_and_peer(serve: Callable[[socket.socket], None]) -> Iterator[QtestPort]:
    """A port whose other end is served by a thread until it returns."""
    ours, theirs = socket.socketpair()

    def run() -> None:
        with theirs, suppress(BrokenPipeError, ConnectionResetError):  # the port hung up
            serve(theirs)

    thread = threading.Thread(target=run)
    thread.start()
    port = QtestPort(ours.detach(), BAR0, 4)
    try:
        yield port
    finally:
        port.close()
        thread.join()


def answering(*answers: bytes) -> Callable[[socket.socket], None]:
    """Answer the first lines so, one each, and hang up."""

    def serve(peer: socket.socket) -> None:
        with peer.makefile("rb") as lines:
            for answer in answers:
                lines.readline()
                peer.sendall(answer)

    return serve


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (b"OK\n", 0),
        (b"OK 0x0000000000000000\n", 0),
        (b"OK 0xffffffffffffffff\n", 2**64 - 1),
        (b"IRQ raise 3\nIRQ lower 3\nOK 0x1f\n", 31),
    ],
)
def test_answers(answer: bytes, value: int) -> None:
    with port_and_peer(answering(answer)) as port:
        assert port.command("readq 0x0") == value


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"FAIL Unknown command\n", errno.EINVAL),
        (b"OK 0x\n", errno.EINVAL),
        (b"OK 12 34\n", errno.EINVAL),
        (b"OK 0x10000000000000000\n", errno.EINVAL),
        (b"OKAY\n", errno.EINVAL),
        (b"\n", errno.EINVAL),
        (b"", errno.EIO),
        (b"OK 0x1", errno.EIO),
        (b"x" * 10000, errno.EIO),
        (b"IRQ raise 1\n" * 1000, errno.EIO),
    ],
)
def test_bad_answers(answer: bytes, error: int) -> None:
    with port_and_peer(answering(answer)) as port, pytest.raises(OSError, match="qtest") as caught:
        port.command("readl 0x0")
    assert caught.value.errno == error


def test_an_answer_in_pieces() -> None:
    def serve(peer: socket.socket) -> None:
        with peer.makefile("rb") as lines:
            assert lines.readline() == b"readl 0x10\n"
            for byte in b"IRQ raise 1\nOK 0x2a\n":
                peer.sendall(bytes([byte]))

    with port_and_peer(serve) as port:
        assert port.command("readl 0x10") == 42


def test_a_command_is_one_line() -> None:
    with port_and_peer(answering(b"OK\n")) as port:
        for line in ("writel 0x0 0x0\nwritel 0x4 0x0", "x" * 300):
            with pytest.raises(OSError, match="Invalid argument"):
                port.command(line)
        assert port.command("clock_step") == 0


@contextmanager
def queue_pair(port: Port, depth: int) -> Iterator[QueuePair]:
    with closing(SharedMemory(16 << 20, 0)) as memory:
        region = memory.allocate(QueuePair.bytes_needed(depth))
        with closing(QueuePair(port, 1, depth, region)) as pair:
            yield pair


def ring(pair: QueuePair) -> None:
    assert pair.place(NvmeCommand(Opcode.FLUSH, 1).sqe(), None, 0, 0) is not None
    pair.ring()


RINGS = 1500


def test_doorbells_do_not_wait_and_never_stall() -> None:
    """The peer answers each before it reads the next, and would block on a full socket."""
    lines: list[bytes] = []

    def serve(peer: socket.socket) -> None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        with peer.makefile("rb") as stream:
            for line in stream:
                lines.append(line)
                peer.sendall(b"OK 0x7\n" if line.startswith(b"read") else b"OK\n")

    with port_and_peer(serve) as port, queue_pair(port, RINGS + 2) as pair:
        for _ in range(RINGS):
            ring(pair)
        assert port.command("readl 0x0") == 7
    doorbell = BAR0 + 0x1000 + 2 * 4
    assert lines == [
        *(f"writel {doorbell:#x} {tail:#x}\n".encode() for tail in range(1, RINGS + 1)),
        b"readl 0x0\n",
    ]


def test_doorbells_of_a_dead_socket_are_dropped() -> None:
    with port_and_peer(answering()) as port, queue_pair(port, 300) as pair:
        for _ in range(200):
            ring(pair)
        with pytest.raises(OSError, match="qtest") as caught:
            port.command("readl 0x0")
        assert caught.value.errno == errno.EIO


def test_a_doorbell_that_fails_is_the_end() -> None:
    with port_and_peer(answering(b"FAIL\n", b"OK\n")) as port, queue_pair(port, 4) as pair:
        ring(pair)
        with pytest.raises(OSError, match="Input/output"):
            port.command("readl 0x0")


# ---- QEMU itself ----


@pytest.fixture
def transport(tmp_path: Path) -> Iterator[QemuTransport]:
    with closing(QemuTransport(QemuOptions(path=tmp_path / "disk", size_bytes=1 << 20))) as made:
        yield made


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(TransportError) as caught:
        QemuTransport(QemuOptions())
    assert str(caught.value) == (
        "qemu-system-x86_64 is not installed (Debian package qemu-system-x86)"
    )


def test_what_qemu_says_when_it_refuses_to_start() -> None:
    with pytest.raises(TransportError, match="logical_block_size"):
        QemuTransport(QemuOptions(block_bytes=1000))


@pytest.mark.parametrize("memory_bytes", [1 << 20, 3 << 30, (2 << 20) + 4096])
def test_impossible_memory(memory_bytes: int) -> None:
    with pytest.raises(TransportError, match="memory"):
        QemuTransport(QemuOptions(memory_bytes=memory_bytes))


def test_a_path_that_cannot_be() -> None:
    with pytest.raises(TransportError, match=r"/nonexistent/disk: No such file"):
        QemuTransport(QemuOptions(path=Path("/nonexistent/disk")))


def test_an_existing_file_is_grown_but_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"precious")
    QemuTransport(QemuOptions(path=path, size_bytes=1 << 20, namespaces=2)).close()
    assert path.stat().st_size == 2 << 20
    assert path.read_bytes()[:9] == b"precious\0"


def test_two_cannot_use_the_same_file(transport: QemuTransport) -> None:
    with pytest.raises(TransportError, match="in use by another process"):
        QemuTransport(transport.options)


def test_memory_is_handed_out_in_pages_until_it_ends(transport: QemuTransport) -> None:
    one, other = transport.allocate(1), transport.allocate(4097)
    assert (one.length, other.length) == (4096, 8192)
    assert other.iova == one.iova + 4096
    assert bytes(other.view()) == bytes(8192)
    other.view()[:4] = b"seen"
    assert transport.read_memory(other.iova, 4) == int.from_bytes(b"seen", "little")
    with pytest.raises(TransportError, match="DMA memory"):
        transport.allocate(transport.options.memory_bytes)


def test_misuse_shows_in_guest_errors(transport: QemuTransport) -> None:
    assert transport.guest_errors() == ""
    transport.write32(Register.DOORBELLS + 8, 1)
    assert "doorbell" in transport.guest_errors()
    transport.close()
    assert "doorbell" in transport.guest_errors()


def test_function_reset_restores_the_configuration(transport: QemuTransport) -> None:
    cap = transport.read64(Register.CAP)
    transport.write32(Register.CC, encode(CC, iosqes=6, iocqes=4))
    assert transport.read32(Register.CC)
    asyncio.run(transport.reset())
    assert transport.read32(Register.CC) == 0
    assert transport.read64(Register.CAP) == cap
    assert transport.guest_errors() == ""


def test_a_dead_qemu_reads_all_ones(transport: QemuTransport) -> None:
    os.kill(transport.pid, 9)
    assert transport.read32(Register.CSTS) == ALL_ONES_32
    assert transport.read64(Register.CAP) == ALL_ONES_64
    with pytest.raises(TransportError):
        transport.write32(Register.CC, 0)


def test_close_ends_qemu_and_may_be_called_again(tmp_path: Path) -> None:
    transport = QemuTransport(QemuOptions())
    pid = transport.pid
    transport.close()
    transport.close()
    assert not Path(f"/proc/{pid}").exists()
    assert transport.read32(Register.CSTS) == ALL_ONES_32


def test_close_leaves_no_descriptor_behind() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    QemuTransport(QemuOptions()).close()
    with pytest.raises(TransportError):
        QemuTransport(QemuOptions(block_bytes=1000))
    assert descriptors() == before


def test_qemu_does_not_outlive_us() -> None:
    script = (
        "import os\n"
        "from scsi2nvme.drivers.qemu.transport import QemuOptions, QemuTransport\n"
        "transport = QemuTransport(QemuOptions())\n"
        "print(transport.pid, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    pid = int(subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE).stdout)
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        assert poll.poll(10000), "QEMU is still there"
    finally:
        os.close(watched)
