"""Log page 0Fh: what application clients leave with the logical unit. Spec: SPC-4 7.3.3."""

from __future__ import annotations

from scsi2nvme.commands.log_pages.page import LogPage, Logs, Parameter
from scsi2nvme.unit.log_parameters import CLIENT_BYTES, CLIENT_PARAMETERS
from scsi2nvme.unit.logical_unit import LogicalUnit


def _application_client(lu: LogicalUnit, logs: Logs) -> tuple[Parameter, ...]:
    return tuple(Parameter(code, lu.log.client(code)) for code in range(CLIENT_PARAMETERS))


PAGES = (
    LogPage(
        0x0F,
        "Application Client",
        "SPC-4 7.3.3",
        _application_client,
        settable=lambda lu: dict.fromkeys(range(CLIENT_PARAMETERS), CLIENT_BYTES),
        set=lambda lu, values, logs: lu.log.leave(values),
        resets=True,
    ),
)
