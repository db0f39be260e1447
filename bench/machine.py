"""What the figures were measured on: nothing in it tells whose machine it was."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

# Above this, other programs took part in the measurement.
BUSY_LOAD = 1.5


def file_system(path: Path) -> str:
    """Return the type of the file system that holds `path`."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mounted, what = line.split()[:3]
        if path.resolve().is_relative_to(mounted) and len(mounted) >= len(best):
            best, kind = mounted, what
    return kind


def load_average() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]


def heading(report: dict[str, Any]) -> str:
    """Render a report's `machine` and `load_average`; the latter before the measurement."""
    described = ", ".join(f"{name} {value}" for name, value in report["machine"].items()) + ".\n"
    return "\n".join(filter(None, [described, busy(report)]))


def busy(report: dict[str, Any]) -> str:
    """Say that figures are preliminary if other programs ran; else return nothing."""
    load = float(report["load_average"])
    if load <= BUSY_LOAD:
        return ""
    return f"**Preliminary**: other programs ran (load average {load:.1f}).\n"


def _first(pattern: str, file: str) -> str:
    found = re.search(pattern, Path(file).read_text(), re.MULTILINE)
    return found[1].strip() if found else "unknown"


def package(name: str) -> str:
    """Return the version of a Debian package."""
    if not shutil.which("dpkg-query"):
        return "unknown"
    command = ["dpkg-query", "-W", "-f=${Version}", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else "not a package"


def host() -> dict[str, str]:
    """Return what matters of this machine, whatever runs on it."""
    kernel = platform.release().split("-")[0]
    memory = int(_first(r"^MemTotal:\s+(\d+)", "/proc/meminfo")) / (1 << 20)
    virtual = "hypervisor" in _first(r"^flags\s*:(.*)", "/proc/cpuinfo").split()
    return {
        "processor": _first(r"^model name\s*:(.*)", "/proc/cpuinfo"),
        "CPUs": f"{len(os.sched_getaffinity(0))}{', virtual' if virtual else ''}",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"Linux {kernel}",
        "system": _first(r'^PRETTY_NAME="(.*)"', "/etc/os-release"),
    }


def describe(directory: Path) -> dict[str, str]:
    """Return what matters of this machine; the disks are in `directory`."""
    return host() | {
        "file system": file_system(directory),
        "Python": platform.python_version(),
        "tgt": package("tgt"),
        "libiscsi": package("libiscsi-dev"),
    }
