"""Inspection and reset: through the running daemon, or by opening a controller."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scsi2nvme.cli import control, inspect
from scsi2nvme.cli.spec import parse


def read(controller: str, verb: str, nsid: int, state_dir: Path) -> bytes:
    """Return raw data of the daemon's controller of that number, or of a SPEC's."""
    if ":" not in controller:
        request = {"verb": verb, "controller": controller, "nsid": nsid}
        return bytes.fromhex(control.ask(state_dir, request))
    return asyncio.run(_read(controller, verb, nsid))


def reset(controller: str, state_dir: Path) -> None:
    """Reset a controller of the daemon; OperationError if it does not come back."""
    control.ask(state_dir, {"verb": "reset", "controller": controller})


async def _read(controller: str, verb: str, nsid: int) -> bytes:
    from scsi2nvme.cli import controllers

    opened = await controllers.open_controller(parse(controller))
    try:
        return await controllers.read(opened, inspect.VERBS[verb], nsid)
    finally:
        await opened.close()


def devices(specs: Sequence[str], state_dir: Path) -> inspect.Json:
    """Return the daemon's namespaces, or those of the given SPECs."""
    if not specs:
        listed: inspect.Json = control.ask(state_dir, {"verb": "list"})
        return listed
    return asyncio.run(_devices(specs))


async def _devices(specs: Sequence[str]) -> inspect.Json:
    from scsi2nvme.cli import controllers

    found: list[Any] = []
    for text in specs:
        opened = await controllers.open_controller(parse(text))
        try:
            found += [(text, facts) for facts in opened.namespaces.values()]
        finally:
            await opened.close()
    return inspect.devices(found)
