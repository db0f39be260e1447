"""What a machine is about in which something does not go on.

`python3 -m tests.system.hung` tells, in the machine: what threads wait for that have to do with
disks; what disks, rings and interrupts have come to; what the daemon says of itself; and what the
kernel has said, of which the console has the least.
"""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

_PROC, _SYS, _TARGET = Path("/proc"), Path("/sys"), Path("/sys/kernel/config/target")
_PID, _LOG = Path("/run/daemon.pid"), Path("/run/daemon.log")  # see library.sh
_OF_DISKS = re.compile(r"/dev/(sd|nvme|vfio|uio)|vfio-device")
_FOR_DEVICES = re.compile(r"vfio|pci|acpi|nvme|tcmu|target_core|scsi_")
_OURS = re.compile(r"vfio|nvme|virtio")
_KERNEL_LINES = _LOG_LINES = 80
_PROGRAM_S, _LOGS_S = 15, 2
# Of a ring. Spec: <linux/target_core_user.h>, struct tcmu_mailbox.
_BOX = struct.Struct("<HHIII48xI")


def text(path: Path) -> str:
    """Return what a file says, or why it does not."""
    try:
        return path.read_text(errors="replace").rstrip("\n")
    except OSError as error:
        return f"<{error.strerror}>"


def _numbers(path: Path) -> list[int]:
    return sorted(int(name) for name in _names(path) if name.isdecimal())


