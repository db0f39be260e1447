"""How fast the machine's clock is, which its kernel would else measure, wrongly on a busy host.

QEMU's emulation hands on the host's time stamp counter as it is. The kernel compares it with a
timer that stands still while QEMU waits for a processor: then everything in the machine happens
several times as fast, its time-outs too.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import time

_READ = bytes.fromhex("0f31 48c1e220 4809d0 c3")  # rdtsc; shl rdx, 32; or rax, rdx; ret
_READINGS, _APART_S = 20, 0.05


def parameters() -> list[str]:
    """Return what the kernel's command line is to say of the clock."""
    return [f"tsc_early_khz={_khz()}"] if platform.machine() == "x86_64" else []


def _khz() -> int:
    """Return the frequency of the host's time stamp counter."""
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(_READ)
        code = ctypes.c_char.from_buffer(page)
        read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(code))
        first, begin = _together(read)
        time.sleep(_APART_S)
        last, end = _together(read)
        del code, read
    return round((last - first) * 10**6 / (end - begin))


def _together(read: ctypes._CFunctionType) -> tuple[int, int]:
    """Return a reading of the counter and the nanosecond that it is of."""
    found = []
    for _ in range(_READINGS):
        before = time.monotonic_ns()
        count = read()
        after = time.monotonic_ns()
        found.append((after - before, count, (before + after) // 2))
    _, count, when = min(found)
    return count, when
