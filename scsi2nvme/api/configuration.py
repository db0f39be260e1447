"""The configuration: its shapes, which the file and the API share, and the methods about it.

What the daemon serves, and to whom, is one value of `ConfigFile`: `serve --config` reads it from a
TOML file, `config.get` answers it, and `config.reload` makes the daemon serve another.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from scsi2nvme.api.method import Method, Nothing, doc
from scsi2nvme.records import dataclass

LogLevel = Literal["error", "warning", "info", "debug"]
LogFormat = Literal["text", "json"]

DEFAULT_LOG_LEVEL: LogLevel = "warning"
DEFAULT_DUMPS = 8
DEFAULT_PING_S = 30
DEFAULT_PORT_GROUP = 1


@dataclass(frozen=True, slots=True)
class Credentials:
    """A CHAP name and its secret."""

    name: str = field(metadata=doc("the name that goes with the secret"))
    secret: str = field(metadata=doc("at least 12 bytes"))


@dataclass(frozen=True, slots=True)
class InitiatorTable:
    """What one initiator may do."""

    name: str = field(metadata=doc("its iSCSI name"))
    chap: Credentials | None = field(
        default=None, metadata=doc("its name and secret, before those of the file")
    )
    mutual_chap: Credentials | None = field(
        default=None, metadata=doc("ours for it, before those of the file")
    )
    targets: tuple[str, ...] | None = field(
        default=None, metadata=doc("the targets that it sees; without it, all")
    )
    luns: tuple[int, ...] | None = field(
        default=None, metadata=doc("the logical units that it sees; without it, all")
    )


@dataclass(frozen=True, slots=True)
class ControllerTable:
    """A controller, and its target's name if it is not to be derived."""

    spec: str = field(metadata=doc("the controller's SPEC, as `scsi2nvme-serve`(8) says"))
    iqn: str | None = field(
        default=None,
        metadata=doc("its target's iSCSI name; without it, it is named after the disk"),
    )
    alias: str = field(
        default="", metadata=doc("what initiators that have logged in may show for the target")
    )
    target: bool = field(
        default=True,
        metadata=doc("whether it becomes a target of its own, with all its namespaces"),
    )


@dataclass(frozen=True, slots=True)
class LunTable:
    """A namespace as a LUN of a target."""

    lun: int = field(metadata=doc("the LUN"))
    controller: str = field(metadata=doc("its controller: the SPEC above, or a name of the disk"))
    nsid: int = field(default=1, metadata=doc("the namespace"))


@dataclass(frozen=True, slots=True)
class TargetTable:
    """A target whose LUNs are chosen one by one."""

    iqn: str = field(metadata=doc("its iSCSI name"))
    alias: str = field(
        default="", metadata=doc("what initiators that have logged in may show for the target")
    )
    luns: tuple[LunTable, ...] = field(default=(), metadata=doc("A LUN, one table for each"))


