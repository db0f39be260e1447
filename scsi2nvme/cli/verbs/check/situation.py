"""What is to be served, on which machine: what the checks look at."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from scsi2nvme.api import configuration
from scsi2nvme.cli import config, control, plan
from scsi2nvme.cli.config import Settings
from scsi2nvme.cli.control import default_state_dir
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.verb import DAEMON_CONFIG
from scsi2nvme.drivers.pci.sysfs import System
from scsi2nvme.native.transport import MAXIMUM_REACTORS
from scsi2nvme.records import dataclass


@dataclass(frozen=True, slots=True)
class Situation:
    """`settings` are what the configuration `path` says; None: it is not there, or `wrong`.

    `kernel_target`: whether the kernel's target is to be served. `running`: the settings are those
    of the daemon that runs, as there is no configuration.
    """

    path: Path
    settings: Settings | None
    wrong: str
    state_dir: Path
    kernel_target: bool
    system: System
    running: bool = False

    @classmethod
    def of(
        cls, path: str | None, state_dir: str | None, *, tcmu: bool, system: System | None = None
    ) -> Self:
        """Return what `serve --config PATH` is to serve, or without a path what `daemon` is."""
        usual = path is None
        file = Path(path or DAEMON_CONFIG)
        chosen = Path(state_dir) if state_dir else default_state_dir()
        if usual and not tcmu and not file.exists():
            runs = _of_daemon(chosen)
            if runs is not None:
                served = runs.tcmu is not None
                return cls(file, runs, "", chosen, served, system or System(), running=True)
        read: Settings | None = None
        wrong = ""
        if not usual or file.exists():
            try:
                read = config.merged(
                    file,
                    default_state_dir=default_state_dir(),
                    maximum_reactors=MAXIMUM_REACTORS,
                    state_dir=state_dir,
                    tcmu=tcmu or usual,
                )
            except UsageError as error:
                wrong = str(error)
        kernel_target = tcmu or usual
        if read is not None:
            kernel_target = read.tcmu is not None
        where = read.state_dir if read is not None else chosen
        return cls(file, read, wrong, where, kernel_target, system or System())

    @property
    def addresses(self) -> tuple[str, ...]:
        """The PCI addresses of the disks that are to be served."""
        targets = self.settings.targets if self.settings is not None else ()
        return tuple(one.spec.pci_address for one in targets if one.spec.pci_address)

    @property
    def noiommu(self) -> bool:
        """Whether a disk is to be served without an IOMMU."""
        targets = self.settings.targets if self.settings is not None else ()
        return any(one.spec.options.get("noiommu") for one in targets)

    @property
    def real_disks(self) -> bool:
        """Whether disks of this machine are to be served; who names none may mean any."""
        return self.settings is None or bool(self.addresses)

    @property
    def dbus(self) -> bool:
        """Whether targetcli is to find the daemon."""
        table = self.settings.tcmu if self.settings is not None else None
        return self.kernel_target and (table is None or table.dbus)


def _of_daemon(state_dir: Path) -> Settings | None:
    """Return what the daemon of a state directory serves; None if none answers."""
    try:
        told = control.ask(state_dir, configuration.GET)
        return config.settings(
            plan.with_any_secrets(told),
            default_state_dir=state_dir,
            maximum_reactors=MAXIMUM_REACTORS,
            serving=True,
        )
    except (OperationError, UsageError):
        return None
