"""The targets that are measured: ours, and Debian's tgt."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.daemon import Daemon, free_port

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Target:
    """A running target: its name, LUN 0's (or 1's) URL and its process."""

    name: str
    url: str
    pid: int

    def cpu_seconds(self) -> float:
        """User and system time of all its threads so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_bytes(self) -> int:
        """Its resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def scsi2nvme(
    directory: Path, size_bytes: int, *, namespaces: int = 1, reactors: int = 1
) -> Iterator[Target]:
    """Serve an emulated disk in `directory`."""
    size = size_bytes // namespaces
    spec = f"emulated:{directory}/scsi2nvme.img,size={size},namespaces={namespaces}"
    with Daemon(directory, spec, arguments=("--reactors", str(reactors))) as daemon:
        yield Target("scsi2nvme", daemon.url(), daemon.pid)


def _tgtadm(port: int, *arguments: str) -> None:
    subprocess.run(["tgtadm", "-C", str(port), "--lld", "iscsi", *arguments], check=True)


_TUNING = {
    "MaxRecvDataSegmentLength": 262144,
    "MaxXmitDataSegmentLength": 262144,
    "FirstBurstLength": 262144,
    "MaxBurstLength": 1048576,
    "InitialR2T": "No",
    "MaxOutstandingR2T": 1,
}


@contextmanager
def tgt(directory: Path, size_bytes: int) -> Iterator[Target]:
    """Serve a file with tgt's rdwr backing store, tuned as far as it can be."""
    image, port, control = directory / "tgt.img", free_port(), 900 + os.getpid() % 90
    with image.open("ab") as file:
        file.truncate(size_bytes)
    name = "iqn.2026-11.io.github.scsi2nvme:peer"
    portal = ["--iscsi", f"portal=127.0.0.1:{port}"]
    process = subprocess.Popen(
        ["tgtd", "-f", "-C", str(control), *portal],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            new = ["--op", "new", "--mode", "target", "--tid", "1", "-T", name]
            try:
                _tgtadm(control, *new)
                break
            except subprocess.CalledProcessError:
                # It listens on its control socket some time after it started.
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.1)
        for key, value in _TUNING.items():
            tune = ["--op", "update", "--mode", "target", "--tid", "1", "--name", key]
            _tgtadm(control, *tune, "--value", str(value))
        unit = ["--mode", "logicalunit", "--tid", "1", "--lun", "1"]
        _tgtadm(control, "--op", "new", *unit, "-b", str(image), "--bstype", "rdwr")
        _tgtadm(control, "--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")
        yield Target("tgt", f"iscsi://127.0.0.1:{port}/{name}/1", process.pid)
    finally:
        # It ignores SIGTERM while it has targets.
        process.kill()
        process.wait()
