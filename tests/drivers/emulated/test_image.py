"""What the emulated controller leaves behind, and finds again."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.drivers.emulated.image import NamespaceState, State
from scsi2nvme.drivers.emulated.image_file import Purpose
from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.nvme.command import AdminOpcode, NvmeCommand, Opcode
from scsi2nvme.nvme.registers import Register
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import (
    DSM_RANGE,
    IDENTIFY_NAMESPACE,
    SMART_LOG,
)
from tests.drivers.emulated.host import (
    MIB,
    SHUTDOWN,
    Host,
    admin,
    block,
    get_feature,
    identify,
    log_page,
    session,
    set_feature,
)
from tests.support import refused_in_one_line


def test_state_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    seen: list[tuple[bytes, bytes]] = []

    async def first(host: Host) -> None:
        await host.create_queue()
        await host.ok(block(Opcode.WRITE, 5, data_out=b"a" * 512, nsid=2), 1)
        await host.ok(set_feature(0x06, 0, save=True))
        await host.ok(set_feature(0x84, 1, nsid=2))
        await host.ok(admin(AdminOpcode.FORMAT_NVM, 1, nsid=1))
        await host.execute(admin(0xC5))
        seen.append((await host.ok(identify(3, nsid=1)), await host.ok(identify(3, nsid=2))))
        host.transport.write32(Register.CC, SHUTDOWN)

    async def second(host: Host) -> None:
        await host.create_queue()
        seen.append((await host.ok(identify(3, nsid=1)), await host.ok(identify(3, nsid=2))))
        assert (await host.execute(get_feature(0x06))).dw0 == 0
        assert (await host.execute(get_feature(0x84, nsid=2))).dw0 == 1
        assert IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, nsid=1))).flbas == 1
        assert await host.ok(block(Opcode.READ, 5, 1, 512, nsid=2), 1) == b"a" * 512
        smart = SMART_LOG.parse(await host.ok(log_page(2, 512)))
        assert (smart.power_cycles, smart.unsafe_shutdowns) == (2, 0)
        assert (smart.host_write_commands, smart.num_err_log_entries) == (1, 1)

    async def third(host: Host) -> None:
        smart = SMART_LOG.parse(await host.ok(log_page(2, 512)))
        assert (smart.power_cycles, smart.unsafe_shutdowns) == (3, 1)

    session(first, path=path, namespaces=2)
    session(second, path=path, namespaces=2, size_bytes=None)
    session(third, path=path, namespaces=2)
    assert seen[0] == seen[1]
    assert path.stat().st_size == 32 * MIB


def test_a_format_that_was_cut_off_is_completed(tmp_path: Path) -> None:
    path = tmp_path / "disk"

    async def cut(host: Host) -> None:
        host.place(admin(AdminOpcode.FORMAT_NVM, 1, nsid=1))
        assert IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, nsid=1))).fpi > 0x80

    async def after(host: Host) -> None:
        namespace = IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, nsid=1)))
        assert (namespace.flbas, namespace.fpi) == (1, 0x80)

    session(cut, path=path, format_s=600.0)
    session(after, path=path)


def test_what_cannot_be_saved_fails(tmp_path: Path) -> None:
    directory = tmp_path / "gone"
    directory.mkdir()

    async def run(host: Host) -> None:
        shutil.rmtree(directory)
        completion = await host.execute(set_feature(0x06, 0, save=True))
        assert completion.status == StatusCode.INTERNAL_ERROR
        await host.ok(identify(1))
        host.transport.write32(Register.CC, SHUTDOWN)
        assert (host.csts.shst, host.csts.cfs) == (1, 1)

    with pytest.raises(TransportError, match=r"disk\.json: No such file"):
        session(run, path=directory / "disk")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    first = EmulatedTransport(EmulatedOptions(path=tmp_path / "disk", size_bytes=MIB))
    with pytest.raises(TransportError, match="in use by another process"):
        EmulatedTransport(EmulatedOptions(path=tmp_path / "disk"))
    first.close()
    EmulatedTransport(EmulatedOptions(path=tmp_path / "disk")).close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size_bytes": 2 * MIB}, "has 1048576 bytes, not 1 times 2097152"),
        ({"namespaces": 2}, "has 1 namespaces, not 2"),
        ({"namespaces": 3}, "not 3 equal shares"),
        ({"block_bytes": 520}, "blocks of 520 bytes"),
        ({"block_bytes": 4096}, "namespace 1 has blocks of 512 bytes, not 4096"),
        ({"serial": "OTHER"}, "has the serial number SN, not OTHER"),
    ],
)
def test_an_image_is_never_bent(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = tmp_path / "disk"
    EmulatedTransport(EmulatedOptions(path=path, size_bytes=MIB, serial="SN")).close()
    before = path.read_bytes(), path.with_name("disk.json").read_bytes()
    with pytest.raises(TransportError, match=message):
        EmulatedTransport(EmulatedOptions.of(path=path, **options))
    assert (path.read_bytes(), path.with_name("disk.json").read_bytes()) == before


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"serial": "x", "namespaces": [1], "smart": {}}']
)
def test_a_broken_sidecar_is_told_of(tmp_path: Path, text: str) -> None:
    path = tmp_path / "disk"
    EmulatedTransport(EmulatedOptions(path=path, size_bytes=MIB)).close()
    path.with_name("disk.json").write_text(text)
    with pytest.raises(TransportError, match=r"disk\.json: cannot be read"):
        EmulatedTransport(EmulatedOptions(path=path))


def saved(path: Path) -> tuple[bytes, bytes, set[str]]:
    return path.read_bytes(), sidecar(path).read_bytes(), set(os.listdir(path.parent))


def sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def test_an_inspection_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "disk"

    async def cut(host: Host) -> None:
        await host.create_queue()
        await host.ok(block(Opcode.WRITE, 5, data_out=b"a" * 512), 1)
        host.place(admin(AdminOpcode.FORMAT_NVM, 1, nsid=1))
        assert IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, nsid=1))).fpi > 0x80

    session(cut, path=path, format_s=600.0)
    before = saved(path)

    async def look(host: Host) -> None:
        smart = SMART_LOG.parse(await host.ok(log_page(2, 512)))
        assert (smart.power_cycles, smart.unsafe_shutdowns) == (1, 0)
        assert (await host.execute(admin(0xC5))).status
        host.transport.write32(Register.CC, SHUTDOWN)

    for _ in range(2):
        session(look, path=path, purpose=Purpose.INSPECT)
    assert saved(path) == before


def test_what_is_not_there_is_not_made_to_be_inspected(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="No such file"):
        EmulatedTransport(EmulatedOptions(path=tmp_path / "typo", purpose=Purpose.INSPECT))
    (tmp_path / "empty").touch()
    with pytest.raises(TransportError, match="is empty"):
        EmulatedTransport(EmulatedOptions(path=tmp_path / "empty", purpose=Purpose.INSPECT))
    (tmp_path / "plain").write_bytes(bytes(MIB))
    EmulatedTransport(EmulatedOptions(path=tmp_path / "plain", purpose=Purpose.INSPECT)).close()
    assert sorted(os.listdir(tmp_path)) == ["empty", "plain"]


def test_a_copy_may_be_given_a_serial_number_of_its_own(tmp_path: Path) -> None:
    """And keeps it: from then on it is no copy."""
    path, copy = tmp_path / "disk", tmp_path / "copy"
    EmulatedTransport(EmulatedOptions(path=path, size_bytes=MIB, serial="A")).close()
    for suffix in ("", ".json"):
        shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    EmulatedTransport(EmulatedOptions(path=copy, serial="B")).close()
    EmulatedTransport(EmulatedOptions(path=copy, serial="B")).close()
    EmulatedTransport(EmulatedOptions(path=copy)).close()
    assert State.parse(sidecar(copy).read_text()).serial == "B"
    with pytest.raises(TransportError, match="has the serial number B, not C"):
        EmulatedTransport(EmulatedOptions(path=copy, serial="C"))


def test_a_sidecar_is_not_written_through_a_link(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("not yours")
    path = tmp_path / "disk"
    Path(f"{path}.json.new").symlink_to(other)
    EmulatedTransport(EmulatedOptions(path=path, size_bytes=MIB)).close()
    assert other.read_text() == "not yours"
    assert not sidecar(path).is_symlink()


VALID = State("SN", [NamespaceState(1, 512), NamespaceState(2, 4096)], errors=["00" * 64]).shown()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@st.composite
def damaged(draw: st.DrawFn) -> Any:
    """Return a sidecar of which something, somewhere, is anything else."""
    value: Any = json.loads(json.dumps(VALID))
    places: list[tuple[Any, Any]] = []

    def walk(inner: Any) -> None:
        for key in inner if isinstance(inner, dict) else range(len(inner)):
            places.append((inner, key))
            if isinstance(inner[key], (dict, list)):
                walk(inner[key])

    walk(value)
    container, key = draw(st.sampled_from(places))
    container[key] = draw(JSON)
    return value


@hypothesis.settings(max_examples=60, deadline=None)
@given(st.binary() | (damaged() | JSON).map(lambda value: json.dumps(value).encode()))
def test_any_sidecar_is_used_or_refused_in_one_line(content: bytes) -> None:
    async def look(host: Host) -> None:
        for nsid in (1, 2):
            await host.ok(identify(0, nsid=nsid))
        for page in ((1, 4096), (2, 512), (6, 564)):
            await host.ok(log_page(*page))
        await host.execute(get_feature(0x06))
        host.transport.write32(Register.CC, SHUTDOWN)

    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "disk")
        path.write_bytes(bytes(2 * MIB))
        sidecar(path).write_bytes(content)
        refused_in_one_line(
            lambda: session(look, path=path, size_bytes=None, namespaces=2), TransportError
        )


@pytest.mark.parametrize(
    ("size_bytes", "message"),
    [
        (MIB + 512, "memory: size 1049088 is no multiple of 4096"),
        (1 << 50, "memory: no room for 2251799813685248 bytes"),
        (1 << 63, "memory: no room for"),
    ],
)
def test_a_disk_in_memory_has_a_size_that_can_be(size_bytes: int, message: str) -> None:
    with pytest.raises(TransportError, match=message):
        EmulatedTransport(EmulatedOptions(size_bytes=size_bytes, namespaces=2))


def test_namespaces_in_memory_are_apart() -> None:
    """They have a disk in common; a format of one ends where the next begins."""
    last = MIB // 512 - 1

    async def run(host: Host) -> None:
        await host.create_queue()
        for nsid in (1, 2):
            await host.ok(block(Opcode.WRITE, 0, data_out=bytes([nsid]) * 512, nsid=nsid), 1)
            await host.ok(block(Opcode.WRITE, last, data_out=bytes([nsid]) * 512, nsid=nsid), 1)
        for nsid in (1, 2):
            for lba in (0, last):
                data = await host.ok(block(Opcode.READ, lba, 1, 512, nsid=nsid), 1)
                assert data == bytes([nsid]) * 512
        await host.ok(admin(AdminOpcode.FORMAT_NVM, 0, nsid=1))
        for lba in (0, last):
            assert await host.ok(block(Opcode.READ, lba, 1, 512, nsid=1), 1) == bytes(512)
            assert await host.ok(block(Opcode.READ, lba, 1, 512, nsid=2), 1) == b"\2" * 512

    session(run, size_bytes=MIB, namespaces=2)


def test_large_dma_memory_has_huge_pages_where_there_are_any() -> None:
    transport = EmulatedTransport(EmulatedOptions(size_bytes=MIB))
    large, small = transport.allocate(16 * MIB), transport.allocate(4096)
    there = Path("/sys/kernel/mm/transparent_hugepage").exists()
    assert ("hg" in mapping_flags(large.vaddr)) == there
    assert "hg" not in mapping_flags(small.vaddr)
    transport.close()


def mapping_flags(address: int) -> list[str]:
    """Return the kernel's VmFlags of what is mapped at an address."""
    within = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := re.match("([0-9a-f]+)-([0-9a-f]+) ", line):
            within = int(found[1], 16) <= address < int(found[2], 16)
        elif within and line.startswith("VmFlags:"):
            return line.split()[1:]
    raise ValueError(f"nothing is mapped at {address:#x}")


