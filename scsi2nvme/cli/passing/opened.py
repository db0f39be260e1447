"""Who is asked in a conversation: a controller that this process has opened."""

from __future__ import annotations

import asyncio
from typing import Any

from scsi2nvme.cli import controllers
from scsi2nvme.cli.errors import OperationError
from scsi2nvme.cli.passing.conversation import (
    Pause,
    Properties,
    Question,
    Questions,
    Reset,
    Shown,
    SubsystemReset,
)
from scsi2nvme.cli.spec import ControllerSpec
from scsi2nvme.drivers.nvme.controller import Controller
from scsi2nvme.nvme.passing import refusal


async def of_spec(conversation: Questions[Shown], spec: ControllerSpec, *, changes: bool) -> Shown:
    """Play a conversation with a controller that is opened for it; OperationError where it refuses.

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
    if isinstance(question, SubsystemReset):
        await controllers.reset_subsystem(opened)
        return None
    if isinstance(question, Properties):
        return opened.properties()
    if reason := refusal(question):
        raise OperationError(f"{question.name} is not passed: {reason}")
    return await controllers.execute(opened, question)
