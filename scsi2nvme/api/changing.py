"""Methods that change what is configured, a thing at a time: targets, LUNs, portals, initiators.

All return the steps that were taken, as lines. Each is the step that `config.reload` takes for the
same difference.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from scsi2nvme.api.configuration import Credentials, TargetTable
from scsi2nvme.api.method import Method, doc
from scsi2nvme.records import dataclass

SecretName = Literal["chap", "mutual_chap", "discovery_chap"]


@dataclass(frozen=True, slots=True)
class WhichTarget:
    """A target whose LUNs are chosen one by one."""

    target: str = field(metadata=doc("its iSCSI name"))


@dataclass(frozen=True, slots=True)
class NewLun:
    """A namespace that is to be a LUN of a target."""

    target: str = field(metadata=doc("the target's iSCSI name"))
    lun: int
    controller: str = field(metadata=doc("its name, number or SPEC, or its target's name"))
    nsid: int = field(default=1, metadata=doc("the namespace"))


@dataclass(frozen=True, slots=True)
class WhichLun:
    """A LUN of a target."""

    target: str = field(metadata=doc("the target's iSCSI name"))
    lun: int


@dataclass(frozen=True, slots=True)
class WhichPortal:
    """An address to listen on."""

    portal: str = field(metadata=doc("ADDRESS[:PORT], an IPv6 address in brackets"))


@dataclass(frozen=True, slots=True)
class Allowance:
    """What an initiator may use from now on, beside what it may already."""

    initiator: str = field(metadata=doc("its iSCSI name"))
    target: str | None = field(default=None, metadata=doc("this target; null: all there are"))
    luns: tuple[int, ...] | None = field(
        default=None, metadata=doc("the LUNs that it sees from now on; null: as it was, else all")
    )


@dataclass(frozen=True, slots=True)
class Denial:
    """What an initiator may not use any more."""

    initiator: str = field(metadata=doc("its iSCSI name"))
    target: str | None = field(default=None, metadata=doc("this target; null: none at all"))


@dataclass(frozen=True, slots=True)
class NewSecret:
    """A CHAP name and secret from now on."""

    which: SecretName
    credentials: Credentials | None = field(
        default=None, metadata=doc("null: none is wanted, or given, any more")
    )
    initiator: str | None = field(
        default=None, metadata=doc("for this initiator; null: for all without one of their own")
    )


ADD_TARGET = Method(
    "targets.add", "make a target, of the LUNs that are given", TargetTable, list[str], changes=True
)
REMOVE_TARGET = Method(
    "targets.remove",
    "end a target: its initiators are asked to log out",
    WhichTarget,
    list[str],
    changes=True,
)
MAP = Method(
    "luns.map",
    "make a namespace a LUN of a target, whose initiators are told",
    NewLun,
    list[str],
    changes=True,
)
UNMAP = Method(
    "luns.unmap",
    "take a LUN from a target, whose initiators are told",
    WhichLun,
    list[str],
    changes=True,
)
ADD_PORTAL = Method("portals.add", "listen on an address", WhichPortal, list[str], changes=True)
REMOVE_PORTAL = Method(
    "portals.remove",
    "listen on an address no more; who has logged in there stays",
    WhichPortal,
    list[str],
    changes=True,
)
ALLOW = Method(
    "initiators.allow",
    "let an initiator use targets; once any is allowed, nobody else may log in",
    Allowance,
    list[str],
    changes=True,
)
DENY = Method(
    "initiators.deny",
    "keep an initiator from targets; its sessions there are asked to log out",
    Denial,
    list[str],
    changes=True,
)
SET_SECRET = Method(
    "secrets.set",
    "have logins prove who they are by a secret from now on; sessions stay",
    NewSecret,
    list[str],
    changes=True,
)

METHODS: tuple[Method[Any, Any], ...] = (
    ADD_TARGET,
    REMOVE_TARGET,
    MAP,
    UNMAP,
    ADD_PORTAL,
    REMOVE_PORTAL,
    ALLOW,
    DENY,
    SET_SECRET,
)
