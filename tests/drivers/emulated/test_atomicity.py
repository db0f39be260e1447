"""What the controller says that it writes as a whole."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import AdminOpcode
from scsi2nvme.nvme.structures import IDENTIFY_NAMESPACE
from tests.drivers.emulated.host import Host, admin

KIB = 1 << 10


def namespace(**settings: Any) -> Values:
    async def run() -> Values:
        host = Host(**settings)
        try:
            command = admin(AdminOpcode.IDENTIFY, 0, nsid=1, data_in=4096)
            return IDENTIFY_NAMESPACE.parse(await host.enable().ok(command))
        finally:
            host.close()

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"block_bytes": 512}, (255, 7, 0, 0)),
        ({"block_bytes": 4096}, (255, 0, 0, 0)),
        ({"block_bytes": 512, "atomic_bytes": 1024 * KIB}, (2047, 2047, 0, 0)),
        ({"block_bytes": 4096, "atomic_bytes": 1024 * KIB}, (255, 255, 0, 0)),
        (
            {"block_bytes": 4096, "atomic_bytes": 64 * KIB, "atomic_boundary_bytes": 128 * KIB},
            (255, 15, 31, 31),
        ),
    ],
)
def test_what_is_told(settings: dict[str, int], expected: tuple[int, ...]) -> None:
    told = namespace(**settings)
    assert told.nsfeat & 2
    assert (told.nawun, told.nawupf, told.nabsn, told.nabspf) == expected
    assert not told.nabo


def test_a_file_promises_no_more_than_pages(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match="atomic is only for emulated:memory"):
        namespace(path=tmp_path / "disk", atomic_bytes=8 * KIB)
    assert namespace(path=tmp_path / "disk", block_bytes=512).nawupf == 7
