"""What an administrator has written: the configuration, and what `install-units` writes."""

from __future__ import annotations

from collections.abc import Iterator

from scsi2nvme.cli.config import DEMAND_A_SECRET
from scsi2nvme.cli.verbs.check.finding import Finding, Level, ok
from scsi2nvme.cli.verbs.check.situation import Situation
from scsi2nvme.cli.verbs.install_units.units import FILES, packaged


def file(situation: Situation) -> Iterator[Finding]:
    """Look at the configuration file."""
    if situation.wrong:
        yield Finding.told(Level.WRONG, situation.wrong)
    elif situation.settings is None:
        yield Finding(
            Level.WARNING,
            f"{situation.path} is not there, so all is looked at",
            "scsi2nvme daemon --help",
        )
    else:
        count = len(situation.settings.targets)
        which = "none; what runs has" if situation.running else f"{situation.path}:"
        yield ok(f"{which} {count} controller{'s' if count != 1 else ''}")


def portals(situation: Situation) -> Iterator[Finding]:
    """Look who may reach our portal without a secret."""
    settings = situation.settings
    if settings is None or not settings.portals:
        return
    rows = settings.initiators
    proved = settings.chap is not None or (bool(rows) and all(row.chap for row in rows))
    far = [str(address) for address in settings.portals if not address.loopback]
    if far and not proved:
        may = "".join(f", {each}" for each in _permitted(situation))
        what = f"whoever reaches {', '.join(far)} may read and write{may}; {DEMAND_A_SECRET}"
        yield Finding(Level.WARNING, what)
    else:
        yield ok(", ".join(map(str, settings.portals)))


def _permitted(situation: Situation) -> Iterator[str]:
    """Yield what else of weight SPECs permit initiators."""
    assert situation.settings is not None
    specs = [each.spec for each in situation.settings.targets]
    if any(spec.may_be_sanitized for spec in specs):
        yield "erase whole disks for good (sanitize=on)"
    if any(spec.firmware_allowed for spec in specs):
        yield "write firmware (firmware=on)"
    if any(spec.security for spec in specs):
        yield "lock whole disks (security=on)"
    if any(spec.enclosure_allowed for spec in specs):
        yield "control enclosures (enclosure=on)"
    if any(spec.history_allowed for spec in specs):
        yield "read telemetry (history=on)"


def units(situation: Situation) -> Iterator[Finding]:
    """Look for the files that systemd, D-Bus and udev are told by."""
    root = situation.system.etc.parent
    places = FILES.values()
    missing = [each for each in places if not ((root / each).exists() or packaged(root, each))]
    if missing:
        names = ", ".join(f"/{place}" for place in missing)
        yield Finding(Level.WARNING, f"missing: {names}", "scsi2nvme install-units")
    else:
        yield ok("systemd, D-Bus and udev know of the daemon")
