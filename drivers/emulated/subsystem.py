"""What the controllers of one NVM subsystem share of reservations, in whichever processes they are.

A disk on a file has two files more: `.reservations`, which all controllers map, and lock while they
change anything, and `.reservations.json`, which holds what must last. Each controller has a socket,
by which others wake it, and see that it is there. When none is, the subsystem has no power.

Who changes something waits for the others: for whoever has the lock, and for what is under way that
the change denies. One that is stopped goes on with neither. So nobody waits for long: the change is
not made, and is to be tried again.
"""

from __future__ import annotations

import copy
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, field
from pathlib import Path
from typing import Any

from scsi2nvme import durable
from scsi2nvme.drivers.emulated.image_file import reservations_of
from scsi2nvme.drivers.emulated.reservations import Reservation
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.native.emulator import CONTROLLERS, Emulator, gate_bytes
from scsi2nvme.nvme.command import BROADCAST_NSID
from scsi2nvme.records import dataclass
from scsi2nvme.typed import parse_json, table

# Its identifier, or for one that has said none the number of its controller.
_HOST = "(?:[0-9a-f]{16}|[0-9a-f]{32}|#[0-9]{1,2})?"
LOCK_S, SETTLE_S, JOIN_S = 0.01, 0.1, 2.0  # for the lock, for what is under way; at the beginning
_PAUSE_S = 0.001
_MOST_NOTICES = 255  # that wait for a controller; what comes then is only counted


class BusyError(Exception):
    """Another controller keeps what is shared from being changed now: nothing is changed."""


@dataclass
class Told:
    """What waits for a controller: notices of (type, NSID), and how many there were."""

    host: str = ""
    count: int = 0
    notices: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Shared:
    """What all controllers know: reservations by NSID, controllers by their numbers."""

    namespaces: dict[str, Reservation] = field(default_factory=dict)
    controllers: dict[str, Told] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not all(each.isdecimal() and 0 < int(each) < BROADCAST_NSID for each in self.namespaces):
            raise ValueError("namespaces: are not by their identifiers")
        if not all(each.isdecimal() and int(each) < CONTROLLERS for each in self.controllers):
            raise ValueError("controllers: are not by their numbers")
        hosts = {each.host for each in self.controllers.values()}
        for host in hosts.union(*(each.keys for each in self.namespaces.values())):
            if not re.fullmatch(_HOST, host):
                raise ValueError("a host is not told by its identifier")

    def of(self, nsid: int) -> Reservation:
        """Return the reservation of a namespace."""
        return self.namespaces.setdefault(str(nsid), Reservation())

    def told(self, number: int) -> Told:
        """Return what waits for a controller."""
        return self.controllers.setdefault(str(number), Told())

    def power_on(self) -> None:
        """Forget what does not last without power."""
        self.controllers.clear()
        for each in self.namespaces.values():
            each.power_lost()

    def deliver(self) -> None:
        """Put what hosts are to be told of where their controllers find it."""
        for nsid, one in self.namespaces.items():
            for host, notice in one.notices:
                for told in self.controllers.values():
                    if told.host != host:
                        continue
                    told.count += 1
                    if len(told.notices) < _MOST_NOTICES:
                        told.notices.append((notice, int(nsid)))
            one.notices.clear()


def _denials(shared: Shared) -> dict[tuple[int, int], int]:
    """Return what each controller is denied of each namespace."""
    return {
        (int(number), int(nsid)): one.denied(told.host)
        for number, told in shared.controllers.items()
        for nsid, one in shared.namespaces.items()
    }


def _fenced(before: Shared, after: Shared) -> set[int]:
    """Return the controllers that are denied more than before."""
    had = _denials(before)
    now = _denials(after)
    return {key[0] for key, denied in now.items() if denied & ~had.get(key, 0)}


