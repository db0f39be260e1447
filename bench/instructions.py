"""User instructions of scsi2nvme per 4 KiB read at queue depth 32, by layer, under callgrind.

The whole daemon runs under valgrind; only while the load runs are instructions counted.
Each counts as the layer's whose source has its line, wherever the compiler has put it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from bench import load, peers, tables
from tests.daemon import Daemon, FreshDaemon

_SIZE_BYTES = 64 << 20
# Sources, by layer: the first that has a pattern which matches a path.
LAYERS = {
    "emulated controller": ("drivers/emulated/csrc/*",),
    "NVMe driver": ("drivers/*/csrc/*", "drivers/csrc/*"),
    "translation": (
        *("scsi2nvme/csrc/hot*", "scsi2nvme/csrc/accept.*", "scsi2nvme/csrc/task_spans.*"),
    ),
    "reactor, tasks, buffers, counting": ("scsi2nvme/csrc/*",),
    "iSCSI": ("target/iscsi/csrc/*",),
}
OTHER = "C library, Python"
_FILE = re.compile(r"(?P<callee>c)?(?:fl|fi|fe)=\((?P<number>\d+)\)(?: (?P<name>.*))?$")
_SOURCE = re.compile(r"(?:^|/)((?:scsi2nvme|target|drivers)/[^.]*csrc/[^/]+)$")


def layer_of(path: str) -> str:
    """Return the layer that a source belongs to, wherever the tree is."""
    found = _SOURCE.search(path)
    source = found[1] if found else ""
    layers = (
        layer
        for layer, patterns in LAYERS.items()
        if any(fnmatch(source, pattern) for pattern in patterns)
    )
    return next(layers, OTHER)


def costs_of_files(lines: Iterable[str]) -> dict[str, int]:
    """Parse callgrind's output: instructions by the source whose line they are of.

    What was inlined counts as its own source's. Spec: Callgrind Format Specification, with one cost
    per line ("events: Ir").
    """
    names: dict[str, str] = {}
    costs: dict[str, int] = defaultdict(int)
    source, is_call = "", False
    for line in lines:
        if found := _FILE.match(line):
            if found["name"]:
                names[found["number"]] = found["name"].strip()
            if not found["callee"]:
                source = names[found["number"]]
        elif line.startswith("calls="):
            is_call = True  # the next line's cost is the callee's
        elif line[:1] in "0123456789+-*" and line.strip():
            if not is_call:
                costs[source] += int(line.split()[-1])
            is_call = False
    return dict(costs)


def by_layer(costs: Mapping[str, int]) -> dict[str, int]:
    """Sum the costs of sources by layer."""
    sums = dict.fromkeys([*LAYERS, OTHER], 0)
    for source, cost in costs.items():
        sums[layer_of(source)] += cost
    return sums


class _Profiled(FreshDaemon):
    def command(self) -> list[str]:
        """Return the command line, under callgrind, which counts nothing yet."""
        output = f"--callgrind-out-file={self.state_dir}/callgrind.out"
        # For each line its source: the compiler puts most functions into others.
        lines = ["--dump-line=yes", output]
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", *lines]
        return [*valgrind, *super().command()]


def _control(daemon: Daemon, command: str) -> None:
    subprocess.run(["callgrind_control", command, str(daemon.pid)], check=True, capture_output=True)


@contextmanager
def _counting(daemon: Daemon) -> Iterator[None]:
    _control(daemon, "--instr=on")
    yield
    _control(daemon, "--instr=off")
    _control(daemon, "--dump")


def run(directory: Path, seconds: int) -> dict[str, float]:
    """Return the instructions per read of each layer, and in all."""
    image = directory / "disk.img"
    peers.make_image(image, _SIZE_BYTES)
    work = load.Load(depth=32, seconds=seconds)
    spec = f"emulated:{image},size={_SIZE_BYTES}"
    print("instructions: scsi2nvme under callgrind", file=sys.stderr)
    with _Profiled(directory, spec, arguments=("--reactors", "1")) as daemon:
        result = load.run(daemon.url(), work, during=_counting(daemon))
    costs: dict[str, int] = defaultdict(int)
    for path in directory.glob("callgrind.out*"):
        for source, cost in costs_of_files(path.read_text().splitlines()).items():
            costs[source] += cost
    operations = int(result["all_operations"])
    sums = by_layer(costs)
    if not sums["translation"]:
        message = (
            "the native module has no line numbers: meson configure build/editable -Ddebug=true"
        )
        raise RuntimeError(message)
    return {layer: cost / operations for layer, cost in sums.items()} | {
        "all": sum(sums.values()) / operations
    }


def markdown(figures: Mapping[str, float]) -> str:
    """Return the figures as a Markdown table."""
    rows = [[layer, tables.number(each)] for layer, each in figures.items()]
    return tables.table(["Layer", "user instructions per read"], rows)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    peers.end_cleanly_on_signals()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.directory) as directory:
        figures = run(Path(directory), arguments.seconds)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    print(markdown(figures))


if __name__ == "__main__":
    main()
