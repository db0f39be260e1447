"""The emulated controller's disk: an image file, and what it must remember beside it.

The image holds the namespaces one after the other. The sidecar, a JSON file
next to it, holds identity, formats, saved features and the counters that
SMART must not lose; it is replaced atomically.
"""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scsi2nvme.drivers.transport import TransportError

DEFAULT_SIZE_BYTES = 1 << 30
BLOCK_BYTES = (512, 4096)  # the LBA formats, by index
_GRANULE_BYTES = 4096
_IDENTITY = uuid.UUID("9a6d0b4e-3e0c-5f0e-9d2c-7b1f6a54c8e1")  # the root of our name-based UUIDs
_OUI = bytes.fromhex("525400")  # locally administered


@dataclass
class NamespaceState:
    """What a namespace is, over restarts."""

    nsid: int
    block_bytes: int
    write_protect: int = 0  # Feature 84h
    # LBA format index of a Format NVM that has begun and not ended.
    formatting: int | None = None


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


@dataclass
class State:
    """The sidecar's contents. `errors` and `self_tests` are log entries in hexadecimal.

    `kept` is what other capabilities must remember, under their names: whatever JSON holds.
    """

    serial: str
    namespaces: list[NamespaceState]
    smart: SmartState = field(default_factory=SmartState)
    saved_features: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    self_tests: list[str] = field(default_factory=list)
    clean: bool = True  # shut down as the specification wants it
    kept: dict[str, Any] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """Return what is written down; what no capability keeps is left out."""
        raw = asdict(self)
        if not self.kept:
            del raw["kept"]
        return raw

    @classmethod
    def parse(cls, text: str) -> State:
        """Decode a sidecar; ValueError, KeyError or TypeError if it is none."""
        raw = json.loads(text)
        raw["namespaces"] = [NamespaceState(**entry) for entry in raw["namespaces"]]
        raw["smart"] = SmartState(**raw["smart"])
        state = cls(**raw)
        for index, namespace in enumerate(state.namespaces):
            if namespace.nsid != index + 1 or namespace.block_bytes not in BLOCK_BYTES:
                raise ValueError(f"namespace {namespace.nsid}")
        return state


class Image:
    """An open image. `path` None: memory, which nothing outlives.

    `size_bytes` is that of each namespace. An existing image is never cut or
    grown: what is asked for must be what is there. Raises TransportError.
    """

    def __init__(
        self,
        path: Path | None,
        size_bytes: int | None,
        block_bytes: int,
        namespaces: int,
        serial: str | None,
    ) -> None:
        self.path = path
        self.name = "memory" if path is None else str(path)
        if block_bytes not in BLOCK_BYTES:
            raise TransportError(f"{self.name}: blocks of {block_bytes} bytes, not 512 or 4096")
        self.fd = self._open()
        try:
            self.namespace_bytes = self._size(size_bytes, namespaces)
            self.state = self._load(serial, namespaces, block_bytes)
        except BaseException:
            os.close(self.fd)
            raise

    # ---- opening ----

    def _open(self) -> int:
        if self.path is None:
            return os.memfd_create("scsi2nvme-disk")
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise TransportError(f"{self.path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise TransportError(f"{self.path}: in use by another process") from None
        return fd

    def _size(self, size_bytes: int | None, namespaces: int) -> int:
        """Return the bytes of each namespace; give a new file its size."""
        present = os.fstat(self.fd).st_size
        if present == 0:
            size_bytes = size_bytes or DEFAULT_SIZE_BYTES
            if size_bytes % _GRANULE_BYTES:
                raise TransportError(
                    f"{self.name}: size {size_bytes} is no multiple of {_GRANULE_BYTES}"
                )
            try:
                os.ftruncate(self.fd, size_bytes * namespaces)
            except OSError as error:
                raise TransportError(f"{self.name}: {error.strerror}") from error
            return size_bytes
        share = present // namespaces
        if size_bytes is not None and size_bytes * namespaces != present:
            raise TransportError(
                f"{self.name}: has {present} bytes, not {namespaces} times {size_bytes}"
            )
        if share == 0 or share % _GRANULE_BYTES or share * namespaces != present:
            raise TransportError(
                f"{self.name}: its {present} bytes are not {namespaces} equal shares of "
                f"whole {_GRANULE_BYTES}-byte blocks"
            )
        return share

    def _load(self, serial: str | None, namespaces: int, block_bytes: int) -> State:
        sidecar = self.sidecar
        if sidecar is None or not sidecar.exists():
            entries = [NamespaceState(nsid, block_bytes) for nsid in range(1, namespaces + 1)]
            return State(serial or uuid.uuid4().hex[:20].upper(), entries)
        try:
            state = State.parse(sidecar.read_text())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TransportError(f"{sidecar}: cannot be read: {error}") from error
        if len(state.namespaces) != namespaces:
            raise TransportError(
                f"{self.name}: has {len(state.namespaces)} namespaces, not {namespaces}"
            )
        state.serial = serial or state.serial
        return state

    # ---- use ----

    @property
    def sidecar(self) -> Path | None:
        """Where the state is kept."""
        return None if self.path is None else Path(f"{self.path}.json")

    def offset(self, nsid: int) -> int:
        """Where a namespace begins."""
        return (nsid - 1) * self.namespace_bytes

    def save(self) -> None:
        """Make the state durable; TransportError if that fails."""
        sidecar = self.sidecar
        if sidecar is None:
            return
        temporary = Path(f"{sidecar}.new")
        try:
            with temporary.open("w") as file:
                json.dump(self.state.shown(), file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(sidecar)
            directory = os.open(sidecar.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise TransportError(f"{sidecar}: {error.strerror}") from error

    def close(self) -> None:
        """Release the lock and the file."""
        os.close(self.fd)


def namespace_uuid(serial: str, nsid: int) -> bytes:
    """Return a namespace's UUID: always the same for a serial number and NSID."""
    return uuid.uuid5(_IDENTITY, f"{serial}/{nsid}").bytes


def namespace_eui64(serial: str, nsid: int) -> bytes:
    """Return a namespace's EUI-64, as stable as its UUID."""
    return _OUI + namespace_uuid(serial, nsid)[-5:]


def namespace_nguid(serial: str, nsid: int) -> bytes:
    """Return a namespace's NGUID: an EUI-64 behind eight bytes of extension."""
    identity = namespace_uuid(serial, nsid)
    return identity[:8] + _OUI + identity[-5:]


def subsystem_uuid(serial: str) -> uuid.UUID:
    """Return the UUID that the subsystem's NQN carries."""
    return uuid.uuid5(_IDENTITY, serial)
