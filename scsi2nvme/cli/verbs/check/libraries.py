"""What others have written: the kernel target's tools, and D-Bus."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
from collections.abc import Iterator
from importlib import metadata

from scsi2nvme.cli import advice
from scsi2nvme.cli.verbs.check.finding import Finding, Level, ok
from scsi2nvme.cli.verbs.check.situation import Situation
from scsi2nvme.drivers.pci.sysfs import read_text

BUS = "run/dbus/system_bus_socket"


def _library(library: advice.Library, purpose: str, level: Level = Level.WRONG) -> Finding:
    """Look for a library, and whether it is new enough."""
    name, _, least = library.requirement.partition(">=")
    try:
        there = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(level, f"{name} is missing: {purpose} needs it", advice.install(library))
    if _numbers(there) < _numbers(least):
        return Finding(level, f"{name} {there} is older than {least}", advice.install(library))
    return ok(f"{name} {there}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall("[0-9]+", version)))


def rtslib(situation: Situation) -> Iterator[Finding]:
    """Look for what `export` configures the kernel's target by; targetcli brings its own."""
    level = Level.WARNING if shutil.which("targetcli") else Level.WRONG
    yield _library(advice.RTSLIB, "`scsi2nvme export`", level)


def dbus_fast(situation: Situation) -> Iterator[Finding]:
    """Look for what targetcli finds us by."""
    yield _library(advice.DBUS_FAST, "the daemon, for targetcli to find it,")


def targetcli(situation: Situation) -> Iterator[Finding]:
    """Look for targetcli, without which there is still `export`."""
    path = shutil.which("targetcli")
    if path is None:
        what = "it is not installed; `scsi2nvme export` does without"
        yield Finding(Level.WARNING, what, "apt-get install targetcli-fb")
    else:
        yield ok(path)


def bus(situation: Situation) -> Iterator[Finding]:
    """Look for D-Bus, and who has the name there by which targetcli finds handlers."""
    path = situation.system.run.parent / BUS
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError as error:
            what = f"no system bus at {path}: {error.strerror}; or set dbus = false in [tcmu]"
            yield Finding(Level.WRONG, what, "systemctl start dbus.socket")
            return
    try:
        from scsi2nvme.target.tcmu.dbus import NAME, BusUnavailable, owner
    except ModuleNotFoundError:
        yield ok(f"{path}; without dbus-fast nobody can tell who serves there")
        return
    try:
        process = asyncio.run(owner(f"unix:path={path}"))
    except BusUnavailable as error:
        yield Finding.told(Level.WRONG, error)
        return
    if process is None:
        yield ok(f"nobody has the name {NAME}")
    else:
        comm = read_text(situation.system.proc / str(process) / "comm")
        yield ok(f"process {process} ({comm}) has the name {NAME}")
