"""`make bench`: everything that is measured, in one run of about ten minutes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench import cold, commands, compare, growth, instructions, machine, page, peers

INSTRUCTION_SECONDS = 5
FIGURES = "## Figures\n"


def markdown(report: dict[str, Any]) -> str:
    """Return all tables."""
    return "\n".join(
        [
            machine.heading(report["compare"]),
            compare.markdown(report["compare"]),
            "### Other commands of the hot path, scsi2nvme alone, QD32\n",
            commands.markdown(report["commands"]),
            "### Commands of the engine, queue depth 32\n",
            cold.markdown(report["cold"]),
            "### Growth, start-up, idleness\n",
            growth.markdown(report["growth"]),
            "### User instructions per 4 KiB read, queue depth 32\n",
            instructions.markdown(report["instructions"]),
        ]
    )


def main() -> None:
    """Run from the command line; the options are those of `bench.compare`, and `--page`."""
    parser = compare.parser()
    parser.add_argument("--page", type=Path, help="put the tables into this page of docs/")
    arguments = parser.parse_args()
    peers.end_cleanly_on_signals()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.directory) as name:
        directory = Path(name)
        report = {
            "compare": compare.run(compare.settings(arguments), directory),
            "commands": commands.run(*(2, 1) if arguments.quick else (5, 3), directory),
            "cold": cold.run(compare.settings(arguments), directory),
            "growth": growth.run(growth.QUICK if arguments.quick else growth.FULL, directory),
            "instructions": instructions.run(directory, INSTRUCTION_SECONDS),
        }
    page.deliver(report, markdown(report), FIGURES, data=arguments.json, page=arguments.page)


if __name__ == "__main__":
    main()
