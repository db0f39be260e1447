"""What `scsi2nvme serve` is told: the configuration file and the command line.

The file is TOML, declared by the structures below; options on the command line
override it. `settings` checks everything, so that the daemon need not.
"""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

from scsi2nvme.cli.errors import UsageError
from scsi2nvme.cli.naming import BASE
from scsi2nvme.cli.spec import ControllerSpec, parse
from scsi2nvme.target.portal_address import DEFAULT_PORT, PortalAddress
from scsi2nvme.unit.ports import ISCSI_NAME_BYTES

DEFAULT_PORTAL = "127.0.0.1:3260"
ALIAS_BYTES = 255
SECRET_BYTES = 12  # RFC 7143 9.2.1: at least 96 bits
MAXIMUM_LUN = (1 << 14) - 1  # of the flat space addressing method. Spec: SAM-5 4.7.7.3
MAXIMUM_POLL_US = 10_000
DEFAULT_PING_S = 30
MAXIMUM_PING_S = 3600

LogLevel = Literal["error", "warning", "info", "debug"]
DEFAULT_LOG_LEVEL: LogLevel = "warning"

_NAME = re.compile(
    r"iqn\.\d{4}-\d{2}\.[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[a-z0-9._:-]+)?"
    r"|eui\.[0-9A-Fa-f]{16}|naa\.(?:[0-9A-Fa-f]{16}|[0-9A-Fa-f]{32})"
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A CHAP name and its secret."""

    name: str
    secret: str


@dataclass(frozen=True, slots=True)
class InitiatorTable:
    """What one initiator may do.

    `chap` and `mutual_chap` go before those of the file. `targets` and `luns`
    say what it sees; absent: everything.
    """

    name: str
    chap: Credentials | None = None
    mutual_chap: Credentials | None = None
    targets: tuple[str, ...] | None = None
    luns: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class ControllerTable:
    """A controller, and its target's name if it is not to be derived.

    `alias` describes the target to initiators that have logged in.
    """

    spec: str
    iqn: str | None = None
    alias: str = ""


@dataclass(frozen=True, slots=True)
class TcmuTable:
    """The kernel's target as a front end.

    `dbus`: whether targetcli is to find us. `zero_copy`: whether controllers may move data
    straight from and to the kernel's rings, where that is safe.
    """

    dbus: bool = True
    zero_copy: Literal["auto", "off"] = "auto"


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The configuration file.

    `chap`: how initiators must prove who they are; `mutual_chap`: how we then
    do. With any `initiators`, nobody else may log in. `cold_reset`: whether TARGET COLD
    RESET is done, which ends other initiators' sessions. `ping_s`: after how long a silence
    a connection is asked for a sign of life, and `ping_timeout_s`: after how much more it is
    ended; 0: never. `log_level`: the least important messages that are written.
    """

    controllers: tuple[ControllerTable, ...] = ()
    portals: tuple[str, ...] | None = None
    iqn: str | None = None
    state_dir: str | None = None
    reactors: int | None = None
    poll_us: int | None = None
    log_level: LogLevel = DEFAULT_LOG_LEVEL
    chap: Credentials | None = None
    mutual_chap: Credentials | None = None
    discovery_chap: Credentials | None = None
    initiators: tuple[InitiatorTable, ...] = ()
    cold_reset: bool = False
    ping_s: int = DEFAULT_PING_S
    ping_timeout_s: int = DEFAULT_PING_S
    tcmu: TcmuTable | None = None


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """A controller and the name of the target that it becomes.

    `iqn` "": the name is `base` and what the disk is called.
    """

    spec: ControllerSpec
    iqn: str = ""
    base: str = BASE
    alias: str = ""

    def name(self, disk: str) -> str:
        """Return the target's name, if the disk is called so; UsageError if it can be none."""
        return self.iqn or iscsi_name(f"{self.base}:{disk}", "target name")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that `serve` needs, checked."""

    targets: tuple[TargetSettings, ...]
    portals: tuple[PortalAddress, ...]
    state_dir: Path
    reactors: int | None
    poll_us: int | None
    chap: Credentials | None
    mutual_chap: Credentials | None
    discovery_chap: Credentials | None
    initiators: tuple[InitiatorTable, ...]
    cold_reset: bool = False
    tcmu: TcmuTable | None = None
    log_level: LogLevel = DEFAULT_LOG_LEVEL
    ping_s: int = DEFAULT_PING_S
    ping_timeout_s: int = DEFAULT_PING_S


def load(path: Path) -> ConfigFile:
    """Read a configuration file; UsageError says where it is wrong."""
    from scsi2nvme.cli import toml

    config = toml.read(path, ConfigFile)
    secrets = [config.chap, config.discovery_chap, *(row.chap for row in config.initiators)]
    if any(secrets) and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) & ~stat.S_IRGRP:
        raise UsageError(
            f"configuration {path}: holds secrets and is open to others; "
            f"run: chmod 640 {shlex.quote(str(path))}"
        )
    return config


def portal_address(text: str) -> PortalAddress:
    """Parse `ADDRESS[:PORT]`, an IPv6 address in brackets where a port follows.

    Port 0 asks the system for a free one. A link-local IPv6 address has its interface:
    `fe80::1%eth0`.
    """
    host, port = text, str(DEFAULT_PORT)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise UsageError(f"portal {text!r}: write an IPv6 portal as [ADDRESS]:PORT")
        port = rest[1:] if rest else port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not (re.fullmatch("[0-9]{1,5}", port) and int(port) < 65536):
        raise UsageError(f"portal {text!r}: port {port!r} is not a number from 0 to 65535")
    try:
        address = PortalAddress(str(ip_address(host)), int(port))
    except ValueError:
        raise UsageError(f"portal {text!r}: {host!r} is no IPv4 or IPv6 address") from None
    if address.ipv6 and address.link == "":
        raise UsageError(f"portal {text!r}: name its interface, as in [{host}%eth0]:{port}")
    return address


def iscsi_name(text: str, what: str) -> str:
    """Check an iSCSI name. Spec: RFC 7143 4.2.7."""
    name = text.lower()
    if len(name.encode(errors="surrogateescape")) > ISCSI_NAME_BYTES:
        raise UsageError(f"{what} {text!r}: is longer than {ISCSI_NAME_BYTES} bytes")
    if not _NAME.fullmatch(name):
        raise UsageError(f"{what} {text!r}: is no iSCSI name such as iqn.2026-11.org.example:disk")
    return name


def _alias(text: str) -> str:
    """Check a target's description. Spec: RFC 7143 13.7."""
    if len(text.encode()) > ALIAS_BYTES or not text.isprintable():
        raise UsageError(f"alias {text!r}: is not printable text of at most {ALIAS_BYTES} bytes")
    return text


def _initiator(row: InitiatorTable, iqns: set[str] | None) -> InitiatorTable:
    """Check what one initiator may do; `iqns` are the targets, None: not known before they are."""
    what = f"initiator {row.name!r}"
    name = iscsi_name(row.name, "initiator")
    check_chap(row.chap, row.mutual_chap, f"{what}: ")
    for target in row.targets or ():
        if iqns is None:
            iscsi_name(target, f"{what}: targets:")
        elif target.lower() not in iqns:
            raise UsageError(f"{what}: targets: there is no target {target!r}")
    for lun in row.luns or ():
        if not 0 <= lun <= MAXIMUM_LUN:
            raise UsageError(f"{what}: luns: {lun} is not between 0 and {MAXIMUM_LUN}")
    targets = None if row.targets is None else tuple(target.lower() for target in row.targets)
    return replace(row, name=name, targets=targets)


def check_chap(chap: Credentials | None, mutual: Credentials | None, where: str = "") -> None:
    """Check both directions of CHAP. Spec: RFC 7143 9.2.1."""
    for label, pair in (("chap", chap), ("mutual_chap", mutual)):
        if pair is not None and not pair.name:
            raise UsageError(f"{where}{label}: name is empty")
        if pair is not None and len(pair.secret.encode()) < SECRET_BYTES:
            raise UsageError(f"{where}{label}: secret is shorter than {SECRET_BYTES} bytes")
    if mutual is not None:
        if chap is None:
            raise UsageError(f"{where}mutual_chap needs chap")
        if chap.secret == mutual.secret:
            raise UsageError(f"{where}chap and mutual_chap must not share a secret")


def _within(value: int, what: str, low: int, high: int) -> int:
    if not low <= value <= high:
        raise UsageError(f"{what}: {value} is not between {low} and {high}")
    return value


def _bounded(value: int | None, what: str, low: int, high: int) -> int | None:
    return None if value is None else _within(value, what, low, high)


def _targets(rows: Sequence[ControllerTable], given: str | None) -> list[TargetSettings]:
    """Name the targets: `given` is the name of a single one, else what all names begin with."""
    if given is not None:
        given = iscsi_name(given, "target name")
    unnamed = sum(row.iqn is None for row in rows)
    if unnamed > 1 and not (given or BASE).startswith("iqn."):
        raise UsageError(f"target name {given!r}: is one target's; give each controller its iqn")
    targets: list[TargetSettings] = []
    for row in rows:
        name = given if row.iqn is None and unnamed == 1 else row.iqn
        iqn = "" if name is None else iscsi_name(name, "target name")
        if iqn and iqn in [target.iqn for target in targets]:
            raise UsageError("two controllers have the same target name: give each its own iqn")
        targets.append(TargetSettings(parse(row.spec), iqn, given or BASE, _alias(row.alias)))
    return targets


def settings(
    file: ConfigFile,
    *,
    default_state_dir: Path,
    maximum_reactors: int,
    controllers: tuple[str, ...] = (),
    portals: tuple[str, ...] = (),
    iqn: str | None = None,
    state_dir: str | None = None,
    reactors: int | None = None,
    poll_us: int | None = None,
    tcmu: bool = False,
    zero_copy: Literal["auto", "off"] | None = None,
    log_level: LogLevel | None = None,
) -> Settings:
    """Merge a configuration file with the command line, and check the result."""
    rows = file.controllers
    if controllers:
        rows = tuple(ControllerTable(spec) for spec in controllers)
    if not rows:
        raise UsageError("no controller to serve: give --controller SPEC, or a --config with one")
    targets = _targets(rows, iqn or file.iqn)
    named = all(target.iqn for target in targets)
    iqns = {target.iqn for target in targets} if named else None
    initiators = tuple(_initiator(row, iqns) for row in file.initiators)
    if len({row.name for row in initiators}) < len(initiators):
        raise UsageError("two initiators have the same name")
    check_chap(file.chap, file.mutual_chap)
    check_chap(file.discovery_chap, None, "discovery_")
    chosen = state_dir or file.state_dir
    kernel = file.tcmu or (TcmuTable() if tcmu else None)
    if zero_copy is not None:
        if kernel is None:
            raise UsageError("--zero-copy is about the kernel's target: give --tcmu too")
        kernel = replace(kernel, zero_copy=zero_copy)
    # With the kernel's target in front, a portal of our own is the exception.
    usual = () if kernel is not None else (DEFAULT_PORTAL,)
    addresses = portals or (file.portals if file.portals is not None else usual)
    if not addresses and kernel is None:
        raise UsageError("portals: is empty, so nobody could connect")
    return Settings(
        tuple(targets),
        tuple(portal_address(text) for text in addresses),
        Path(chosen) if chosen else default_state_dir,
        _bounded(file.reactors if reactors is None else reactors, "reactors", 1, maximum_reactors),
        _bounded(file.poll_us if poll_us is None else poll_us, "poll_us", 0, MAXIMUM_POLL_US),
        file.chap,
        file.mutual_chap,
        file.discovery_chap,
        initiators,
        file.cold_reset,
        kernel,
        log_level or file.log_level,
        _within(file.ping_s, "ping_s", 0, MAXIMUM_PING_S),
        _within(file.ping_timeout_s, "ping_timeout_s", 0, MAXIMUM_PING_S),
    )
