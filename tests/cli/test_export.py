"""What `scsi2nvme export` and `install-units` make of their arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.api.configuration import ConfigFile, Credentials
from scsi2nvme.api.methods import Export
from scsi2nvme.cli.daemon.front_ends.tcmu.kernel_target import find
from scsi2nvme.cli.errors import OperationError, UsageError
from scsi2nvme.cli.spec import parse
from scsi2nvme.cli.verbs.export import kernel_target
from scsi2nvme.cli.verbs.install_units import units
from scsi2nvme.target.tcmu.dbus import NAME
from scsi2nvme.target.tcmu.device_config import ConfigError, DeviceConfig
from tests.support import make_lu

ROWS = [
    Export(
        name=f"nvme-{names[0]}-{nsid}",
        names=names,
        nsid=nsid,
        config=f"nvme/{names[0]}/{nsid}",
        size=1 << 30,
        control="",
        wwn=f"{names[0]}.{nsid}",
    )
    for names in (("0000_01_00.0", "0"), ("1",))
    for nsid in (1, 2)
]


def made(controller: str, **given: Any) -> Any:
    usual: dict[str, Any] = {"nsids": (), "iqn": None, "portals": (), "initiators": ()}
    return kernel_target.publication(ROWS, controller, **{**usual, "chap": ConfigFile(), **given})


@pytest.mark.parametrize("controller", ["0", "0000:01:00.0", "0000_01_00.0"])
def test_every_name_of_a_controller_makes_the_same_target(controller: str) -> None:
    publication = made(controller)
    assert publication.iqn == "iqn.2026-11.io.github.scsi2nvme:0000-01-00.0"
    assert [(row.lun, row.name, row.config) for row in publication.backstores] == [
        (0, "nvme-0000_01_00.0-1", "nvme/0000_01_00.0/1"),
        (1, "nvme-0000_01_00.0-2", "nvme/0000_01_00.0/2"),
    ]
    assert [str(portal) for portal in publication.portals] == ["127.0.0.1:3260"]


def test_options() -> None:
    publication = made(
        "1",
        nsids=[2],
        iqn="IQN.2026-11.test:x",
        portals=["[::1]:3261"],
        initiators=["iqn.2026-11.test:a"],
        chap=ConfigFile(chap=Credentials("me", "a long enough secret")),
    )
    assert publication.iqn == "iqn.2026-11.test:x"
    assert [row.lun for row in publication.backstores] == [1]
    assert publication.chap.name == "me"
    assert publication.mutual_chap is None


@pytest.mark.parametrize(
    ("given", "error", "word"),
    [
        ({"controller": "2"}, OperationError, "0000_01_00.0, 1"),
        ({"controller": "1", "nsids": [3]}, OperationError, "namespace 3"),
        ({"controller": "1", "iqn": "disk"}, UsageError, "disk"),
        ({"controller": "1", "portals": ["x"]}, UsageError, "'x'"),
        ({"controller": "1", "initiators": ["x"]}, UsageError, "initiator 'x'"),
    ],
)
def test_nonsense_is_refused(given: dict[str, Any], error: type[Exception], word: str) -> None:
    with pytest.raises(error, match=word):
        made(**given)


def test_configuration_strings_find_namespaces() -> None:
    lu = make_lu()
    served = [
        (parse(spec).names(number), (lu,))
        for number, spec in enumerate(("pci:0000:01:00.0", "emulated:memory"))
    ]
    for name in ("0000_01_00.0", "0", "1"):
        assert find(DeviceConfig(name, 1), served) is lu
    with pytest.raises(ConfigError, match=r"there are: 0000_01_00\.0, 1"):
        find(DeviceConfig("2", 1), served)
    with pytest.raises(ConfigError, match="no namespace 2; there are: 1"):
        find(DeviceConfig("1", 2), served)


def test_units_are_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install-units", "--root", str(tmp_path), "--program", "/opt/x/scsi2nvme"]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == list(units.FILES.values())
    unit = paths[0].read_text()
    assert "ExecStart=/opt/x/scsi2nvme daemon --config" in unit
    assert "@" not in unit.split("ExecStart=")[1].splitlines()[0]
    assert "SystemCallFilter=mincore" in unit.splitlines()
    bus = next(path for path in paths if path.stem == NAME)
    activation = dict(line.split("=") for line in bus.read_text().splitlines() if "=" in line)
    assert activation["Name"] == NAME
    standing_in = next(path for path in paths if path.name == activation["SystemdService"])
    assert "ExecStart=/opt/x/scsi2nvme daemon --stand-in" in standing_in.read_text().splitlines()
    assert "MemoryMax=50%" in unit.splitlines()
    assert main(["install-units", "--dry-run", "--program", "/opt/x/scsi2nvme"]) == 0
    assert unit in capsys.readouterr().out


def test_what_a_package_has_brought_is_not_written_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install = ["install-units", "--root", str(tmp_path), "--program"]
    assert main([*install, "/usr/lib/x/scsi2nvme"]) == 0
    activation = tmp_path / units.ACTIVATION / units.ACTIVATED
    runners = tmp_path / units.RUNNERS_ACTIVATION
    runners.parent.mkdir(parents=True)
    for place in units.FILES.values():  # as packaging/deb.sh does
        to = place.replace("etc/dbus", "usr/share/dbus").replace("etc/", "usr/lib/")
        to = to.replace(units.ACTIVATION, units.PACKAGED_ACTIVATION)
        (tmp_path / to).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).rename(tmp_path / to)
    capsys.readouterr()
    assert main([*install, "/usr/lib/x/scsi2nvme"]) == 0
    assert capsys.readouterr().out == "The package that this program is of has brought all of it\n"
    runners.touch()  # which goes before the package's
    assert main([*install, "/usr/lib/x/scsi2nvme"]) == 0
    assert capsys.readouterr().out == f"{activation}\n"
    assert main([*install, "/opt/other/scsi2nvme"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(units.FILES)


@pytest.mark.parametrize("existing", [(), ("etc/target",), ("etc/rtslib-fb-target",)])
def test_the_kernel_gets_its_directories_of_reservations(
    tmp_path: Path, existing: tuple[str, ...]
) -> None:
    for each in existing:
        (tmp_path / each).mkdir(parents=True)
    assert main(["install-units", "--root", str(tmp_path), "--program", "/opt/x/scsi2nvme"]) == 0
    text = (tmp_path / "etc/tmpfiles.d/scsi2nvme.conf").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    wanted = ("var/target", *existing)
    assert lines == [f"d /{each}/pr 0700 root root -" for each in wanted]


def test_export_needs_a_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "0", "--state-dir", str(tmp_path)]) == 1
    assert "no scsi2nvme is running" in capsys.readouterr().err
