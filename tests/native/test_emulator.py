"""Errors and lifetimes, by the emulated controller."""

from __future__ import annotations

import pytest

from scsi2nvme.native.emulator import Emulator
from scsi2nvme.native.transport import Region


def test_errors_are_exceptions_with_a_reason(memory: Region) -> None:
    emulator = Emulator()
    try:
        with pytest.raises(OSError, match="SQ 1"):
            emulator.create_sq(1, 1, memory.iova, 8)  # without its CQ
        with pytest.raises(OSError, match="namespace 7"):
            emulator.remove_namespace(7)
    finally:
        emulator.close()
    emulator.close()  # twice is harmless


def test_what_is_closed_is_an_error_to_use() -> None:
    emulator = Emulator()
    assert not emulator.closed
    emulator.close()
    assert emulator.closed
    with pytest.raises(RuntimeError, match="Emulator is closed"):
        emulator.clear_faults()
    with pytest.raises(AttributeError, match="no attribute 'faults'"):
        _ = emulator.faults
