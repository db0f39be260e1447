"""The running daemon, and the health of the disks that it serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any

from scsi2nvme.api import methods
from scsi2nvme.cli import control
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.spec import parse
from scsi2nvme.cli.verb import DAEMON_CONFIG
from scsi2nvme.cli.verbs.check.finding import Finding, Level, ok
from scsi2nvme.cli.verbs.check.situation import Situation
from scsi2nvme.nvme.structures import SMART_LOG

# Bits of Critical Warning. Spec: NVMe Base 2.0c figure 208.
_WARNINGS = (
    "its spare blocks are few",
    "its temperature is out of bounds",
    "its reliability is degraded",
    "its medium is read only",
    "its volatile memory's backup has failed",
    "its persistent memory region is read only",
)


def daemon(situation: Situation) -> Iterator[Finding]:
    """Look whether a daemon runs, and what became of its controllers."""
    try:
        told = control.ask(situation.state_dir, methods.VERSION)
        shown = control.ask(situation.state_dir, methods.SHOW)
    except control.NoDaemonError:
        what = f"none runs with state directory {situation.state_dir}"
        yield Finding(Level.WARNING, what, _start(situation))
        return
    except (OperationError, UsageError) as error:
        yield Finding.told(Level.WRONG, error)
        return
    yield ok(f"version {told.program} answers")
    for one in shown["Controllers"]:
        yield _controller(situation, one)


def _controller(situation: Situation, one: dict[str, Any]) -> Finding:
    path, state = one["DevicePath"], one["State"]
    why = f": {one['Reason']}" if one["Reason"] else ""
    level, mend = {
        "live": (Level.OK, ""),
        "starting": (Level.WARNING, "list"),
        "resetting": (Level.WARNING, "list"),
        "not served": (Level.WRONG, f"add {quote(path)}"),  # it never came up
    }.get(state, (Level.WRONG, f"reset {_name(one)}"))
    return Finding(level, f"controller {path} is {state}{why}", mend and _verb(situation, mend))


def _start(situation: Situation) -> str:
    """Return what starts the daemon that was looked for; "": nothing could as yet."""
    if situation.wrong:
        return ""
    if situation.path != Path(DAEMON_CONFIG):
        return _verb(situation, f"serve --config {quote(str(situation.path))}")
    if situation.state_dir == control.UNIT_STATE_DIR:
        return "systemctl start scsi2nvme"
    return _verb(situation, "daemon")


def _verb(situation: Situation, words: str) -> str:
    """Return a command of ours, for the daemon that was looked at."""
    where = situation.state_dir
    usual = where == control.default_state_dir()
    return f"scsi2nvme {words}" + ("" if usual else f" --state-dir {quote(str(where))}")


def health(situation: Situation) -> Iterator[Finding]:
    """Look what the disks of the running daemon say of themselves."""
    try:
        shown = control.ask(situation.state_dir, methods.SHOW)
    except (OperationError, UsageError):
        return  # which has been told already
    for one in shown["Controllers"]:
        if one["State"] == "live":
            yield _health(situation, one["DevicePath"], _name(one))


def _health(situation: Situation, path: str, name: str) -> Finding:
    which = methods.WhichStructure("smart-log", name)
    try:
        raw = control.ask(situation.state_dir, methods.READ, which)
    except (OperationError, UsageError) as error:
        return Finding.told(Level.WARNING, f"{path}: {error}")
    log = SMART_LOG.parse(bytes.fromhex(raw))
    warned = [text for bit, text in enumerate(_WARNINGS) if log.critical_warning >> bit & 1]
    if log.percent_used >= 100:
        warned.append(f"{log.percent_used} % of its life is used")
    if warned:
        mend = _verb(situation, f"smart-log {name}")
        return Finding(Level.WARNING, f"{path}: {', '.join(warned)}", mend)
    celsius = log.temperature - 273
    return ok(f"{path}: {log.percent_used} % worn, {celsius} °C, {log.media_errors} media errors")


def _name(one: dict[str, Any]) -> str:
    """Return what a controller is known by: where it is, or its number."""
    return parse(one["DevicePath"]).pci_address or str(one["Number"])
