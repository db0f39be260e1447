"""The emulated controller's disk: an image file, and what it must remember beside it.

The image holds the namespaces one after the other. The sidecar, a JSON file
next to it, holds identity, formats, saved features and the counters that
SMART must not lose; it is replaced atomically.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, field
from pathlib import Path
from typing import Any

from scsi2nvme import durable
from scsi2nvme.drivers.emulated.image_file import (
    Purpose,
    discard,
    may_come,
    opened,
    reservations_of,
)
from scsi2nvme.drivers.emulated.lba_formats import BLOCK_BYTES
from scsi2nvme.drivers.scheme import MAXIMUM_NAMESPACES, MAXIMUM_SIZE_BYTES, check_serial
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.native.emulator import Disk
from scsi2nvme.nvme.structures import ERROR_LOG_ENTRY, SELF_TEST_RESULT
from scsi2nvme.records import dataclass
from scsi2nvme.typed import parse_json, table
from scsi2nvme.uuids import as_text, named_uuid, random_uuid

DEFAULT_SIZE_BYTES = 1 << 30
GRANULE_BYTES = 4096
MANAGED_NAMESPACES = 16  # that there may be at a time, where they come and go
_MOST_CONTROLLERS = 16  # that share an image
_MOST_PIECES = 10_000  # of a file, that are counted
_IDENTITY = bytes.fromhex("9a6d0b4e3e0c5f0e9d2c7b1f6a54c8e1")  # the root of our name-based UUIDs
_OUI = bytes.fromhex("525400")  # locally administered


@dataclass
class NamespaceState:
    """What a namespace is, over restarts."""

    nsid: int
    block_bytes: int
    write_protect: int = 0  # Feature 84h
    # LBA format index of a Format NVM that has begun and not ended.
    formatting: int | None = None
    # What is only of namespaces that come and go. Without a size it is that of the image's others.
    bytes: int | None = None
    attached: bool = True
    birth: int = 0  # how many were created before, and it; 0: it came with the image

    def __post_init__(self) -> None:
        if self.block_bytes not in BLOCK_BYTES:
            raise ValueError(f"block_bytes: is not {' or '.join(map(str, BLOCK_BYTES))}")
        if self.write_protect not in range(4):
            raise ValueError("write_protect: is not between 0 and 3")
        if self.formatting not in (None, *range(len(BLOCK_BYTES))):
            raise ValueError("formatting: is no LBA format")
        if self.bytes is not None and not GRANULE_BYTES <= self.bytes <= MAXIMUM_SIZE_BYTES:
            raise ValueError("bytes: is no size of a namespace")
        if not 0 <= self.birth < 1 << 32:
            raise ValueError("birth: is no 32-bit number")


@dataclass
class SmartState:
    """Totals up to the last time that they were saved."""

    host_reads: int = 0
    host_writes: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    media_errors: int = 0
    power_cycles: int = 0
    power_on_seconds: float = 0.0
    unsafe_shutdowns: int = 0
    error_count: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value < 1 << 64:
                raise ValueError(f"{name}: is no 64-bit number")


@dataclass
class State:
    """The sidecar's contents. `errors` and `self_tests` are log entries in hexadecimal.

    `inode` is that of the image, by which a copy is told from it.
    `kept` is what other capabilities must remember, under their names: whatever JSON holds.
    `capacity` is what there is for namespaces that come and go, None where they are fixed.
    """

    serial: str
    namespaces: list[NamespaceState]
    smart: SmartState = field(default_factory=SmartState)
    saved_features: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    self_tests: list[str] = field(default_factory=list)
    clean: bool = True  # shut down as the specification wants it
    kept: dict[str, Any] = field(default_factory=dict)
    inode: int | None = None
    capacity: int | None = None

    def __post_init__(self) -> None:
        check_serial(self.serial)
        self._check_numbers()
        if len(self.namespaces) > MAXIMUM_NAMESPACES:
            raise ValueError(f"namespaces: are more than {MAXIMUM_NAMESPACES}")
        if not all(0 <= value < 1 << 32 for value in self.saved_features.values()):
            raise ValueError("saved_features: is no 32-bit number")
        for entries, structure in (
            (self.errors, ERROR_LOG_ENTRY),
            (self.self_tests, SELF_TEST_RESULT),
        ):
            if not all(re.fullmatch(f"[0-9a-f]{{{2 * structure.size}}}", one) for one in entries):
                raise ValueError(f"{structure.name}: is not {structure.size} bytes in hexadecimal")

    def _check_numbers(self) -> None:
        numbers = [row.nsid for row in self.namespaces]
        if self.capacity is None:
            if numbers != list(range(1, len(numbers) + 1)):
                raise ValueError("namespaces: are not numbered from 1 on")
            if any(row.bytes or not row.attached or row.birth for row in self.namespaces):
                raise ValueError("namespaces: come and go, and capacity is missing")
            return
        if not GRANULE_BYTES <= self.capacity <= MAXIMUM_SIZE_BYTES:
            raise ValueError("capacity: is no size of a disk")
        if numbers != sorted(set(numbers) & set(range(1, MANAGED_NAMESPACES + 1))):
            raise ValueError(f"namespaces: are not numbered from 1 to {MANAGED_NAMESPACES}")
        if sum(row.bytes or 0 for row in self.namespaces) > self.capacity:
            raise ValueError("namespaces: have more than there is")

    def shown(self) -> dict[str, Any]:
        """Return what is written down; what no capability keeps is left out."""
        raw = asdict(self)
        if not self.kept:
            del raw["kept"]
        if self.capacity is None:
            del raw["capacity"]
            for row in raw["namespaces"]:
                del row["bytes"], row["attached"], row["birth"]
        return raw

    @classmethod
    def parse(cls, text: bytes | str) -> State:
        """Decode a sidecar; ValueError if it is none."""
        return table(parse_json(text), cls)


class Image:
    """An open image. `path` None: memory, which nothing outlives.

    `size_bytes` is that of each namespace. An existing image is never cut or
    grown: what is asked for must be what is there, in blocks and serial number
    too, but that a copy may be given a serial number of its own. `purpose`
    is what for it is opened: one of them alone leaves traces.
    With a `capacity` namespaces come and go: each has as many bytes of addresses,
    of which it takes what is its size; `size_bytes` and `namespaces` are those of a new image.
    A `controller` other than 0 is one of several that have the image in common, each with a
    sidecar of its own.
    Raises TransportError.
    """

    def __init__(
        self,
        path: Path | None,
        size_bytes: int | None,
        block_bytes: int | None,
        namespaces: int,
        serial: str | None,
        *,
        capacity: int | None = None,
        controller: int = 0,
        purpose: Purpose = Purpose.SERVE,
    ) -> None:
        self.path = path
        self.controller = controller
        self.name = "memory" if path is None else str(path)
        self.capacity = capacity
        self.purpose = Purpose.SERVE if path is None else purpose
        if block_bytes not in (None, *BLOCK_BYTES):
            raise TransportError(f"{self.name}: blocks of {block_bytes} bytes, not 512 or 4096")
        if capacity is not None:
            size_bytes = self._size_within(capacity, size_bytes, namespaces)
        self._new_size(size_bytes)  # before there is a file
        self._inode: int | None = None
        self._made: tuple[Path, ...] = ()  # what is there by us, if the image is
        self._made_beside: tuple[Path, ...] = ()  # and whether it is or not
        self._foreign: tuple[Path, ...] = ()  # sidecars that were not there before the image
        if path is None:
            self.namespace_bytes = self._new_size(size_bytes)
            self.medium: int | Disk = self._disk(self._all_bytes(self.namespace_bytes, namespaces))
        else:
            self.medium = self._open(path)
        try:
            if isinstance(self.medium, int):
                self._inode = os.fstat(self.medium).st_ino
                self.namespace_bytes = self._size(self.medium, size_bytes, namespaces)
            self.state = self._load(serial, namespaces, block_bytes)
        except BaseException:
            self.discard()
            self.close()
            raise

    # ---- opening ----

    def _size_within(self, capacity: int, size_bytes: int | None, namespaces: int) -> int:
        """Return the bytes of each namespace of a new image with a capacity."""
        if capacity % GRANULE_BYTES:
            raise TransportError(
                f"{self.name}: capacity {capacity} is no multiple of {GRANULE_BYTES}"
            )
        if namespaces > MANAGED_NAMESPACES:
            raise TransportError(
                f"{self.name}: {namespaces} namespaces, and with capacity= there are "
                f"{MANAGED_NAMESPACES} at most"
            )
        share = capacity // namespaces // GRANULE_BYTES * GRANULE_BYTES
        size_bytes = size_bytes or min(DEFAULT_SIZE_BYTES, share)
        if not 0 < size_bytes <= share:
            raise TransportError(
                f"{self.name}: {namespaces} times {size_bytes} bytes are more than capacity="
            )
        return size_bytes

    def _all_bytes(self, namespace_bytes: int, namespaces: int) -> int:
        """Return the bytes of addresses of the whole image."""
        if self.capacity is None:
            return namespace_bytes * namespaces
        return self.capacity * MANAGED_NAMESPACES

    def _open(self, path: Path) -> int:
        try:
            others = map(self._sidecar_of, {*range(_MOST_CONTROLLERS)} - {self.controller})
            foreign = tuple(each for each in others if each and may_come(each))
            fd, made = opened(path, self.purpose, self.controller)
            sidecar = self._sidecar_of(self.controller)
            if made:
                self._made = (path, *filter(may_come, reservations_of(path)))
                self._foreign = foreign
            if self.purpose is Purpose.SERVE and sidecar is not None and may_come(sidecar):
                self._made_beside = (sidecar,)
            return fd
        except OSError as error:
            raise TransportError(f"{path}: {error.strerror}") from error

    def _disk(self, size_bytes: int) -> Disk:
        try:
            return Disk(size_bytes)
        except (OSError, OverflowError) as error:
            raise TransportError(f"{self.name}: no room for {size_bytes} bytes") from error

    def _new_size(self, size_bytes: int | None) -> int:
        """Return the bytes of each namespace where there is nothing yet."""
        size_bytes = size_bytes or DEFAULT_SIZE_BYTES
        if size_bytes % GRANULE_BYTES:
            raise TransportError(
                f"{self.name}: size {size_bytes} is no multiple of {GRANULE_BYTES}"
            )
        return size_bytes

    def _size(self, fd: int, size_bytes: int | None, namespaces: int) -> int:
        """Return the bytes of each namespace; give a new file its size."""
        present = os.fstat(fd).st_size
        if present == 0 and self.purpose is Purpose.INSPECT:
            raise TransportError(f"{self.name}: is empty")
        if present == 0:
            size_bytes = self._new_size(size_bytes)
            try:
                os.ftruncate(fd, self._all_bytes(size_bytes, namespaces))
            except OSError as error:
                raise TransportError(f"{self.name}: {error.strerror}") from error
            return size_bytes
        if self.capacity is not None:
            if present != self._all_bytes(0, 0):
                raise TransportError(
                    f"{self.name}: its {present} bytes are not of capacity={self.capacity}"
                )
            return self._new_size(size_bytes)
        share = present // namespaces
        if size_bytes is not None and size_bytes * namespaces != present:
            raise TransportError(
                f"{self.name}: has {present} bytes, not {namespaces} times {size_bytes}"
            )
        if share == 0 or share % GRANULE_BYTES or share * namespaces != present:
            raise TransportError(
                f"{self.name}: its {present} bytes are not {namespaces} equal shares of "
                f"whole {GRANULE_BYTES}-byte blocks"
            )
        return share

    def _load(self, serial: str | None, namespaces: int, block_bytes: int | None) -> State:
        """Return what the sidecar holds, or what it is to hold for a new image."""
        state = self._read()
        inode = self._inode
        if state is None and self.controller:
            serial, block_bytes = self._of_others(serial, block_bytes)
        if state is None:
            block_bytes = block_bytes or BLOCK_BYTES[0]
            entries = [NamespaceState(nsid, block_bytes) for nsid in range(1, namespaces + 1)]
            if self.capacity is not None:
                for row in entries:
                    row.bytes = self.namespace_bytes
            serial = serial or random_uuid().hex()[:20].upper()
            return State(serial, entries, inode=inode, capacity=self.capacity)
        self._check_state(state, namespaces, block_bytes)
        if serial not in (None, state.serial) and state.inode == inode:
            raise TransportError(
                f"{self.name}: has the serial number {state.serial}, not {serial}; "
                "leave serial= out"
            )
        if serial or state.inode is None:  # a copy stays one until it has a serial number
            state.serial, state.inode = serial or state.serial, inode
        return state

    def _check_state(self, state: State, namespaces: int, block_bytes: int | None) -> None:
        """Check that an image is what is asked for: TransportError."""
        if state.capacity != self.capacity:
            told = "none" if state.capacity is None else f"capacity={state.capacity}"
            raise TransportError(f"{self.name}: was made with another capacity: {told}")
        if self.capacity is not None:
            return
        if len(state.namespaces) != namespaces:
            raise TransportError(
                f"{self.name}: has {len(state.namespaces)} namespaces, not {namespaces}"
            )
        for row in state.namespaces:
            if block_bytes not in (None, row.block_bytes):
                raise TransportError(
                    f"{self.name}: namespace {row.nsid} has blocks of {row.block_bytes} bytes, "
                    f"not {block_bytes}; leave block= out"
                )

    def _of_others(self, serial: str | None, block_bytes: int | None) -> tuple[str, int | None]:
        """Return the serial number and block length that a controller has in common with others.

        The first ones, which may begin at the same time, make it of where the image is.
        """
        for number in range(_MOST_CONTROLLERS):
            other = self._read(number)
            if other is None or other.inode != self._inode:
                continue
            for told, theirs in (
                (serial, other.serial),
                (block_bytes, other.namespaces[0].block_bytes),
            ):
                if told not in (None, theirs):
                    raise TransportError(f"{self.name}: another controller of it has {theirs}")
            return other.serial, other.namespaces[0].block_bytes
        assert isinstance(self.medium, int)
        place = f"{os.fstat(self.medium).st_dev}/{self._inode}"
        return serial or named_uuid(_IDENTITY, place).hex()[:20].upper(), block_bytes

    def _read(self, controller: int | None = None) -> State | None:
        """Return what the sidecar holds, its own or another controller's; None if there is none."""
        sidecar = self.sidecar if controller is None else self._sidecar_of(controller)
        if sidecar is None:
            return None
        try:
            return State.parse(durable.read(sidecar))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TransportError(f"{sidecar}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise TransportError(f"{sidecar}: cannot be read: {error}") from error

    # ---- use ----

    @property
    def traceless(self) -> bool:
        """Whether what happens to it is to be as if it had not."""
        return self.purpose is not Purpose.SERVE

    @property
    def sidecar(self) -> Path | None:
        """Where the state is kept."""
        return self._sidecar_of(self.controller)

    def _sidecar_of(self, controller: int) -> Path | None:
        if self.path is None:
            return None
        return Path(f"{self.path}.{controller}.json" if controller else f"{self.path}.json")

    def offset(self, nsid: int) -> int:
        """Where a namespace begins."""
        return (nsid - 1) * (self.capacity or self.namespace_bytes)

    def is_readable(self, offset: int, length: int) -> bool:
        """Whether the medium still gives these bytes: memory always does."""
        if not isinstance(self.medium, int):
            return True
        try:
            return len(os.pread(self.medium, length, offset)) == length
        except OSError:
            return False

    def used_bytes(self, offset: int, length: int) -> int:
        """How many of these bytes take room in the file; all of them where that is not known.

        What lies beyond a great many pieces is taken for used.
        """
        if not isinstance(self.medium, int):
            return length
        used, at = 0, offset
        for count, (begin, stop) in enumerate(self.pieces(offset, length)):
            if count == _MOST_PIECES:
                return used + offset + length - at
            used, at = used + stop - begin, stop
        return used

    def pieces(self, offset: int, length: int) -> Iterator[tuple[int, int]]:
        """Yield which of these bytes take room in the file: where each piece begins and ends.

        All are one piece where that is not known.
        """
        at, end = offset, offset + length
        while isinstance(self.medium, int) and at < end:
            try:
                begin = os.lseek(self.medium, at, os.SEEK_DATA)
                if begin >= end:
                    return
                at = min(os.lseek(self.medium, begin, os.SEEK_HOLE), end)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing follows
                    return
                break
            yield begin, at
        if at < end:
            yield at, end

    def save(self) -> None:
        """Make the state durable; TransportError if that fails."""
        sidecar = self.sidecar
        if sidecar is None or self.purpose is Purpose.INSPECT:
            return
        try:
            if self.traceless:
                os.close(durable.nameless(sidecar.parent))
                return
            durable.replace(sidecar, json.dumps(self.state.shown(), indent=1).encode())
        except OSError as error:
            raise TransportError(f"{sidecar}: {error.strerror}") from error

    @property
    def made(self) -> bool:
        """Whether the image, or its sidecar, was not there before."""
        return bool(self._made or self._made_beside)

    def discard(self) -> None:
        """It cannot be used: leave nothing of what was made for that. Before `close`.

        The sidecar is that of a controller's number, which nobody else has meanwhile: it goes
        first, as that may come again once the image has gone. What another controller has had in
        use meanwhile may have been written to, and stays.
        """
        for each in self._made_beside:
            each.unlink(missing_ok=True)
        if isinstance(self.medium, int) and self._made:
            discard(
                self.medium, *self._made, was_used=lambda: not all(map(may_come, self._foreign))
            )

    def close(self) -> None:
        """Release the lock and the file, or the memory."""
        if isinstance(self.medium, int):
            os.close(self.medium)
        else:
            self.medium.close()


def namespace_uuid(serial: str, nsid: int, birth: int = 0) -> bytes:
    """Return a namespace's UUID: always the same for a serial number, NSID and birth."""
    name = f"{serial}/{nsid}/{birth}" if birth else f"{serial}/{nsid}"
    return named_uuid(_IDENTITY, name)


def namespace_eui64(serial: str, nsid: int, birth: int = 0) -> bytes:
    """Return a namespace's EUI-64, as stable as its UUID."""
    return _OUI + namespace_uuid(serial, nsid, birth)[-5:]


def namespace_nguid(serial: str, nsid: int, birth: int = 0) -> bytes:
    """Return a namespace's NGUID: an EUI-64 behind eight bytes of extension."""
    identity = namespace_uuid(serial, nsid, birth)
    return identity[:8] + _OUI + identity[-5:]


def subsystem_uuid(serial: str) -> str:
    """Return the UUID that the subsystem's NQN carries."""
    return as_text(named_uuid(_IDENTITY, serial))
