"""Commands that the engine answers, each 32 times at once: how many a second, and their CPU time.

The disk moves nothing (`null=on`): what is measured is the portal and the engine's thread.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import compare, load, machine, peers, tables
from scsi2nvme import commands

DEPTH = 32
ANSWER_BYTES = 8192
_ROWS = {row.name: row for row in commands.COMMANDS}


def _cdb(name: str, **fields: int) -> bytes:
    row = _ROWS[name]
    if row.length_field:
        most = row.structure.by_name[row.length_field].maximum
        fields[row.length_field] = min(ANSWER_BYTES, most)
    return row.build(**fields)


# The first ones are kept (`Command.kept`), the last two share what they ask (`Command.shared`).
COMMANDS = {
    "INQUIRY": _cdb("INQUIRY"),
    "INQUIRY, page 83h": _cdb("INQUIRY", evpd=1, page_code=0x83),
    "MODE SENSE (6), all pages": _cdb("MODE SENSE (6)", page_code=0x3F),
    "READ CAPACITY (16)": _cdb("READ CAPACITY (16)"),
    "REPORT LUNS": _cdb("REPORT LUNS"),
    "REPORT TARGET PORT GROUPS": _cdb("REPORT TARGET PORT GROUPS"),
    "REPORT SUPPORTED OPERATION CODES": _cdb("REPORT SUPPORTED OPERATION CODES"),
    "GET LBA STATUS (16)": _cdb("GET LBA STATUS (16)"),
    "PERSISTENT RESERVE IN, READ KEYS": _cdb("PERSISTENT RESERVE IN, READ KEYS"),
    "LOG SENSE, temperature": _cdb("LOG SENSE", pc=1, page_code=0x0D),
    "REQUEST SENSE": _cdb("REQUEST SENSE"),
}


def loads(seconds: int) -> dict[str, load.Load]:
    """Return a load for each command, by its name."""
    return {
        name: load.Load(depth=DEPTH, block_bytes=ANSWER_BYTES, seconds=seconds, cdb=cdb)
        for name, cdb in COMMANDS.items()
    }


def run(settings: compare.Settings, directory: Path) -> dict[str, Any]:
    """Measure everything; progress goes to standard error. Medians by the commands' names."""
    figures: dict[str, list[dict[str, float]]] = defaultdict(list)
    target_cpus, load_cpus = settings.cpus()
    load_average = machine.load_average()
    with ExitStack() as stack:
        with load.on_cpus(target_cpus):
            target = stack.enter_context(peers.portal_alone(directory, compare.SIZE_BYTES))
        for number in range(settings.rounds):
            print(f"round {number + 1}/{settings.rounds}: the engine's commands", file=sys.stderr)
            for name, work in loads(settings.seconds).items():
                figures[name].append(compare.measure(target, work, load_cpus))
    return {
        "machine": machine.describe(directory),
        "load_average": load_average,
        "commands": {name: tables.medians(rounds) for name, rounds in figures.items()},
    }


def markdown(report: dict[str, Any]) -> str:
    """Return the report's table as Markdown."""
    rows = [
        [name, tables.number(row["iops"]), tables.number(row["cpu_us"])]
        for name, row in report["commands"].items()
    ]
    return tables.table(["Command", "a second", "CPU, µs each"], rows)


def main() -> None:
    """Run from the command line; the options are those of `bench.compare`."""
    compare.carry_out(run, markdown)


if __name__ == "__main__":
    main()
