"""The kernel: its modules, its target, and who else answers for that."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from scsi2nvme.cli.verbs.check.finding import Finding, Level, ok
from scsi2nvme.cli.verbs.check.situation import Situation
from scsi2nvme.drivers.host.disk_users import processes
from scsi2nvme.drivers.pci.sysfs import System, read_text
from scsi2nvme.kernel_module import CONFIGFS, VFIO_TYPE1, KernelModule
from scsi2nvme.target.portal_address import PortalAddress
from scsi2nvme.target.tcmu.device_config import NO_ANSWER

RUNNER = "tcmu-runner"


def module(wanted: KernelModule) -> Callable[[Situation], Iterator[Finding]]:
    """Return what looks whether a module is loaded, or can be."""

    def look(situation: Situation) -> Iterator[Finding]:
        if (situation.system.sys / "module" / wanted.name.replace("-", "_")).exists():
            yield ok("the module is there")
        elif _loadable(wanted):
            # Whoever needs it may load it: the unit does, and `bind`.
            yield Finding(Level.WARNING, "the module is not loaded yet", wanted.load)
        else:
            yield _unloadable(wanted)

    return look


def _loadable(wanted: KernelModule) -> bool:
    try:
        command = ["modprobe", "--dry-run", "--quiet", wanted.name]
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


def _unloadable(wanted: KernelModule) -> Finding:
    release = os.uname().release
    if not Path("/lib/modules", release).is_dir():
        return Finding(
            Level.WRONG,
            f"the modules of this kernel, {release}, are not installed: install the package that "
            f"has them, or boot a kernel with {wanted.option}",
        )
    return Finding(Level.WRONG, f"this kernel has no such module; it wants {wanted.option}")


def type1(situation: Situation) -> Iterator[Finding]:
    """Look for what VFIO's container needs, unless there is IOMMUFD."""
    if (situation.system.dev / "iommu").exists():
        yield ok("not needed: there is IOMMUFD")
    else:
        yield from module(VFIO_TYPE1)(situation)


def configfs(situation: Situation) -> Iterator[Finding]:
    """Look for the file system by which the kernel's target is set up."""
    where = situation.system.sys / "kernel/config"
    mounts = read_text(situation.system.proc / "self/mountinfo").splitlines()
    if any(line.split(" ")[4:5] == [str(where)] for line in mounts):
        yield ok(f"mounted on {where}")
    elif not (_knows(situation.system, CONFIGFS.name) or _loadable(CONFIGFS)):
        yield _unloadable(CONFIGFS)
    else:
        mend = f"mount -t configfs configfs {where}"
        yield Finding(Level.WRONG, f"configfs is not mounted on {where}", mend)


def _knows(system: System, name: str) -> bool:
    """Whether a file system can be mounted as it is."""
    lines = read_text(system.proc / "filesystems").splitlines()
    return any(line.split()[-1:] == [name] for line in lines)


def portals(situation: Situation) -> Iterator[Finding]:
    """Look who may reach the kernel's portals without a secret."""
    open_to_all = []
    found = sorted((situation.system.sys / "kernel/config/target/iscsi").glob("*/tpgt_*"))
    for group in found:
        anybody = read_text(group / "attrib/generate_node_acls") == "1"
        proved = read_text(group / "attrib/authentication") == "1"
        far = [each.name for each in (group / "np").glob("*") if not _loopback(each.name)]
        if far and anybody and not proved:
            open_to_all.append(f"{group.parent.name} on {', '.join(far)}")
    for one in open_to_all:
        mend = "scsi2nvme export CONTROLLER --chap FILE, or --initiator NAME"
        yield Finding(Level.WARNING, f"whoever reaches {one} may read and write", mend)
    if not open_to_all:
        yield ok(f"{len(found)} targets" if len(found) != 1 else "1 target")


def _loopback(text: str) -> bool:
    host = text.rpartition(":")[0].strip("[]")
    return PortalAddress(host, 0).loopback


def runner(situation: Situation) -> Iterator[Finding]:
    """Look who else answers the kernel about user backstores."""
    if any(read_text(each / "comm") == RUNNER for each in processes(situation.system)):
        what = f"it answers the kernel: backstores of ours are to be created with {NO_ANSWER}"
        yield Finding(Level.WARNING, what, f"systemctl mask --now {RUNNER}")
    elif _startable(situation.system):
        what = "it is not running, but D-Bus may start it in the daemon's place"
        yield Finding(Level.WARNING, what, "scsi2nvme install-units")
    else:
        yield ok("none runs")


def _startable(system: System) -> bool:
    """Whether D-Bus would start it: it is installed, not masked, and we have not said otherwise."""
    root = system.etc.parent
    name = "dbus-1/system-services/org.kernel.TCMUService1.service"
    masked = (system.etc / f"systemd/system/{RUNNER}.service").is_symlink()
    ours = (root / "usr/local/share" / name).exists()
    return (root / "usr/share" / name).exists() and not ours and not masked