def test_dma_memory_that_is_not_there() -> None:
    transport = EmulatedTransport(EmulatedOptions(size_bytes=MIB))
    first, second = transport.allocate(100), transport.allocate(4096)
    assert first.length == 4096
    assert second.iova > first.iova + first.length
    assert first.iova != first.vaddr
    assert bytes(first.view()) == bytes(4096)
    with pytest.raises(TransportError, match="no interrupt vector 500"):
        transport.interrupt(500)
    transport.close()
    transport.close()


@pytest.mark.parametrize("tells", [False, True])
def test_how_much_is_in_use(tells: bool, tmp_path: Path) -> None:
    blocks = 16 * MIB // 4096

    async def check(host: Host) -> None:
        await host.create_queue()

        async def used() -> int:
            namespace = IDENTIFY_NAMESPACE.parse(await host.ok(identify(0, nsid=1)))
            assert bool(namespace.nsfeat & 1) == tells
            return namespace.nuse if tells else namespace.nuse - blocks

        assert await used() == 0
        write = block(Opcode.WRITE, 100, 16, data_out=b"x" * 65536)
        assert (await host.execute(write, 1)).status == 0
        assert await used() == (16 if tells else 0)
        ranges = (0).to_bytes(4, "little") + (8).to_bytes(4, "little") + (100).to_bytes(8, "little")
        trim = NvmeCommand(Opcode.DATASET_MANAGEMENT, 1, cdw10=0, cdw11=1 << 2, data_out=ranges)
        assert (await host.execute(trim, 1)).status == 0
        assert await used() == (8 if tells else 0)

    session(check, path=tmp_path / "disk", block_bytes=4096, tells_use=tells)


@pytest.mark.parametrize("kept", [False, True])
def test_what_will_be_read_is_as_it_was(kept: bool, tmp_path: Path) -> None:
    """A hint has the kernel read ahead, and changes nothing. Beyond the last block is none."""

    def hint(*ranges: tuple[int, int]) -> NvmeCommand:
        data = b"".join(DSM_RANGE.build(slba=lba, nlb=blocks) for lba, blocks in ranges)
        number = len(ranges) - 1
        return NvmeCommand(Opcode.DATASET_MANAGEMENT, 1, cdw10=number, cdw11=1, data_out=data)

    async def check(host: Host) -> None:
        await host.create_queue()
        write = block(Opcode.WRITE, 100, 16, data_out=b"x" * 65536)
        assert (await host.execute(write, 1)).status == 0
        assert (await host.execute(hint((100, 16), (0, 0), (0, 4096)), 1)).status == 0
        assert (
            await host.execute(hint((4095, 2)), 1)
        ).status & 0x7FFF == StatusCode.LBA_OUT_OF_RANGE
        assert await host.ok(block(Opcode.READ, 115, 1, 4096), 1) == b"x" * 4096

    session(check, path=tmp_path / "disk" if kept else None, block_bytes=4096)