@dataclass(frozen=True, slots=True)
class TcmuTable:
    """The kernel's target as a front end."""

    dbus: bool = field(
        default=True, metadata=doc("whether targetcli is to find the daemon by D-Bus")
    )
    zero_copy: Literal["auto", "off"] = field(
        default="auto",
        metadata=doc(
            "whether controllers may move data straight from and to the kernel's "
            "rings, where that is safe"
        ),
    )


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The configuration file."""

    controllers: tuple[ControllerTable, ...] = field(
        default=(), metadata=doc("A controller to serve, one table for each")
    )
    targets: tuple[TargetTable, ...] = field(
        default=(),
        metadata=doc("A target beside those that controllers become, one table for each"),
    )
    portals: tuple[str, ...] | None = field(
        default=None,
        metadata=doc(
            "where to listen, as `ADDRESS` or `ADDRESS:PORT` (default "
            "`127.0.0.1:3260`; nowhere if the kernel's target is served)"
        ),
    )
    iqn: str | None = field(
        default=None,
        metadata=doc(
            "the target's iSCSI name; of several targets, what their names begin "
            "with before the disk's"
        ),
    )
    base: str | None = field(
        default=None,
        metadata=doc("what targets' names begin with before the disk's, also of a single one"),
    )
    state_dir: str | None = field(
        default=None,
        metadata=doc(
            "where the daemon keeps its state and control socket (default "
            "`/var/lib/scsi2nvme` for root, else `~/.local/state/scsi2nvme`)"
        ),
    )
    reactors: int | None = field(
        default=None,
        metadata=doc("how many threads move data, 64 at most (default: one per CPU, 4 at most)"),
    )
    poll_us: int | None = field(
        default=None,
        metadata=doc(
            "for how many microseconds a reactor looks for what the disk has done "
            "before it sleeps (default `50`; 0: not at all)"
        ),
    )
    log_level: LogLevel = field(
        default=DEFAULT_LOG_LEVEL, metadata=doc("the least important messages that are written")
    )
    log_format: LogFormat = field(
        default="text", metadata=doc("how they are written; as JSON, each is a line")
    )
    control_group: str | None = field(
        default=None,
        metadata=doc(
            "the group whose members may look at the running daemon by its control socket"
        ),
    )
    metrics: str | None = field(
        default=None, metadata=doc("the address where Prometheus finds metrics")
    )
    chap: Credentials | None = field(
        default=None,
        metadata=doc("How initiators must prove who they are; without it, everybody may log in"),
    )
    mutual_chap: Credentials | None = field(
        default=None, metadata=doc("How we then prove who we are")
    )
    discovery_chap: Credentials | None = field(
        default=None,
        metadata=doc("How initiators must prove who they are before they are told of targets"),
    )
    initiators: tuple[InitiatorTable, ...] = field(
        default=(),
        metadata=doc("What one initiator may do; with any of these, nobody else may log in"),
    )
    cold_reset: bool = field(
        default=False,
        metadata=doc("whether TARGET COLD RESET is done, which ends other initiators' sessions"),
    )
    first_port_group: int = field(
        default=DEFAULT_PORT_GROUP,
        metadata=doc(
            "the number of a disk's controller, as target port group, portal group tag and "
            "relative target port identifier, and of targets whose LUNs are chosen one by one. "
            "Of a disk with several controllers the identifier (CNTLID) of each is added to it"
        ),
    )
    ping_s: int = field(
        default=DEFAULT_PING_S,
        metadata=doc(
            "after how many seconds of silence a connection is asked for a sign of life; 0: never"
        ),
    )
    ping_timeout_s: int = field(
        default=DEFAULT_PING_S, metadata=doc("after how many more it is ended; 0: never")
    )
    dumps: int = field(
        default=DEFAULT_DUMPS,
        metadata=doc(
            "how many dumps of controllers that failed are kept; 0: none, and their last "
            "commands are not recorded"
        ),
    )
    tcmu: TcmuTable | None = field(
        default=None, metadata=doc("The kernel's target, to be served as by `--tcmu`")
    )


@dataclass(frozen=True, slots=True)
class Saving:
    """What runs, and the file that it may be saved to."""

    path: str = field(metadata=doc('what the daemon was started with, "": none'))
    config: ConfigFile = field(metadata=doc("secrets included"))


@dataclass(frozen=True, slots=True)
class HowToReload:
    """Whether the file counts from now on."""

    dry_run: bool = field(default=False, metadata=doc("try it, and tell only"))


GET = Method(
    "config.get",
    "what runs, as a configuration; secrets are left out",
    Nothing,
    ConfigFile,
)
EXPORT = Method(
    "config.export",
    "what runs, as a configuration with its secrets, to be saved",
    Nothing,
    Saving,
    private=True,
)
DIFF = Method(
    "config.diff",
    "what the daemon's configuration file says otherwise than what runs: a line for each step",
    Nothing,
    list[str],
)
RELOAD = Method(
    "config.reload",
    "make what runs what the configuration file says, all or nothing: a line for each step",
    HowToReload,
    list[str],
    changes=True,
)
METHODS: tuple[Method[Any, Any], ...] = (GET, EXPORT, DIFF, RELOAD)
