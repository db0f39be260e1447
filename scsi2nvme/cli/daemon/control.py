"""The daemon's side of the control socket, and its hold on the state directory."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import re
import socket
import stat
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import field
from pathlib import Path
from typing import IO, Any, Generic

from scsi2nvme.api import rpc
from scsi2nvme.api.method import Method, N, Notification, P, R, Subscription
from scsi2nvme.api.rpc import RpcError
from scsi2nvme.api.table import BY_NAME
from scsi2nvme.background import Background
from scsi2nvme.cli.control import socket_path
from scsi2nvme.cli.daemon.state import own_directory
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.client import short
from scsi2nvme.records import dataclass
from scsi2nvme.typed import parse_json

# As often asyncio tries, and complains, in a row when there are no descriptors.
BACKLOG = 4
# Of those who may ask anything, and of those who may look: these take no place of the others.
CLIENTS, LOOKERS = 32, 16
CLOSING_S = 5.0  # for who has hung up to take what was answered

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stream(Generic[R]):
    """An answer, and what is told on the same connection after it, while that lasts."""

    answer: R
    more: AsyncIterator[tuple[Notification[Any], object]]


@dataclass(frozen=True, slots=True)
class Answers:
    """What answers which method, by its name; `absent` says why others cannot be asked now."""

    by_name: dict[str, Callable[[Any], Awaitable[Any]]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def add(self, method: Method[P, R], answer: Callable[[P], Awaitable[R]]) -> None:
        """Have a method answered so: OperationError and UsageError refuse."""
        self.by_name[method.name] = answer

    def add_stream(
        self, method: Subscription[P, R, N], answer: Callable[[P], Awaitable[Stream[R]]]
    ) -> None:
        """Have a subscription answered so, and followed by what it tells."""
        self.by_name[method.name] = answer

    async def give(self, name: str, params: object, *, looks_only: bool) -> Any:
        """Return what a method's answer is, or its Stream; RpcError if it is refused."""
        method = BY_NAME.get(name)
        if method is None:
            raise RpcError(rpc.METHOD_NOT_FOUND, f"there is no method {name!r}; see rpc.discover")
        if method.restricted and looks_only:
            raise RpcError(rpc.FORBIDDEN, f"{name}: only the daemon's user and root may ask that")
        given = rpc.params_of(params, method.params)
        answer = self.by_name.get(name)
        if answer is None:
            raise RpcError(rpc.IMPOSSIBLE, self.absent.get(name, f"{name}: not served here"))
        try:
            return await answer(given)
        except OperationError as error:
            raise RpcError(rpc.IMPOSSIBLE, str(error)) from None
        except UsageError as error:
            raise RpcError(rpc.INVALID_PARAMS, str(error)) from None
        except Exception:
            log.exception("control socket: %s went wrong", name)
            raise RpcError(rpc.INTERNAL_ERROR, f"{name} went wrong; see the log") from None


class StateDirectory:
    """The state directory, held by one daemon at a time."""

    def __init__(self, path: Path) -> None:
        own_directory(path)
        try:
            self._lock: IO[bytes] = _opened(path / "lock")
        except OSError as error:
            raise OperationError(
                f"state directory {path}: lock: {error.strerror}; choose another with --state-dir"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = re.match(rb"[0-9]+", self._lock.read(20))
            self._lock.close()
            raise OperationError(
                f"state directory {path}: in use by another scsi2nvme "
                f"(process {owner[0].decode() if owner else 'unknown'}); "
                "stop that, or choose another directory with --state-dir"
            ) from None
        with contextlib.suppress(OSError):  # where it is full: who holds it is for people to read
            self._lock.truncate(0)
            os.pwrite(self._lock.fileno(), b"%d\n" % os.getpid(), 0)
        self.path = path

    def close(self) -> None:
        """Let go of it."""
        self._lock.close()


def _opened(path: Path) -> IO[bytes]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return open(os.open(path, flags, 0o600), "r+b")


class ControlServer:
    """Answers requests on the control socket.

    Its owner and root may ask anything. Whoever else may connect, which is the members of
    `group`, may look.
    """

    def __init__(
        self, directory: StateDirectory, answers: Answers, group: int | None = None
    ) -> None:
        self._path = socket_path(directory.path)
        self._answers = answers
        self._group = group
        self._there: Counter[bool] = Counter()  # those who are connected; may they only look?
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. The directory's lock makes a socket that is there a left-over."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._path.unlink(missing_ok=True)
            listener.bind(short(self._path))
        except OSError as error:
            listener.close()
            raise OperationError(
                f"control socket {self._path}: {error}; choose a shorter path with --state-dir"
            ) from None
        self._path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        if self._group is not None:
            self._let_in(self._group)
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listener, limit=rpc.LINE_BYTES, backlog=BACKLOG
        )

    def _let_in(self, group: int) -> None:
        """Let a group connect, and come as far as the socket."""
        try:
            for path, mode in ((self._path, 0o660), (self._path.parent, 0o710)):
                os.chown(path, -1, group)
                path.chmod(mode)
        except OSError as error:
            log.warning(
                "control_group cannot use %s: %s; have the daemon be a member of it "
                "(SupplementaryGroups= of its unit)",
                self._path,
                error.strerror,
            )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        looks_only = _looks_only(writer.get_extra_info("socket"))
        self._there[looks_only] += 1
        connection = _Connection(self._answers, writer, looks_only=looks_only)
        try:
            try:
                if self._there[looks_only] > (LOOKERS if looks_only else CLIENTS):
                    raise RpcError(rpc.IMPOSSIBLE, "too many programs ask already; try again")
                while line := await _line(reader):
                    await connection.take(line)
            except RpcError as error:
                writer.write(rpc.line_of(rpc.refusal(None, error)))
            connection.end()
            await _closed(writer)
        except ConnectionError:
            pass  # the other program went away; nothing is owed to it
        except asyncio.CancelledError:
            pass  # the daemon ends; asyncio before Python 3.12 would tell of it as of a bug
        finally:
            self._there[looks_only] -= 1
            connection.end()
            writer.close()

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)


