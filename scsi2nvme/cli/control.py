"""The running daemon, as the program's verbs ask it."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from scsi2nvme.api import rpc
from scsi2nvme.api.method import Method, N, P, R, Subscription
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.client import TIMEOUT_S, Client, NoAnswer, NoDaemon, RpcError

UNIT_STATE_DIR = Path("/var/lib/scsi2nvme")  # which systemd's unit starts the daemon with


def socket_path(state_dir: Path) -> Path:
    """Where the daemon of this state directory listens."""
    return state_dir / "control.sock"


def default_state_dir() -> Path:
    """Return the state directory of this user's daemon."""
    if os.geteuid() == 0:
        return UNIT_STATE_DIR
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base) / "scsi2nvme"


class NoDaemonError(OperationError):
    """There is nobody to ask: who can do without a daemon may add how."""


def ask(
    state_dir: Path,
    method: Method[P, R],
    params: P | None = None,
    timeout_s: float | None = TIMEOUT_S,
) -> R:
    """Ask the daemon of `state_dir`; OperationError if there is none or it refuses.

    UsageError if what is asked makes no sense to it. `timeout_s` None: it may take any time.
    """
    with _connected(state_dir, timeout_s) as daemon:
        return daemon.call(method, params)


def follow(
    state_dir: Path, method: Subscription[P, R, N], params: P | None = None
) -> Generator[N, None, None]:
    """Yield what the daemon tells as it comes; errors are those of `ask`."""
    with _connected(state_dir, TIMEOUT_S) as daemon:
        yield from daemon.subscribe(method, params)


@contextmanager
def _connected(state_dir: Path, timeout_s: float | None) -> Iterator[Client]:
    path = socket_path(state_dir)
    try:
        with Client(path, timeout_s) as daemon:
            yield daemon
    except NoDaemon:
        raise NoDaemonError(
            f"no scsi2nvme is running with state directory {state_dir}; "
            "start one, or give its --state-dir"
        ) from None
    except NoAnswer as error:
        raise OperationError(f"control socket {path}: {error}") from None
    except RpcError as error:
        if error.code == rpc.INVALID_PARAMS:
            raise UsageError(error.message) from None
        raise OperationError(error.message) from None
