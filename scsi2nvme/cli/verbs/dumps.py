"""`dumps`: what is kept of controllers, and daemons, that failed."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.verb import EXIT_STATUS, Verb, add_state_dir, state_dir

if TYPE_CHECKING:
    from scsi2nvme.cli.dumps import Dump, DumpStore

_DUMPS = """\
List the dumps in the state directory, show one, write one to a tar file, or remove one.

Before a controller that has failed is reset, the daemon writes down what it was doing: its
properties, its queue pairs, their last commands and completions, and its logs as far as it
still answers. Of a daemon that was killed, or has crashed, the next one keeps the last
commands of each queue pair. The daemon need not run."""

_ACTIONS = ("list", "show", "fetch", "remove")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        metavar="ACTION",
        nargs="?",
        default="list",
        choices=_ACTIONS,
        help="default: list",
    )
    parser.add_argument("number", metavar="N", nargs="?", help="the dump's number")
    parser.add_argument("file", metavar="FILE", nargs="?", help="of fetch: a tar file to write")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_state_dir(parser)


def _run(given: argparse.Namespace) -> int:
    from scsi2nvme.cli.dumps import DumpStore

    store = DumpStore(state_dir(given))
    if given.action == "list":
        _nothing_more(given, given.number)
        _list(store, given)
        return 0
    if given.number is None or not re.fullmatch("[0-9]{1,18}", given.number):
        raise UsageError(f"dumps {given.action}: give the number of a dump, as `dumps` lists them")
    number = int(given.number)
    if given.action == "fetch":
        if given.file is None:
            raise UsageError("dumps fetch: give the file to write")
        _fetch(store.one(number), given.file)
        return 0
    _nothing_more(given, given.file)
    if given.action == "remove":
        store.remove(number)
    else:
        _show(store.one(number), given)
    return 0


def _nothing_more(given: argparse.Namespace, word: str | None) -> None:
    if word is not None:
        raise UsageError(f"dumps {given.action}: {word!r} is too much")


def _when(dump: Dump) -> str:
    at_s = dump.description.get("at_s")
    return _time(at_s, "seconds") if isinstance(at_s, float | int) else "?"


def _time(at_s: float, precision: str) -> str:
    """Return a time for people; what a file says is not taken on trust."""
    from datetime import datetime

    try:
        return datetime.fromtimestamp(at_s).isoformat(" ", precision)
    except (ValueError, OverflowError, OSError):
        return "?"


def _list(store: DumpStore, given: argparse.Namespace) -> None:
    found = store.all()
    if given.json:
        print(json.dumps([_summary(dump) for dump in found], indent=2))
        return
    for dump in found:
        told = dump.description
        size = sum(dump.files.values())
        head = f"{dump.number:<4} {_when(dump):<19} {size:>9}"
        print(f"{head}  {told.get('controller', '?')}: {told.get('reason', '?')}")


def _summary(dump: Dump) -> dict[str, Any]:
    about = {name: dump.description.get(name) for name in ("controller", "reason", "at_s", "crash")}
    return {"number": dump.number, "path": str(dump.path), **about, "files": dump.files}


def _whole(dump: Dump) -> dict[str, Any]:
    """Return all that a dump tells, its trace included."""
    from scsi2nvme.cli.dumps import QUEUES, as_json, read_trace

    shown = {**_summary(dump), **dump.description, "trace": None}
    try:
        shown["trace"] = as_json(read_trace((dump.path / QUEUES).read_bytes()))
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        shown["trace"] = {"error": str(error)}
    return shown


def _show(dump: Dump, given: argparse.Namespace) -> None:
    from scsi2nvme.cli.dumps import DESCRIPTION

    shown = _whole(dump)
    if given.json:
        print(json.dumps(shown, indent=2))
        return
    try:
        told = "\n".join(_lines(dump, shown))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise OperationError(f"{dump.path / DESCRIPTION} makes no sense; see --json") from None
    print(told)


def _lines(dump: Dump, shown: dict[str, Any]) -> Iterator[str]:
    yield f"dump {dump.number} of {_when(dump)}"
    yield f"controller {shown['controller']}: {shown['reason']}"
    for name, size in dump.files.items():
        yield f"file {dump.path / name}: {size} bytes"
    for name, value in (shown.get("properties") or {}).items():
        yield f"property {name:<8}: {value}"
    for queue in shown.get("queues") or ():
        names = ("depth", "sq_tail", "cq_head", "phase", "unexpected_completions")
        yield f"queue {queue['qid']}: " + " ".join(f"{name} {queue[name]}" for name in names)
        for each in queue["outstanding"]:
            age = "" if each["age_ms"] is None else f" for {each['age_ms']} ms"
            yield f"  outstanding{age}: {_command(queue['qid'], each)}"
    for queue in (shown["trace"] or {}).get("queues", ()):
        yield f"queue {queue['qid']}: the last commands"
        for each in queue["commands"]:
            at = _time(each["at_ms"] / 1000, "milliseconds")
            yield f"  {at} #{each['number']}: {_command(queue['qid'], each)}"
        yield f"queue {queue['qid']}: the last completions"
        for each in queue["completions"]:
            status = f"status {each['sct']:X}h/{each['sc']:02X}h dw0 {each['dw0']:#x}"
            yield f"  #{each['number']}: cid {each['cid']} {status} sqhd {each['sqhd']}"


def _command(qid: int, sqe: dict[str, Any]) -> str:
    from scsi2nvme.nvme.command import NvmeCommand

    name = NvmeCommand(sqe["opc"], admin=qid == 0).name
    dwords = " ".join(f"{each}={sqe[each]:#x}" for each in sqe if each.startswith("cdw"))
    return f"{name} cid {sqe['cid']} nsid {sqe['nsid']:#x} {dwords}"


def _fetch(dump: Dump, name: str) -> None:
    """Write a tar file that nobody else may read, if it is new."""
    import os
    import tarfile

    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with (
            open(os.open(name, flags, 0o600), "wb") as file,
            tarfile.open(fileobj=file, mode="w") as tar,
        ):
            tar.add(dump.path, arcname=f"scsi2nvme-dump-{dump.number}")
    except OSError as error:
        raise OperationError(f"{error.filename or name}: {error.strerror}") from None


VERBS = (
    Verb(
        "dumps",
        "what is kept of controllers and daemons that failed",
        _DUMPS,
        (EXIT_STATUS,),
        _arguments,
        _run,
        rank=26,
    ),
)
