"""Our own iSCSI portal."""

from __future__ import annotations

from scsi2nvme.cli.daemon.front_ends.front_end import FrontEnd, FrontEndRecord, Serving


def _build(serving: Serving) -> FrontEnd | None:
    if not serving.settings.portals:
        return None
    from scsi2nvme.cli.daemon.front_ends.iscsi.portal import IscsiFrontEnd

    return IscsiFrontEnd(serving)


FRONT_END = FrontEndRecord(rank=20, build=_build, idle={"Targets": [], "Sessions": []})
