"""VFIO's windows: the binding of drivers/vfio/csrc/vfio.h."""

from __future__ import annotations

from collections.abc import Callable

from scsi2nvme._dataplane import ffi, lib
from scsi2nvme.native.handle import check
from scsi2nvme.native.transport import Window


class VfioWindow(Window):
    """A window of the IOMMU of a VFIO container, a descriptor that stays the caller's."""

    def __init__(
        self, container: int, iova: int, length: int, released: Callable[[], None]
    ) -> None:
        native = lib.s2n_window_vfio(container, iova, length)
        if native == ffi.NULL:
            check(-ffi.errno, "window")
        super().__init__(native, released)
