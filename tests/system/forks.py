"""Programs without their start: forks of a process that has imported them.

Imports are most of what a start costs, which is seconds in a machine, and tests start these
programs some hundred times. library.sh has a function for each; it starts this process when there
is none. What is about a start runs `command scsi2nvme`; who is no shell, as systemd and setpriv,
runs the program itself in any case.

`python3 -m tests.system.forks PORT` listens at 127.0.0.1. A request is a line, "PID IN OUT ERR HOW
PROGRAM COUNT", and so many words, each ended by NUL: the program's arguments. The program gets the
directory and these descriptors of the process that asks, as its standard ones; not its environment
and limits. That is told its number and, if HOW is `wait`, its exit status, each in a line. It is
killed if who waits goes before that; if HOW is `leave`, it stays. SIGURG has it tell where it is.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import gc
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from typing import IO, Any, NoReturn

# What scsi2nvme has imported when it has begun to work.
IMPORTED = (
    "scsi2nvme.__main__",
    "scsi2nvme.cli.daemon.front_ends.iscsi.portal",
    "scsi2nvme.cli.daemon.front_ends.tcmu.kernel_target",
    "scsi2nvme.cli.daemon.serve",
    "scsi2nvme.cli.inspection",
    "scsi2nvme.cli.verbs.bind.binding",
    "scsi2nvme.cli.verbs.export.kernel_target",
    "scsi2nvme.cli.verbs.list.columns",
    "scsi2nvme.cli.verbs.list.disks",
    "scsi2nvme.client",
    "scsi2nvme.drivers.emulated.transport",
    "scsi2nvme.drivers.vfio.transport",
    "scsi2nvme.target.tcmu.dbus",
)
_PIDFD_GETFD = 438  # of every architecture. Spec: pidfd_getfd(2)
_STANDARD, _MOST = 3, 256  # descriptors
_library = ctypes.CDLL(None, use_errno=True)


@cache
def imported(program: str) -> Callable[[], int | None]:
    """Import a program, and return what runs it."""
    main = PROGRAMS[program](program)
    gc.collect()
    gc.freeze()  # else to look for garbage copies all pages
    return main


def _scsi2nvme(_: str) -> Callable[[], int | None]:
    for name in IMPORTED:
        import_module(name)
    main: Callable[[], int | None] = import_module("scsi2nvme.__main__").main
    return main


def _load(_: str) -> Callable[[], int | None]:
    main: Callable[[], int | None] = import_module("tests.system.acknowledged").main
    return main


def _debian(program: str) -> Callable[[], int | None]:
    loader = SourceFileLoader(f"program_{program}", f"/usr/bin/{program}")
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    main: Callable[[], int | None] = module.main
    return main


def _targetcli(program: str) -> Callable[[], int | None]:
    main = _debian(program)
    # For each line of a log for debugging, which nobody has asked for, it looks through the stack
    # and all modules: half of what a command costs.
    import_module("configshell_fb.log").Log.debug = lambda *_: None
    return main


# How each is imported.
PROGRAMS: dict[str, Callable[[str], Callable[[], int | None]]] = {
    "scsi2nvme": _scsi2nvme,
    "targetcli": _targetcli,
    "targetctl": _debian,
    "acknowledged": _load,
}
# What is imported with it holds on to the streams that there are then: they stay as objects, which
# take their file for what it was, say for one that can be sought in.
KEEPS_STREAMS = frozenset({"targetcli"})


class Forks:
    """The process that forks, and what it has to do when something happens."""

    def __init__(self, port: int) -> None:
        os.closerange(_STANDARD, _MOST)  # of who started this
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def run(self) -> NoReturn:
        """Serve until killed."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj in self._selector.get_map():  # what came before may have ended it
                    key.data()

    def _accept(self) -> None:
        line, _ = self._listener.accept()
        with line.makefile("rb") as request:
            if not (head := request.readline()):
                return  # it was to see whether anybody listens
            *asks, how, program, count = head.split()
            words = [program.decode(), *(_word(request) for _ in range(int(count)))]
        try:
            fork = _fork(*map(int, asks), words=words)
        except ProcessLookupError:
            return  # who asked has been killed
        with suppress(ConnectionError):
            line.sendall(b"%d\n" % fork)
        pidfd = os.pidfd_open(fork)
        self._selector.register(pidfd, selectors.EVENT_READ, partial(self._end, fork, pidfd, line))
        if how == b"wait":
            gone = partial(self._gone, fork, line)
            self._selector.register(line, selectors.EVENT_READ, gone)
        else:
            line.close()

    def _gone(self, fork: int, line: socket.socket) -> None:
        self._selector.unregister(line)
        line.close()
        os.kill(fork, signal.SIGKILL)  # its end is still to come

    def _end(self, fork: int, pidfd: int, line: socket.socket) -> None:
        self._selector.unregister(pidfd)
        os.close(pidfd)
        status = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
        if line.fileno() >= 0:
            self._selector.unregister(line)
            with line, suppress(ConnectionError):
                line.sendall(b"%d\n" % (status if status >= 0 else 128 - status))


def _word(request: IO[bytes]) -> str:
    word = bytearray()
    while (byte := request.read(1)) not in (b"", b"\0"):
        word += byte
    return os.fsdecode(bytes(word))


def _fork(asks: int, *descriptors: int, words: Sequence[str]) -> int:
    """Begin the program that is the first word for a process; returns its number."""
    imported(words[0])
    standard = _copies(asks, descriptors)
    directory = os.open(f"/proc/{asks}/cwd", os.O_PATH)
    fork = os.fork()
    if fork == 0:
        os.fchdir(directory)
        _become(words, standard)
    for descriptor in (*standard, directory):
        os.close(descriptor)
    return fork


def _copies(pid: int, descriptors: Sequence[int]) -> list[int]:
    """Return copies of a process's descriptors, which have the files' offsets in common."""
    pidfd = os.pidfd_open(pid)
    copies = [_library.syscall(_PIDFD_GETFD, pidfd, number, 0) for number in descriptors]
    os.close(pidfd)
    if -1 in copies:
        raise OSError(ctypes.get_errno(), f"descriptors of process {pid}")
    return copies


def _become(words: Sequence[str], standard: Sequence[int]) -> NoReturn:
    """Run a program to its end, which is this process's."""
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
    os.closerange(_STANDARD, _MOST)
    if words[0] not in KEEPS_STREAMS:
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    # Of those that the program leaves as they are. The second one calls the first.
    signal.signal(signal.SIGURG, _tell_tasks)
    faulthandler.register(signal.SIGURG, file=2, chain=True)
    sys.argv = list(words)
    sys.exit(imported(words[0])())


def _tell_tasks(*_: object) -> None:
    """Tell where the tasks of the event loop are, of which its own traceback says nothing."""
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:
        return  # there is no loop
    for task in tasks:
        told = [f"Task {task.get_name()}:", *_where(task.get_coro())]
        os.write(2, "\n  ".join(told).encode() + b"\n")


def _where(waiting: Any) -> Iterator[str]:
    """Yield where a coroutine is, from the outside in."""
    while frame := getattr(waiting, "cr_frame", getattr(waiting, "gi_frame", None)):
        yield f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
        waiting = getattr(waiting, "cr_await", getattr(waiting, "gi_yieldfrom", None))


if __name__ == "__main__":
    imported("scsi2nvme")
    Forks(int(sys.argv[1])).run()
