"""Root's powers, given up but for those that serving the kernel needs. Spec: capabilities(7).

The process stays root: what it reads and writes in configfs, in sysfs and under /dev is root's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from enum import IntEnum


class Capability(IntEnum):
    """Those that are kept, by the numbers of <linux/capability.h>."""

    NET_BIND_SERVICE = 10  # a portal's port may be below 1024
    NET_ADMIN = 12  # the user backstore's netlink family wants it
    IPC_LOCK = 14  # DMA memory is locked, whatever the limit
    SYS_RAWIO = 17  # VFIO without an IOMMU
    SYS_ADMIN = 21  # physical addresses, for that


KEPT = frozenset((Capability.NET_BIND_SERVICE, Capability.NET_ADMIN, Capability.IPC_LOCK))

_SET_NO_NEW_PRIVS = 38  # of prctl(2)
_VERSION_3 = 0x20080522  # of capset(2)


def join(group: int) -> None:
    """Be a member of a group, so that files may be given to it without root's power to.

    Who may not be, as where systemd grants little, is one by `SupplementaryGroups=` or not at all.
    """
    with contextlib.suppress(PermissionError):
        os.setgroups([*os.getgroups(), group])


def drop(kept: frozenset[Capability] = KEPT) -> None:
    """Keep no other capability, in the programs that are started neither. OSError if that fails.

    It counts for the calling thread and those that it starts: call it before there are others.
    """
    _call("prctl", _SET_NO_NEW_PRIVS, *map(ctypes.c_ulong, (1, 0, 0, 0)))
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    # Effective, permitted and inheritable: numbers below 32, then those above.
    held = (ctypes.c_uint32 * 6)()
    _call("capget", header, held)
    mask = sum(1 << number for number in kept)
    _call("capset", header, (ctypes.c_uint32 * 6)(held[0] & mask, held[1] & mask))


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
