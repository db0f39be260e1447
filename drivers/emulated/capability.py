"""What the emulated controller can do, as records.

A capability is a module of `capabilities/` with its `CAPABILITY`: the commands, log
pages, features, Identify fields, options and state that belong together. Registers,
the admin queue and data transfer know none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from scsi2nvme.drivers.scheme import Option
from scsi2nvme.fields import Values
from scsi2nvme.records import dataclass

if TYPE_CHECKING:
    from scsi2nvme.drivers.emulated.image import NamespaceState
    from scsi2nvme.drivers.emulated.model import Model
    from scsi2nvme.nvme.status import StatusCode

Fields = Mapping[str, int | bytes]
Done = Callable[["StatusCode"], None]


@dataclass(frozen=True, slots=True)
class Misfortune:
    """What goes wrong with an admin command: it waits for `delay_s`, and then is executed, or
    fails with a `status`. Without end it waits until a reset.
    """

    delay_s: float = 0.0
    status: int | None = None


class Part:
    """What a capability keeps of its own while the controller is open."""

    def reset(self) -> None:
        """A controller level reset. Spec: NVMe Base 2.0c 3.7."""

    def check(self, command: Values) -> None:
        """Refuse an admin command that may not be executed now: CommandFailed."""

    def misfortune(self, command: Values) -> Misfortune | None:
        """What shall go wrong with an admin command that was fetched."""
        return None

    def before_posting(self) -> None:
        """Completions are about to be posted: reply to what is due."""

    def give_up(self) -> None:
        """The controller could not be brought up: undo what opening it has made."""

    def close(self) -> None:
        """The end: start nothing any more, and return once nothing runs."""


P = TypeVar("P", bound=Part)


class Controller(Protocol):
    """What capabilities see of the controller. Data transfer raises CommandFailed or
    UnmappedError, which a command need not catch."""

    model: Model
    tables: Tables
    settings: Mapping[str, Any]  # by the keywords of `Capability.settings`
    vectors: int
    io_queues: int  # how many there can be
    enabled: bool

    def part(self, kind: type[P]) -> P:
        """Return what a capability keeps, by its class."""

    def part_if_any(self, kind: type[P]) -> P | None:
        """The same, None where the controller lacks the capability."""

    def interrupt(self, vector: int) -> int:
        """Return the eventfd that raises an interrupt vector."""

    def to_host(self, command: Values, data: bytes) -> None:
        """Write a command's data to where its PRPs point."""

    def from_host(self, command: Values, length: int) -> bytes:
        """Read a command's data."""

    def fetch(self, address: int, length: int) -> bytes:
        """Read what stands at an address of the host's; UnmappedError."""

    def store(self, address: int, data: bytes) -> None:
        """Write to an address of the host's; UnmappedError."""

    def reply(self, command: Values, dw0: int, status: int = 0) -> None:
        """Queue a completion: `post` follows, or the end of the batch under way."""

    def post(self) -> None:
        """Post what is queued, as far as the host takes it."""

    def later(self, command: Values) -> Done:
        """Return what completes a command that takes time, unless a reset comes before."""


@dataclass(frozen=True, slots=True)
class AdminCommand:
    """An admin command. `execute` returns DW0, or None if the completion comes later.

    It may raise CommandFailed. `effects` is what the Commands Supported and Effects log
    says besides that the command is supported. Spec: NVMe Base 2.0c 5.16.
    """

    opcode: int
    execute: Callable[[Controller, Values], int | None]
    effects: int = 0


@dataclass(frozen=True, slots=True)
class LogPage:
    """A log page: `build` returns all of it, `taken` is called once it was read.

    `asked` gets the command before that, and `answered` afterwards.

    Spec: NVMe Base 2.0c 5.16.
    """

    lid: int
    build: Callable[[Controller], bytes]
    taken: Callable[[Controller], None] | None = None
    controller_only: bool = False  # a namespace may not be named
    asked: Callable[[Controller, Values], None] = lambda controller, command: None
    answered: Callable[[Controller, Values], None] = lambda controller, command: None


@dataclass(frozen=True, slots=True)
class IdentifyData:
    """An Identify data structure, of a command set; zeros follow what `build` returns."""

    cns: int
    build: Callable[[Controller, Values], bytes]
    of_command_set: bool = False  # CSI names a command set,
    command_set: int = 0  # which is this


