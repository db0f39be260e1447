"""The driver's suite on real PCI functions, through VFIO and an IOMMU."""

from __future__ import annotations

from tests.system.conftest import Power
from tests.system.machine import MIB, Machine, Namespace, Nvme

# One controller for each shape of disk that the suite asks for.
SHAPES = [(1, 512), (1, 4096), (2, 512), (2, 4096)]
DISKS = {
    f"{count}x{block_bytes}": Nvme(
        f"disk{number}",
        f"0000:{number:02x}:00.0",
        (Namespace(16 * MIB, block_bytes),) * count,
    )
    for number, (count, block_bytes) in enumerate(SHAPES, start=1)
}
SUITE_S = 420


def test_driver_suite(power: Power) -> None:
    power.off()
    disks = " ".join(f"{shape}={disk.address}" for shape, disk in DISKS.items())
    with Machine(tuple(DISKS.values()), files=power.files) as machine:
        bind = "\n".join(f"bind_vfio {disk.address}" for disk in DISKS.values())
        job = machine.run(
            f"""
            modprobe vfio-pci
            {bind}
            cd /opt/scsi2nvme
            SCSI2NVME_TEST_DISKS='{disks}' python3 -m pytest -q -p no:cacheprovider \\
              --durations=10 tests/integration
            """,
            timeout_s=SUITE_S,
        )
    assert " passed" in job.output
    assert "skipped" not in job.output
