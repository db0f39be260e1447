"""`fuzz`: looks for faults in the command tables and in their translations."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path

from scsi2nvme.cli.errors import FAILED, OperationError, UsageError
from scsi2nvme.cli.verb import Verb

_FUZZ = """\
Try every property of every SCSI command on examples made from the command tables: there
is one legal outcome for every CDB, reserved bits are refused at the right field, no NVMe
command leaves the CDB's blocks, C and Python translate alike, and more. What fails is shrunk,
printed with the name of its row and field, and kept in the corpus."""

_FUZZ_STATUS = """\
exit status:
  0    nothing was found
  1    something was found, or it could not be done
  2    the command line makes no sense"""


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--time",
        metavar="TIME",
        default="10m",
        help="how long: seconds, or with s, m or h (default 10m); one round is always finished",
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, help="repeat the run that printed this seed"
    )
    parser.add_argument(
        "--command",
        metavar="NAME",
        default="",
        help='only commands whose name begins so, such as "READ (10)"',
    )
    parser.add_argument(
        "--corpus",
        metavar="DIR",
        help="where findings are kept, to be tried first the next time "
        "(default: ~/.cache/scsi2nvme/corpus)",
    )
    parser.add_argument("--json", action="store_true", help="print a report in JSON at the end")


def _run(arguments: argparse.Namespace) -> int:
    try:
        from scsi2nvme.fuzz import runner
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        from scsi2nvme.cli import advice

        how = advice.install(advice.HYPOTHESIS)
        raise OperationError(f"fuzzing needs hypothesis; run: {how}") from None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    corpus = Path(arguments.corpus) if arguments.corpus else cache / "scsi2nvme" / "corpus"
    seconds = _seconds(arguments.time)
    try:
        run = runner.Run(
            number=arguments.seed,
            name=arguments.command,
            corpus=corpus,
            report=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    report = run.go(seconds)
    if arguments.json:
        print(json.dumps(report.as_dict(), indent=2))
    return FAILED if report.failures else 0


def _seconds(text: str) -> float:
    """Return the seconds that `90`, `90s`, `10m` or `1h` are."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    number = text[:-1] if unit else text
    if not re.fullmatch("[0-9]{1,9}", number):
        raise UsageError(f"--time: {text!r} is not a time such as 90s, 10m or 1h")
    return int(number) * (unit or 1)


VERBS = (
    Verb(
        "fuzz",
        "look for faults in the command tables and their translations",
        _FUZZ,
        (_FUZZ_STATUS,),
        _arguments,
        _run,
        rank=80,
    ),
)
