"""What the daemon takes at most: documentation, unit and limits agree on it."""

from __future__ import annotations

import os
import re
import select
import struct
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from bench.peers import Target
from scsi2nvme.cli.daemon import descriptors, memory
from scsi2nvme.cli.daemon.memory import MIB
from scsi2nvme.drivers.nvme.bounce import BOUNCE_BYTES
from scsi2nvme.service import answers
from scsi2nvme.target.iscsi.admission import Limits
from scsi2nvme.target.iscsi.keys import BY_NAME
from scsi2nvme.target.iscsi.negotiation import MAXIMUM_SEQUENCE_BYTES
from tests.cli.test_privileges import of_unit
from tests.daemon import IQN, FreshDaemon
from tests.iscsi_client import Initiator

ROOT = Path(__file__).parents[2]
KIB = 1 << 10
ALL = Limits().maximum + Limits().half_open + Limits().discovery
# What docs/reliability.md says of a session in which nothing happens.
QUIET_BYTES = 200 * KIB
NEW_BYTES = 40 * KIB  # of which it has so much at first


def constant(header: str, name: str) -> int:
    """Return a constant of a C header, the first of that name."""
    text = (ROOT / header).read_text()
    found = re.search(rf"\b{name} = (\d+)(?: << (\d+))?,", text)
    assert found is not None, f"{name} in {header}"
    return int(found[1]) << int(found[2] or 0)


def of_iscsi(name: str) -> int:
    return constant("target/iscsi/csrc/iscsi.h", name)


def documented() -> dict[str, str]:
    """Return the table of docs/reliability.md, by its first column."""
    text = (ROOT / "docs/reliability.md").read_text()
    rows = text.split("Memory, at most:")[1].split("\n\n")[1].splitlines()[2:]
    return dict(row.strip("| ").split(" | ") for row in rows)


def test_the_bound_covers_what_the_data_plane_allows() -> None:
    heap = constant("scsi2nvme/csrc/heap.h", "S2N_PLANE_HEAP")
    assert 3 * heap == memory.COMMANDS_BYTES
    # The last answer may come when a byte is missing to the limit, while another PDU comes.
    pdu = int(BY_NAME["MaxRecvDataSegmentLength"].ours)
    kept = of_iscsi("S2N_REPLY_BYTES") + pdu + pdu + of_iscsi("S2N_HELD_BYTES")
    # Held requests may all be handed to Python, beside what is there already.
    kept += of_iscsi("S2N_PYTHON_BYTES") + of_iscsi("S2N_TEXT_BYTES")
    assert of_iscsi("S2N_TEXT_BYTES") == MAXIMUM_SEQUENCE_BYTES + 1
    assert of_iscsi("S2N_RECEIVE_BYTES") < QUIET_BYTES
    assert QUIET_BYTES + kept <= memory.CONNECTION_BYTES
    assert pdu <= of_iscsi("S2N_HELD_BYTES"), "one always has its place"


def test_the_documentation_says_the_same() -> None:
    says = documented()
    assert says["the program"].startswith(f"{memory.PROGRAM_BYTES // MIB} MiB, up to ")
    assert f"up to {answers.MOST_BYTES // MIB} of which are answers" in says["the program"]
    assert says["buffers"].startswith(
        f"{memory.POOL_BYTES // MIB} MiB for each reactor and controller, and "
        f"{memory.CONTROL_BYTES // MIB} MiB for each controller;"
    )
    assert memory.CONTROL_BYTES == BOUNCE_BYTES
    heap = memory.COMMANDS_BYTES // 3 // MIB
    assert f"{heap} MiB together" in says["commands of all sessions"]
    assert f"{3 * heap} MiB" in says["commands of all sessions"]
    assert says["a connection besides"].startswith(
        f"{QUIET_BYTES // KIB} KiB, less than {NEW_BYTES // KIB} of which"
    )
    assert f"{memory.CONNECTION_BYTES / MIB:g} MiB" in says["a connection besides"]
    total = memory.bound(0, ALL)
    row = says[f"all, with {ALL:,} connections"]
    assert row.startswith(f"{total // MIB:,} MiB and the buffers")


