"""`explain`: a CDB, sense data or an NVMe status, in words."""

from __future__ import annotations

import argparse

from scsi2nvme.cli.verb import EXIT_STATUS, Verb

_EXPLAIN = """\
Say what a CDB, a sense code or an NVMe status means to scsi2nvme: which fields a command has and
which NVMe commands it becomes, what is wrong with one that is refused, which failure of the disk
initiators were told of, and how a disk's failure is told to them.

  scsi2nvme explain cdb 28 00 00 00 10 00 00 00 08 00
  scsi2nvme explain sense 3/11/00
  scsi2nvme explain sense 70 00 05 00 00 00 00 0a 00 00 00 00 24 00 00 c0 00 01
  scsi2nvme explain nvme 0x4281"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "kind",
        metavar="KIND",
        choices=("cdb", "sense", "nvme"),
        help="what the numbers are, all of them hexadecimal: cdb, sense or nvme",
    )
    parser.add_argument(
        "numbers",
        metavar="HEX",
        nargs="+",
        help="cdb: its bytes. sense: sense data, or KEY/ASC/ASCQ, or ASC/ASCQ. "
        "nvme: a status as the kernel and nvme-cli print it, or SCT/SC",
    )


def _run(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli.verbs.explain import explanations

    for line in explanations.KINDS[arguments.kind](" ".join(arguments.numbers)):
        print(line)
    return 0


VERBS = (
    Verb(
        "explain",
        "say what a CDB, sense or an NVMe status means",
        _EXPLAIN,
        (EXIT_STATUS,),
        _arguments,
        _run,
        rank=45,
    ),
)
