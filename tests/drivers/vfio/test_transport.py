"""The VFIO transport against a kernel that is played."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.dataplane import Registers
from scsi2nvme.drivers.memory import PAGE, memory_file
from scsi2nvme.drivers.transport import Alarm, TransportError
from scsi2nvme.drivers.vfio import abi
from scsi2nvme.drivers.vfio.abi import IommufdRequest, IrqIndex, RegionCapability, Request
from scsi2nvme.drivers.vfio.dma import HUGE_PAGE, DmaArenas
from scsi2nvme.drivers.vfio.iommu import IovaAllocator
from scsi2nvme.drivers.vfio.transport import VfioTransport, mappable_bytes
from scsi2nvme.fields import Values
from scsi2nvme.nvme.registers import ALL_ONES_32, ALL_ONES_64, CAP, Register, encode
from tests.drivers.machine import ADDRESS, NEIGHBOUR, Machine, put
from tests.drivers.vfio.fake_vfio import (
    BAR_BYTES,
    HIGH,
    LOW,
    AnyRequest,
    FakeVfio,
    make_cdev,
    make_nodes,
)

GROUP, CDEV = "group", "cdev"
# What the kernel offers makes no difference.
either_way = pytest.mark.parametrize("kernel", [GROUP, CDEV], indirect=True)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    machine.set_driver(machine.function, "vfio-pci")
    make_nodes(machine.system.dev)
    return machine


@pytest.fixture
def kernel(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[FakeVfio]:
    fake = FakeVfio()
    if getattr(request, "param", GROUP) == CDEV:
        make_cdev(machine.function, fake.device)
    monkeypatch.setattr(abi, "call", fake.call)
    Registers(fake.device, 0, PAGE).close()  # the first ones leave something behind for all
    before = len(os.listdir("/proc/self/fd"))
    yield fake
    assert len(os.listdir("/proc/self/fd")) == before, "descriptors are left open"
    os.close(fake.device)


def opened(machine: Machine, vectors: int = 66) -> VfioTransport:
    return VfioTransport(ADDRESS, system=machine.system, vectors=vectors)


# ---- the kernel's interface ----

PROGRAM = """
#include <linux/vfio.h>
#if __has_include(<linux/iommufd.h>)
#include <linux/iommufd.h>
#endif
#include <stddef.h>
#include <stdio.h>
#define BITS(s, f) 8 * sizeof(((struct s *)0)->f)
#define P(s, f) printf(#s "." #f " %zu %zu\\n", offsetof(struct s, f), BITS(s, f));
#define R(r) printf(#r " %lu 0\\n", (unsigned long)r);
int main(void) {
"""
STRUCTURES = (
    abi.GROUP_STATUS,
    abi.DEVICE_INFO,
    abi.REGION_INFO,
    abi.IRQ_INFO,
    abi.IRQ_SET,
    abi.IOMMU_INFO,
    abi.DMA_MAP,
)
# What older kernels' headers lack, by a macro that tells.
NEWER = {
    "VFIO_DEVICE_BIND_IOMMUFD": abi.BIND,
    "VFIO_DEVICE_ATTACH_IOMMUFD_PT": abi.ATTACH,
    "IOMMU_IOAS_ALLOC": abi.IOAS_ALLOC,
    "IOMMU_VFIO_IOAS": abi.VFIO_IOAS,
}


def test_the_interface_is_that_of_the_kernels_header(tmp_path: Path) -> None:
    ours = {f"VFIO_{request.name}": (int(request), 0) for request in Request}
    ours |= {f"IOMMU_{request.name}": (int(request), 0) for request in IommufdRequest}
    lines = [f"R({name})" for name in ours if name not in NEWER]
    for one in (*STRUCTURES, *NEWER.values()):
        ours |= {f"{one.name}.{field.name}": (field.byte, field.width) for field in one.fields}
    lines += [f"P({one.name}, {field.name})" for one in STRUCTURES for field in one.fields]
    for macro, one in NEWER.items():
        newer = "\n".join(f"P({one.name}, {field.name})" for field in one.fields)
        lines.append(f"#ifdef {macro}\nR({macro})\n{newer}\n#endif")
    source, program = tmp_path / "abi.c", tmp_path / "abi"
    source.write_text(PROGRAM + "\n".join(lines) + "\n}\n")
    subprocess.run(["cc", "-o", program, source], check=True)
    printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    theirs = {name: (int(a), int(b)) for name, a, b in map(str.split, printed.splitlines())}
    assert len(theirs) >= len(lines) - len(NEWER)
    assert theirs.items() <= ours.items()


@given(st.binary(max_size=200), st.integers(0, 250))
def test_capabilities_of_any_bytes_are_walked_to_an_end(answer: bytes, first: int) -> None:
    for rest in abi.capabilities(answer, first).values():
        assert answer.endswith(rest)
        assert len(abi.pairs(rest)) <= len(rest) // 16


def region(size: int, flags: int = 7) -> Values:
    return abi.REGION_INFO.parse(abi.REGION_INFO.build(size=size, flags=flags))


def sparse(*areas: tuple[int, int]) -> dict[int, bytes]:
    words = b"".join(a.to_bytes(8, "little") + b.to_bytes(8, "little") for a, b in areas)
    return {RegionCapability.SPARSE_MMAP: len(areas).to_bytes(8, "little") + words}


@pytest.mark.parametrize(
    ("flags", "capabilities", "length"),
    [
        (3, {}, 0),
        (7, {RegionCapability.MSIX_MAPPABLE: b""}, 0x4000),
        (7, {}, 0x4000),
        (7, sparse((0x3000, 0x1000), (0, 0x2000)), 0x2000),
        (7, sparse((0x3000, 0x1000)), 0),
        (7, sparse((0, 0x8000)), 0x4000),
    ],
)
def test_no_more_is_mapped_than_may_be(
    flags: int, capabilities: dict[int, bytes], length: int
) -> None:
    assert mappable_bytes(region(0x4000, flags), capabilities) == length


# ---- opening ----


@either_way
def test_open_and_close(machine: Machine, kernel: FakeVfio) -> None:
    with closing(opened(machine)) as transport:
        assert (transport.name, transport.pci_id) == ("pci:0000:01:00.0", (0x1B36, 0x10))
        assert transport.vectors == 5
        assert kernel.command() == 0x406
        assert kernel.connections[0] == (IrqIndex.MSIX, 5)  # all at once
        transport.write32(Register.CC, 0x460001)
        transport.write64(Register.ASQ, 0x123456789000)
        assert transport.read32(Register.CC) == 0x460001
        assert transport.read64(Register.ASQ) == 0x123456789000
        assert [transport.interrupt(n) for n in range(5)] == kernel.eventfds[IrqIndex.MSIX]
        assert kernel.eventfds[IrqIndex.REQUEST] == [transport.alarms[Alarm.UNPLUG]]
        assert kernel.eventfds[IrqIndex.ERROR] == [transport.alarms[Alarm.ERROR]]
    assert transport.read32(Register.CSTS) == ALL_ONES_32
    with pytest.raises(TransportError, match=r"0000:01:00\.0 is gone"):
        transport.write32(Register.CC, 0)
    transport.close()


@pytest.mark.parametrize(
    ("there", "granted", "wanted", "got"),
    [(5, 5, 66, 5), (129, 129, 66, 66), (66, 7, 66, 7), (5, 0, 5, 0), (0, 0, 5, 0)],
)
def test_vectors_are_as_many_as_all_agree_on(
    machine: Machine, kernel: FakeVfio, there: int, granted: int, wanted: int, got: int
) -> None:
    kernel.vectors, kernel.granted = there, granted
    with closing(opened(machine, vectors=wanted)) as transport:
        assert transport.vectors == got
        assert len(kernel.eventfds.get(IrqIndex.MSIX, [])) == got


def test_doorbells_are_counted(machine: Machine, kernel: FakeVfio) -> None:
    kernel.put(Register.CAP, encode(CAP, mqes=63, dstrd=9, css=1))
    with closing(opened(machine)) as transport:
        assert transport.port.queue_pairs == (BAR_BYTES - 0x1000) // (2 * 2048)


def test_a_device_without_error_reports_works(machine: Machine, kernel: FakeVfio) -> None:
    kernel.has_error_interrupt = False
    with closing(opened(machine)) as transport:
        assert list(transport.alarms) == [Alarm.UNPLUG]


def rivals(machine: Machine, kernel: FakeVfio) -> None:
    machine.add_function(NEIGHBOUR, "e1000e", 0x020000)
    machine.add_function("0000:00:1c.0", "pcieport", 0x060400)
    kernel.viable = False


def unbound(machine: Machine, kernel: FakeVfio) -> None:
    machine.set_driver(machine.function, "")


def other_driver(machine: Machine, kernel: FakeVfio) -> None:
    machine.set_driver(machine.function, "nvme")


def no_iommu(machine: Machine, kernel: FakeVfio) -> None:
    (machine.function.path / "iommu_group").unlink()


def no_module(machine: Machine, kernel: FakeVfio) -> None:
    (machine.system.dev / "vfio/vfio").unlink()


def no_type1(machine: Machine, kernel: FakeVfio) -> None:
    kernel.extensions = set()


def no_mmap(machine: Machine, kernel: FakeVfio) -> None:
    kernel.region_flags = 3


def distant_doorbells(machine: Machine, kernel: FakeVfio) -> None:
    kernel.put(Register.CAP, encode(CAP, mqes=63, dstrd=11, css=1))


def wrong_version(machine: Machine, kernel: FakeVfio) -> None:
    kernel.version = 1


def failing(
    request: AnyRequest, number: int, times: int = 1
) -> Callable[[Machine, FakeVfio], None]:
    return lambda machine, kernel: kernel.fails.update({request: [number] * times})


def unusable_node(machine: Machine, kernel: FakeVfio) -> None:
    (machine.system.dev / "iommu").unlink()
    (machine.system.dev / "iommu").mkdir()


def rivals_of_one(machine: Machine, kernel: FakeVfio) -> None:
    rivals(machine, kernel)
    kernel.fails[Request.DEVICE_BIND_IOMMUFD] = [errno.EBUSY]


OF_A_GROUP = [
    (other_driver, f"{ADDRESS} is bound to nvme; run: scsi2nvme bind {ADDRESS}"),
    (unbound, f"{ADDRESS} is bound to no driver; run: scsi2nvme bind"),
    (no_iommu, "there is no IOMMU; enable VT-d"),
    (no_module, "vfio/vfio: the module vfio-pci is missing; run: modprobe vfio-pci"),
    (no_type1, "modprobe vfio_iommu_type1"),
    (wrong_version, "VFIO version 1, 0 expected"),
    (rivals, "IOMMU group 7 has devices that others use: 0000:01:00.1 (driver e1000e); bind"),
    (failing(Request.SET_IOMMU, errno.EPERM), "does not remap interrupts"),
    (failing(Request.GROUP_SET_CONTAINER, errno.EBUSY), "in use by another process"),
    (failing(Request.SET_IOMMU, errno.ENODEV), "IOMMU cannot be set up: No such device"),
    (failing(Request.GROUP_GET_DEVICE_FD, errno.EINVAL), "vfio-pci cannot open it: Invalid"),
    (failing(Request.GROUP_GET_DEVICE_FD, errno.EAGAIN, 99), "cannot open it: Resource temp"),
    (failing(Request.DEVICE_GET_REGION_INFO, errno.EIO), "Input/output error"),
    (failing(Request.DEVICE_SET_IRQS, errno.EIO), "Input/output error"),
    (no_mmap, "does not let its doorbells be mapped"),
    (distant_doorbells, "BAR0 has 12288 bytes for doorbells, which are 8192 bytes apart"),
]
BY_ITSELF = [
    (other_driver, f"{ADDRESS} is bound to nvme; run: scsi2nvme bind {ADDRESS}"),
    (no_iommu, "there is no IOMMU; enable VT-d"),
    (failing(Request.DEVICE_BIND_IOMMUFD, errno.EPERM), "does not remap interrupts"),
    (failing(Request.DEVICE_BIND_IOMMUFD, errno.EINVAL), "in use by another process"),
    (failing(Request.DEVICE_BIND_IOMMUFD, errno.EBUSY), "in use by another process"),
    (failing(Request.DEVICE_BIND_IOMMUFD, errno.EIO), "cannot be set up: Input/output"),
    (failing(Request.DEVICE_BIND_IOMMUFD, errno.EAGAIN, 99), "be set up: Resource temp"),
    (failing(Request.DEVICE_ATTACH_IOMMUFD_PT, errno.ENOMEM), "be set up: Cannot allocate"),
    (failing(IommufdRequest.VFIO_IOAS, errno.EINVAL), "cannot be set up: Invalid argument"),
    (failing(Request.DEVICE_GET_REGION_INFO, errno.EIO), "Input/output error"),
    (unusable_node, "iommu: Is a directory"),
    (rivals_of_one, "has devices that others use: 0000:01:00.1 (driver e1000e); bind"),
]


@pytest.mark.parametrize(
    ("kernel", "arrange", "reason"),
    [*((GROUP, *row) for row in OF_A_GROUP), *((CDEV, *row) for row in BY_ITSELF)],
    indirect=["kernel"],
)
def test_what_is_missing_is_said_in_one_line(
    machine: Machine,
    kernel: FakeVfio,
    monkeypatch: pytest.MonkeyPatch,
    arrange: Callable[[Machine, FakeVfio], None],
    reason: str,
) -> None:
    monkeypatch.setattr(abi, "PAUSE_S", 0.0)
    arrange(machine, kernel)
    with pytest.raises(TransportError, match=re.escape(reason)) as caught:
        opened(machine)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kernel", [CDEV], indirect=True)
def test_a_device_is_opened_by_itself_where_that_is_possible(
    machine: Machine, kernel: FakeVfio
) -> None:
    opened(machine).close()
    assert kernel.requests[:4] == [
        *(Request.DEVICE_BIND_IOMMUFD, IommufdRequest.IOAS_ALLOC, IommufdRequest.VFIO_IOAS),
        Request.DEVICE_ATTACH_IOMMUFD_PT,
    ]
    assert Request.GROUP_GET_DEVICE_FD not in kernel.requests
    (machine.system.dev / "iommu").unlink()
    opened(machine).close()
    assert Request.GROUP_GET_DEVICE_FD in kernel.requests


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EBUSY, "vfio/7: the device is in use by another process"),
        (errno.EACCES, "vfio/7: no permission; run as root"),
        (errno.EPERM, "CAP_SYS_RAWIO"),
        (errno.EMFILE, "Too many open files"),
    ],
)
def test_a_group_that_cannot_be_opened_is_named(
    machine: Machine,
    kernel: FakeVfio,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    reason: str,
) -> None:
    open_file = os.open

    def refuse(path: Path, flags: int, *rest: int) -> int:
        if Path(path).name == "7":
            raise OSError(number, os.strerror(number))
        return open_file(path, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(TransportError, match=reason):
        opened(machine)


def test_a_device_that_is_being_reset_is_opened_in_the_end(
    machine: Machine, kernel: FakeVfio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abi, "PAUSE_S", 0.0)
    kernel.fails[Request.GROUP_GET_DEVICE_FD] = [errno.EAGAIN] * 3
    opened(machine).close()


def test_without_iommu_only_by_request(
    machine: Machine, kernel: FakeVfio, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(TransportError, match="this kernel has no mode without an IOMMU"):
        VfioTransport(ADDRESS, system=machine.system, noiommu=True)
    put(machine.system.sys / "module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n")
    with pytest.raises(TransportError, match="not in no-IOMMU mode"):
        VfioTransport(ADDRESS, system=machine.system, noiommu=True)
    assert "can reach all memory" in caplog.text
    (machine.system.dev / "vfio/noiommu-7").touch()
    (machine.system.dev / "vfio/7").unlink()
    with pytest.raises(TransportError, match=r"there is no IOMMU.* or do without: noiommu=on"):
        opened(machine)
    with pytest.raises(TransportError, match="no mode without an IOMMU"):
        VfioTransport(ADDRESS, system=machine.system, noiommu=True)
    kernel.extensions = {abi.NOIOMMU_IOMMU}
    VfioTransport(ADDRESS, system=machine.system, noiommu=True).close()
    assert Request.IOMMU_GET_INFO not in kernel.requests


# ---- memory ----


def test_memory_is_mapped_where_the_iommu_decodes(machine: Machine, kernel: FakeVfio) -> None:
    with closing(opened(machine)) as transport:
        sizes = [1, PAGE, 3 * PAGE + 1, HUGE_PAGE, 8 * HUGE_PAGE]
        regions = [transport.allocate(size) for size in sizes]
        for size, region in zip(sizes, regions, strict=True):
            assert region.length >= size
            assert kernel.mapped[region.iova] == (region.vaddr, region.length)
            ends = region.iova, region.iova + region.length - 1
            assert any(low <= ends[0] <= ends[1] <= high for low, high in (LOW, HIGH))
            assert not any(region.view())
            region.view()[-1] = 1


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOMEM, "limit of locked memory.*LimitMEMLOCK=infinity.*ulimit -l unlimited"),
        (errno.ENOSPC, "dma_entry_limit"),
        (errno.EFAULT, "cannot be mapped: Bad address"),
    ],
)
def test_memory_that_cannot_be_mapped_says_what_to_set(
    machine: Machine, kernel: FakeVfio, number: int, reason: str
) -> None:
    kernel.fails[Request.IOMMU_MAP_DMA] = [number]
    with closing(opened(machine)) as transport, pytest.raises(TransportError, match=reason):
        transport.allocate(PAGE)


@given(
    st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(0, 1 << 24)), max_size=5),
    st.lists(st.tuples(st.integers(1, 2000), st.sampled_from([1, 512])), max_size=20),
)
def test_addresses_are_handed_out_once_and_from_the_ranges(
    holes: list[tuple[int, int]], wanted: list[tuple[int, int]]
) -> None:
    ranges, start = [], 0
    for first, length in sorted(holes):
        if first > start:
            ranges.append((start, first - 1))
            start = first + length
    ranges.append((start, (1 << 31) - 1))
    allocator = IovaAllocator(ranges)
    taken: list[tuple[int, int]] = []
    for pages, alignment in wanted:
        length = pages * PAGE
        iova = allocator.take(length, alignment * PAGE)
        assert iova % (alignment * PAGE) == 0
        assert any(low <= iova and iova + length - 1 <= high for low, high in ranges)
        assert all(iova + length <= other or iova >= end for other, end in taken)
        taken.append((iova, iova + length))


def test_an_address_space_that_is_full_is_an_error() -> None:
    allocator = IovaAllocator([(0x100000, 0x101FFF)])
    assert allocator.take(PAGE, PAGE) == 0x100000
    with pytest.raises(TransportError, match="no room for 8192 bytes"):
        allocator.take(2 * PAGE, PAGE)
    assert allocator.take(PAGE, PAGE) == 0x101000


@given(order=st.permutations(range(6)))
def test_addresses_that_were_given_back_are_one_piece_again(order: list[int]) -> None:
    allocator = IovaAllocator([(0x100000, 0x105FFF)])
    taken = [allocator.take(PAGE, PAGE) for _ in range(6)]
    for index in order:
        allocator.give_back(taken[index], PAGE)
    assert allocator.take(6 * PAGE, PAGE) == 0x100000


@either_way
def test_a_window_has_addresses_while_it_is_open(machine: Machine, kernel: FakeVfio) -> None:
    transport = opened(machine)
    with closing(transport):
        first = transport.window(4 * PAGE)
        second = transport.window(4 * PAGE)
        assert first is not None
        assert second is not None
        taken = transport.allocate(PAGE).iova
        first.close()
        again = transport.window(4 * PAGE)
        assert again is not None
        # As if the first had never been.
        assert transport.allocate(PAGE).iova == taken + PAGE
        asyncio.run(transport.let_go())
        with pytest.raises(TransportError, match="gone"):
            transport.window(PAGE)
        second.close()
        again.close()


def test_arenas_that_cannot_be_mapped_are_given_back() -> None:
    def refuse(vaddr: int, length: int, alignment: int) -> int:
        raise TransportError("no")

    arenas = DmaArenas(refuse)
    with pytest.raises(TransportError, match="no"):
        arenas.allocate(PAGE)
    arenas.close()


# ---- resets and removal ----


def test_a_reset_leaves_the_device_enabled(
    machine: Machine, kernel: FakeVfio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abi, "PAUSE_S", 0.0)
    with closing(opened(machine)) as transport:
        kernel.fails[Request.DEVICE_RESET] = [errno.EAGAIN] * 3
        asyncio.run(transport.reset())
        assert kernel.command() == 0x406
        kernel.fails[Request.DEVICE_RESET] = [errno.EINVAL]
        with pytest.raises(TransportError, match="reset: Invalid"):
            asyncio.run(transport.reset())


@either_way
def test_nobody_else_waits_for_a_reset_of_the_kernels(
    machine: Machine, kernel: FakeVfio, monkeypatch: pytest.MonkeyPatch
) -> None:
    others_run = threading.Event()

    def device_reset(_: int) -> None:
        assert others_run.wait(10)
        assert kernel.command() == 0x406  # it was not closed in the midst of it

    async def other() -> None:
        others_run.set()

    async def scenario(transport: VfioTransport) -> None:
        await asyncio.gather(transport.reset(), transport.let_go(), other())

    monkeypatch.setattr(kernel, "device_reset", device_reset)
    with closing(opened(machine)) as transport:
        asyncio.run(scenario(transport))
        assert transport.read32(Register.CSTS) == ALL_ONES_32


@either_way
def test_a_device_that_was_let_go_reads_as_gone(machine: Machine, kernel: FakeVfio) -> None:
    with closing(opened(machine)) as transport:
        memory = transport.allocate(PAGE)
        asyncio.run(transport.let_go())
        asyncio.run(transport.let_go())
        assert transport.read64(Register.CAP) == ALL_ONES_64
        assert transport.read32(Register.CSTS) == ALL_ONES_32
        memory.view()[:1] = b"x"  # still there
        for use in (lambda: asyncio.run(transport.reset()), lambda: transport.allocate(1)):
            with pytest.raises(TransportError, match="is gone"):
                use()


@either_way
def test_a_device_that_comes_back_is_as_it_was(machine: Machine, kernel: FakeVfio) -> None:
    with closing(opened(machine)) as transport:
        memory = transport.allocate(PAGE)
        assert not asyncio.run(transport.take_back())  # it was never let go
        before = dict(kernel.mapped), dict(kernel.eventfds)
        asyncio.run(transport.let_go())
        kernel.mapped.clear()
        kernel.eventfds.clear()
        machine.set_driver(machine.function, "nvme")
        assert not asyncio.run(transport.take_back())
        machine.set_driver(machine.function, "vfio-pci")
        assert asyncio.run(transport.take_back())
        assert before == (kernel.mapped, kernel.eventfds)
        assert kernel.command() == 0x406
        kernel.put(Register.CSTS, 1)
        assert transport.read32(Register.CSTS) == 1
        asyncio.run(transport.reset())
        memory.view()[:1] = b"x"
        asyncio.run(transport.let_go())
        assert transport.read32(Register.CSTS) == ALL_ONES_32


@pytest.mark.parametrize(
    "request_kind", [Request.GROUP_GET_DEVICE_FD, Request.IOMMU_MAP_DMA, Request.DEVICE_SET_IRQS]
)
def test_a_device_that_cannot_be_had_again_stays_away(
    machine: Machine, kernel: FakeVfio, request_kind: Request
) -> None:
    with closing(opened(machine)) as transport:
        transport.allocate(PAGE)
        asyncio.run(transport.let_go())
        kernel.fails[request_kind] = [errno.EIO]
        assert not asyncio.run(transport.take_back())
        assert transport.read64(Register.CAP) == ALL_ONES_64
        assert asyncio.run(transport.take_back())
        assert transport.read64(Register.CAP) != ALL_ONES_64


def all_ones(transport: VfioTransport) -> None:
    transport.write_configuration(8, 4, ALL_ONES_32)


def no_answer(transport: VfioTransport) -> None:
    def read(offset: int, width: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    transport.read_configuration = read  # type: ignore[method-assign]


@pytest.mark.parametrize("answer", [all_ones, no_answer])
def test_a_device_that_was_torn_out_is_not_reset(
    machine: Machine, kernel: FakeVfio, answer: Callable[[VfioTransport], None]
) -> None:
    """Nothing answers on the bus; some machines read zeroes where its memory was."""
    with closing(opened(machine)) as transport:
        kernel.put(Register.CSTS, 0)
        assert transport.read32(Register.CSTS) == 0
        answer(transport)
        assert transport.read32(Register.CSTS) == ALL_ONES_32
        assert transport.read64(Register.ASQ) == ALL_ONES_64
        with pytest.raises(TransportError, match="does not answer any more"):
            asyncio.run(transport.reset())
    assert Request.DEVICE_RESET not in kernel.requests


# ---- whom interrupts come to ----

INTERRUPTS = f"""\
            CPU0       CPU1
  0:         42          0  IR-IO-APIC    2-edge      timer
 37:         23          0  IR-PCI-MSI 524288-edge      vfio-msix[2](0000:07:00.0)
 38:        109          0  IR-PCI-MSI 1048576-edge      vfio-msix[0]({ADDRESS})
 40:          0     112877  IR-PCI-MSI 1048578-edge      vfio-msix[2]({ADDRESS})
141:          0          3  IR-PCI-MSI 1048579-edge      vfio-msix[3]({ADDRESS})
LOC:      45986      47291   Local timer interrupts
"""


def test_interrupts_come_to_the_cpus_they_are_steered_to(
    machine: Machine, kernel: FakeVfio
) -> None:
    proc = machine.system.proc
    put(proc / "interrupts", INTERRUPTS)
    lists = {number: proc / f"irq/{number}/smp_affinity_list" for number in (37, 38, 40, 141)}
    for path in lists.values():
        put(path, "0-1\n")
    with closing(opened(machine)) as transport:
        transport.steer({2: 0, 3: 5, 99: 1})
        assert [path.read_text() for path in lists.values()] == ["0-1\n", "0-1\n", "0\n", "5\n"]
        asyncio.run(transport.let_go())
        put(proc / "interrupts", INTERRUPTS.replace("141:", " 38:"))
        assert asyncio.run(transport.take_back())
        assert lists[38].read_text() == "5\n"


def test_interrupts_that_cannot_be_steered_stay(
    machine: Machine, kernel: FakeVfio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with closing(opened(machine)) as transport:
        transport.steer({2: 0})
    assert "its interrupts stay where they are" in caplog.text


# ---- mapped registers ----


def test_registers_are_single_little_endian_accesses() -> None:
    fd = memory_file("registers", size=BAR_BYTES)
    with closing(Registers(fd, PAGE, 2 * PAGE)) as registers:
        registers.write32(4, 0x11223344)
        registers.write64(8, 0x0102030405060708)
        assert os.pread(fd, 12, PAGE + 4) == bytes.fromhex("44332211 0807060504030201")
        assert (registers.read32(4), registers.read64(8)) == (0x11223344, 0x0102030405060708)
        for offset, read in ((2, registers.read32), (4, registers.read64), (-4, registers.read32)):
            with pytest.raises(ValueError, match="-bit register at"):
                read(offset)
        with pytest.raises(ValueError, match="no 32-bit register at 0x2000"):
            registers.write32(2 * PAGE, 0)
    with pytest.raises(ValueError, match="unmapped"):
        registers.read32(0)
    os.close(fd)


def test_registers_that_vanish_read_all_ones() -> None:
    fd = memory_file("registers", size=2 * PAGE)
    with closing(Registers(fd, 0, 2 * PAGE)) as registers:
        assert registers.read32(0) == 0
        os.ftruncate(fd, 0)  # from now on the kernel raises SIGBUS
        assert registers.read32(PAGE + 8) == ALL_ONES_32
        registers.write32(0x10, 1)
        assert registers.read64(0x18) == ALL_ONES_64
    os.close(fd)


def test_another_bus_error_kills_as_ever() -> None:
    script = """
import ctypes, mmap, os
from scsi2nvme.dataplane import Registers
fd = os.memfd_create("x"); os.truncate(fd, 4096)
registers = Registers(fd, 0, 4096)
other = mmap.mmap(fd, 4096)
os.ftruncate(fd, 0)
assert registers.read32(0) == 0xFFFFFFFF
print("alive", flush=True)
other[0]
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("alive\n", -7)
