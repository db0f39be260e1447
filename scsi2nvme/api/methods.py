"""What the daemon can be asked of its controllers and sessions, and the shapes of the answers.

Other subjects have modules of their own; `table` has the methods of all. A field's doc stands
behind it in `field(metadata=…)`: the schema and the documentation have it.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from scsi2nvme.api.method import Method, Nothing, doc
from scsi2nvme.records import dataclass

StructureName = Literal["id-ctrl", "id-ns", "smart-log", "error-log"]


@dataclass(frozen=True, slots=True)
class Version:
    """Which program answers."""

    program: str = field(metadata=doc("its version"))
    api: str = field(metadata=doc("the version of this API"))


@dataclass(frozen=True, slots=True)
class WhichController:
    """A controller by name, number or SPEC."""

    controller: str = field(metadata=doc("its name, number or SPEC, or its target's name"))


@dataclass(frozen=True, slots=True)
class NewController:
    """A controller that is to be served until the daemon ends."""

    spec: str = field(metadata=doc("as `serve --controller` takes it"))
    iqn: str | None = field(
        default=None, metadata=doc("its target's name, unless it is named after the disk")
    )
    alias: str = field(default="", metadata=doc("what initiators may show for it"))
    target: bool = field(
        default=True, metadata=doc("whether it becomes a target, with all its namespaces")
    )


@dataclass(frozen=True, slots=True)
class Added:
    """A controller that is served."""

    controller: str = field(metadata=doc("its name, else its number where another has that name"))
    target: str = field(metadata=doc("its target's name, \"\" where it is none of our portal's"))
    namespaces: tuple[int, ...] = field(metadata=doc("those that are logical units"))


@dataclass(frozen=True, slots=True)
class WhichStructure:
    """What is to be read of a controller or a namespace."""

    structure: StructureName = field(metadata=doc("which, by the name of nvme-cli's verb"))
    controller: str = field(metadata=doc("its name, number or SPEC, or its target's name"))
    nsid: int = field(default=0, metadata=doc("the namespace, of id-ns"))


@dataclass(frozen=True, slots=True)
class ControllerHealth:
    """How a controller is, by its SMART log."""

    controller: str = field(metadata=doc("its name, or number"))
    temperature_celsius: int
    percent_used: int = field(metadata=doc("of its life, as its vendor estimates; may exceed 100"))
    available_spare: int = field(metadata=doc("percent"))
    media_errors: int
    warnings: tuple[str, ...] = field(
        metadata=doc(
            "what it warns of: spare, temperature, reliability, read_only, backup_failed, "
            "memory_region"
        )
    )
    age_s: float = field(metadata=doc("how old the log is: one that does not answer has no newer"))


@dataclass(frozen=True, slots=True)
class Session:
    """A session with our portal: an I_T nexus, or one of discovery."""

    initiator: str = field(metadata=doc("the initiator's iSCSI name"))
    isid: str = field(metadata=doc("six bytes in hexadecimal"))
    target: str = field(metadata=doc('the target\'s iSCSI name, "" for discovery'))
    connections: int = field(metadata=doc("how many it has"))


@dataclass(frozen=True, slots=True)
class WhichSession:
    """Sessions with our portal, by what they have in common."""

    initiator: str = field(metadata=doc("the initiator's iSCSI name"))
    isid: str | None = field(default=None, metadata=doc("of this ISID only"))
    target: str | None = field(default=None, metadata=doc("with this target only"))


@dataclass(frozen=True, slots=True)
class Ended:
    """What was ended."""

    sessions: int


@dataclass(frozen=True, slots=True)
class Export:
    """A namespace, as a backstore of the kernel's target needs it."""

    name: str = field(metadata=doc("of the backstore"))
    names: tuple[str, ...] = field(metadata=doc("of the controller, the lasting one first"))
    nsid: int
    config: str = field(metadata=doc("the user backstore's configuration string"))
    size: int = field(metadata=doc("bytes"))
    control: str = field(metadata=doc("further settings, between commas"))
    wwn: str = field(metadata=doc("the logical unit's serial number for the kernel"))


VERSION = Method("daemon.version", "which program answers", Nothing, Version)
SHOW = Method(
    "daemon.show",
    "namespaces, controllers, targets, sessions and rings, as `scsi2nvme list --json` has them",
    Nothing,
    dict[str, Any],
)
READ = Method(
    "controllers.read", "a structure of a controller, in hexadecimal", WhichStructure, str
)
ADD = Method(
    "controllers.add",
    "serve one more controller, until the daemon ends",
    NewController,
    Added,
    changes=True,
)
REMOVE = Method(
    "controllers.remove",
    "serve a controller no more: its sessions end, what was acknowledged is written back",
    WhichController,
    type(None),
    changes=True,
)
RESET = Method(
    "controllers.reset",
    "make a controller anew: initiators see a pause",
    WhichController,
    type(None),
    changes=True,
)
FORGET = Method(
    "controllers.forget",
    "let others take the names of a disk that is gone",
    WhichController,
    type(None),
    changes=True,
)
HEALTH = Method(
    "controllers.health",
    "how controllers are: of those whose SMART log is known, none older than five minutes",
    Nothing,
    list[ControllerHealth],
)
SESSIONS = Method("sessions.list", "who is logged in at our portal", Nothing, list[Session])
END_SESSION = Method(
    "sessions.end",
    "end sessions with our portal at once; their initiators may log in again",
    WhichSession,
    Ended,
    changes=True,
)
EXPORTS = Method("kernel.exports", "namespaces for the kernel's target", Nothing, list[Export])
DISCOVER = Method(
    "rpc.discover", "this table for programs, as an OpenRPC document", Nothing, dict[str, Any]
)
