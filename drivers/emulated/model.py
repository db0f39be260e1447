"""What the emulated controller is and remembers, apart from queues and registers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import field, replace

from scsi2nvme.drivers.emulated.image import (
    GRANULE_BYTES,
    MANAGED_NAMESPACES,
    Image,
    NamespaceState,
    SmartState,
)
from scsi2nvme.drivers.emulated.lba_formats import (
    BLOCK_BYTES,
    NO_METADATA,
    LbaFormats,
    Metadata,
)
from scsi2nvme.drivers.transport import TransportError
from scsi2nvme.fields import Values
from scsi2nvme.native.emulator import Emulator
from scsi2nvme.nvme import zoned
from scsi2nvme.nvme.ana import ACCESSIBLE, AnaState
from scsi2nvme.nvme.command import BROADCAST_NSID
from scsi2nvme.nvme.log_structures import SANITIZE_STATUS_LOG, TELEMETRY_CONTROLLER
from scsi2nvme.nvme.persistent_events import EventKind
from scsi2nvme.nvme.status import StatusCode
from scsi2nvme.nvme.structures import ERROR_LOG_ENTRY
from scsi2nvme.records import dataclass

_log = logging.getLogger(__name__)

VERSION = 0x00020000
MDTS = 8
MAXIMUM_TRANSFER_BYTES = 4096 << MDTS
ATOMIC_BLOCKS = MAXIMUM_TRANSFER_BYTES // max(BLOCK_BYTES)  # any command of this size is atomic
ERROR_LOG_ENTRIES = 64
NO_LOCATION = 0xFFFF
CHANGED_NAMESPACES = 0x04  # the log
WRITE_CACHE = 0x06  # the feature
# Of the effects log: what may change of namespaces, contents, capabilities, and which there are.
LBCC, NCC, NIC = 1 << 1, 1 << 2, 1 << 3


@dataclass(frozen=True, slots=True)
class Event:
    """An asynchronous event's type, information, and the log page that tells more.

    `warning` is the bit of the critical warning that became one.
    """

    type: int
    info: int
    lid: int
    warning: int = field(default=0, compare=False)


INVALID_DOORBELL_VALUE = Event(0, 1, 0x01)
NAMESPACE_CHANGED = Event(2, 0, CHANGED_NAMESPACES)
SANITIZED = Event(6, 1, SANITIZE_STATUS_LOG)
SANITIZED_AND_DEALLOCATED = Event(6, 2, SANITIZE_STATUS_LOG)  # although it was not to be
ACTIVATION_STARTING = Event(2, 1, 0x03)
ZONES_CHANGED = Event(2, zoned.ZONES_CHANGED, zoned.CHANGED_ZONES_LOG)
TELEMETRY_CHANGED = Event(2, 2, TELEMETRY_CONTROLLER)
SPARE, TEMPERATURE, RELIABILITY, READ_ONLY, BACKUP = range(5)  # bits of the critical warning
# What tells of each. Spec: NVMe Base 2.0c figures 149, 208.
_WARNINGS = {
    SPARE: Event(1, 2, 0x02, SPARE),
    TEMPERATURE: Event(1, 1, 0x02, TEMPERATURE),
    RELIABILITY: Event(1, 0, 0x02, RELIABILITY),
    READ_ONLY: Event(1, 0, 0x02, READ_ONLY),
    BACKUP: Event(1, 0, 0x02, BACKUP),
}


@dataclass(frozen=True, slots=True)
class Zoning:
    """How every namespace is divided into zones; limits of 0 are none."""

    bytes: int
    capacity_bytes: int
    maximum_open: int
    maximum_active: int
    append_bytes: int


def saved_key(fid: int) -> str:
    """Return where the saved value of a feature stands."""
    return f"{fid:02x}"


class CommandFailed(Exception):
    """An admin command's status; `location` is byte | bit << 8 of the entry at fault.

    `specific` is what the error log says besides, of this command only.
    """

    def __init__(
        self,
        status: StatusCode,
        location: int = NO_LOCATION,
        *,
        dnr: bool = True,
        specific: int = 0,
    ) -> None:
        super().__init__(status.text)
        self.status = status
        self.location = location
        self.dnr = dnr
        self.specific = specific


def invalid_field(byte: int, bit: int = 0) -> CommandFailed:
    """Return Invalid Field in Command, pointing at a bit of the entry."""
    return CommandFailed(StatusCode.INVALID_FIELD, byte | bit << 8)


class Model:
    """Namespaces, health and error log. `notify` is told of asynchronous events."""

    def __init__(self, image: Image, emulator: Emulator, *, write_cache: bool) -> None:
        self.image = image
        self.state = image.state
        self.emulator = emulator
        self.default_write_cache = write_cache
        self.write_cache = self.saved_write_cache
        self.moves_nothing = False
        self.zoning: Zoning | None = None
        self.formats = LbaFormats()
        self.metadata: dict[int, Metadata] = {}  # by NSID; of others there are none
        self.tells_use = False
        self.marks_blocks = False  # there is Write Uncorrectable
        self.critical_warning = 0
        self.sanitizing = self.sanitize_failed = False  # of all namespaces
        self.ana_state = AnaState.OPTIMIZED
        self.remaining: dict[int, int] = {}  # percent of a Format NVM under way, by NSID
        self.changed: set[int] = set()
        self.detached: set[int] = set()  # NSIDs of namespaces that are not active now
        self.notify: Callable[[Event], None] = lambda event: None
        self.pause: Callable[[bool], None] = lambda paused: None  # all commands
        # What is kept of events: their data; and of admin commands that have ended: SCT << 8 | SC.
        self.record: Callable[[EventKind, bytes], None] = lambda kind, data: None
        self.ended: Callable[[Values, int], None] = lambda command, status: None
        self._base = replace(self.state.smart)
        self._began = time.monotonic()
        self._begin()

    def _begin(self) -> None:
        self.emulator.set_limits(MAXIMUM_TRANSFER_BYTES, ATOMIC_BLOCKS)
        if self.image.traceless:
            for namespace in self.state.namespaces:
                self.attach(namespace)
            self.save()
            return
        self._base.power_cycles += 1
        self._base.unsafe_shutdowns += not self.state.clean
        self.state.clean = False
        for namespace in self.state.namespaces:
            self.attach(namespace)
            if namespace.formatting is not None:  # the process ended meanwhile
                self.emulator.erase(namespace.nsid)
                self.end_format(namespace)
            if namespace.write_protect == 2:  # until power cycle
                namespace.write_protect = 0
                self.attach(namespace)
        self.save()

    # ---- namespaces ----

    def namespace(self, nsid: int) -> NamespaceState:
        """Return an active namespace; CommandFailed if there is none of that number."""
        namespace = self.allocated(nsid)
        if not self._is_active(namespace):
            raise CommandFailed(StatusCode.INVALID_NAMESPACE, 4)
        return namespace

    def allocated(self, nsid: int) -> NamespaceState:
        """Return a namespace, active or not; CommandFailed if there is none of that number."""
        for namespace in self.state.namespaces:
            if namespace.nsid == nsid:
                return namespace
        raise CommandFailed(StatusCode.INVALID_NAMESPACE, 4)

    def _is_active(self, namespace: NamespaceState) -> bool:
        return namespace.attached and namespace.nsid not in self.detached

    def selected(self, nsid: int) -> list[NamespaceState]:
        """Return one namespace, or all of them for the broadcast value."""
        if nsid == BROADCAST_NSID:
            return self.active
        return [self.namespace(nsid)]

    @property
    def active(self) -> list[NamespaceState]:
        """The active namespaces."""
        return list(filter(self._is_active, self.state.namespaces))

    @property
    def maximum_namespaces(self) -> int:
        """NN: the greatest NSID that there may be."""
        managed = self.image.capacity is not None
        return MANAGED_NAMESPACES if managed else len(self.state.namespaces)

    @property
    def total_bytes(self) -> int:
        """The capacity of the disk."""
        if self.image.capacity is not None:
            return self.image.capacity
        return self.image.namespace_bytes * len(self.state.namespaces)

    @property
    def accessible(self) -> bool:
        """Whether namespaces can be reached by this controller, as its ANA state says."""
        return self.ana_state in ACCESSIBLE

    def taken_bytes(self, namespace: NamespaceState) -> int:
        """Return how much of the disk a namespace takes."""
        size = namespace.bytes or self.image.namespace_bytes
        return -(-size // GRANULE_BYTES) * GRANULE_BYTES

    def blocks(self, namespace: NamespaceState) -> int:
        """Return a namespace's size in logical blocks."""
        return (namespace.bytes or self.image.namespace_bytes) // namespace.block_bytes

    def metadata_of(self, namespace: NamespaceState) -> Metadata:
        """Return what blocks of a namespace have besides their data."""
        return self.metadata.get(namespace.nsid, NO_METADATA)

    def used_blocks(self, namespace: NamespaceState) -> int:
        """Return how many blocks of a namespace take room, where that is to be told."""
        if not self.tells_use:
            return self.blocks(namespace)
        size = self.blocks(namespace) * namespace.block_bytes
        used = self.image.used_bytes(self.image.offset(namespace.nsid), size)
        return -(-used // namespace.block_bytes)

    def attach(self, namespace: NamespaceState) -> None:
        """Make the I/O side treat a namespace as its state says."""
        metadata = self.metadata_of(namespace)
        self.emulator.set_namespace(
            namespace.nsid,
            self.image.medium,
            self.image.offset(namespace.nsid),
            self.blocks(namespace),
            namespace.block_bytes,
            write_cache=self.write_cache,
            write_protected=namespace.write_protect != 0 or self.medium_read_only,
            formatting=namespace.formatting is not None,
            moves_nothing=self.moves_nothing,
            sanitizing=self.sanitizing,
            sanitize_failed=self.sanitize_failed,
            inactive=not namespace.attached,
            ana_state=self.ana_state,
            marks=self.marks_blocks,
            metadata_bytes=metadata.bytes,
            extended=metadata.extended,
            protection=metadata.protection,
        )
        self._divide(namespace)

    def divide(self, zoning: Zoning) -> None:
        """Have every namespace be divided into zones, before the controller is used."""
        self.zoning = zoning
        for namespace in self.state.namespaces:
            self._divide(namespace)

    def _divide(self, namespace: NamespaceState) -> None:
        if self.zoning is not None:
            self.emulator.set_zones(
                namespace.nsid,
                self.zoning.bytes // namespace.block_bytes,
                self.zoning.capacity_bytes // namespace.block_bytes,
                maximum_open=self.zoning.maximum_open,
                maximum_active=self.zoning.maximum_active,
                append_limit=self.zoning.append_bytes // namespace.block_bytes,
            )

    @property
    def medium_read_only(self) -> bool:
        """Whether the controller has placed its media in read only mode."""
        return bool(self.critical_warning >> READ_ONLY & 1)

    @property
    def saved_write_cache(self) -> bool:
        """Whether the volatile write cache is on after a reset."""
        return bool(self.state.saved_features.get(saved_key(WRITE_CACHE), self.default_write_cache))

    def set_write_cache(self, on: bool) -> None:
        """Turn the volatile write cache on or off; off, nothing volatile remains."""
        if on == self.write_cache:
            return
        self.write_cache = on
        for namespace in self.state.namespaces:
            # Else once that ends: a thread is erasing it.
            if namespace.formatting is None and not self.sanitizing:
                self.attach(namespace)
        if not on:
            self.emulator.flush(BROADCAST_NSID)

    def namespace_changed(self, namespace: NamespaceState) -> None:
        """Identify data changed: put it into the changed list and say so."""
        self.changed.add(namespace.nsid)
        self.notify(NAMESPACE_CHANGED)

    def end_format(self, namespace: NamespaceState, metadata: Metadata = NO_METADATA) -> None:
        """A namespace was erased: take up its new format, with these metadata."""
        assert namespace.formatting is not None
        namespace.block_bytes, _ = self.formats.rows[namespace.formatting]
        namespace.formatting = None
        self.metadata[namespace.nsid] = metadata
        self.remaining.pop(namespace.nsid, None)
        self.attach(namespace)

    # ---- health ----

    def smart(self) -> SmartState:
        """Return the totals as they are now."""
        counters = self.emulator.counters()
        base = self._base
        return replace(
            base,
            power_on_seconds=base.power_on_seconds + time.monotonic() - self._began,
            **{
                name: getattr(base, name) + counters[name]
                for name in (
                    "host_reads",
                    "host_writes",
                    "bytes_read",
                    "bytes_written",
                    "media_errors",
                )
            },
        )

    @property
    def error_count(self) -> int:
        """How many errors were ever logged."""
        return self._base.error_count

    def warn(self, warnings: int) -> None:
        """Have the critical warning be `warnings`, and tell of the bits that are new."""
        before, self.critical_warning = self.critical_warning, warnings
        self._tell(warnings & ~before)
        if (before ^ warnings) >> READ_ONLY & 1:
            for namespace in self.state.namespaces:
                if namespace.formatting is None:
                    self.attach(namespace)

    def warn_again(self) -> None:
        """Tell of what goes on: the host has said anew what it wants to be told."""
        self._tell(self.critical_warning)

    def _tell(self, warnings: int) -> None:
        for bit, event in _WARNINGS.items():
            if warnings >> bit & 1:
                self.notify(event)

    def log_error(self, **fields: int) -> None:
        """Add an entry to the error log; the newest comes first."""
        self._base.error_count += 1
        entry = ERROR_LOG_ENTRY.build(error_count=self._base.error_count, **fields)
        self.state.errors = [entry.hex(), *self.state.errors][:ERROR_LOG_ENTRIES]

    def log_failed_command(self, command: Values, failure: CommandFailed) -> None:
        """Add a failed admin command to the error log."""
        self.log_error(
            sqid=0,
            cmdid=command.cid,
            status_field=failure.status | failure.dnr << 14,
            parm_error_location=failure.location,
            nsid=command.nsid,
            cs=failure.specific,
        )

    def collect_errors(self) -> None:
        """Take over what the I/O side has to report."""
        for error in self.emulator.errors():
            if error["cid"] == 0xFFFF and error["status"] == 0:
                self.notify(INVALID_DOORBELL_VALUE)
            self.log_error(
                sqid=error["sqid"],
                cmdid=error["cid"],
                status_field=error["status"],
                parm_error_location=error["parameter"],
                lba=error["lba"],
                nsid=error["nsid"],
            )

    # ---- persistence ----

    def save(self) -> None:
        """Make state and totals durable."""
        self.state.smart = self.smart()
        self.image.save()

    def try_save(self) -> StatusCode:
        """As `save`, for what nobody waits for: a failure is logged and returned."""
        try:
            self.save()
        except TransportError as error:
            _log.error("%s", error)
            return StatusCode.INTERNAL_ERROR
        return StatusCode.SUCCESS

    def shut_down(self) -> None:
        """Write everything back, and remember that it was done."""
        self.emulator.flush(BROADCAST_NSID)
        self.state.clean = True
        self.save()

    def started(self) -> None:
        """The controller was enabled (again): from here a sudden end is unsafe."""
        if self.state.clean:
            self.state.clean = False
            self.save()
