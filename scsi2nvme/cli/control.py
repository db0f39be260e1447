"""The control socket: how other commands talk to a running daemon.

A Unix socket in the state directory; one JSON object per line and direction.
A request is `{"verb": …, …}`; the answer `{"result": …}` or `{"error": line}`.
Only the owner of the state directory may connect.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scsi2nvme.cli.errors import OperationError
from scsi2nvme.typed import parse_json, table

CLIENT_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class _Answer:
    result: Any = None
    error: str | None = None


def socket_path(state_dir: Path) -> Path:
    """Where the daemon of this state directory listens."""
    return state_dir / "control.sock"


def default_state_dir() -> Path:
    """Return the state directory of this user's daemon."""
    if os.geteuid() == 0:
        return Path("/var/lib/scsi2nvme")
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base) / "scsi2nvme"


def short(path: Path) -> str:
    """Return a spelling of a socket's path that fits sockaddr_un, if there is one."""
    relative = os.path.relpath(path)
    return min(str(path), relative, key=len)


def ask(state_dir: Path, request: Mapping[str, Any]) -> Any:
    """Ask the daemon of `state_dir`; OperationError if there is none or it refuses."""
    path = socket_path(state_dir)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(CLIENT_TIMEOUT_S)
            client.connect(short(path))
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
    try:
        answer = table(parse_json(line), _Answer)
    except ValueError as error:
        raise OperationError(f"control socket {path}: no answer of a daemon: {error}") from None
    if answer.error is not None:
        raise OperationError(answer.error)
    return answer.result
