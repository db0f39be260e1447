"""The kernel's target configuration: namespaces exported as an iSCSI target, by rtslib.

`export` brings the configuration in line with what is asked, `unexport` takes it
down; both may be repeated. Needs the optional dependency rtslib-fb, whose objects
are directories of configfs.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scsi2nvme.records import dataclass
from scsi2nvme.target.portal_address import PortalAddress
from scsi2nvme.target.tcmu.device_config import AREA_MB, is_ours

# Where what restores the configuration at boot looks for it, and has the kernel keep reservations:
# Debian's way, and everyone's. A rtslib of our own, beside the system's, knows the second only.
SAVED = (Path("/etc/rtslib-fb-target"), Path("/etc/target"))

_FABRIC = "iscsi"
_TAG = 1


class LioError(Exception):
    """Why the kernel's target cannot be configured so; one line."""


class RtslibMissingError(LioError):
    """The library that configures the kernel's target is not where this Python finds it."""


@dataclass(frozen=True, slots=True)
class Backstore:
    """A namespace as a backstore of the kernel; `lun` is where the target has it.

    `control`: what else the kernel is told before it enables the backstore.
    """

    lun: int
    name: str
    config: str
    size: int  # bytes
    control: str
    wwn: str


@dataclass(frozen=True, slots=True)
class Chap:
    """Credentials of one direction."""

    name: str
    secret: str


@dataclass(frozen=True, slots=True)
class Publication:
    """An iSCSI target. Without `initiators` everyone may log in who knows `chap`, if any."""

    iqn: str
    backstores: Sequence[Backstore]
    portals: Sequence[PortalAddress]
    initiators: Sequence[str] = ()
    chap: Chap | None = None
    mutual_chap: Chap | None = None


def load() -> Any:
    """Return the rtslib module; RtslibMissingError if it is not installed."""
    for name in ("rtslib_fb", "rtslib"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    raise RtslibMissingError("rtslib is missing")


def export(rtslib: Any, wanted: Publication) -> None:
    """Publish; what of the target is not asked for goes. LioError says what stood in the way."""
    try:
        root = _root(rtslib)
        # Where the kernel keeps reservations; it answers REGISTER with an error without it.
        Path(root.dbroot, "pr").mkdir(parents=True, exist_ok=True)
        objects = [_backstore(rtslib, root, row) for row in wanted.backstores]
        group = rtslib.TPG(rtslib.Target(rtslib.FabricModule(_FABRIC), wanted.iqn), _TAG)
        _authenticate(group, wanted)
        _portals(rtslib, group, wanted.portals)
        numbers = {
            row.lun: storage for row, storage in zip(wanted.backstores, objects, strict=True)
        }
        _luns(rtslib, group, numbers)
        _initiators(rtslib, group, wanted, numbers)
        group.enable = True
        _save(root)
    except (rtslib.RTSLibError, OSError) as error:
        raise LioError(f"the kernel's target: {_line(error)}") from error


def unexport(rtslib: Any, iqn: str) -> bool:
    """Take a target down with its backstores of ours; whether there was one."""
    try:
        root = _root(rtslib)
        target = next((one for one in root.targets if one.wwn == iqn), None)
        if target is None:
            return False
        storages = {
            lun.storage_object.name: lun.storage_object
            for group in target.tpgs
            for lun in group.luns
        }
        target.delete()
        for storage in storages.values():
            if _is_ours(storage) and not list(storage.attached_luns):
                storage.delete()
        _save(root)
    except (rtslib.RTSLibError, OSError) as error:
        raise LioError(f"the kernel's target: {_line(error)}") from error
    return True


def _root(rtslib: Any) -> Any:
    """Return the configuration, whose directory is that of the system's own tools.

    rtslib refuses to go on where the directory that it prefers is missing, and takes the kernel
    away from another one, where reservations would be looked for after the next boot.
    """
    directory = _directory()
    directory.mkdir(parents=True, exist_ok=True)
    rtslib.RTSRoot._preferred_dbroot = str(directory)
    with warnings.catch_warnings():
        # Of the kernel that stays with another one, once it has devices.
        warnings.simplefilter("ignore")
        return rtslib.RTSRoot()


def _directory() -> Path:
    return next((path for path in SAVED if path.is_dir()), SAVED[-1])


def _save(root: Any) -> None:
    root.save_to_file(str(_directory() / "saveconfig.json"))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _is_ours(storage: Any) -> bool:
    return storage.plugin == "user" and is_ours(storage.config)


def _backstore(rtslib: Any, root: Any, row: Backstore) -> Any:
    """Return the storage object of a namespace, created if it is missing."""
    for storage in root.storage_objects:
        same = _is_ours(storage) and storage.config == row.config
        if storage.plugin == "user" and storage.name == row.name and not same:
            raise LioError(f"the backstore {row.name} exists already, with {storage.config}")
        if same:
            return storage
    control = ",".join(filter(None, (row.control, f"max_data_area_mb={AREA_MB}")))
    return rtslib.UserBackedStorageObject(
        row.name, config=row.config, size=row.size, wwn=row.wwn, control=control
    )


def _authenticate(group: Any, wanted: Publication) -> None:
    everyone = not wanted.initiators
    for name, value in (
        ("authentication", wanted.chap is not None),
        ("generate_node_acls", everyone),
        ("cache_dynamic_acls", everyone),
        ("demo_mode_write_protect", False),
    ):
        group.set_attribute(name, int(value))
    _set_chap(group, wanted)


def _set_chap(holder: Any, wanted: Publication) -> None:
    """Set the credentials of a target portal group or an initiator; rtslib clears empty ones."""
    empty = Chap("", "")
    ours, theirs = wanted.chap or empty, wanted.mutual_chap or empty
    holder.chap_userid, holder.chap_password = ours.name, ours.secret
    holder.chap_mutual_userid, holder.chap_mutual_password = theirs.name, theirs.secret


def _portals(rtslib: Any, group: Any, wanted: Sequence[PortalAddress]) -> None:
    there = {
        (portal.ip_address.strip("[]"), portal.port): portal for portal in group.network_portals
    }
    asked = {(address.host, address.port) for address in wanted}
    for key, portal in there.items():
        if key not in asked:
            portal.delete()
    for host, port in sorted(asked - there.keys()):
        rtslib.NetworkPortal(group, f"[{host}]" if ":" in host else host, port)


def _luns(rtslib: Any, group: Any, wanted: dict[int, Any]) -> None:
    there = {}
    for lun in list(group.luns):
        storage = wanted.get(lun.lun)
        if storage is not None and lun.storage_object.name == storage.name:
            there[lun.lun] = lun
        else:
            lun.delete()
    for number in sorted(wanted.keys() - there.keys()):
        rtslib.LUN(group, number, wanted[number])


def _initiators(rtslib: Any, group: Any, wanted: Publication, numbers: dict[int, Any]) -> None:
    there = {acl.node_wwn: acl for acl in group.node_acls}
    for name, acl in there.items():
        if name not in wanted.initiators:
            acl.delete()
    for name in wanted.initiators:
        acl = there.get(name) or rtslib.NodeACL(group, name)
        _set_chap(acl, wanted)
        mapped = set(_mapped(acl))
        for number in sorted(numbers.keys() - mapped):
            rtslib.MappedLUN(acl, number, number)


def _mapped(acl: Any) -> Iterator[int]:
    for row in acl.mapped_luns:
        yield row.mapped_lun
