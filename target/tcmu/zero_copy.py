"""Zero copy: whether controllers may move data straight from and to the rings' pages.

The kernel keeps a ring's data pages for the commands to come, until the pages of all rings
are more than its limit: then it frees idle ones, and puts others in their place later. The
data plane never uses a page that was replaced (tcmu_pages.c), but finding that out again
and again costs more than copying. So data stay in place only while all rings together,
those of other programs too, cannot reach the limit.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from scsi2nvme.target.tcmu.device_config import AREA_MB
from scsi2nvme.target.tcmu.uio import Kernel

if TYPE_CHECKING:
    from scsi2nvme.native.tcmu import PlaneTcmu

log = logging.getLogger(__name__)

_RING_MB = 8  # of commands, before the data: what the kernel gives a device


def reason_to_copy(kernel: Kernel) -> str | None:
    """Return why the kernel may take data pages away from idle rings; None: it will not.

    Sizes are those of the mappings: to ask configfs about a device could mean to wait for
    its removal, which waits for us.
    """
    try:
        areas = [max((each.map_bytes >> 20) - _RING_MB, 0) for each in kernel.devices()]
        limit = kernel.data_area_limit_mb()
    except (OSError, ValueError) as error:
        return f"how much memory the rings may take is unknown: {error}"
    if sum(areas) <= limit:
        return None
    return (
        f"the data areas of the kernel's {len(areas)} rings, {sum(areas)} MiB in all, are more "
        f"than global_max_data_area_mb, {limit}; create backstores with "
        f"control=max_data_area_mb={AREA_MB}, or raise that parameter of target_core_user"
    )


class ZeroCopy:
    """What holds for the rings of a front end; with `wanted` false they always copy."""

    def __init__(self, kernel: Kernel, *, wanted: bool) -> None:
        self._kernel = kernel
        self._wanted = wanted
        self._said: str | None = None

    def judge(self, rings: Iterable[PlaneTcmu]) -> None:
        """Look again, and tell the rings that could do without copying."""
        able = [ring for ring in rings if ring.has_window]
        if not able or not self._wanted:
            return
        reason = reason_to_copy(self._kernel)
        for ring in able:
            ring.set_in_place(reason is None)
        if reason != self._said:
            self._said = reason
            if reason is None:
                log.warning("zero copy is on again")
            else:
                log.warning("zero copy is off: %s", reason)
