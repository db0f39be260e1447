"""The kernel's VFIO interface, and what it says of a region."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsi2nvme.drivers.vfio import abi
from scsi2nvme.drivers.vfio.abi import IommufdRequest, RegionCapability, Request
from scsi2nvme.drivers.vfio.transport import mappable_bytes
from scsi2nvme.fields import Values

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
