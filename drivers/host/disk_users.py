"""Who uses a disk, as the kernel tells: what has to be asked before it is taken away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from scsi2nvme.drivers.host import bound_disks, signatures
from scsi2nvme.drivers.pci.sysfs import VFIO_DRIVER, PciFunction, System, link_name, read_text
from scsi2nvme.records import dataclass

_NAMESPACE = re.compile(r"(nvme\d+)(?:c\d+)?(n\d+)")
_OCTAL = re.compile(r"\\([0-7]{3})")
_SECTOR = 512
_HOLDERS = (("LVM-", "LVM volume"), ("CRYPT-", "encrypted volume"), ("mpath-", "multipath map"))


@dataclass(frozen=True, slots=True)
class Use:
    """One reason not to take a disk away.

    `live`: somebody works with it now. Otherwise it only holds something.
    """

    what: str
    live: bool


@dataclass(frozen=True, slots=True)
class Disk:
    """An NVMe controller on the PCI bus with what its driver knows, or knew, of it."""

    function: PciFunction
    model: str  # "" if neither the kernel's nvme driver nor `bind` has told
    serial: str
    namespaces: tuple[str, ...]  # names of block devices
    size_bytes: int

    @property
    def system(self) -> System:
        """Where it is."""
        return self.function.system


def read_disk(function: PciFunction) -> Disk:
    """Return what sysfs tells of a controller, or what it told before vfio-pci had it."""
    if function.driver == VFIO_DRIVER:
        note = bound_disks.load(function)
        return Disk(function, note.model, note.serial, (), note.size_bytes)
    model = serial = ""
    names: list[str] = []
    for controller in _children(function.path / "nvme"):
        model, serial = read_text(controller / "model"), read_text(controller / "serial")
        for entry in _children(controller):
            if match := _NAMESPACE.fullmatch(entry.name):
                names.append("".join(match.groups()))  # with multipath: the whole, not this path
    size = sum(_number(_block(function.system, name) / "size") for name in names) * _SECTOR
    return Disk(function, model, serial, tuple(names), size)


def _children(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else []


def _number(path: Path) -> int:
    text = read_text(path)
    return int(text) if text.isdigit() else 0


def _block(system: System, name: str) -> Path:
    return system.sys / "class/block" / name


# ---- what a disk consists of, and what is built upon it ----


def _parts(disk: Disk) -> list[str]:
    """Return the namespaces and their partitions."""
    found: list[str] = []
    for name in disk.namespaces:
        children = _children(_block(disk.system, name))
        found += [name, *(child.name for child in children if (child / "partition").exists())]
    return found


def _holders(system: System, name: str) -> list[str]:
    return [entry.name for entry in _children(_block(system, name) / "holders")]


def _descendants(disk: Disk) -> list[str]:
    """Return every block device that stores anything on the disk, itself included."""
    found = _parts(disk)
    for name in found:  # grows on the way
        found += [holder for holder in _holders(disk.system, name) if holder not in found]
    return found


def _describe(system: System, name: str) -> str:
    """Return how people know a holder."""
    block = _block(system, name)
    label, identifier = read_text(block / "dm/name"), read_text(block / "dm/uuid")
    for prefix, kind in _HOLDERS:
        if identifier.startswith(prefix):
            return f"{kind} {label}"
    if label:
        return f"device mapper volume {label}"
    for prefix, kind in (("md", "RAID array"), ("bcache", "cache")):
        if name.startswith(prefix):
            return f"{kind} {name}"
    return name


# ---- who uses it ----


def users(disk: Disk) -> list[Use]:
    """Return every use of the disk, the live ones first."""
    live = [
        *_holder_uses(disk),
        *_mounts(disk),
        *_swaps(disk),
        *_btrfs(disk),
        *_openers(disk),
        *_vfio_users(disk),
    ]
    return [Use(what, True) for what in dict.fromkeys(live)] + [
        Use(what, False) for what in dict.fromkeys([*_other_paths(disk), *_contents(disk)])
    ]


def _holder_uses(disk: Disk) -> Iterator[str]:
    for name in _parts(disk):
        for holder in _holders(disk.system, name):
            yield f"{name} belongs to {_describe(disk.system, holder)}"


def _names(disk: Disk) -> dict[str, str]:
    """Return the block devices by every name that /dev has for them."""
    named: dict[str, str] = {}
    for name in _descendants(disk):
        named[name] = name
        if label := read_text(_block(disk.system, name) / "dm/name"):
            named[label] = name
    return named


def _device_of(source: str, named: dict[str, str]) -> str | None:
    """Return the block device of ours that a path under /dev leads to, if any."""
    if not source.startswith("/dev/"):
        return None
    return named.get(Path(source).resolve().name) or named.get(Path(source).name)


def _mounts(disk: Disk) -> Iterator[str]:
    """Yield mounts in every mount namespace."""
    named = _names(disk)
    numbers = {read_text(_block(disk.system, name) / "dev"): name for name in named.values()}
    numbers.pop("", None)
    seen: set[str] = set()
    for process in processes(disk.system):
        namespace = link_name(process / "ns/mnt")
        if namespace in seen:
            continue
        if namespace:
            seen.add(namespace)
        for line in read_text(process / "mountinfo").splitlines():
            fields, _, rest = line.partition(" - ")
            words, source = fields.split(" "), rest.split(" ")[1:2]
            if len(words) < 5 or not source:
                continue
            name = numbers.get(words[2]) or _device_of(_unescape(source[0]), named)
            if name is not None:
                yield f"{name} is mounted on {_unescape(words[4])}"


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)


def _swaps(disk: Disk) -> Iterator[str]:
    named = _names(disk)
    for line in read_text(disk.system.proc / "swaps").splitlines()[1:]:
        name = _device_of(_unescape(line.split()[0]), named)
        if name is not None:
            yield f"{name} is swap space"


def _btrfs(disk: Disk) -> Iterator[str]:
    """Yield members of mounted btrfs file systems: mounts name one of them only."""
    named = _names(disk)
    for file_system in _children(disk.system.sys / "fs/btrfs"):
        for member in _children(file_system / "devices"):
            if member.name in named:
                yield f"{member.name} belongs to the btrfs file system {file_system.name}"


def processes(system: System) -> Iterator[Path]:
    """Yield the directory of every process."""
    for process in _children(system.proc):
        if process.name.isdigit():
            yield process


def open_files(system: System) -> Iterator[tuple[Path, str]]:
    """Yield (process, path) for what processes have open under /dev."""
    for process in processes(system):
        try:
            targets = [str(entry.readlink()) for entry in (process / "fd").iterdir()]
        except OSError:
            continue  # it ended meanwhile
        for target in targets:
            if target.startswith("/dev/"):
                yield process, target


def _openers(disk: Disk) -> Iterator[str]:
    named = _names(disk)
    for process, path in open_files(disk.system):
        name = named.get(Path(path).name)
        if name is not None:
            yield f"{name} is open in process {process.name} ({read_text(process / 'comm')})"


def _vfio_users(disk: Disk) -> Iterator[str]:
    """Yield who drives a disk from user space: giving it back would wait for them."""
    if disk.function.driver != VFIO_DRIVER:
        return
    group = disk.function.group
    nodes = [f"/dev/vfio/{group}", f"/dev/vfio/noiommu-{group}"]
    nodes += [
        f"/dev/vfio/devices/{each.name}" for each in _children(disk.function.path / "vfio-dev")
    ]
    for process, path in open_files(disk.system):
        if path in nodes:
            yield f"is in use by process {process.name} ({read_text(process / 'comm')})"


def _other_paths(disk: Disk) -> Iterator[str]:
    """Yield the other controllers of namespaces that the kernel sees as multipath."""
    own = {entry.name for entry in _children(disk.function.path / "nvme")}
    for controller in _children(disk.system.sys / "class/nvme"):
        if controller.name in own:
            continue
        for entry in _children(controller):
            match = _NAMESPACE.fullmatch(entry.name)
            if match and "".join(match.groups()) in disk.namespaces:
                yield f"{''.join(match.groups())} has another path through {controller.name}"


def _contents(disk: Disk) -> Iterator[str]:
    for name in _parts(disk):
        try:
            found = signatures.contents(disk.system.dev / name)
        except OSError as error:
            yield f"{name} cannot be read: {error.strerror}"
            continue
        for what in found:
            yield f"{name} holds: {what}"
