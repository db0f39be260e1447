"""Streams, enabled whenever a controller is set up; or not, which is told."""

from __future__ import annotations

import asyncio

from scsi2nvme.drivers.emulated.capabilities.faults import parse_fault
from scsi2nvme.drivers.emulated.transport import EmulatedOptions, EmulatedTransport
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.nvme.directives import Streams

THREE = Streams(3, write_blocks=16, granularity=16)


def after_a_reset(*faults: str) -> tuple[Streams | None, list[frozenset[int]]]:
    """Return the streams that there are, and the namespaces that were told to have changed."""
    told: list[frozenset[int]] = []

    async def scenario() -> Streams | None:
        options = EmulatedOptions.of(
            size_bytes=1 << 20,
            block_bytes=4096,
            streams=3,
            faults=tuple(map(parse_fault, faults)),
        )
        controller = await Controller.open(EmulatedTransport(options))
        try:
            assert controller.namespaces[1].streams == THREE
            controller.on_event = lambda event: told.append(event.namespaces)
            await controller.reset()
            return controller.namespaces[1].streams
        finally:
            await controller.close()

    return asyncio.run(scenario()), told


def test_they_are_enabled_again() -> None:
    assert after_a_reset() == (THREE, [])


def test_where_they_are_not_the_namespace_is_another() -> None:
    """Whoever has told initiators of streams is to learn that there are none."""
    refused = "directive-send:status=1/7F:after=1"
    assert after_a_reset(refused) == (None, [frozenset({1})])
