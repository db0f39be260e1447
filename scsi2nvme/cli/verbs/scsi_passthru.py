"""`scsi-passthru`: a SCSI command, as people write it, for a logical unit that is served."""

from __future__ import annotations

import argparse
import sys

from scsi2nvme.cli.printed import write_raw
from scsi2nvme.cli.verb import Verb, add_state_dir, state_dir

_SCSI_PASSTHRU = """\
Send a logical unit of the running daemon a SCSI command, and show its status, sense and data. It
is sent as by an initiator of its own, which reservations count like any other. What changes data,
or what other initiators meet, wants --force. `explain cdb` tells what a CDB means.

  scsi2nvme scsi-passthru 0 12 01 83 00 ff 00
  scsi2nvme scsi-passthru 0 -n 2 28 00 00 00 00 10 00 00 08 00 -o blocks
  scsi2nvme scsi-passthru 0 --force -i blocks 2a 00 00 00 00 10 00 00 08 00"""
_EXIT_STATUS = """\
exit status:
  0    it has ended with GOOD or CONDITION MET
  1    it has ended otherwise, or could not be sent; the reason is on standard error
  2    the command line makes no sense"""


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "controller", metavar="CONTROLLER", help="its number in the daemon, or its target's name"
    )
    parser.add_argument("cdb", metavar="HEX", nargs="+", help="the bytes of the CDB")
    parser.add_argument(
        *("-n", "--namespace-id"),
        metavar="NSID",
        type=_number,
        default=1,
        help="the namespace that is the logical unit (default: 1)",
    )
    parser.add_argument(
        *("-r", "--request"),
        metavar="LEN",
        type=_number,
        default=0,
        help="bytes of data that are asked for (default: as many as the CDB says)",
    )
    parser.add_argument("-i", "--infile", metavar="FILE", help="data for the logical unit")
    parser.add_argument(
        "-o", "--outfile", metavar="FILE", help="where data go that come from the logical unit"
    )
    parser.add_argument(
        "-b", "--raw-binary", action="store_true", help="print the data alone, as they are"
    )
    parser.add_argument(
        "--force", action="store_true", help="also what changes data, or what others meet"
    )
    add_state_dir(parser)


def _run(given: argparse.Namespace) -> int:
    from scsi2nvme.api import scsi
    from scsi2nvme.api.passing import DATA_OUT_BYTES
    from scsi2nvme.cli.control import ask
    from scsi2nvme.cli.hexadecimal import bytes_of
    from scsi2nvme.cli.passing.data import whole_file
    from scsi2nvme.scsi.status import Status

    data = whole_file(given.infile, DATA_OUT_BYTES) if given.infile else b""
    params = scsi.WhichCdb(
        given.controller,
        bytes_of(" ".join(given.cdb)).hex(),
        given.namespace_id,
        data_in=given.request,
        data_out=data.hex(),
        force=given.force,
    )
    ended = ask(state_dir(given), scsi.COMMAND, params, None)
    well = ended.status in (Status.GOOD, Status.CONDITION_MET)
    _show(given, Status(ended.status), bytes.fromhex(ended.sense), bytes.fromhex(ended.data))
    return 0 if well else 1


def _show(given: argparse.Namespace, status: int, sense: bytes, data: bytes) -> None:
    """Print what came back; the status and sense go to standard error where data are alone."""
    from scsi2nvme.cli.passing.data import keep_data
    from scsi2nvme.cli.passing.shown import hex_dump
    from scsi2nvme.cli.verbs.explain.explanations import explain_sense
    from scsi2nvme.scsi.status import Status

    told = sys.stderr if given.raw_binary else sys.stdout
    print(f"SCSI status: {Status(status).name.replace('_', ' ')} ({status:02X}h)", file=told)
    if sense:
        print(f"sense data: {sense.hex(' ')}", file=told)
        for line in explain_sense(sense.hex(" ")):
            print(f"  {line}", file=told)
    if given.outfile:
        keep_data(given.outfile, data)
    if given.raw_binary and not given.outfile:
        write_raw(data)
        return
    print(f"{len(data)} bytes of data", file=told)
    if not given.outfile:
        for line in hex_dump(data):
            print(line, file=told)


VERBS = (
    Verb(
        "scsi-passthru",
        "send a logical unit any SCSI command",
        _SCSI_PASSTHRU,
        (_EXIT_STATUS,),
        _arguments,
        _run,
        rank=42,
    ),
)