class Subsystem:
    """One controller's part in its subsystem: it is number `number` of at most 16.

    `path` None: it is the only one, and nothing lasts. Raises TransportError.
    """

    def __init__(self, emulator: Emulator, path: Path | None, number: int) -> None:
        self.number = number
        self._emulator = emulator
        self._path = path
        self._memory = Shared()
        self._name = "memory" if path is None else str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._fd = -1
        self._made: list[Path] = []  # files that were not there before
        try:
            while not self._join():
                fd, self._fd = self._fd, -1
                os.close(fd)
        except BusyError:
            self.close()
            stopped = "another process keeps it locked, and does not go on; end it"
            raise TransportError(f"{self._name}.reservations: {stopped}") from None
        except BaseException:
            self.discard()
            self.close()
            raise

    def _open(self) -> int:
        if self._path is None:
            fd = os.memfd_create("reservations", os.MFD_CLOEXEC)
            os.ftruncate(fd, gate_bytes())
            return fd
        try:
            mapped, _ = reservations_of(self._path)
            fd = self._found_or_made(mapped)
            try:
                if os.fstat(fd).st_size < gate_bytes():
                    os.ftruncate(fd, gate_bytes())
            except OSError:
                os.close(fd)
                raise
        except OSError as error:
            raise TransportError(f"{self._name}.reservations: {error.strerror}") from error
        return fd

    def _found_or_made(self, mapped: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            fd = os.open(mapped, flags | os.O_EXCL, 0o600)
        except FileExistsError:
            return os.open(mapped, flags, 0o600)
        self._made.append(mapped)
        return fd

    def _join(self) -> bool:
        """Be one of those that share it; False where the file was discarded just now."""
        self._made.clear()
        self._fd = self._open()
        with self._locked(JOIN_S):
            if not self._is_there():
                return False
            others = self._others()
            try:
                self._socket.bind(self._address(self.number))
            except OSError:
                raise TransportError(
                    f"{self._name}: controller {self.number} is in use by another process"
                ) from None
            self._emulator.open_gate(self._fd, self.number)
            shared = self._load()
            if not others:
                shared.power_on()
            shared.controllers[str(self.number)] = Told()
            if self._path is not None and not self._file.exists():
                self._made.append(self._file)
            self._store(shared)
            self._publish(shared)
            return True

    def _is_there(self) -> bool:
        """Whether the file that is open is that which others find."""
        if self._path is None:
            return True
        try:
            found = reservations_of(self._path)[0].stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(self._fd), found)

    def discard(self) -> None:
        """Leave nothing of files that were made for this one, unless another has joined it.

        Who has opened one and waits for the lock finds that it is there no more; what another one
        has left may have to last. Before `close`.
        """
        if self._fd < 0 or not self._made:
            return
        with suppress(BusyError, OSError), self._locked(JOIN_S):
            if self._is_there() and not self._others() and not self._others_were_there():
                for made in reversed(self._made):
                    made.unlink(missing_ok=True)
                self._made.clear()

    def _others_were_there(self) -> bool:
        """Whether another one has joined since what lasts was made, or changed anything."""
        shared = self._load() if self._path and self._file in self._made else Shared()
        return bool(shared.namespaces or shared.controllers.keys() - {str(self.number)})

    def _address(self, number: int) -> str:
        there = os.fstat(self._fd)
        return f"\0scsi2nvme-emulated-{there.st_dev:x}-{there.st_ino:x}-{number}"

    def _others(self) -> list[int]:
        """Return the numbers of the other controllers that are there."""
        if self._path is None:
            return []
        return [n for n in range(CONTROLLERS) if n != self.number and self._wake(n)]

    def _wake(self, number: int) -> bool:
        """Have another controller look; whether it is there."""
        try:
            self._socket.sendto(b"\0", self._address(number))
        except BlockingIOError:
            return True  # it has been told often enough
        except OSError:
            return False
        return True

    # ---- what is shared ----

    @contextmanager
    def _locked(self, limit_s: float = LOCK_S) -> Iterator[None]:
        self._lock(limit_s)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _lock(self, limit_s: float) -> None:
        until = time.monotonic() + limit_s
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise BusyError from None
                time.sleep(_PAUSE_S)
            else:
                return

    @property
    def _file(self) -> Path:
        assert self._path is not None
        return reservations_of(self._path)[1]

    def _load(self) -> Shared:
        if self._path is None:
            return self._memory
        try:
            return table(parse_json(durable.read(self._file)), Shared)
        except FileNotFoundError:
            return Shared()
        except OSError as error:
            raise TransportError(f"{self._file}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise TransportError(f"{self._file}: cannot be read: {error}") from error

    def _store(self, shared: Shared) -> None:
        if self._path is None:
            self._memory = shared
            return
        try:
            durable.replace(self._file, json.dumps(asdict(shared)).encode())
        except OSError as error:
            raise TransportError(f"{self._file}: {error.strerror}") from error

    def read(self) -> Shared:
        """Return what is so now, to be looked at only. It is replaced as a whole: no lock."""
        return self._load()

    def change(self, how: Callable[[Shared], Any]) -> None:
        """Change what is shared; what `how` raises leaves all as it was, and so does BusyError.

        On return it lasts, and every controller heeds it: what it did before has ended.
        """
        with self._locked():
            before = self._load()
            shared = copy.deepcopy(before)
            how(shared)
            there = {self.number, *self._others()}
            shared.controllers = {
                key: told for key, told in shared.controllers.items() if int(key) in there
            }
            shared.deliver()
            self._publish(shared)
            try:
                self._settle(_fenced(before, shared))
                self._store(shared)
            except BaseException:
                self._publish(before)
                raise
        self._others()  # which look now

    def _settle(self, fenced: set[int]) -> None:
        """Wait until nothing of these controllers' is under way that began before they were."""
        until = time.monotonic() + SETTLE_S
        while not self._emulator.settle(fenced & {self.number, *self._others()}):
            if time.monotonic() >= until:
                raise BusyError

    def _publish(self, shared: Shared) -> None:
        """Tell the native side what each controller is denied."""
        for (number, nsid), denied in _denials(shared).items():
            self._emulator.deny(number, nsid, denied)

    # ---- being woken ----

    def fileno(self) -> int:
        """Return what is readable when another controller has changed something."""
        return self._socket.fileno()

    def woken(self) -> None:
        """Take what has woken this one."""
        while True:
            try:
                self._socket.recv(1)
            except BlockingIOError:
                return

    def close(self) -> None:
        """Leave; what is registered stays."""
        self._socket.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
