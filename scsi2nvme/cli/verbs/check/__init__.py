"""`check`: what stands between this machine and serving."""

from __future__ import annotations

import argparse
import json

from scsi2nvme.cli.verb import DAEMON_CONFIG, Verb, add_config, add_state_dir

_CHECK = f"""\
Look at all that lies between this machine and serving, and change nothing: the kernel's modules,
the IOMMU, who drives and who uses each NVMe disk, the kernel's target, D-Bus, libraries, limits,
the state directory, and the running daemon with the health of its disks.

A line for each: `ok`, `warning` or `wrong`, what is wrong, and the command that mends it. With
--config it looks at what `scsi2nvme serve --config FILE` needs, without at what `scsi2nvme daemon`
needs with {DAEMON_CONFIG}. Where that is not there, it is what the running daemon serves that
counts, and if none runs, all there is."""

_STATUS = """\
exit status:
  0    nothing is wrong; there may be warnings
  1    something is wrong
  2    the command line makes no sense"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_config(parser)
    parser.add_argument(
        "--tcmu", action="store_true", help="also look at what the kernel's target needs"
    )
    add_state_dir(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _run(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli.verbs.check.checks import CHECKS
    from scsi2nvme.cli.verbs.check.finding import Level, Row, shown, table
    from scsi2nvme.cli.verbs.check.situation import Situation

    situation = Situation.of(arguments.config, arguments.state_dir, tcmu=arguments.tcmu)
    rows = [
        Row(check.name, finding)
        for check in CHECKS
        if check.needed(situation)
        for finding in check.findings(situation)
    ]
    print(json.dumps(shown(rows), indent=2) if arguments.json else table(rows))
    return int(any(row.finding.level is Level.WRONG for row in rows))


VERBS = (
    Verb(
        "check",
        "look for what keeps this machine from serving",
        _CHECK,
        (_STATUS,),
        _arguments,
        _run,
        rank=25,
    ),
)
