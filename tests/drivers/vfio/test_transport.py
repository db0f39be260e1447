"""The VFIO transport against a kernel that is played: how it is opened."""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from scsi2nvme.drivers.transport import Alarm, TransportError
from scsi2nvme.drivers.vfio import abi
from scsi2nvme.drivers.vfio.abi import IommufdRequest, IrqIndex, Request
from scsi2nvme.drivers.vfio.transport import VfioTransport
from scsi2nvme.nvme.registers import ALL_ONES_32, CAP, Register, encode
from tests.drivers.machine import ADDRESS, NEIGHBOUR, Machine, put
from tests.drivers.vfio.fake_vfio import (
    BAR_BYTES,
    AnyRequest,
    FakeVfio,
)
from tests.drivers.vfio.rig import CDEV, GROUP, either_way, opened


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
    (failing(Request.GROUP_GET_DEVICE_FD, errno.EACCES), "a VF token, which is missing or another"),
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
    (failing(Request.DEVICE_BIND_IOMMUFD, errno.EACCES), "name the file that holds it"),
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


# ---- virtual functions ----

TOKEN = "14D63F20-8445-11EA-8900-1F9CE7D5650D"


def secret(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text)


@either_way
def test_a_virtual_function_is_opened_with_its_token(
    machine: Machine, kernel: FakeVfio, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    secret(tmp_path / "token", f"{TOKEN}\n")
    (machine.function.path / "physfn").symlink_to("../0000:01:00.7")
    with closing(opened(machine, vf_token_file=str(tmp_path / "token"))) as transport:
        assert transport.parent == "0000:01:00.7"
        assert kernel.opened == [f"{ADDRESS} vf_token={TOKEN}"]
        asyncio.run(transport.let_go())
        (tmp_path / "token").unlink()  # it is known
        assert asyncio.run(transport.take_back())
        assert kernel.opened == [f"{ADDRESS} vf_token={TOKEN}"] * 2
    assert TOKEN not in caplog.text


def test_a_function_of_its_own_has_no_parent(machine: Machine, kernel: FakeVfio) -> None:
    with closing(opened(machine)) as transport:
        assert transport.parent == ""
        assert kernel.opened == [ADDRESS]


def test_a_token_that_is_not_wanted(machine: Machine, kernel: FakeVfio, tmp_path: Path) -> None:
    secret(tmp_path / "token", TOKEN)
    kernel.fails[Request.GROUP_GET_DEVICE_FD] = [errno.EINVAL]
    with pytest.raises(TransportError, match=r"takes no VF token.*leave vf_token out") as caught:
        opened(machine, vf_token_file=str(tmp_path / "token"))
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("text", ["", "secret", f"{TOKEN} {TOKEN}", f"{TOKEN}x", "\xff"])
def test_a_file_without_a_token_does_not_become_known(
    machine: Machine, kernel: FakeVfio, tmp_path: Path, text: str
) -> None:
    secret(tmp_path / "token", text)
    with pytest.raises(TransportError, match="does not hold a UUID alone") as caught:
        opened(machine, vf_token_file=str(tmp_path / "token"))
    assert not text or text not in str(caught.value)
    (tmp_path / "token").chmod(0o644)
    with pytest.raises(TransportError, match="others may read it: chmod 600"):
        opened(machine, vf_token_file=str(tmp_path / "token"))
    with pytest.raises(TransportError, match="other: No such file"):
        opened(machine, vf_token_file=str(tmp_path / "other"))
