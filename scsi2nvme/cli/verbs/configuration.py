"""`config`, `diff`, `saveconfig`, `reload`: what the running daemon serves, and its file."""

from __future__ import annotations

import argparse
from pathlib import Path

from scsi2nvme.cli.verb import EXIT_STATUS, Verb, add_state_dir, state_dir

_CONFIG = """\
Print what the running daemon serves as a configuration file, whatever was changed since it was
started. Secrets are left out."""

_DIFF = """\
Print what the running daemon's configuration file says otherwise than what runs, a line for each
step that `reload` would take: + comes, - goes, ~ changes."""

_SAVE = """\
Write what the running daemon serves, secrets included, to its configuration file or to another
one, which only its owner may read. The file is replaced as a whole, and so is one that a link leads
to; comments in it are lost."""

_RELOAD = """\
Have the running daemon serve what its configuration file says now, and print what is changed as
`diff` does. All of it or nothing: it is checked before anything is changed, and undone if a step
fails. What counts from the start of the daemon only, such as reactors, is refused. SIGHUP does the
same, and so does `systemctl reload`.

With --dry-run nothing is changed, and it is refused for all that it would be refused for without:
disks are tried, and addresses."""


def _config(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import configuration
    from scsi2nvme.cli import toml
    from scsi2nvme.cli.control import ask

    print(toml.written(ask(state_dir(arguments), configuration.GET)), end="")
    return 0


def _diff(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import configuration
    from scsi2nvme.cli.control import ask

    for line in ask(state_dir(arguments), configuration.DIFF):
        print(line)
    return 0


def _save_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", help="unless the daemon's own")
    add_state_dir(parser)


def _save(arguments: argparse.Namespace) -> int:
    print(f"saved to {save(state_dir(arguments), arguments.file)}")
    return 0


def save(directory: Path, file: str | None) -> str:
    """Write what the daemon of a state directory serves to a file, or to its own; return which.

    OperationError if that cannot be written, UsageError if there is none.
    """
    from scsi2nvme import durable
    from scsi2nvme.api import configuration
    from scsi2nvme.cli import toml
    from scsi2nvme.cli.control import ask
    from scsi2nvme.cli.errors import OperationError, UsageError

    saved = ask(directory, configuration.EXPORT)
    path = file or saved.path
    if not path:
        raise UsageError("saveconfig: the daemon was started without --config; name a FILE")
    try:
        durable.replace(Path(path), toml.written(saved.config).encode(), keep=True)
    except OSError as error:
        raise OperationError(f"configuration {path} cannot be saved: {error.strerror}") from None
    return path


def _reload_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="try it, and print only")
    add_state_dir(parser)


def _reload(arguments: argparse.Namespace) -> int:
    from scsi2nvme.api import configuration
    from scsi2nvme.cli.control import ask

    how = configuration.HowToReload(dry_run=arguments.dry_run)
    for line in ask(state_dir(arguments), configuration.RELOAD, how):
        print(line)
    return 0


VERBS = (
    Verb(
        "config",
        "print what the running daemon serves",
        _CONFIG,
        (EXIT_STATUS,),
        add_state_dir,
        _config,
        rank=22,
    ),
    Verb(
        "diff",
        "compare the configuration file with what runs",
        _DIFF,
        (EXIT_STATUS,),
        add_state_dir,
        _diff,
        rank=23,
    ),
    Verb(
        "saveconfig",
        "write what runs to the configuration file",
        _SAVE,
        (EXIT_STATUS,),
        _save_arguments,
        _save,
        rank=58,
    ),
    Verb(
        "reload",
        "serve what the configuration file says now",
        _RELOAD,
        (EXIT_STATUS,),
        _reload_arguments,
        _reload,
        rank=59,
    ),
)
