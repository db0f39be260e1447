"""Controllers as SPECs name them: transports of the drivers, opened."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from scsi2nvme.cli.errors import OperationError, UnusableControllerError
from scsi2nvme.cli.inspection import Inspection
from scsi2nvme.cli.spec import ControllerSpec
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.drivers.nvme.errors import ControllerError, StatusError
from scsi2nvme.drivers.nvme.retry import LOST
from scsi2nvme.drivers.transport import Transport, TransportError
from scsi2nvme.nvme.command import BROADCAST_NSID, Completion, NvmeCommand
from scsi2nvme.nvme.namespace import NamespaceFacts
from scsi2nvme.nvme.passing import metadata_bytes, moved_bytes


async def open_controller(spec: ControllerSpec, *, io_queues: int, pool_bytes: int) -> Controller:
    """Bring up the controller that `spec` names; OperationError if it cannot be.

    That is an UnusableControllerError where it is the controller's own fault.
    """
    with _named(spec):
        transport = spec.scheme.open(spec.path, spec.given())
        return await Controller.open(
            transport,
            io_queues=io_queues,
            pool_bytes=pool_bytes,
            host_memory_bytes=spec.host_memory_bytes,
        )


async def inspect_controller(spec: ControllerSpec) -> Controller:
    """Bring up a controller only to ask what it is; errors are those of `open_controller`."""
    with _named(spec):
        return await _inspected(spec.scheme.inspected(spec.path, spec.given()))


async def rehearse_controller(spec: ControllerSpec, *, held: bool) -> Controller | None:
    """Bring up a controller as `open_controller` would, but leave no trace; errors are its own.

    `held`: somebody has it now who will have let go of it by then. None: nobody can tell.
    """
    with _named(spec):
        transport = spec.scheme.rehearsed(spec.path, spec.given(), held=held)
        return None if transport is None else await _inspected(transport)


async def _inspected(transport: Transport) -> Controller:
    return await Controller.open(transport, io_queues=0, pool_bytes=1 << 20)


@contextmanager
def _named(spec: ControllerSpec) -> Iterator[None]:
    try:
        yield
    except ControllerError as error:
        raise UnusableControllerError(f"controller {spec.text!r}: {error}") from error
    except (TransportError, OSError) as error:
        raise OperationError(f"controller {spec.text!r}: {error}") from error


async def read(controller: Controller, wanted: Inspection, nsid: int) -> bytes:
    """Return the raw data that is `wanted`; OperationError if there is none."""
    if wanted.per_namespace and nsid not in controller.namespaces:
        raise OperationError(_no_namespace(controller, nsid))
    try:
        command = wanted.command(nsid, controller.commands.error_log_entries)
        return (await controller.commands.succeed(command)).data
    except StatusError as error:
        status = error.completion.status
        raise OperationError(
            f"{wanted.name}: the controller answers status {status >> 8:X}/{status & 0xFF:02X}"
        ) from error
    except ControllerError as error:
        raise OperationError(str(error)) from error


async def execute(
    controller: Controller, command: NvmeCommand, *known: NamespaceFacts
) -> Completion:
    """Have a controller execute any command, whatever its status; OperationError if it cannot.

    `known`: what others than the controller say of the command's namespace.
    """
    there = {0, BROADCAST_NSID, *controller.namespaces}
    if not command.admin and command.nsid not in there:
        raise OperationError(_no_namespace(controller, command.nsid))
    try:
        (completion,) = await controller.execute(with_room(controller, command, *known))
    except (ControllerError, ValueError) as error:
        raise OperationError(f"{command.name}: {error}") from error
    if completion.status == LOST:
        raise OperationError(controller.gone)
    metadata = completion.metadata[: command.metadata_in]
    return replace(completion, data=completion.data[: command.data_in], metadata=metadata)


def with_room(controller: Controller, command: NvmeCommand, *known: NamespaceFacts) -> NvmeCommand:
    """Return a command with room for all that it moves; OperationError if it cannot be sent so.

    A controller knows no length of its data but what the command says, and goes on behind them,
    where others' are. What was formatted by another controller may be `known` before this one
    tells of it: the longer block counts.
    """
    try:
        command.sqe()
    except struct.error:
        raise OperationError(
            f"{command.name}: a dword of it would have more than 32 bits"
        ) from None
    told = controller.namespaces.get(command.nsid)
    command = _with_metadata_room(command, [each for each in (told, *known) if each is not None])
    moved = max(moved_bytes(command, each) for each in (told, *known))
    if command.opcode & 1:  # CDW0 bit 0: data go to the controller
        if len(command.data_out) < moved:
            raise OperationError(
                f"{command.name}: it takes {moved} bytes of data, not {len(command.data_out)}"
            )
        return command
    if command.data_out:
        raise OperationError(f"{command.name}: it takes no data")
    return replace(command, data_in=max(command.data_in, moved))


def _with_metadata_room(command: NvmeCommand, known: list[NamespaceFacts]) -> NvmeCommand:
    """Return a command with room for the metadata that it moves in a buffer of their own."""
    moved = max((metadata_bytes(command, each) for each in known), default=0)
    to_controller = command.opcode & 1
    if len(command.metadata_out) if to_controller else command.metadata_in:
        if command.metadata_out and not to_controller:
            raise OperationError(f"{command.name}: it takes no metadata")
    elif moved:
        raise OperationError(
            f"{command.name}: the namespace's blocks have metadata in a buffer of their own, "
            f"{moved} bytes here: give --metadata-len; or PRACT (CDW12 bit 29), which has the disk "
            "deal with protection information itself"
        )
    if to_controller and len(command.metadata_out) < moved:
        raise OperationError(
            f"{command.name}: it takes {moved} bytes of metadata, not {len(command.metadata_out)}"
        )
    return (
        command if to_controller else replace(command, metadata_in=max(command.metadata_in, moved))
    )


def _no_namespace(controller: Controller, nsid: int) -> str:
    known = ", ".join(str(number) for number in sorted(controller.namespaces))
    return f"there is no namespace {nsid}; active: {known}"


async def reset_subsystem(controller: Controller) -> None:
    """Reset a controller's NVM subsystem; OperationError if it cannot, or does not come back."""
    try:
        await controller.reset_subsystem()
    except ControllerError as error:
        raise OperationError(f"{controller.name}: {error}") from error
    if not controller.live:
        raise OperationError(controller.gone)


async def reset(controller: Controller) -> None:
    """Reset a controller; OperationError if it does not come back."""
    await controller.reset()
    if not controller.live:
        raise OperationError(controller.gone)
