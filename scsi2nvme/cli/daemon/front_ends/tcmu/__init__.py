"""The kernel's target, `serve --tcmu`."""

from __future__ import annotations

from scsi2nvme.cli.daemon.front_ends.front_end import FrontEnd, FrontEndRecord, Serving


def _build(serving: Serving) -> FrontEnd | None:
    settings = serving.settings.tcmu
    if settings is None:
        return None
    from scsi2nvme.cli.daemon.front_ends.tcmu.kernel_target import KernelTarget

    return KernelTarget(serving, settings)


FRONT_END = FrontEndRecord(
    rank=10,
    build=_build,
    idle={"Rings": []},
    absent={"kernel.exports": "the daemon does not serve the kernel; start it with --tcmu"},
)