class _Connection:
    """A connection of somebody who asks."""

    def __init__(self, answers: Answers, writer: asyncio.StreamWriter, *, looks_only: bool) -> None:
        self._answers = answers
        self._writer = writer
        self._looks_only = looks_only
        self._stream: Stream[Any] | None = None  # one at most
        self._telling: asyncio.Task[None] | None = None

    async def take(self, line: bytes) -> None:
        """Answer a message, or a batch of them; what follows an answer begins after it."""
        answer = await self._answer_line(line)
        if answer is not None:
            self._writer.write(rpc.line_of(answer))
            await self._writer.drain()
        if self._stream is not None and self._telling is None:
            self._telling = Background("control socket: a subscription ended").spawn(self._tell())

    def end(self) -> None:
        """Tell nothing more."""
        if self._telling is not None:
            self._telling.cancel()

    async def _tell(self) -> None:
        """Tell what a subscription brings, no faster than it is read: nothing is kept for it."""
        assert self._stream is not None
        try:
            async for kind, told in self._stream.more:
                self._writer.write(rpc.line_of(rpc.notification(kind, told)))
                await self._writer.drain()
        except ConnectionError:
            pass  # the reader's end notes it, too

    async def _answer_line(self, line: bytes) -> Any:
        """Return the answer to a message, or to a batch of them; None if none is wanted."""
        try:
            message = parse_json(line)
        except ValueError as error:
            return rpc.refusal(None, RpcError(rpc.PARSE_ERROR, f"the request is no JSON: {error}"))
        if not isinstance(message, list):
            return await self._answer(message)
        if not 0 < len(message) <= rpc.REQUESTS:
            wrong = f"a batch has 1 to {rpc.REQUESTS} requests, not {len(message)}"
            return rpc.refusal(None, RpcError(rpc.INVALID_REQUEST, wrong))
        answers = [await self._answer(each) for each in message]
        return [each for each in answers if each is not None] or None

    async def _answer(self, message: object) -> dict[str, Any] | None:
        try:
            request, wanted = rpc.request_of(message)
        except RpcError as error:
            return rpc.refusal(None, error)
        try:
            result = await self._given(request)
        except RpcError as error:
            return rpc.refusal(request.id, error) if wanted else None
        return rpc.answer(request.id, result) if wanted else None

    async def _given(self, request: rpc.Request) -> Any:
        given = await self._answers.give(
            request.method, request.params, looks_only=self._looks_only
        )
        if not isinstance(given, Stream):
            return given
        if self._stream is not None:
            raise RpcError(rpc.IMPOSSIBLE, "this connection has a subscription already")
        self._stream = given
        return given.answer


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:
        raise RpcError(rpc.INVALID_REQUEST, "the request is too long") from None


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Close a connection: what was answered is kept for a while only for who does not take it."""
    writer.close()
    try:
        async with asyncio.timeout(CLOSING_S):
            await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()


def _looks_only(peer: socket.socket) -> bool:
    """Whether who connected is neither root nor our own user. Spec: unix(7)."""
    layout = struct.Struct("3i")
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size)
    _, user, _ = layout.unpack(raw)
    return user not in (0, os.geteuid())
