"""The targets that are measured: ours, and Debian's tgt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from bench import load
from tests.daemon import FreshDaemon, free_port

READY_S = 20


@dataclass(frozen=True, slots=True)
class Target:
    """A running target: its name, its first logical unit's URL and its process.

    `started_s`: when the process was started, by the monotonic clock.
    """

    name: str
    url: str
    pid: int
    started_s: float

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far, to the nanosecond."""
        # What clock_getcpuclockid(3) returns: the process's clock of kind "scheduler".
        return time.clock_gettime(~self.pid << 3 | 2)

    def resident_bytes(self) -> int:
        """Its resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


class CpuMeter:
    """Meters a target's CPU time: `seconds`, between entering and leaving the context."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._before = 0.0
        self.seconds = 0.0

    def __enter__(self) -> CpuMeter:
        self._before = self._target.cpu_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = self._target.cpu_seconds() - self._before


def end_cleanly_on_signals() -> None:
    """Make SIGTERM and SIGHUP leave every context manager, as Ctrl-C does."""

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def make_image(path: Path, size_bytes: int) -> None:
    """Make a disk image without holes, on its disk: no figure is of allocating blocks."""
    chunk = bytes(range(256)) * min(4096, size_bytes // 256)
    with path.open("wb") as file:
        for _ in range(size_bytes // len(chunk)):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


CREDENTIALS = ("host", b"along-enough-secret")  # of CHAP, and in the URL


def disk(
    directory: Path, size_bytes: int, *, namespaces: int = 1, transport: str = "emulated"
) -> str:
    """Return the SPEC of a disk in `directory`, its namespaces `size_bytes` together."""
    size, image = size_bytes // namespaces, directory / "scsi2nvme.img"
    return f"{transport}:{image},size={size},namespaces={namespaces}"


@contextmanager
def scsi2nvme(
    directory: Path,
    size_bytes: int,
    *,
    namespaces: int = 1,
    faults: Sequence[str] = (),
    chap: bool = False,
    transport: str = "emulated",
    reactors: int = 1,
) -> Iterator[Target]:
    """Serve an emulated disk in `directory`, or QEMU's, its namespaces `size_bytes` together.

    `faults` are the disk's; with `chap` hosts have to prove that they know `CREDENTIALS`.
    """
    spec = disk(directory, size_bytes, namespaces=namespaces, transport=transport)
    if transport == "emulated":
        make_image(directory / "scsi2nvme.img", size_bytes)
    words = [spec, *(f"fault={one}" for one in faults)]
    with _ours("scsi2nvme", directory, ",".join(words), chap, reactors) as target:
        yield target


@contextmanager
def portal_alone(directory: Path, size_bytes: int) -> Iterator[Target]:
    """Serve a disk that moves nothing: what is measured is all but the disk."""
    state = directory / "null"
    state.mkdir()
    with _ours("portal alone", state, f"emulated:memory,size={size_bytes},null=on") as target:
        yield target


@contextmanager
def in_memory(directory: Path, size_bytes: int) -> Iterator[Target]:
    """Serve a disk in memory, written in full before, as the images are."""
    state = directory / "memory"
    state.mkdir()
    fill = load.Load("write", "sequential", 4, 1, 1 << 20, 1, size_bytes)
    with _ours("disk in memory", state, f"emulated:memory,size={size_bytes}") as target:
        while load.run(target.url, fill)["all_operations"] * fill.block_bytes < size_bytes:
            fill = replace(fill, seconds=2 * fill.seconds)
        yield target


@contextmanager
def _ours(
    name: str, directory: Path, spec: str, chap: bool = False, reactors: int = 1
) -> Iterator[Target]:
    user, secret = CREDENTIALS[0], CREDENTIALS[1].decode()
    config = f'[chap]\nname = "{user}"\nsecret = "{secret}"\n' if chap else ""
    started = time.monotonic()
    with FreshDaemon(
        directory, spec, config=config, arguments=("--reactors", str(reactors))
    ) as daemon:
        url = daemon.url(credentials=f"{user}%{secret}@" if chap else "")
        yield Target(name, url, daemon.pid, started)


@contextmanager
def floor(size_bytes: int, *, spins: bool = False) -> Iterator[Target]:
    """Serve the least that a target costs: see `floor.c`. `spins`: it never sleeps."""
    name, options = ("spinning floor", ["--spin"]) if spins else ("floor", [])
    program = load.compiled("floor.c", "floor_answers.c")
    with _floor(name, [str(program), str(size_bytes), *options]) as target:
        yield target


class NoRing(Exception):
    """The kernel lets nobody use io_uring; the text says why."""


@contextmanager
def floor_on_ring(size_bytes: int, *, zero_copy: bool = False) -> Iterator[Target]:
    """Serve the floor on io_uring: see `floor_uring.c`. `zero_copy`: it sends without a copy.

    NoRing where the kernel lets nobody use io_uring.
    """
    name, options = ("io_uring, zero copy", ["--zero-copy"]) if zero_copy else ("io_uring", [])
    program = load.compiled("floor_uring.c", "floor_answers.c")
    with _floor(name, [str(program), str(size_bytes), *options]) as target:
        yield target


@contextmanager
def _floor(name: str, command: Sequence[str]) -> Iterator[Target]:
    leash = ["setpriv", "--pdeathsig", "KILL", "--"]
    started = time.monotonic()
    pipe = subprocess.PIPE
    with subprocess.Popen([*leash, *command], stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            port = process.stdout.readline().strip()
            if not port:
                raise NoRing(process.stderr.read().strip())
            yield Target(name, f"iscsi://127.0.0.1:{port}/{_NAME}/0", process.pid, started)
        finally:
            process.kill()


_TUNING = {
    "MaxRecvDataSegmentLength": 262144,
    "MaxXmitDataSegmentLength": 262144,
    "FirstBurstLength": 262144,
    "MaxBurstLength": 1048576,
    "InitialR2T": "No",
    "MaxOutstandingR2T": 1,
}
_NAME = "iqn.2026-11.io.github.scsi2nvme:peer"


class _Tgtd:
    """A tgtd of our own, with its control socket in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.started_s = time.monotonic()
        self._log = directory / "tgtd.log"
        self._environment = dict(os.environ, TGT_IPC_SOCKET=str(directory / "tgtd"))
        # If this process is killed, nothing else would end tgtd.
        leash = ["setpriv", "--pdeathsig", "KILL", "--"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [*leash, "tgtd", "-f", "--iscsi", f"portal=127.0.0.1:{self.port}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
            )

    def administer(self, operation: str, mode: str, *arguments: str) -> str:
        """Run tgtadm; returns its output, CalledProcessError if it fails."""
        command = ["tgtadm", "--lld", "iscsi", "--op", operation, "--mode", mode, *arguments]
        done = subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            env=self._environment,
            timeout=READY_S,
        )
        return done.stdout

    def wait(self) -> None:
        """Wait until it is ready, and see that it listens where it was told to."""
        deadline = time.monotonic() + READY_S
        while True:
            try:
                portals = self.administer("show", "portal")
                break
            except subprocess.CalledProcessError as error:
                # It listens on its control socket some time after it started.
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError(f"tgtd: {self._log.read_text()}{error.stderr}") from error
                time.sleep(0.01)
        if f"127.0.0.1:{self.port}," not in portals:
            # It takes another when the one that it was given is not free.
            raise RuntimeError(f"tgtd listens on {portals.strip()}, not on port {self.port}")

    def add_target(self, number: int, images: list[Path], store: str) -> str:
        """Add a target with a logical unit per image, from LUN 1; returns LUN 1's URL."""
        tid, name = ("--tid", str(number)), f"{_NAME}{number}"
        self.administer("new", "target", *tid, "-T", name)
        for key, value in _TUNING.items():
            self.administer("update", "target", *tid, "--name", key, "--value", str(value))
        for lun, image in enumerate(images, 1):
            backing = ("-b", str(image), "--bstype", store)
            self.administer("new", "logicalunit", *tid, "--lun", str(lun), *backing)
        self.administer("bind", "target", *tid, "-I", "ALL")
        return f"iscsi://127.0.0.1:{self.port}/{name}/1"


@contextmanager
def tgt_stores(
    directory: Path, size_bytes: int, stores: Sequence[str], *, units: int = 1
) -> Iterator[list[Target]]:
    """Serve files with one tgtd, tuned as far as it can be: a target per backing store."""
    images = [directory / f"tgt{number}.img" for number in range(units)]
    for image in images:
        make_image(image, size_bytes // units)
    daemon = _Tgtd(directory)
    try:
        daemon.wait()
        yield [
            Target(
                "tgt" if store == "rdwr" else f"tgt {store}",
                daemon.add_target(number, images, store),
                daemon.process.pid,
                daemon.started_s,
            )
            for number, store in enumerate(stores, 1)
        ]
    finally:
        # It ignores SIGTERM while it has targets.
        daemon.process.kill()
        daemon.process.wait()


@contextmanager
def tgt(directory: Path, size_bytes: int, *, units: int = 1) -> Iterator[Target]:
    """Serve files with tgt's rdwr backing store; LUN 1 is the first."""
    with tgt_stores(directory, size_bytes, ["rdwr"], units=units) as targets:
        yield targets[0]
