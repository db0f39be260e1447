"""TCMU's devices: the binding of target/tcmu/csrc/tcmu_device.h."""

from __future__ import annotations

from scsi2nvme._dataplane import ffi, lib
from scsi2nvme.native.handle import Handle, check
from scsi2nvme.native.plane import Plane, PlaneNexus
from scsi2nvme.native.transport import Window


class PlaneTcmu(Handle):
    """A TCMU device's ring in the data plane. CONN_CLOSED tells its end; then `close` it.

    `fd` tells of new entries and is taken over; `memory` is what is mapped, `length`
    bytes of it. Through `window`, which is taken over, the controller may reach it. OSError:
    EPROTO or EPROTONOSUPPORT if there is no ring that we know.
    """

    def __init__(
        self,
        plane: Plane,
        nexus: PlaneNexus,
        fd: int,
        memory: int,
        length: int,
        cookie: int,
        window: Window | None = None,
    ) -> None:
        out = ffi.new("s2n_tcmu **")
        native = window.native if window is not None else ffi.NULL
        check(
            lib.s2n_tcmu_new(plane.native, nexus.native, fd, memory, length, native, cookie, out),
            "ring",
        )
        super().__init__(lib.s2n_tcmu_free, out[0], "ring")
        self._window = window

    @property
    def has_window(self) -> bool:
        """Whether data could stay in place."""
        return self._window is not None

    def set_in_place(self, allowed: bool) -> None:
        """Let data stay where they are, or have them copied."""
        lib.s2n_tcmu_set_in_place(self.native, allowed)

    def counters(self) -> dict[str, int]:
        """Return what was counted, and the reactor's number; see s2n_tcmu_counters."""
        out = ffi.new("s2n_tcmu_counters *")
        lib.s2n_tcmu_counters_get(self.native, out)
        names = ("in_place", "copied", "pages", "withdrawals", "moves", "reactor")
        return {name: int(getattr(out, name)) for name in names}

    def drain(self, token: int) -> None:
        """DRAINED with `token` follows once every entry of the ring was answered."""
        lib.s2n_tcmu_drain(self.native, token)

    def disconnect(self) -> None:
        """Leave the ring, and forget what is under way."""
        lib.s2n_tcmu_close(self.native)

    def close(self) -> None:
        """Free it, and its window after it."""
        super().close()
        if self._window is not None:
            self._window.close()
