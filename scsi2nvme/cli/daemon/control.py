"""The daemon's side of the control socket, and its hold on the state directory."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import re
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import IO, Any

from scsi2nvme.cli.control import short, socket_path
from scsi2nvme.cli.daemon.state import own_directory
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.typed import parse_json

REQUEST_BYTES = 65536
# As often asyncio tries, and complains, in a row when there are no descriptors.
BACKLOG = 4

Handler = Callable[[Mapping[str, Any]], Awaitable[Any]]


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
        self._lock.truncate(0)
        self._lock.seek(0)
        self._lock.write(b"%d\n" % os.getpid())
        self._lock.flush()
        self.path = path

    def close(self) -> None:
        """Let go of it."""
        self._lock.close()


def _opened(path: Path) -> IO[bytes]:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return open(os.open(path, flags, 0o600), "r+b")


async def _request(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:
        raise OperationError("the request is too long") from None


class ControlServer:
    """Answers requests on the control socket."""

    def __init__(self, directory: StateDirectory, handler: Handler) -> None:
        self._path = socket_path(directory.path)
        self._handler = handler
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
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listener, limit=REQUEST_BYTES, backlog=BACKLOG
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await _request(reader):
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass  # the other command went away; nothing is owed to it
        except OperationError as error:
            writer.write(json.dumps({"error": str(error)}).encode() + b"\n")
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = parse_json(line)
        except ValueError as error:
            return {"error": f"the request is no JSON: {error}"}
        if not isinstance(request, dict):
            return {"error": "the request is no JSON object"}
        try:
            return {"result": await self._handler(request)}
        except (OperationError, UsageError) as error:
            return {"error": str(error)}

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
