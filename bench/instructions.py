"""User instructions of scsi2nvme per 4 KiB read at queue depth 32, by layer, under callgrind.

The whole daemon runs under valgrind; only while the load runs are instructions counted.
A function that the compiler inlined counts as its caller.
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
from pathlib import Path

from bench import load, peers, tables
from tests.daemon import Daemon, FreshDaemon

_ROOT = Path(__file__).parent.parent
_SIZE_BYTES = 64 << 20
# Sources, by layer: the first whose pattern matches a path.
LAYERS = {
    "emulated controller": "drivers/emulated/csrc/*.c",
    "NVMe driver": "drivers/*/csrc/*.c",
    "translation and reactor": "scsi2nvme/csrc/*.c",
    "iSCSI": "target/iscsi/csrc/*.c",
}
OTHER = "C library, Python"
_DEFINITION = re.compile(r"^[a-z][\w *]*?\b(\w+)\([^;]*$", re.MULTILINE)


def defined_functions(source: str) -> set[str]:
    """Return the names of the functions that a C source defines."""
    return set(_DEFINITION.findall(source))


def layers_of_functions(root: Path) -> dict[str, str]:
    """Return the layer of each function of the data plane's sources."""
    found: dict[str, str] = {}
    for layer, pattern in LAYERS.items():
        for path in sorted(root.glob(pattern)):
            for function in defined_functions(path.read_text()):
                found.setdefault(function, layer)
    return found


def self_costs(lines: Iterable[str]) -> dict[str, int]:
    """Parse callgrind's output: instructions in each function itself.

    Spec: Callgrind Format Specification, with one cost per line ("events: Ir").
    """
    names: dict[str, str] = {}
    costs: dict[str, int] = defaultdict(int)
    function, is_call = "", False
    for line in lines:
        if line.startswith("fn="):
            number, _, name = line.removeprefix("fn=").strip().partition(" ")
            if name:
                names[number] = name
            function = names[number]
        elif line.startswith("cfn="):
            number, _, name = line.removeprefix("cfn=").strip().partition(" ")
            if name:
                names[number] = name
        elif line.startswith("calls="):
            is_call = True  # the next line's cost is the callee's
        elif line[:1] in "0123456789+-*" and line.strip():
            if not is_call:
                costs[function] += int(line.split()[-1])
            is_call = False
    return dict(costs)


def by_layer(costs: Mapping[str, int], layers: Mapping[str, str]) -> dict[str, int]:
    """Sum self costs by layer; clones that the compiler made count as the original."""
    sums = dict.fromkeys([*LAYERS, OTHER], 0)
    for function, cost in costs.items():
        sums[layers.get(re.split(r"[.'@]", function)[0], OTHER)] += cost
    return sums


class _Profiled(FreshDaemon):
    def command(self) -> list[str]:
        """Return the command line, under callgrind, which counts nothing yet."""
        output = f"--callgrind-out-file={self.state_dir}/callgrind.out"
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", output]
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
        for function, cost in self_costs(path.read_text().splitlines()).items():
            costs[function] += cost
    operations = int(result["all_operations"])
    sums = by_layer(costs, layers_of_functions(_ROOT))
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
