"""The namespaces of controllers that are opened to list them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from scsi2nvme.cli import controllers
from scsi2nvme.cli.inspection import Json, devices
from scsi2nvme.cli.spec import parse


def of_specs(specs: Sequence[str]) -> Json:
    """Return the namespaces of the given SPECs, whose controllers are opened for that."""
    return asyncio.run(_of_specs(specs))


async def _of_specs(specs: Sequence[str]) -> Json:
    found: list[Any] = []
    for number, text in enumerate(specs):
        opened = await controllers.inspect_controller(parse(text))
        try:
            found += [(number, text, facts) for facts in opened.namespaces.values()]
        finally:
            await opened.close()
    return devices(found)
