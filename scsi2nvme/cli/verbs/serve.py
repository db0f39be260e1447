"""`serve` and `daemon`: controllers as targets, until told to end."""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from scsi2nvme.cli.verb import DAEMON_CONFIG, EXIT_STATUS, Verb, add_state_dir, controller_specs

if TYPE_CHECKING:
    from scsi2nvme.api.configuration import LogLevel

_SERVE = """\
Serve NVMe controllers over iSCSI, until SIGTERM or Ctrl-C.

Each controller becomes one iSCSI target, each of its namespaces a logical unit:
LUN n is namespace n + 1. A target is named after the disk, by model and serial number,
unless it is given a name. On SIGTERM or Ctrl-C no new session is accepted, initiators
are asked to log out, what is under way ends, and caches are flushed."""

_DAEMON = f"""\
Serve NVMe controllers to the kernel's target, until SIGTERM or Ctrl-C: `serve --tcmu`, with
{DAEMON_CONFIG} for a configuration where none is given. `scsi2nvme install-units` makes
it a service of systemd; `scsi2nvme export`, or targetcli, then publishes the namespaces."""

CONFIG_EXAMPLE = """\
iqn = "iqn.2026-11.org.example"       # see --iqn
base = "iqn.2026-11.org.example"      # what names begin with, also of a single target
portals = ["127.0.0.1:3260", "[::1]:3260"]
state_dir = "/var/lib/scsi2nvme"
reactors = 2
poll_us = 50
log_level = "warning"                 # or "error", "info", "debug"
control_group = "disk"                # who may look, by the control socket
metrics = "127.0.0.1:9465"            # see --metrics
ping_s = 30                           # until a silent initiator is asked; 0: never
ping_timeout_s = 30                   # until it is dropped if it is silent still; 0: never
dumps = 8                             # of failed controllers that are kept; 0: none
cold_reset = false                    # whether initiators may end each other's sessions
first_port_group = 1                  # see --first-port-group

[[controllers]]                       # one table per controller
spec = "emulated:/srv/disk.img,size=64G"
iqn = "iqn.2026-11.org.example:fast"  # unless named after the disk
alias = "a fast disk"                 # what initiators may show for it
target = true                         # false: its namespaces are LUNs of other targets only

[[targets]]                           # targets whose LUNs are chosen one by one
iqn = "iqn.2026-11.org.example:some"
luns = [{ lun = 0, controller = "emulated:/srv/disk.img,size=64G", nsid = 1 }]

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
luns = [0, 1]                                           # unless all"""


def _config() -> str:
    """Return what help says of the configuration file."""
    from textwrap import indent

    return f"""\
configuration file (TOML; what the command line says goes first):
{indent(CONFIG_EXAMPLE, "  ")}
A file that holds secrets must not be open to other users."""


_SERVE_EXAMPLES = """\
examples:
  scsi2nvme serve --controller emulated:disk.img,size=1G --state-dir .
  scsi2nvme serve --controller emulated:memory,size=8G,block=4096,namespaces=4
  scsi2nvme serve --controller qemu:disk.img --portal [::1]:3260
  scsi2nvme serve --config /etc/scsi2nvme.toml"""


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
        help="the target's iSCSI name; of several targets, what their names begin with before "
        "the disk's (default iqn.2026-11.io.github.scsi2nvme)",
    )
    add_state_dir(parser)
    parser.add_argument("--config", metavar="FILE", help="a configuration file, see below")
    parser.add_argument(
        "--reactors",
        metavar="N",
        type=int,
        help="how many threads move data (default: one per CPU, 4 at most)",
    )
    parser.add_argument(
        "--first-port-group",
        metavar="N",
        type=int,
        help="the number of a disk's controller, as target port group, portal group tag and "
        "relative target port identifier: 1 (the default) to 65535. Of a disk with several "
        "controllers the identifier (CNTLID) of each is added to it",
    )
    parser.add_argument(
        "--poll-us",
        metavar="N",
        type=int,
        help="how long, in microseconds, a reactor looks for what the disk has done before it "
        "sleeps, and twice as long for what initiators send next, where that pays (default 50; "
        "0: not at all)",
    )
    level = parser.add_mutually_exclusive_group()
    level.add_argument(
        "--log-level",
        choices=("error", "warning", "info", "debug"),
        help="the least important messages to write (default warning; info tells of logins)",
    )
    level.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="the same as --log-level info; twice, debug",
    )
    level.add_argument("-q", "--quiet", action="store_true", help="the same as --log-level error")
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        help="how messages are written (default text; json: each is an object in a line)",
    )
    parser.add_argument(
        "--metrics",
        metavar="ADDR:PORT",
        help="where Prometheus finds metrics, as in 127.0.0.1:9465 (default: nowhere)",
    )


def _own_arguments(parser: argparse.ArgumentParser) -> None:
    _daemon_arguments(parser)
    parser.add_argument(
        "--stand-in",
        action="store_true",
        help="serve nothing, but tell targetcli that no daemon runs, until one does or nobody asks "
        "(what the unit scsi2nvme-absent is for)",
    )


def _log_level(arguments: argparse.Namespace) -> LogLevel | None:
    """Return the level that is asked for, None if none is."""
    if arguments.verbose:
        return "info" if arguments.verbose == 1 else "debug"
    level: LogLevel | None = "error" if arguments.quiet else arguments.log_level
    return level


def _serve(arguments: argparse.Namespace) -> int:
    gc.disable()  # what is made until the daemon is ready stays
    try:
        return _served(arguments)
    finally:
        gc.enable()


def _import_asyncio() -> None:
    """Import it without TLS, which nobody here speaks: OpenSSL's half of it takes several ms."""
    if "asyncio" not in sys.modules and "ssl" not in sys.modules:
        sys.modules["ssl"] = None  # type: ignore[assignment]
        try:
            import asyncio  # noqa: F401
        finally:
            del sys.modules["ssl"]


def _served(arguments: argparse.Namespace) -> int:
    _import_asyncio()
    from scsi2nvme.cli import config
    from scsi2nvme.cli.control import default_state_dir
    from scsi2nvme.cli.daemon import serve
    from scsi2nvme.cli.daemon.changes import Source
    from scsi2nvme.native.transport import MAXIMUM_REACTORS

    path = Path(arguments.config).absolute() if arguments.config else None

    def read() -> config.Settings:
        return config.merged(
            path,
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
            log_level=_log_level(arguments),
            log_format=arguments.log_format,
            metrics=arguments.metrics,
            first_port_group=arguments.first_port_group,
        )

    return serve.run(read(), None if path is None else Source(path, read))


def _daemon(arguments: argparse.Namespace) -> int:
    if arguments.stand_in:
        from scsi2nvme.cli.daemon.front_ends.tcmu import stand_in

        return stand_in.run()
    arguments.tcmu = True
    if not arguments.config and not arguments.controller:
        arguments.config = DAEMON_CONFIG
    return _serve(arguments)


VERBS = (
    Verb(
        "serve",
        "serve controllers over iSCSI",
        _SERVE,
        (controller_specs, _config, _SERVE_EXAMPLES, EXIT_STATUS),
        _serve_arguments,
        _serve,
        rank=10,
    ),
    Verb(
        "daemon",
        "serve controllers to the kernel's target",
        _DAEMON,
        (controller_specs, _config, EXIT_STATUS),
        _own_arguments,
        _daemon,
        rank=11,
    ),
)
