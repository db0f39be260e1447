"""Who is asked in a conversation: a daemon, or a controller that this process has opened."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from scsi2nvme.api import methods, passing
from scsi2nvme.api.passing import CommandEnded, WhichCommand
from scsi2nvme.cli import controllers
from scsi2nvme.cli.control import NoDaemonError, ask
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.passing.conversation import (
    Pause,
    Properties,
    Question,
    Questions,
    Reset,
    Shown,
)
from scsi2nvme.cli.spec import ControllerSpec
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.nvme.passing import looks, refusal

_MARGIN_S = 60.0  # what a daemon has for itself, beyond a command's own time


def asked(command: NvmeCommand, controller: str, *, force: bool) -> WhichCommand:
    """Return the parameters of a method for a command."""
    return WhichCommand(
        controller,
        command.opcode,
        command.admin,
        command.nsid,
        **{name: getattr(command, name) for name in passing.DWORDS},
        data_in=command.data_in,
        data_out=command.data_out.hex(),
        timeout_ms=int((command.timeout_s or 0) * 1000),
        force=force,
    )


def of_daemon(
    conversation: Questions[Shown], state_dir: Path, controller: str, *, force: bool
) -> Shown:
    """Play a conversation with a daemon's controller; OperationError where it refuses."""
    answer: Any = None
    while True:
        try:
            question = conversation.send(answer)
        except StopIteration as ended:
            shown: Shown = ended.value
            return shown
        try:
            answer = _daemon_answers(question, state_dir, controller, force=force)
        except NoDaemonError as error:
            raise OperationError(f"{error}, or name a controller by its SPEC") from None


def _daemon_answers(question: Question, state_dir: Path, controller: str, *, force: bool) -> Any:
    if isinstance(question, Pause):
        time.sleep(question.seconds)
        return None
    if isinstance(question, Reset):
        ask(state_dir, methods.RESET, methods.WhichController(controller))
        return None
    if isinstance(question, Properties):
        found = ask(state_dir, passing.PROPERTIES, passing.WhichProperties(controller))
        return {int(offset): value for offset, value in found.items()}
    if len(question.data_out) > passing.DATA_OUT_BYTES:
        raise OperationError(
            f"{len(question.data_out)} bytes of data: a daemon takes {passing.DATA_OUT_BYTES} "
            "at most; send less at a time"
        )
    small = question.data_in <= passing.LOOK_BYTES
    method = passing.LOOK if looks(question) and small else passing.COMMAND
    timeout_s = None if method is passing.COMMAND else _MARGIN_S
    params = asked(question, controller, force=force and method is passing.COMMAND)
    ended: CommandEnded = ask(state_dir, method, params, timeout_s)
    data = bytes.fromhex(ended.data)
    return Completion(ended.status, ended.dw0, ended.dnr, ended.more, data=data)


async def of_spec(conversation: Questions[Shown], spec: ControllerSpec, *, changes: bool) -> Shown:
    """Play a conversation with a controller that is opened for it; OperationError as above.

    Unless it `changes` something, what is opened stays as it is.
    """
    if changes:
        opened = await controllers.open_controller(spec, io_queues=0, pool_bytes=1 << 20)
    else:
        opened = await controllers.inspect_controller(spec)
    answer: Any = None
    try:
        while True:
            answer = await _controller_answers(opened, conversation.send(answer))
    except StopIteration as ended:
        shown: Shown = ended.value
        return shown
    finally:
        await opened.close()


async def _controller_answers(opened: Controller, question: Question) -> Any:
    if isinstance(question, Pause):
        await asyncio.sleep(question.seconds)
        return None
    if isinstance(question, Reset):
        await controllers.reset(opened)
        return None
    if isinstance(question, Properties):
        return opened.properties()
    if reason := refusal(question):
        raise OperationError(f"{question.name} is not passed: {reason}")
    return await controllers.execute(opened, question)
