"""The `scsi2nvme` program: its subcommands, their arguments and their help."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scsi2nvme import __version__
from scsi2nvme.cli import spec
from scsi2nvme.cli.errors import OperationError, UsageError

# Modules that one subcommand needs are imported by it: `--help` is instant.

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
DAEMON_CONFIG = "/etc/scsi2nvme.toml"

_EXIT_STATUS = """\
exit status:
  0    done; for `serve`: ended by SIGTERM or Ctrl-C, everything flushed
  1    could not be done; the reason is on standard error
  2    the command line or the configuration makes no sense"""

_SERVE = """\
Serve NVMe controllers over iSCSI, until SIGTERM or Ctrl-C.

Each controller becomes one iSCSI target, each of its namespaces a logical unit:
LUN n is namespace n + 1. The first target has the name --iqn; those that follow
have ":1", ":2"… appended. On SIGTERM or Ctrl-C no new session is accepted,
initiators are asked to log out, what is under way ends, and caches are flushed."""

_CONFIG = """\
configuration file (TOML; what the command line says goes first):
  iqn = "iqn.2026-11.org.example:disk0"
  portals = ["127.0.0.1:3260", "[::1]:3260"]
  state_dir = "/var/lib/scsi2nvme"
  reactors = 2
  poll_us = 50

  [[controllers]]                       # one table per controller
  spec = "emulated:/srv/disk.img,size=64G"
  iqn = "iqn.2026-11.org.example:fast"  # unless derived from the one above

  [chap]                                # unless everybody may log in
  name = "host"
  secret = "at least 12 bytes"

  [mutual_chap]                         # if we must prove who we are as well
  name = "disk"
  secret = "another 12 bytes"

  [discovery_chap]                      # if discovery needs a secret
  name = "host"
  secret = "at least 12 bytes"

  [tcmu]                                # to serve the kernel's target, as --tcmu does
  dbus = true                           # whether targetcli is to find us
  zero_copy = "auto"                    # or "off": copy all data, as --zero-copy says

  [[initiators]]                        # with any of these, nobody else may log in
  name = "iqn.1993-08.org.debian:01:host"
  chap = { name = "host1", secret = "its own 12 bytes" }  # unless as above
  targets = ["iqn.2026-11.org.example:fast"]              # unless all
  luns = [0, 1]                                           # unless all
A file that holds secrets must not be open to other users."""

_DAEMON = f"""\
Serve NVMe controllers to the kernel's target, until SIGTERM or Ctrl-C: `serve --tcmu`, with
{DAEMON_CONFIG} for a configuration where none is given. `scsi2nvme install-units` makes
it a service of systemd; `scsi2nvme export`, or targetcli, then publishes the namespaces."""

_SERVE_EXAMPLES = """\
examples:
  scsi2nvme serve --controller emulated:disk.img,size=1G --state-dir .
  scsi2nvme serve --controller emulated:memory,size=8G,block=4096,namespaces=4
  scsi2nvme serve --controller qemu:disk.img --portal [::1]:3260
  scsi2nvme serve --config /etc/scsi2nvme.toml"""

_LIST = """\
List the NVMe disks of this machine, who drives and who uses them, and the namespaces that
the running daemon serves, with the rings of the kernel's target: how many commands had
their data moved in place, or copied; or, with SPECs, the namespaces of those controllers."""

_BIND = """\
Take an NVMe disk from the kernel and bind it to vfio-pci, for `--controller pci:ADDRESS`.

Refused while anybody uses the disk: a mount in any mount namespace, swap, LVM, RAID, bcache,
a process. Refused as well if it holds anything that is recognised (partitions, file systems,
volumes), unless --force --serial SERIAL says that this very disk is meant."""

_UNBIND = """\
Give a disk back to the kernel's nvme driver, now and at boot. Refused while a daemon uses it."""

_INSPECTED = """\
controllers:
  Without CONTROLLER, the first controller of the running daemon is meant. It may be
  a number (0 is the daemon's first), or a SPEC, which is then opened by this command
  itself: only when no daemon uses it."""

_RESET = """\
Reset a controller of the running daemon. What is under way there is repeated: initiators see
a pause. Its other controllers go on."""

_EXPORT = """\
Export namespaces of the running daemon (`serve --tcmu`) by the kernel's iSCSI target: LUN n
is namespace n + 1. What the target has and is not asked for goes; it may be repeated. The
configuration is saved as targetcli saves it."""

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


