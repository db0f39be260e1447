"""What `scsi2nvme serve` is told: the configuration file and the command line.

The file is TOML, declared by `scsi2nvme.api.configuration`; options on the command line
override it. `settings` checks everything, so that the daemon need not; `plain` is the way back,
to what may be compared, changed and saved.
"""

from __future__ import annotations

import grp
import re
import shlex
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

from scsi2nvme.api.configuration import (
    DEFAULT_DUMPS,
    DEFAULT_LOG_LEVEL,
    DEFAULT_PING_S,
    DEFAULT_PORT_GROUP,
    ConfigFile,
    ControllerTable,
    Credentials,
    InitiatorTable,
    LogFormat,
    LogLevel,
    TargetTable,
    TcmuTable,
)
from scsi2nvme.cli.errors import UsageError
from scsi2nvme.cli.naming import BASE
from scsi2nvme.cli.spec import ControllerSpec, parse
from scsi2nvme.records import dataclass
from scsi2nvme.target.portal_address import DEFAULT_PORT, PortalAddress
from scsi2nvme.typed import told
from scsi2nvme.unit.ports import ISCSI_NAME_BYTES

DEFAULT_PORTAL = "127.0.0.1:3260"
DEFAULT_METRICS_PORT = 9465
ALIAS_BYTES = 255
CHAP_NAME_BYTES = 255  # RFC 7143 6.1: a text value
SECRET_BYTES = 12  # RFC 7143 9.2.1: at least 96 bits
MAXIMUM_LUN = (1 << 14) - 1  # of the flat space addressing method. Spec: SAM-5 4.7.7.3
MAXIMUM_NSID = 0xFFFFFFFE  # Spec: NVMe Base 2.0 3.2.1.2
MAXIMUM_POLL_US = 10_000
MAXIMUM_DUMPS = 64
MAXIMUM_PING_S = 3600
LAST_PORT_GROUP = 0xFFFF

# What is told whoever lets everybody in.
DEMAND_A_SECRET = "demand a secret by [chap] in the configuration, or listen on 127.0.0.1 only"

_NAME = re.compile(
    r"iqn\.\d{4}-(?:0[1-9]|1[0-2])\.[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[a-z0-9._:-]+)?"
    r"|eui\.[0-9A-Fa-f]{16}|naa\.(?:[0-9A-Fa-f]{16}|[0-9A-Fa-f]{32})"
)


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """A controller and the name of the target that it becomes.

    `iqn` "": the name is `base` and what the disk is called. Unless it is to be a target of its
    `own`, its namespaces are LUNs of other targets only.
    """

    spec: ControllerSpec
    iqn: str = ""
    base: str = BASE
    alias: str = ""
    own: bool = True

    def name(self, disk: str) -> str:
        """Return the target's name, if the disk is called so; UsageError if it can be none."""
        return self.iqn or iscsi_name(f"{self.base}:{disk}", "target name")

    @property
    def row(self) -> ControllerTable:
        """The same as the configuration has it."""
        return ControllerTable(self.spec.text, self.iqn or None, self.alias, self.own)


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
    control_group: int | None = None
    metrics: PortalAddress | None = None
    base: str = BASE
    mapped: tuple[TargetTable, ...] = ()
    dumps: int = DEFAULT_DUMPS
    log_format: LogFormat = "text"
    first_port_group: int = DEFAULT_PORT_GROUP


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


_BROADCAST = "255.255.255.255"


def portal_address(
    text: str, what: str = "portal", default_port: int = DEFAULT_PORT
) -> PortalAddress:
    """Parse `ADDRESS[:PORT]`, an IPv6 address in brackets where a port follows.

    Port 0 asks the system for a free one. A link-local IPv6 address has its interface:
    `fe80::1%eth0`.
    """
    host, port = text, str(default_port)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise UsageError(f"{what} {text!r}: write an IPv6 address as [ADDRESS]:PORT")
        port = rest[1:] if rest else port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not (re.fullmatch("[0-9]{1,5}", port) and int(port) < 65536):
        raise UsageError(f"{what} {text!r}: port {port!r} is not a number from 0 to 65535")
    try:
        ip = ip_address(host)
    except ValueError:
        raise UsageError(f"{what} {text!r}: {host!r} is no IPv4 or IPv6 address") from None
    if ip.is_multicast or host == _BROADCAST:
        raise UsageError(f"{what} {text!r}: {host} is of many machines: none connects to it")
    address = PortalAddress(str(ip), int(port))
    if address.ipv6 and address.link == "":
        raise UsageError(f"{what} {text!r}: name its interface, as in [{host}%eth0]:{port}")
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
        if pair is not None and not 0 < len(pair.name.encode()) <= CHAP_NAME_BYTES:
            long = f"longer than {CHAP_NAME_BYTES} bytes"
            raise UsageError(f"{where}{label}: name is {long if pair.name else 'empty'}")
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


def _targets(rows: Sequence[ControllerTable], given: str | None, base: str) -> list[TargetSettings]:
    """Name the targets: `given` is the name of a single one, `base` what other names begin with."""
    unnamed = sum(row.iqn is None and row.target for row in rows)
    single = given if unnamed == 1 else None
    if unnamed and single is None and not base.startswith("iqn."):
        raise UsageError(f"target name {base!r}: is one target's; give each controller its iqn")
    targets: list[TargetSettings] = []
    for row in rows:
        name = row.iqn or (single if row.target else None)
        iqn = "" if name is None else iscsi_name(name, "target name")
        if iqn and iqn in [target.iqn for target in targets]:
            raise UsageError(f"target name {iqn!r}: is another controller's; give each its own iqn")
        alias = _alias(row.alias)
        targets.append(TargetSettings(parse(row.spec), iqn, base, alias, row.target))
    return targets


