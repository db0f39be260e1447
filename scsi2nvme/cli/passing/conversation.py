"""What conversations yield, get and return, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import field, replace
from functools import partial
from typing import Any, TypeVar

from scsi2nvme.cli.errors import OperationError
from scsi2nvme.drivers.nvme import admin
from scsi2nvme.fields import Values
from scsi2nvme.nvme.command import Completion, NvmeCommand
from scsi2nvme.nvme.log_page import get_log_page
from scsi2nvme.nvme.namespace import format_index, lba_formats
from scsi2nvme.nvme.status import StatusCode, describe
from scsi2nvme.nvme.structures import IDENTIFY_NAMESPACE
from scsi2nvme.records import dataclass

CHUNK_BYTES = 4096  # of a log: every controller takes as much at a time


@dataclass(frozen=True, slots=True)
class Properties:
    """Asks for the controller's properties, by offset."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Asks for nothing, for some seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reset:
    """Asks for a reset of the controller."""


@dataclass(frozen=True, slots=True)
class SubsystemReset:
    """Asks for a reset of the controller's NVM subsystem."""


@dataclass(frozen=True, slots=True)
class Done:
    """Asks for nothing: tells how much of what takes long is done, 0 to 1."""

    fraction: float


@dataclass(frozen=True, slots=True)
class Shown:
    """What a verb shows: in `lines` for people, as JSON, or as the bytes that were read.

    `file` gets the bytes, where one is given; `metadata_file` those of `metadata`.
    """

    lines: tuple[str, ...] = ()
    json: Any = field(default_factory=dict)
    raw: bytes = b""
    file: str = ""
    metadata: bytes = b""
    metadata_file: str = ""


Question = NvmeCommand | Properties | Pause | Reset | SubsystemReset
T = TypeVar("T")
Conversation = Generator[Question | Done, Any, T]
Questions = Generator[Question, Any, T]
"""A conversation without what is told of progress."""


def heard(conversation: Conversation[T], done: Callable[[float], None]) -> Questions[T]:
    """Have `done` told of progress: whoever is asked needs to know nothing of it."""
    go_on: Callable[[], Question | Done] = partial(conversation.send, None)
    while True:
        try:
            question = go_on()
        except StopIteration as ended:
            result: T = ended.value
            return result
        go_on = partial(conversation.send, None)
        if isinstance(question, Done):
            done(question.fraction)
            continue
        try:
            go_on = partial(conversation.send, (yield question))
        except BaseException as error:
            go_on = partial(conversation.throw, error)


def succeed(command: NvmeCommand, what: str = "") -> Conversation[Completion]:
    """Ask for a command; OperationError unless it succeeds."""
    completion: Completion = yield command
    if completion.status == StatusCode.INVALID_LOG_PAGE:
        said = describe(completion.status)
        raise OperationError(f"{what or command.name}: the controller has no such log: {said}")
    if completion.status:
        more = "; see: error-log" if completion.more else ""
        raise OperationError(
            f"{what or command.name}: the controller answers: {describe(completion.status)}{more}"
        )
    return completion


def log_pages(
    lid: int,
    length: int,
    *,
    nsid: int = 0xFFFFFFFF,
    offset: int = 0,
    retain: bool = False,
    lsp: int = 0,
    more: dict[str, int] | None = None,
) -> Conversation[bytes]:
    """Read a log from an offset, 4 KiB at a time; its event is kept until the last piece.

    `more` are dwords of the command, to which these bits belong.
    """
    data = b""
    while len(data) < length:
        left = length - len(data)
        wanted = -(-min(left, CHUNK_BYTES) // 4) * 4
        command = get_log_page(
            lid,
            nsid,
            wanted,
            offset=offset + len(data),
            retain=retain or left > wanted,
            lsp=lsp,
        )
        data += (yield from succeed(_with_bits(command, more or {}), f"log {lid:02X}h")).data
        if length > CHUNK_BYTES:
            yield Done(len(data) / length)
    return data[:length]


def _with_bits(command: NvmeCommand, more: dict[str, int]) -> NvmeCommand:
    return replace(command, **{name: getattr(command, name) | bits for name, bits in more.items()})


def identify_namespace(nsid: int) -> Conversation[Values]:
    """Return Identify Namespace."""
    command = admin.identify(admin.CNS_NAMESPACE, nsid)
    return IDENTIFY_NAMESPACE.parse((yield from succeed(command)).data)


def current_format(namespace: Values) -> Values:
    """Return the LBA format that a namespace has. Spec: NVM Command Set 1.0c figure 97."""
    index = format_index(namespace)
    formats = lba_formats(namespace)
    return formats[index] if index < len(formats) else formats[0]
