"""The control socket: how other commands talk to a running daemon.

A Unix socket in the state directory; one JSON object per line and direction.
A request is `{"verb": …, …}`; the answer `{"result": …}` or `{"error": line}`.
Only the owner of the state directory may connect.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import IO, Any

from scsi2nvme.cli.errors import OperationError, UsageError

REQUEST_BYTES = 65536
CLIENT_TIMEOUT_S = 60.0

Handler = Callable[[Mapping[str, Any]], Awaitable[Any]]


def socket_path(state_dir: Path) -> Path:
    """Where the daemon of this state directory listens."""
    return state_dir / "control.sock"


def default_state_dir() -> Path:
    """Return the state directory of this user's daemon."""
    if os.geteuid() == 0:
        return Path("/var/lib/scsi2nvme")
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base) / "scsi2nvme"


def _short(path: Path) -> str:
    """Return a spelling of a socket's path that fits sockaddr_un, if there is one."""
    relative = os.path.relpath(path)
    return min(str(path), relative, key=len)


class StateDirectory:
    """The state directory, held by one daemon at a time."""

    def __init__(self, path: Path) -> None:
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock: IO[str] = (path / "lock").open("a+", encoding="ascii")
        except OSError as error:
            raise OperationError(
                f"state directory {path}: {error.strerror}; choose another with --state-dir"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "unknown"
            self._lock.close()
            raise OperationError(
                f"state directory {path}: in use by another scsi2nvme (process {owner}); "
                "stop that, or choose another directory with --state-dir"
            ) from None
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()
        self.path = path

    def close(self) -> None:
        """Let go of it."""
        self._lock.close()


class ControlServer:
    """Answers requests on the control socket."""

    def __init__(self, directory: StateDirectory, handler: Handler) -> None:
        self._path = socket_path(directory.path)
        self._handler = handler
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. The directory's lock makes a socket that is there a left-over."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(_short(self._path))
        except OSError as error:
            listener.close()
            raise OperationError(
                f"control socket {self._path}: {error}; choose a shorter path with --state-dir"
            ) from None
        self._path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listener, limit=REQUEST_BYTES
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass  # the other command went away; nothing is owed to it
        except ValueError:
            writer.write(b'{"error": "the request is too long"}\n')
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
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


def ask(state_dir: Path, request: Mapping[str, Any]) -> Any:
    """Ask the daemon of `state_dir`; OperationError if there is none or it refuses."""
    path = socket_path(state_dir)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(CLIENT_TIMEOUT_S)
            client.connect(_short(path))
            client.sendall(json.dumps(request).encode() + b"\n")
            with client.makefile("rb") as stream:
                line = stream.readline()
    except (FileNotFoundError, ConnectionRefusedError):
        raise OperationError(
            f"no scsi2nvme is running with state directory {state_dir}; "
            "start one, give its --state-dir, or name a controller by its SPEC"
        ) from None
    except OSError as error:
        raise OperationError(f"control socket {path}: {error}") from None
    if not line:
        raise OperationError(f"control socket {path}: the daemon hung up; see its messages")
    answer = json.loads(line)
    if "error" in answer:
        raise OperationError(answer["error"])
    return answer["result"]