@dataclass(frozen=True, slots=True)
class Subcommand:
    """One subcommand: `arguments` declares what it takes, `run` does it."""

    name: str
    doc: str
    description: str
    epilog: tuple[str, ...]
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def _state_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        help="where the daemon keeps its state and control socket "
        "(default: /var/lib/scsi2nvme for root, else ~/.local/state/scsi2nvme)",
    )


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    _daemon_arguments(parser)
    parser.add_argument(
        "--tcmu",
        action="store_true",
        help="serve the kernel's target: targetcli then has /backstores/user:nvme",
    )


def _daemon_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--controller",
        metavar="SPEC",
        action="append",
        default=[],
        help="a controller to serve; may be repeated",
    )
    parser.add_argument(
        "--portal",
        metavar="ADDR:PORT",
        action="append",
        default=[],
        help="where to listen ourselves; may be repeated (default 127.0.0.1:3260; nowhere if "
        "the kernel's target is served)",
    )
    parser.add_argument(
        "--zero-copy",
        choices=("auto", "off"),
        help="let disks move data straight from and to the kernel's rings where that is safe "
        "(auto, the default), or copy all of it",
    )
    parser.add_argument(
        "--iqn",
        metavar="NAME",
        help="the first target's iSCSI name (default iqn.2026-11.io.github.scsi2nvme:disk0)",
    )
    _state_dir(parser)
    parser.add_argument("--config", metavar="FILE", help="a configuration file, see below")
    parser.add_argument(
        "--reactors",
        metavar="N",
        type=int,
        help="how many threads move data (default: one per CPU, 4 at most)",
    )
    parser.add_argument(
        "--poll-us",
        metavar="N",
        type=int,
        help="how long, in microseconds, a reactor may spin for more work before it sleeps",
    )


def _daemon(arguments: argparse.Namespace) -> int:
    arguments.tcmu = True
    if not arguments.config and not arguments.controller:
        arguments.config = DAEMON_CONFIG
    return _serve(arguments)


def _serve(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli import config, serve
    from scsi2nvme.cli.control import default_state_dir
    from scsi2nvme.dataplane import MAXIMUM_REACTORS

    file = config.load(Path(arguments.config)) if arguments.config else config.ConfigFile()
    settings = config.settings(
        file,
        default_state_dir=default_state_dir(),
        maximum_reactors=MAXIMUM_REACTORS,
        controllers=tuple(arguments.controller),
        portals=tuple(arguments.portal),
        iqn=arguments.iqn,
        state_dir=arguments.state_dir,
        reactors=arguments.reactors,
        poll_us=arguments.poll_us,
        tcmu=arguments.tcmu,
        zero_copy=arguments.zero_copy,
    )
    return serve.run(settings)


def _inspection_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "controller", metavar="CONTROLLER", nargs="?", default="0", help="see below"
    )
    _state_dir(parser)
    parser.add_argument("--json", action="store_true", help="print JSON with nvme-cli's keys")


def _namespace_arguments(parser: argparse.ArgumentParser) -> None:
    _inspection_arguments(parser)
    parser.add_argument(
        "-n", "--namespace-id", metavar="NSID", type=int, default=1, help="default 1"
    )


def _reset_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "controller", metavar="CONTROLLER", help="its number in the daemon, or its PCI address"
    )
    _state_dir(parser)