def _mapped(
    rows: Sequence[TargetTable], controllers: Iterable[TargetSettings]
) -> list[TargetTable]:
    """Check the targets whose LUNs are chosen, among those that `controllers` become."""
    specs = {one.spec.text for one in controllers}
    taken = {one.iqn for one in controllers if one.own and one.iqn}
    mapped: list[TargetTable] = []
    for row in rows:
        name = iscsi_name(row.iqn, "target name")
        if name in taken:
            raise UsageError(f"target name {name!r}: is another target's")
        taken.add(name)
        luns: set[int] = set()
        for each in row.luns:
            what = f"target {name}: LUN {each.lun}"
            if not 0 <= each.lun <= MAXIMUM_LUN:
                raise UsageError(f"{what} is not between 0 and {MAXIMUM_LUN}")
            _within(each.nsid, f"{what}: nsid", 1, MAXIMUM_NSID)
            if each.lun in luns:
                raise UsageError(f"{what} is there twice")
            if ":" in each.controller and each.controller not in specs:
                raise UsageError(f"{what}: there is no controller {each.controller!r}")
            luns.add(each.lun)
        mapped.append(replace(row, iqn=name, alias=_alias(row.alias)))
    return mapped


def _directory(path: str) -> Path:
    """Return a directory that `config` and `saveconfig` can tell."""
    try:
        return Path(told(path, f"state directory {path!r}"))
    except ValueError as error:
        raise UsageError(str(error)) from None


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
    log_format: LogFormat | None = None,
    metrics: str | None = None,
    first_port_group: int | None = None,
    serving: bool = False,
) -> Settings:
    """Merge a configuration file with the command line, and check the result.

    `serving`: it is to be what is served from now on, which may be nothing at all.
    """
    rows = file.controllers
    if controllers:
        rows = tuple(ControllerTable(spec) for spec in controllers)
    if not rows and not serving:
        raise UsageError("no controller to serve: give --controller SPEC, or a --config with one")
    given = iqn or file.iqn
    given = None if given is None else iscsi_name(given, "target name")
    base = BASE if file.base is None else iscsi_name(file.base, "base")
    base = given if given is not None and file.base is None else base
    # Where `saveconfig` has given the name of the command line to a controller, it is that one's.
    taken = iqn is not None and given in [(row.iqn or "").lower() for row in rows]
    targets = _targets(rows, None if taken else given, base)
    mapped = _mapped(file.targets, targets)
    named = all(target.iqn for target in targets) and not serving
    names = {target.iqn for target in targets if target.own} | {row.iqn for row in mapped}
    initiators = tuple(_initiator(row, names if named else None) for row in file.initiators)
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
    listened = tuple(portal_address(text) for text in addresses)
    if twice := [str(each) for each in listened if each.port and listened.count(each) > 1]:
        raise UsageError(f"portal {twice[0]}: is there twice")
    return Settings(
        tuple(targets),
        listened,
        _directory(chosen) if chosen else default_state_dir,
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
        None if file.control_group is None else _group(file.control_group),
        _metrics(file.metrics if metrics is None else metrics),
        base,
        tuple(mapped),
        _within(file.dumps, "dumps", 0, MAXIMUM_DUMPS),
        log_format or file.log_format,
        _within(
            file.first_port_group if first_port_group is None else first_port_group,
            *("first_port_group", 1, LAST_PORT_GROUP),
        ),
    )


def merged(path: Path | None, **given: Any) -> Settings:
    """Return the settings of a configuration file, if there is one, and a command line.

    `given` is that of `settings`. UsageError names the file where what is wrong stands in it.
    """
    file = ConfigFile() if path is None else load(path)
    try:
        return settings(file, **given)
    except UsageError as error:
        if path is None or str(error) != _wrong_by_itself(file, given):
            raise
        raise UsageError(f"configuration {path}: {error}") from None


def _wrong_by_itself(file: ConfigFile, given: Mapping[str, Any]) -> str:
    """Return what is wrong with a file whatever a command line says, "" if nothing is."""
    not_of_lines = ("default_state_dir", "maximum_reactors", "tcmu", "serving")
    try:
        settings(file, **{name: given[name] for name in not_of_lines if name in given})
    except UsageError as error:
        return str(error)
    return ""


def plain(settings: Settings) -> ConfigFile:
    """Return settings as a configuration file that means the same, whatever else may be added.

    Of one meaning there is one such file, but for the order of its tables.
    """
    group = None if settings.control_group is None else grp.getgrgid(settings.control_group).gr_name
    return ConfigFile(
        controllers=tuple(target.row for target in settings.targets),
        targets=settings.mapped,
        portals=tuple(map(str, settings.portals)),
        base=None if settings.base == BASE else settings.base,
        state_dir=str(settings.state_dir.absolute()),
        reactors=settings.reactors,
        poll_us=settings.poll_us,
        log_level=settings.log_level,
        log_format=settings.log_format,
        control_group=group,
        metrics=None if settings.metrics is None else str(settings.metrics),
        chap=settings.chap,
        mutual_chap=settings.mutual_chap,
        discovery_chap=settings.discovery_chap,
        initiators=settings.initiators,
        cold_reset=settings.cold_reset,
        first_port_group=settings.first_port_group,
        ping_s=settings.ping_s,
        ping_timeout_s=settings.ping_timeout_s,
        dumps=settings.dumps,
        tcmu=settings.tcmu,
    )


def _metrics(text: str | None) -> PortalAddress | None:
    return None if text is None else portal_address(text, "metrics", DEFAULT_METRICS_PORT)


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UsageError(f"control_group: there is no group {name!r}") from None