def _names(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []  # it has just gone


def _said(*words: str) -> Iterator[str]:
    """Yield what a program says, for which there is no more time than it deserves."""
    try:
        ended = subprocess.run(words, capture_output=True, timeout=_PROGRAM_S, check=False)
        yield from (ended.stdout + ended.stderr).decode(errors="replace").splitlines()
    except (OSError, subprocess.TimeoutExpired) as error:
        yield f"<{error}>"


# ---- threads ----


def disks_of(pid: int) -> list[str]:
    """Return which disks, or ways to one, a process has open or mapped."""
    mapped = {line.split(maxsplit=5)[-1] for line in text(_PROC / f"{pid}/maps").splitlines()}
    return sorted(name for name in mapped | _open(pid) if _OF_DISKS.search(name))


def _open(pid: int) -> set[str]:
    found = set()
    for name in _names(_PROC / f"{pid}/fd"):
        with suppress(OSError):  # it has just been closed
            found.add(str((_PROC / f"{pid}/fd/{name}").readlink()))
    return found


def thread(path: Path) -> str:
    """Return where in the kernel a thread waits, if it does."""
    state = text(path / "stat").rpartition(")")[2][:2].strip()
    return f"thread {path.name} {text(path / 'comm')} {state}, {text(path / 'wchan')}"


def stack(path: Path) -> Iterator[str]:
    """Yield in which call a thread is, with its arguments, and how it came to where it waits."""
    yield f"  call {text(path / 'syscall')}"
    for line in text(path / "stack").splitlines():
        yield f"  {line}"


def threads() -> Iterator[str]:
    """Yield the threads of all programs, and those of the kernel that wait for a device.

    All about those whose process has a disk, or who wait in the kernel for one.
    """
    for pid in _numbers(_PROC):
        process = _PROC / str(pid)
        disks = disks_of(pid)
        if disks:
            yield f"process {pid} has {' '.join(disks)}"
        for path in (process / "task" / str(tid) for tid in _numbers(process / "task")):
            said = thread(path)
            waits = " D, " in said or _FOR_DEVICES.search(text(path / "stack"))
            if disks or waits or text(process / "cmdline"):
                yield said
            if disks or waits:
                yield from stack(path)


# ---- disks ----


def disks() -> Iterator[str]:
    """Yield how many reads and writes are under way on each, and what the target has counted."""
    for path in sorted(_SYS.glob("block/*/inflight")):
        yield f"{path.parent.name}: {' '.join(text(path).split())} of {text(path.parent / 'stat')}"
        for name in ("state", "device_busy", "device_blocked", "timeout"):
            if (attribute := path.parent / "device" / name).exists():
                yield f"  {name} {text(attribute)}"
    for path in sorted(_SYS.glob("class/scsi_host/*/host_busy")):
        yield f"{path.parent.name}: {text(path)} under way, {text(path.parent / 'state')}"
    for name in ("info", "statistics/scsi_tgt_dev/aborts_*", "statistics/scsi_tgt_dev/resets"):
        for path in sorted(_TARGET.glob(f"core/user_*/*/{name}")):
            yield f"{path.relative_to(_TARGET)}: {text(path)}"


def rings(pid: int) -> Iterator[str]:
    """Yield how far the kernel and a process are in the rings that this has mapped."""
    for line in text(_PROC / str(pid) / "maps").splitlines():
        addresses, _, offset, _, _, *name = line.split(maxsplit=5)
        if name and name[0].startswith("/dev/uio") and not int(offset, 16):
            woken = text(_SYS / "class/uio" / Path(name[0]).name / "event")
            yield f"{name[0]}: {ring(pid, int(addresses.split('-')[0], 16))}, {woken} times told"


def ring(pid: int, address: int) -> str:
    """Return where head and tail of a ring are that a process has mapped at an address."""
    try:
        with (_PROC / str(pid) / "mem").open("rb", buffering=0) as memory:
            memory.seek(address)
            *_, size, head, tail = _BOX.unpack(memory.read(_BOX.size))
    except (OSError, struct.error) as error:
        return f"<{error}>"
    return f"head {head}, tail {tail} of {size}"


def _counts() -> dict[str, int]:
    counts = {}
    for line in text(_PROC / "interrupts").splitlines():
        number, *words = line.split()
        if _OURS.search(line):
            each = [int(word) for word in words if word.isdecimal()]
            counts[f"{number} {' '.join(words[len(each) :])}"] = sum(each)
    return counts


def interrupts() -> Iterator[str]:
    """Yield how many interrupts of disks there were, and how many come within a second."""
    before = _counts()
    time.sleep(1)
    for name, count in _counts().items():
        yield f"{name}: {count}, of these {count - before.get(name, 0)} within a second"


# ---- the daemon ----


def daemon() -> Iterator[str]:
    """Yield how its rings are, what it says, and where its Python is (see forks.py)."""
    if not _PID.exists():
        return
    pid = int(text(_PID))
    yield from rings(pid)
    try:
        os.kill(pid, signal.SIGURG)  # which means nothing to who knows nothing of it
    except OSError as error:
        yield f"<{error}>"
    for words in ("list --json", "stat --json", "stat --json --by session"):
        yield words
        yield from _said("scsi2nvme", *words.split(), "--state-dir", str(state_dir(pid)))
    time.sleep(_LOGS_S)
    yield from text(_LOG).splitlines()[-_LOG_LINES:]


def state_dir(pid: int) -> Path:
    """Return where a daemon has its control socket."""
    sockets = [name for name in _open(pid) if name.startswith("socket:")]
    for line in text(_PROC / "net/unix").splitlines():
        inode, path = [*line.split(), ""][6:8]
        if f"socket:[{inode}]" in sockets and path.endswith("/control.sock"):
            there = (_PROC / str(pid) / "cwd").readlink()
            return (there / path).resolve().parent
    return _PID.with_suffix("")  # as library.sh has it


def kernel() -> Iterator[str]:
    """Yield what the kernel has said last."""
    yield from list(_said("dmesg"))[-_KERNEL_LINES:]


def report() -> Iterator[str]:
    """Yield everything."""
    parts: list[Callable[[], Iterator[str]]] = [kernel, disks, interrupts, threads, daemon]
    for part in parts:
        yield f"--- {part.__name__}"
        try:
            yield from part()
        except Exception as error:  # the rest is to be told all the same
            yield repr(error)


if __name__ == "__main__":
    for line in report():
        print(line, flush=True)