def _reset(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli import access
    from scsi2nvme.cli.control import default_state_dir

    state_dir = Path(arguments.state_dir) if arguments.state_dir else default_state_dir()
    access.reset(arguments.controller, state_dir)
    return 0


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("controller", metavar="SPEC", nargs="*", help="controllers to open")
    _state_dir(parser)
    parser.add_argument("--json", action="store_true", help="print JSON with nvme-cli's keys")


def _inspect(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli import access, inspect
    from scsi2nvme.cli.control import default_state_dir

    state_dir = Path(arguments.state_dir) if arguments.state_dir else default_state_dir()
    verb = inspect.VERBS[arguments.subcommand]
    nsid = arguments.namespace_id if verb.per_namespace else 0
    raw = access.read(arguments.controller, verb.name, nsid, state_dir)
    shown = verb.decode(raw)
    print(json.dumps(shown, indent=2) if arguments.json else inspect.text(shown))
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli import access, inspect
    from scsi2nvme.cli.control import default_state_dir

    state_dir = Path(arguments.state_dir) if arguments.state_dir else default_state_dir()
    if arguments.controller:
        shown = access.devices(arguments.controller, state_dir)
        print(json.dumps(shown, indent=2) if arguments.json else inspect.table(shown))
        return 0
    from scsi2nvme.cli import bind
    from scsi2nvme.drivers.pci.sysfs import System

    shown = {"Devices": [], **bind.disks(System())}
    try:
        shown |= access.devices((), state_dir)
        bind.complete(shown)
    except OperationError as error:
        if arguments.state_dir:
            raise
        print(f"scsi2nvme: {error}", file=sys.stderr)  # the disks are shown all the same
    if arguments.json:
        print(json.dumps(shown, indent=2))
    else:
        tables = [bind.table(shown)] + ([inspect.table(shown)] if shown["Devices"] else [])
        if shown.get("Rings"):
            tables.append(inspect.rings(shown))
        print("\n\n".join(tables))
    return 0


def _unbind_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS", help="PCI address, such as 0000:01:00.0")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, say what would be done, stop"
    )


def _bind_arguments(parser: argparse.ArgumentParser) -> None:
    _unbind_arguments(parser)
    parser.add_argument(
        "--serial", metavar="SERIAL", default="", help="go on only if the disk's serial is this"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="take a disk that holds data; needs --serial. One in use is never taken",
    )
    parser.add_argument("--persist", action="store_true", help="do it at every boot as well")


def _bind(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli import bind
    from scsi2nvme.drivers.pci.sysfs import System

    bind.bind(
        arguments.address,
        serial=arguments.serial,
        force=arguments.force,
        persist=arguments.persist,
        dry_run=arguments.dry_run,
        system=System(),
        report=print,
    )
    return 0


def _unbind(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli import bind
    from scsi2nvme.drivers.pci.sysfs import System

    bind.unbind(arguments.address, dry_run=arguments.dry_run, system=System(), report=print)
    return 0


def _fuzz_arguments(parser: argparse.ArgumentParser) -> None:
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


def _fuzz(arguments: argparse.Namespace) -> int:
    try:
        from scsi2nvme.fuzz import runner
    except ModuleNotFoundError as error:
        if error.name != "hypothesis":
            raise
        raise OperationError(
            "fuzzing needs hypothesis; run: pip install 'scsi2nvme[fuzz]'"
        ) from None
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
    if not (number.isascii() and number.isdigit()):
        raise UsageError(f"--time: {text!r} is not a time such as 90s, 10m or 1h")
    return int(number) * (unit or 1)


def _inspection(
    name: str, doc: str, description: str, *, per_namespace: bool = False
) -> Subcommand:
    arguments = _namespace_arguments if per_namespace else _inspection_arguments
    return Subcommand(
        name, doc, description, (_INSPECTED, spec.describe(), _EXIT_STATUS), arguments, _inspect
    )


def _target_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "controller",
        metavar="CONTROLLER",
        help="its number in the daemon, or its PCI address",
    )
    parser.add_argument(
        "--iqn",
        metavar="NAME",
        help="the target's iSCSI name (default iqn.2026-11.io.github.scsi2nvme:CONTROLLER)",
    )
    _state_dir(parser)


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    _target_arguments(parser)
    parser.add_argument(
        "-n",
        "--namespace-id",
        metavar="NSID",
        type=int,
        action="append",
        default=[],
        help="a namespace to export; may be repeated (default: all)",
    )
    parser.add_argument(
        "--portal",
        metavar="ADDR:PORT",
        action="append",
        default=[],
        help="where the kernel is to listen; may be repeated (default 127.0.0.1:3260)",
    )
    parser.add_argument(
        "--initiator",
        metavar="NAME",
        action="append",
        default=[],
        help="who may log in; may be repeated (default: everyone)",
    )
    parser.add_argument(
        "--chap",
        metavar="FILE",
        help="a file with the tables [chap] and, perhaps, [mutual_chap] of a configuration",
    )


def _export(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli import export
    from scsi2nvme.cli.control import default_state_dir

    done = export.export(
        arguments.controller,
        Path(arguments.state_dir) if arguments.state_dir else default_state_dir(),
        nsids=arguments.namespace_id,
        iqn=arguments.iqn,
        portals=arguments.portal,
        initiators=arguments.initiator,
        chap=arguments.chap,
    )
    print(f"target {done.iqn} on " + ", ".join(map(str, done.portals)))
    for row in done.backstores:
        print(f"  LUN {row.lun}: {row.config}, {row.size} bytes, backstore {row.name}")
    return 0


def _unexport(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli import export
    from scsi2nvme.cli.control import default_state_dir

    state_dir = Path(arguments.state_dir) if arguments.state_dir else default_state_dir()
    name, was_there = export.unexport(arguments.controller, state_dir, iqn=arguments.iqn)
    print(f"target {name}: {'gone' if was_there else 'there was none'}")
    return 0


def _units_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root", metavar="DIR", default="/", help="below which directory (default /)"
    )
    parser.add_argument(
        "--program", metavar="PATH", help="what the unit is to start (default: this program)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the files instead")


def _install_units(arguments: argparse.Namespace) -> int:
    from scsi2nvme.cli import units

    program = arguments.program or units.program()
    if arguments.dry_run:
        for place, content in units.contents(program):
            print(f"# {Path(arguments.root) / place}\n{content}")
        return 0
    for path in units.install(Path(arguments.root), program):
        print(path)
    if arguments.root == "/" and units.reload():
        print(f"Once {DAEMON_CONFIG} is written, run: systemctl enable --now scsi2nvme")
    return 0


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Leaves descriptions as they are written, and gives options room."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)


SUBCOMMANDS = (
    Subcommand(
        "serve",
        "serve controllers over iSCSI",
        _SERVE,
        (spec.describe(), _CONFIG, _SERVE_EXAMPLES, _EXIT_STATUS),
        _serve_arguments,
        _serve,
    ),
    Subcommand(
        "daemon",
        "serve controllers to the kernel's target",
        _DAEMON,
        (spec.describe(), _CONFIG, _EXIT_STATUS),
        _daemon_arguments,
        _daemon,
    ),
    Subcommand(
        "list",
        "list disks, controllers and namespaces",
        _LIST,
        (spec.describe(), _EXIT_STATUS),
        _list_arguments,
        _list,
    ),
    Subcommand(
        "bind",
        "take a disk from the kernel, for us",
        _BIND,
        (_EXIT_STATUS,),
        _bind_arguments,
        _bind,
    ),
    Subcommand(
        "unbind",
        "give a disk back to the kernel",
        _UNBIND,
        (_EXIT_STATUS,),
        _unbind_arguments,
        _unbind,
    ),
    _inspection("id-ctrl", "show Identify Controller", "Show a controller's Identify data."),
    _inspection(
        "id-ns",
        "show Identify Namespace",
        "Show a namespace's Identify data.",
        per_namespace=True,
    ),
    _inspection("smart-log", "show the SMART log", "Show a controller's SMART / Health log."),
    _inspection("error-log", "show the error log", "Show a controller's error log, newest first."),
    Subcommand("reset", "reset a controller", _RESET, (_EXIT_STATUS,), _reset_arguments, _reset),
    Subcommand(
        "export",
        "export namespaces by the kernel's iSCSI target",
        _EXPORT,
        (_EXIT_STATUS,),
        _export_arguments,
        _export,
    ),
    Subcommand(
        "unexport",
        "take such a target down",
        "Take a target of the kernel down that `export` made, and its backstores with it.",
        (_EXIT_STATUS,),
        _target_arguments,
        _unexport,
    ),
    Subcommand(
        "install-units",
        "install the systemd unit, the D-Bus policy and the udev rule",
        "Install what the system must know to run `daemon` as a service.",
        (_EXIT_STATUS,),
        _units_arguments,
        _install_units,
    ),
    Subcommand(
        "fuzz",
        "look for faults in the command tables and their translations",
        _FUZZ,
        (_FUZZ_STATUS,),
        _fuzz_arguments,
        _fuzz,
    ),
)


def build_parser() -> argparse.ArgumentParser:
    """Return the program's argument parser."""
    parser = argparse.ArgumentParser(
        prog="scsi2nvme",
        description="Publish an NVMe disk as SCSI logical units over iSCSI.",
        epilog="`scsi2nvme SUBCOMMAND --help` says more about each.",
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"scsi2nvme {__version__}")
    subparsers = parser.add_subparsers(
        dest="subcommand", metavar="SUBCOMMAND", title="subcommands", required=True
    )
    for row in SUBCOMMANDS:
        subparser = subparsers.add_parser(
            row.name,
            help=row.doc,
            description=row.description,
            epilog="\n\n".join(row.epilog),
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        row.arguments(subparser)
        subparser.set_defaults(run=row.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    try:
        return _run(argv)
    except UsageError as error:
        print(f"scsi2nvme: {error}", file=sys.stderr)
        return MISUSED
    except OperationError as error:
        print(f"scsi2nvme: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output left; the interpreter must not flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = build_parser().parse_args(argv)
        status: int = arguments.run(arguments)
        return status
    finally:  # a page of help is written too
        sys.stdout.flush()
