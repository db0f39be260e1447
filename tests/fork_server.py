"""`scsi2nvme` without its start: forks of a process that has imported everything.

Imports are most of what a start of the program costs, and tests start it some hundred times. What
is about a start or an end, or about the process, begins it as its users do: `PROGRAM` and
`FreshDaemon` of tests/daemon.py.

A worker has a server of its own, begun when it is first asked. A request says what the program gets
as its arguments, environment and directory; descriptors come with it, the last of which is a socket
where the server tells the program's number, that it has ended, and, when it is asked, how: until
then its number is nobody else's, and may be signalled. Nothing else is shared: each is forked from
the same, in which no part of the program has run.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parent.parent
# With sanitizers, what is tested is installed.
SANITIZED = "MESONPY_EDITABLE_SKIP" in os.environ
_SERVER = (sys.executable, *(() if SANITIZED else ("-S",)), "-m", "tests.fork_server")
# What the verbs import that tests run most, beside what comes with `main`; and what they are in.
_IMPORTED = (
    "encodings.idna",
    "scsi2nvme.cli.daemon.front_ends.iscsi.portal",
    "scsi2nvme.cli.daemon.serve",
    "scsi2nvme.cli.inspection",
    "scsi2nvme.cli.toml",
    "scsi2nvme.cli.verbs.serve",
    "scsi2nvme.client",
    "scsi2nvme.drivers.emulated.transport",
    "scsi2nvme.drivers.qemu.transport",
)
_REQUEST_BYTES = 1 << 18
_NUMBER = struct.Struct("i")
_WORD = b"."  # from there: it has ended; to there: how?


class Forked:
    """A program that was forked; what it has in common with `subprocess.Popen` is the same."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        (self.pid,) = _NUMBER.unpack(line.recv(_NUMBER.size))
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns the exit status, or the negative number of a signal."""
        if self.returncode is None:
            self._line.settimeout(timeout)
            try:
                self._line.recv(len(_WORD))
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired("scsi2nvme", timeout or 0) from None
            self._line.settimeout(None)
            self._line.send(_WORD)
            (status,) = _NUMBER.unpack(self._line.recv(_NUMBER.size))
            self._line.close()
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def poll(self) -> int | None:
        """Return as `wait` if it has ended."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


def fork(
    arguments: Sequence[str], stdout: int, stderr: int, environment: Mapping[str, str] = os.environ
) -> Forked:
    """Run `scsi2nvme` with these arguments, in the present directory."""
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with theirs:
        request = json.dumps([list(arguments), dict(environment), os.getcwd()]).encode()
        descriptors = [0, stdout, stderr, theirs.fileno()]
        socket.send_fds(_server(), [request], descriptors)
    return Forked(ours)


@functools.cache
def _server() -> socket.socket:
    """Begin the server; it ends with this process, when nobody is left to ask."""
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with theirs:
        number = theirs.fileno()
        server = subprocess.Popen([*_SERVER, str(number)], pass_fds=[number], cwd=ROOT)
    atexit.register(server.wait)
    atexit.register(ours.close)  # before that
    return ours


# The server


def _main() -> int:
    """Fork until nobody asks any more; in a fork, run the program."""
    if not SANITIZED:
        import_module("tests.start")
    for name in ("scsi2nvme.__main__", *_IMPORTED):
        import_module(name)
    _compile_initializers()
    gc.collect()
    gc.freeze()  # else to look for garbage copies all pages
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal
    control = socket.socket(fileno=int(sys.argv[1]))
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, _REQUEST_BYTES, 4)
        if not request:
            return 0
        if os.fork() == 0:
            control.close()
            _supervised(request, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        with suppress(ChildProcessError):
            while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
                pass


def _compile_initializers() -> None:
    """Have the records' `__init__` compiled, each of which else waits for its first object."""
    for name, module in list(sys.modules.items()):
        if name.startswith("scsi2nvme."):
            for value in list(vars(module).values()):
                if isinstance(value, type) and "__dataclass_fields__" in vars(value):
                    getattr(value, "__init__")  # noqa: B009  # to look it up compiles it


def _supervised(request: bytes, descriptors: list[int]) -> NoReturn:
    """Fork the program, and tell how it ended; in the fork, be the program."""
    line = socket.socket(fileno=descriptors.pop())
    pid = os.fork()
    if pid:
        line.send(_NUMBER.pack(pid))
        for descriptor in range(3):  # nobody who reads them is to wait for us
            os.close(descriptor)
        for descriptor in descriptors:
            os.close(descriptor)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        with suppress(ConnectionError):  # who began it has gone
            line.send(_WORD)
            line.recv(len(_WORD))
            line.send(_NUMBER.pack(os.waitpid(pid, 0)[1]))
        os._exit(0)
    line.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    arguments, environment, directory = json.loads(request)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.argv = ["scsi2nvme", *arguments]
    try:
        status: int = import_module("scsi2nvme.__main__").main()
    except SystemExit as ended:  # what parses arguments ends so
        if not isinstance(ended.code, int):
            raise
        status = ended.code
    _end(status)


def _end(status: int) -> NoReturn:
    """End as an interpreter does, but for taking apart what was imported.

    The server has it as well: each page of it would be copied only to be let go of.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    sys.exit(_main())