def test_the_unit_grants_what_is_reckoned_with() -> None:
    assert of_unit("MemoryMax") == f"{100 // memory.SHARE}%"
    assert int(of_unit("LimitNOFILE")) >= ALL + descriptors.RESERVE + 1024  # devices, queues


@pytest.mark.parametrize("mib", [1, 512, 2048, 4096, 1 << 20])
def test_connections_are_as_many_as_memory_allows(
    mib: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda: mib * MIB)
    buffers = memory.buffers(reactors=4, controllers=2)
    allowed = memory.for_peers(buffers)
    if allowed > 0:
        assert memory.bound(buffers, allowed) <= mib * MIB
    assert memory.bound(buffers, allowed + 1) > mib * MIB


def test_what_the_unit_grants_counts(tmp_path: Path) -> None:
    whole = memory.available(tmp_path, "/")
    group = tmp_path / "system.slice" / "ours.service"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    assert memory.available(tmp_path, "/system.slice/ours.service") == whole
    (group.parent / "memory.max").write_text("4096000\n")
    assert memory.available(tmp_path, "/system.slice/ours.service") == 4096000
    (group / "memory.max").write_text("2048000\n")
    assert memory.available(tmp_path, "/system.slice/ours.service") == 2048000


def page_faults(pid: int) -> int:
    """Return how many pages a process has touched that it did not have yet, none of a file's."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[7])


def test_a_large_command_has_the_memory_of_the_one_before(tmp_path: Path) -> None:
    blocks, commands = 255, 16
    cdb = struct.pack(">BBQ3xBxx", 0x89, 0, 0, blocks)  # COMPARE AND WRITE, of blocks that differ
    data = bytes([1]) * (2 * blocks * 4096)
    spec = "emulated:memory,size=16M,block=4096"
    with FreshDaemon(tmp_path, spec) as daemon, Initiator(("127.0.0.1", daemon.port)) as host:
        host.login(IQN)
        host.hear(0)
        for number in range(2 * commands):
            if number == commands:
                before = page_faults(daemon.pid)
            assert host.command(0, cdb, data_out=data).sense_triple == (0xE, 0x1D, 0)
        anew = page_faults(daemon.pid) - before
    print("page faults", anew)
    # A sanitizer's allocator gives large blocks back at once, and puts others away for a while.
    if "libasan" not in os.environ.get("LD_PRELOAD", ""):
        assert anew * os.sysconf("SC_PAGE_SIZE") < commands * len(data) / 8


def ping_in_vain(host: Initiator) -> None:
    """Send pings and take no answers, until the target takes no more."""
    header = struct.pack(
        ">BBxx12xIIII16x", 0x40, 0x80, host.next_itt(), 0xFFFFFFFF, host.cmd_sn, host.exp_stat_sn
    )
    wire = host.wire(header, bytes(64 * KIB))
    host.sock.setblocking(False)
    while select.select([], [host.sock], [], 0.5)[1]:
        with suppress(BlockingIOError):
            while sent := host.sock.send(wire):
                wire = wire[sent:] + wire[:sent]


def test_sessions_take_no_more_than_that(tmp_path: Path) -> None:
    count, hostile = 64, 8
    with FreshDaemon(tmp_path, "emulated:memory,size=16M", arguments=("--reactors", "1")) as daemon:
        ours = Target("scsi2nvme", daemon.url(), daemon.pid, 0.0)
        address = ("127.0.0.1", daemon.port)
        with ExitStack() as stack:

            def enter(number: int) -> Initiator:
                host = stack.enter_context(Initiator(address, f"iqn.2026-11.test:{number}"))
                host.login(IQN)
                return host

            enter(count)  # the first of all brings what all need
            before = ours.resident_bytes()
            hosts = [enter(number) for number in range(count)]
            quiet = ours.resident_bytes()
            # A sanitizer's allocator writes around and into memory that nobody has used yet.
            sanitized = "libasan" in os.environ.get("LD_PRELOAD", "")
            assert quiet - before <= count * (QUIET_BYTES if sanitized else NEW_BYTES)
            for host in hosts[:hostile]:
                ping_in_vain(host)
            assert ours.resident_bytes() - quiet <= hostile * memory.CONNECTION_BYTES
            assert ours.resident_bytes() <= memory.bound(memory.buffers(1, 1), count + 1)
