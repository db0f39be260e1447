"""Mapped registers: single accesses, also of a device that vanished."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing

import pytest

from scsi2nvme.drivers.memory import PAGE, memory_file
from scsi2nvme.native.nvme import Registers
from scsi2nvme.nvme.registers import ALL_ONES_32, ALL_ONES_64
from tests.drivers.vfio.fake_vfio import (
    BAR_BYTES,
)


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
from scsi2nvme.native.nvme import Registers
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
