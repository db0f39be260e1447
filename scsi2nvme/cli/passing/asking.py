"""Who is asked in a conversation: a daemon. (For a SPEC see `opened`.)"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from scsi2nvme.api import methods, passing
from scsi2nvme.api.passing import CommandEnded, WhichCommand
from scsi2nvme.cli.control import NoDaemonError, ask
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
from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.nvme.passing import looks

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
        metadata_in=command.metadata_in,
        metadata_out=command.metadata_out.hex(),
        prefill=command.prefill,
        timeout_ms=int((command.timeout_s or 0) * 1000),
        force=force,
    )


def of_daemon(
    conversation: Questions[Shown], state_dir: Path, controller: str, *, force: bool
) -> Shown:
    """Play a conversation with a daemon's controller; OperationError where it refuses.

    What was begun can be ended by a conversation also where somebody interrupts it.
    """
    go_on: Callable[[], Question] = partial(conversation.send, None)
    while True:
        try:
            question = go_on()
        except StopIteration as ended:
            shown: Shown = ended.value
            return shown
        try:
            answer = _daemon_answers(question, state_dir, controller, force=force)
            go_on = partial(conversation.send, answer)
        except NoDaemonError as error:
            raise OperationError(f"{error}, or name a controller by its SPEC") from None
        except (KeyboardInterrupt, OperationError) as error:
            go_on = partial(conversation.throw, error)


def _daemon_answers(question: Question, state_dir: Path, controller: str, *, force: bool) -> Any:
    if isinstance(question, Pause):
        time.sleep(question.seconds)
        return None
    if isinstance(question, Reset):
        ask(state_dir, methods.RESET, methods.WhichController(controller))
        return None
    if isinstance(question, SubsystemReset):
        which = passing.WhichSubsystem(controller, force)
        ask(state_dir, passing.RESET_SUBSYSTEM, which)
        return None
    if isinstance(question, Properties):
        found = ask(state_dir, passing.PROPERTIES, passing.WhichProperties(controller))
        return {int(offset): value for offset, value in found.items()}
    length = len(question.data_out) + len(question.metadata_out)
    if length > passing.DATA_OUT_BYTES:
        raise OperationError(
            f"{length} bytes of data: a daemon takes {passing.DATA_OUT_BYTES} "
            "at most; send less at a time"
        )
    small = question.data_in + question.metadata_in <= passing.LOOK_BYTES
    method = passing.LOOK if looks(question) and small else passing.COMMAND
    timeout_s = None if method is passing.COMMAND else _MARGIN_S
    params = asked(question, controller, force=force and method is passing.COMMAND)
    ended: CommandEnded = ask(state_dir, method, params, timeout_s)
    data, metadata = bytes.fromhex(ended.data), bytes.fromhex(ended.metadata)
    return Completion(ended.status, ended.dw0, ended.dnr, ended.more, data=data, metadata=metadata)
