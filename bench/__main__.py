"""`make bench`: everything that is measured, in one run of about 25 minutes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from bench import (
    cold,
    commands,
    compare,
    contention,
    growth,
    instructions,
    machine,
    page,
    peers,
    rings,
)

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
            "### COMPARE AND WRITE of one block\n",
            contention.markdown(report["contention"]),
            "### Commands of the engine, queue depth 32\n",
            cold.markdown(report["cold"]),
            "### Growth, start-up, idleness\n",
            growth.markdown(report["growth"]),
            "### User instructions per 4 KiB read, queue depth 32\n",
            instructions.markdown(report["instructions"]),
            "### io_uring instead of epoll\n",
            rings.markdown(report["rings"]),
        ]
    )


def _place(directory: Path, part: str) -> Path:
    """Return where a part may name its files as it likes."""
    (directory / part).mkdir()
    return directory / part


def main() -> None:
    """Run from the command line; the options are those of `bench.compare`, and `--page`."""
    parser = compare.parser()
    parser.add_argument("--page", type=Path, help="put the tables into this page of docs/")
    arguments = parser.parse_args()
    peers.end_cleanly_on_signals()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.directory) as name:
        directory = Path(name)
        quick, settings = arguments.quick, compare.settings(arguments)
        report = {
            "compare": compare.run(settings, _place(directory, "compare")),
            "commands": commands.run(*(2, 1) if quick else (5, 3), _place(directory, "commands")),
            "contention": contention.run(
                *(1, 1) if quick else (5, 2), _place(directory, "contention")
            ),
            "cold": cold.run(settings, _place(directory, "cold")),
            "growth": growth.run(growth.QUICK if quick else growth.FULL, directory),
            "instructions": instructions.run(directory, INSTRUCTION_SECONDS),
            "rings": rings.run(*(1, 1) if quick else (3, 1)),
        }
    page.deliver(report, markdown(report), FIGURES, data=arguments.json, page=arguments.page)
    if arguments.page:
        from bench import plots  # what draws is not where users only measure

        plots.draw(report, arguments.page.parent / "plots")


if __name__ == "__main__":
    main()