@dataclass(frozen=True, slots=True)
class Feature:
    """What Set Features and Get Features do with one feature.

    A value is CDW11. `check` refuses one or returns what is kept of it; `apply` makes it
    so; `key` tells values of one feature apart (sensors, vectors). `current` and
    `default_of` go before what Set Features kept and before `default`, given an NSID.
    `get` and `put` go before all that: DW0 and data, from a command (and its data).
    Spec: NVMe Base 2.0c 5.27.
    """

    fid: int
    default: int = 0
    check: Callable[[Controller, int], int] = lambda controller, value: value
    apply: Callable[[Controller, Values], None] | None = None
    key: Callable[[int], int] = lambda value: 0
    saveable: bool = False
    changeable: bool = True
    per_namespace: bool = False
    data_bytes: Callable[[int], int] = lambda value: 0
    current: Callable[[Controller, int], int] | None = None
    default_of: Callable[[Controller], int] | None = None
    get: Callable[[Controller, Values], tuple[int, bytes]] | None = None
    put: Callable[[Controller, Values, bytes], int] | None = None


def _no_fields(controller: Controller) -> Fields:
    return {}


def _no_namespace_fields(controller: Controller, namespace: NamespaceState) -> Fields:
    return {}


@dataclass(frozen=True, slots=True)
class Capability:
    """Everything that one thing the controller can do consists of.

    `cap` are fields of the CAP register; `controller`, `namespace` and `any_namespace`
    return fields of Identify Controller, of Identify Namespace, and of both that and its
    form for all command sets. Several capabilities may set bits of one number.
    `io_commands` are NVM commands that the native side executes, with their effects.
    `options` are for SPECs; `settings` are what can be set, by keyword, with the defaults.
    `start` is called once, before the controller is used, and returns the part, if any.
    `offered` says by the settings whether this controller has it at all; a `lackable` name is
    that by which people say that it has not.
    """

    name: str
    commands: tuple[AdminCommand, ...] = ()
    io_commands: Mapping[int, int] = field(default_factory=dict)
    log_pages: tuple[LogPage, ...] = ()
    features: tuple[Feature, ...] = ()
    identify: tuple[IdentifyData, ...] = ()
    cap: Mapping[str, int] = field(default_factory=dict)
    controller: Callable[[Controller], Fields] = _no_fields
    namespace: Callable[[Controller, NamespaceState], Fields] = _no_namespace_fields
    any_namespace: Callable[[Controller, NamespaceState], Fields] = _no_namespace_fields
    options: tuple[Option, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    start: Callable[[Controller], Part | None] = lambda controller: None
    offered: Callable[[Mapping[str, Any]], bool] = lambda settings: True
    lackable: str = ""


def merged(contributions: Iterable[Fields]) -> dict[str, int | bytes]:
    """Return all fields; numbers that several contribute to are combined bit by bit."""
    result: dict[str, int | bytes] = {}
    for fields in contributions:
        for name, value in fields.items():
            before = result.get(name, 0)
            if isinstance(value, int) and isinstance(before, int):
                result[name] = before | value
            else:
                assert name not in result, f"two capabilities give {name}"
                result[name] = value
    return result


class Tables:
    """All capabilities, by what a host asks for. Each number is one capability's."""

    def __init__(self, capabilities: Iterable[Capability]) -> None:
        self.capabilities = tuple(capabilities)
        self.commands: dict[int, AdminCommand] = {}
        self.io_commands: dict[int, int] = {}
        self.log_pages: dict[int, LogPage] = {}
        self.features: dict[int, Feature] = {}
        self.identify: dict[tuple[int, int], IdentifyData] = {}
        self.settings: dict[str, Any] = {}
        for one in self.capabilities:
            _add(self.commands, {row.opcode: row for row in one.commands})
            _add(self.io_commands, one.io_commands)
            _add(self.log_pages, {row.lid: row for row in one.log_pages})
            _add(self.features, {row.fid: row for row in one.features})
            _add(self.identify, {(row.cns, row.command_set): row for row in one.identify})
            _add(self.settings, one.settings)
        self.options = tuple(option for one in self.capabilities for option in one.options)
        self.cap: dict[str, int] = {}
        for one in self.capabilities:
            for name, value in one.cap.items():
                self.cap[name] = self.cap.get(name, 0) | value

    def offered(self, settings: Mapping[str, Any]) -> Tables:
        """Return those of the capabilities that a controller with these settings has."""
        lacks = settings.get("lacks", ())
        offered = [
            one for one in self.capabilities if one.offered(settings) and one.lackable not in lacks
        ]
        return self if len(offered) == len(self.capabilities) else Tables(offered)


K = TypeVar("K")
V = TypeVar("V")


def _add(table: dict[K, V], more: Mapping[K, V]) -> None:
    twice = table.keys() & more.keys()
    assert not twice, f"two capabilities have {twice}"
    table.update(more)
