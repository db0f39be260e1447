"""Which reactor has which of a controller's queue pairs."""

from __future__ import annotations

from itertools import zip_longest

from scsi2nvme.cli.daemon import memory
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.native.plane import Plane, PlaneController


def give_queues(plane: Plane, controller: Controller, native: PlaneController, first: int) -> None:
    """Give reactors the controller's queue pairs, from reactor `first` on.

    Those for whom there is none have buffers for what they hand to the engine.
    """
    order = [(first + index) % plane.reactors for index in range(plane.reactors)]
    for index, queue in zip_longest(order, controller.io_queues):
        if queue is not None:
            native.set_queue(index, queue.queue, queue.eventfd, queue.pool)
        else:
            native.set_queue(index, None, -1, controller.transport.allocate(memory.POOL_BYTES))
    if all(cpu >= 0 for cpu in plane.cpus):
        controller.steer(plane.cpus[index] for index in order)
