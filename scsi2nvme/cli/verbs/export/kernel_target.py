"""What `export` asks of the kernel's target, by what the daemon tells of its namespaces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scsi2nvme.api import methods
from scsi2nvme.api.configuration import ConfigFile, Credentials
from scsi2nvme.api.methods import Export
from scsi2nvme.cli import advice, config, control, naming
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.spec import spelled
from scsi2nvme.target.tcmu import lio

PORTAL = config.DEFAULT_PORTAL


def target_name(controller: str) -> str:
    """Return the name of the target that a controller becomes."""
    return f"{naming.BASE}:{spelled(controller).replace('_', '-')}"


def publication(
    rows: Sequence[Export],
    controller: str,
    *,
    nsids: Sequence[int],
    iqn: str | None,
    portals: Sequence[str],
    initiators: Sequence[str],
    chap: ConfigFile,
) -> lio.Publication:
    """Return the target that is asked for; `rows` are what the daemon exports."""
    name = spelled(controller)
    found = {row.nsid: row for row in rows if name in row.names}
    if not found:
        names = ", ".join(dict.fromkeys(row.names[0] for row in rows))
        raise OperationError(f"the daemon has no controller {controller!r}; it has: {names}")
    for nsid in nsids:
        if nsid not in found:
            known = ", ".join(map(str, found))
            raise OperationError(
                f"controller {controller!r} has no namespace {nsid}; it has {known}"
            )
    backstores = [
        lio.Backstore(
            nsid - 1,
            row.name,
            row.config,
            row.size,
            row.control,
            row.wwn,
        )
        for nsid, row in found.items()
        if not nsids or nsid in nsids
    ]
    return lio.Publication(
        config.iscsi_name(iqn or target_name(row_name(found)), "target name"),
        backstores,
        [config.portal_address(text) for text in portals or (PORTAL,)],
        [config.iscsi_name(text, "initiator") for text in initiators],
        _chap(chap.chap),
        _chap(chap.mutual_chap),
    )


def row_name(found: dict[int, Export]) -> str:
    """Return the lasting name of the controller whose namespaces these are."""
    return next(iter(found.values())).names[0]


def _chap(given: Credentials | None) -> lio.Chap | None:
    return None if given is None else lio.Chap(given.name, given.secret)


def _secrets(path: str | None) -> ConfigFile:
    """Read [chap] and [mutual_chap]; a secret on the command line would be seen by all."""
    file = config.load(Path(path)) if path is not None else ConfigFile()
    if path is not None and file.chap is None:
        raise UsageError(f"--chap: {path} has no table [chap]")
    config.check_chap(file.chap, file.mutual_chap)
    return file


def _rtslib() -> Any:
    """Return the library; OperationError says how to come by it."""
    try:
        return lio.load()
    except lio.RtslibMissingError as error:
        how = advice.install(advice.RTSLIB)
        raise OperationError(f"{error}; run: {how}") from error


def export(
    controller: str,
    state_dir: Path,
    *,
    nsids: Sequence[int] = (),
    iqn: str | None = None,
    portals: Sequence[str] = (),
    initiators: Sequence[str] = (),
    chap: str | None = None,
) -> lio.Publication:
    """Publish namespaces of a controller; returns what is there now."""
    rows = control.ask(state_dir, methods.EXPORTS)
    wanted = publication(
        rows,
        controller,
        nsids=nsids,
        iqn=iqn,
        portals=portals,
        initiators=initiators,
        chap=_secrets(chap),
    )
    try:
        lio.export(_rtslib(), wanted)
    except lio.LioError as error:
        raise OperationError(f"{error}; the daemon's messages may say more") from error
    return wanted


def lines(done: lio.Publication) -> Iterator[str]:
    """Yield what has been published, for people."""
    yield f"target {done.iqn} on " + ", ".join(map(str, done.portals))
    for row in done.backstores:
        yield f"  LUN {row.lun}: {row.config}, {row.size} bytes, backstore {row.name}"


def _lasting_name(controller: str, state_dir: Path) -> str:
    """Return a controller's lasting name; without a daemon only that can be meant."""
    name = spelled(controller)
    try:
        rows = control.ask(state_dir, methods.EXPORTS)
    except OperationError:
        return name
    return next((row.names[0] for row in rows if name in row.names), name)


def unexport(controller: str, state_dir: Path, *, iqn: str | None = None) -> tuple[str, bool]:
    """Take a controller's target down; returns its name, and whether it was there."""
    usual = target_name(_lasting_name(controller, state_dir))
    name = config.iscsi_name(iqn or usual, "target name")
    try:
        return name, lio.unexport(_rtslib(), name)
    except lio.LioError as error:
        raise OperationError(str(error)) from error
