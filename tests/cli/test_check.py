"""`check`: on this machine, on one that lacks nothing, and of a daemon that runs."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import tomllib
from pathlib import Path

import pytest

from scsi2nvme.__main__ import main
from scsi2nvme.api.configuration import ConfigFile, Credentials, InitiatorTable
from scsi2nvme.cli import advice
from scsi2nvme.cli.daemon import descriptors
from scsi2nvme.cli.errors import FAILED
from scsi2nvme.cli.verbs.check import daemon as of_the_daemon
from scsi2nvme.cli.verbs.check import kernel, permissions, process
from scsi2nvme.cli.verbs.check.checks import CHECKS
from scsi2nvme.cli.verbs.check.finding import Finding, Level
from scsi2nvme.cli.verbs.check.situation import Situation
from scsi2nvme.drivers.emulated.transport import EmulatedTransport
from tests.cli.serving import TWO_DISKS, running, serving
from tests.daemon import free_port
from tests.drivers.machine import ADDRESS, NEIGHBOUR, Machine, put

ROOT = Path(__file__).parents[2]
DISK = f'[[controllers]]\nspec = "pci:{ADDRESS}"\n[tcmu]\n'
MODULES = ("vfio_pci", "vfio_iommu_type1", "target_core_user", "iscsi_target_mod")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with all that the kernel can bring."""
    machine = Machine(tmp_path / "machine")
    sys = machine.system.sys
    for name in MODULES:
        (sys / "module" / name).mkdir(parents=True)
    put(machine.system.proc / "self/mountinfo", f"1 2 0:3 / {sys}/kernel/config rw - configfs x\n")
    return machine


def look(machine: Machine, config: str, name: str, tmp_path: Path) -> list[Finding]:
    """Return what a check finds on the machine, by a configuration."""
    file = tmp_path / "scsi2nvme.toml"
    file.write_text(config)
    file.chmod(0o600)
    path, state = str(file), str(tmp_path / "state")
    situation = Situation.of(path, state, tcmu=False, system=machine.system)
    (check,) = (each for each in CHECKS if each.name == name)
    return list(check.look(situation)) if check.needed(situation) else []


def levels(found: list[Finding]) -> list[Level]:
    return [each.level for each in found]


def test_this_machine_is_looked_at_whatever_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = [name for name in MODULES if not Path("/sys/module", name).exists()]
    arguments = ["check", "--state-dir", str(tmp_path / "state")]
    status = main([*arguments, "--json"])
    shown = json.loads(capsys.readouterr().out)
    by_name = {row["Check"].replace("-", "_"): row for row in shown["Checks"]}
    assert {by_name[name]["Level"] for name in missing} <= {"wrong", "warning"}
    assert status == (FAILED if shown["Wrong"] else 0)
    assert main(arguments) == status
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(shown["Checks"]) + 1
    assert lines[-1].startswith(f"{shown['Wrong']} wrong, {shown['Warnings']} warning")
    assert not (tmp_path / "state").exists()


def test_what_is_not_to_be_served_is_not_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scsi2nvme.toml"
    file.write_text('[[controllers]]\nspec = "emulated:memory"\n')
    assert main(["check", "--config", str(file), "--state-dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "vfio" not in out
    assert "D-Bus" not in out
    assert "portal         127.0.0.1:3260" in out


def test_a_configuration_that_makes_no_sense_is_one_line_of_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scsi2nvme.toml"
    file.write_text("[[controllers]]\nspec = 7\n")
    assert main(["check", "--config", str(file), "--state-dir", str(tmp_path)]) == FAILED
    (line,) = (one for one in capsys.readouterr().out.splitlines() if str(file) in one)
    assert line.startswith("wrong    configuration")


@pytest.mark.parametrize(
    "name", [*(each.replace("vfio_pci", "vfio-pci") for each in MODULES), "IOMMU", "configfs"]
)
def test_a_kernel_that_has_it_all(name: str, machine: Machine, tmp_path: Path) -> None:
    assert levels(look(machine, DISK, name, tmp_path)) == [Level.OK]


def test_a_module_that_is_missing(machine: Machine, tmp_path: Path) -> None:
    (machine.system.sys / "module/vfio_pci").rmdir()
    (found,) = look(machine, DISK, "vfio-pci", tmp_path)
    assert found.level is not Level.OK


def test_what_cannot_be_mounted_is_not_advised(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "_loadable", lambda wanted: False)
    put(machine.system.proc / "self/mountinfo", "")
    put(machine.system.proc / "filesystems", "nodev\tsysfs\n\text4\n")
    (found,) = look(machine, DISK, "configfs", tmp_path)
    assert (found.level, found.mend) == (Level.WRONG, "")
    put(machine.system.proc / "filesystems", "nodev\tconfigfs\n")
    (found,) = look(machine, DISK, "configfs", tmp_path)
    assert found.mend.startswith("mount -t configfs")


def test_a_disk_that_is_to_be_served(machine: Machine, tmp_path: Path) -> None:
    (found,) = look(machine, DISK, "disks", tmp_path)
    assert found.level is Level.WRONG
    assert found.what == f"{ADDRESS} is bound to nvme"
    assert found.mend == f"scsi2nvme bind {ADDRESS}"
    machine.add_process(7, "mount", "1 1 259:0 / /srv rw - ext4 /dev/nvme0n1 rw\n")
    (found,) = look(machine, DISK, "disks", tmp_path)
    assert "nvme0n1 is mounted on /srv" in found.what
    machine.set_driver(machine.function, "vfio-pci")
    assert levels(look(machine, DISK, "disks", tmp_path)) == [Level.OK]
    machine.add_function(NEIGHBOUR, "e1000", 0x020000)
    (found,) = look(machine, DISK, "disks", tmp_path)
    assert (found.level, NEIGHBOUR in found.what) == (Level.WRONG, True)


def test_disks_that_nobody_wants_to_be_served(machine: Machine, tmp_path: Path) -> None:
    machine.add_function("0000:02:00.0", "vfio-pci", 0x010802)
    gone, free, bound = look(machine, DISK.replace("01:00.0", "09:00.0"), "disks", tmp_path)
    assert gone.level is Level.WRONG
    assert "there is no such NVMe disk" in gone.what
    assert (free.level, free.mend) == (Level.OK, f"scsi2nvme bind {ADDRESS}")
    assert (bound.level, bound.what) == (Level.OK, "0000:02:00.0 is bound to vfio-pci")


def test_without_an_iommu_memory_is_of_huge_pages(machine: Machine, tmp_path: Path) -> None:
    config = DISK.replace('.0"', '.0,noiommu=on"')
    (found,) = look(machine, config, "huge pages", tmp_path)
    assert (found.level, found.mend) == (Level.WRONG, "sysctl vm.nr_hugepages=256")
    put(machine.system.sys / "kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "256\n")
    assert levels(look(machine, config, "huge pages", tmp_path)) == [Level.OK]
    assert look(machine, DISK, "huge pages", tmp_path) == []


def test_who_else_answers_the_kernel(machine: Machine, tmp_path: Path) -> None:
    assert levels(look(machine, DISK, "tcmu-runner", tmp_path)) == [Level.OK]
    machine.add_process(9, "tcmu-runner")
    (found,) = look(machine, DISK, "tcmu-runner", tmp_path)
    assert found.level is Level.WARNING
    assert "nl_reply_supported=-1" in found.what
    assert found.mend == "systemctl mask --now tcmu-runner"


def test_units_that_a_package_has_brought(machine: Machine, tmp_path: Path) -> None:
    root = machine.system.etc.parent
    (found,) = look(machine, DISK, "units", tmp_path)
    assert (found.level, found.mend) == (Level.WARNING, "scsi2nvme install-units")
    own = "usr/lib/scsi2nvme/dbus-1/org.kernel.TCMUService1.service"
    for place in (
        own,
        "usr/lib/systemd/system/scsi2nvme-absent.service",
        "usr/lib/systemd/system/scsi2nvme.service",
        "usr/lib/udev/rules.d/60-scsi2nvme.rules",
        "usr/share/dbus-1/system.d/scsi2nvme.conf",
        "usr/lib/tmpfiles.d/scsi2nvme.conf",
    ):
        put(root / place, "")
    assert levels(look(machine, DISK, "units", tmp_path)) == [Level.OK]
    put(root / "usr/share/dbus-1/system-services" / Path(own).name, "tcmu-runner's")
    (found,) = look(machine, DISK, "units", tmp_path)
    activated = f"usr/local/share/dbus-1/system-services/{Path(own).name}"
    assert (found.what, found.mend) == (f"missing: /{activated}", "scsi2nvme install-units")
    (found,) = look(machine, DISK, "tcmu-runner", tmp_path)
    assert (found.level, found.mend) == (Level.WARNING, "scsi2nvme install-units")
    put(root / activated, "ours")
    for name in ("units", "tcmu-runner"):
        assert levels(look(machine, DISK, name, tmp_path)) == [Level.OK]


CHAP = '[chap]\nname = "host"\nsecret = "a long enough secret"\n'


@pytest.mark.parametrize(
    ("portal", "secret", "level"),
    [
        ("127.0.0.1", "", Level.OK),
        ("192.0.2.1", "", Level.WARNING),
        ("192.0.2.1", CHAP, Level.OK),
        ("192.0.2.1", "[[initiators]]\nname = 'iqn.2026-11.test:a'\n", Level.WARNING),
    ],
)
def test_who_may_come_without_a_secret(
    portal: str, secret: str, level: Level, machine: Machine, tmp_path: Path
) -> None:
    config = f'portals = ["{portal}"]\n{DISK}{secret}'
    assert levels(look(machine, config, "portal", tmp_path)) == [level]


def test_what_else_strangers_may_do_is_named(machine: Machine, tmp_path: Path) -> None:
    config = 'portals = ["192.0.2.1"]\n' + DISK.replace('"\n', ',sanitize=on,firmware=on"\n', 1)
    (found,) = look(machine, config, "portal", tmp_path)
    assert "erase whole disks for good (sanitize=on), write firmware (firmware=on);" in found.what


def test_what_is_permitted_in_vain_is_told(tmp_path: Path) -> None:
    situation = Situation.of(None, str(tmp_path), tcmu=False)
    assert list(permissions.permissions(situation)) == []
    asked = "sanitize=on,security=on,firmware=on,history=on,secure_format=crypto"
    can = "sanicap=block,tcg=on,slots=2,telemetry=on,crypto_format=on"
    specs = [f"emulated:memory,size=64M,serial=S{n},{asked}" for n in range(2)]
    specs[0] += f",{can}"

    async def work() -> None:
        async with running(serving(tmp_path, *specs, port=free_port())):
            found = await asyncio.to_thread(lambda: [*permissions.permissions(situation)])
            vain = [each.what for each in found if each.level is Level.WARNING]
            (well,) = (each.what for each in found if each.level is Level.OK)
            assert well.endswith(asked.replace(",", ", ") + " permits")
            assert len(vain) == 5
            assert vain[0].endswith("permits nothing: the disk has no sanitize operations")

    asyncio.run(work())


def test_who_may_come_to_the_kernels_portals(machine: Machine, tmp_path: Path) -> None:
    group = machine.system.sys / "kernel/config/target/iscsi/iqn.2026-11.test:a/tpgt_1"
    put(group / "attrib/generate_node_acls", "1\n")
    put(group / "attrib/authentication", "0\n")
    (group / "np/127.0.0.1:3260").mkdir(parents=True)
    assert levels(look(machine, DISK, "kernel's portals", tmp_path)) == [Level.OK]
    (group / "np/[2001:db8::1]:3260").mkdir()
    (found,) = look(machine, DISK, "kernel's portals", tmp_path)
    assert found.level is Level.WARNING
    assert "iqn.2026-11.test:a on [2001:db8::1]:3260" in found.what
    put(group / "attrib/authentication", "1\n")
    assert levels(look(machine, DISK, "kernel's portals", tmp_path)) == [Level.OK]


def test_the_state_directory(machine: Machine, tmp_path: Path) -> None:
    (found,) = look(machine, DISK, "state", tmp_path)
    assert (found.level, found.what.endswith("will be made")) == (Level.OK, True)
    units = tmp_path / "state/units"
    units.mkdir(parents=True)
    (units / "a%2Fb.json").write_text("{}")
    assert levels(look(machine, DISK, "state", tmp_path)) == [Level.OK]
    (units / "a%2Fb.json").write_text("{")
    (found,) = look(machine, DISK, "state", tmp_path)
    assert "a%2Fb.json is damaged" in found.what
    (tmp_path / "state").chmod(0o777)
    (found,) = look(machine, DISK, "state", tmp_path)
    assert "everybody may write in it" in found.what


def test_what_may_not_be_looked_at_is_found_to_be_so(machine: Machine, tmp_path: Path) -> None:
    """As by a user who asks about the unit's state directory, which is root's."""
    closed = tmp_path / "closed"
    closed.mkdir(0)
    situation = Situation.of(None, str(closed / "state"), tcmu=False, system=machine.system)
    checks = {each.name: each for each in CHECKS}
    before = os.geteuid()
    try:
        os.seteuid(before or 65534)  # root may look anywhere
        found = [*checks["state"].findings(situation), *checks["daemon"].findings(situation)]
    finally:
        os.seteuid(before)
        closed.chmod(0o700)
    assert [each.what.count("ermission denied") for each in found] == [1, 1]
    assert found[0].mend == "sudo -i"


def test_a_limit_of_open_files(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "WANTED", 1 << 40)
    (found,) = look(machine, DISK, "open files", tmp_path)
    assert found.level is Level.WARNING
    assert "connections" in found.what


def test_a_limit_of_locked_memory(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = machine.system.proc / "self/status"
    put(status, "CapEff:\t0000000000005400\n")
    assert levels(look(machine, DISK, "locked memory", tmp_path)) == [Level.OK]
    put(status, "CapEff:\t0000000000000000\n")
    monkeypatch.setattr(process, "_ENOUGH", 1 << 62)
    before = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, before[1]))
    try:
        (found,) = look(machine, DISK, "locked memory", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, before)
    assert (found.level, found.mend) == (Level.WRONG, "ulimit -l unlimited")


def test_a_daemon_and_the_health_of_its_disks(tmp_path: Path) -> None:
    situation = Situation.of(None, str(tmp_path), tcmu=False)
    where = f" --state-dir {tmp_path}"
    (none,) = of_the_daemon.daemon(situation)
    assert (none.level, none.mend) == (Level.WARNING, f"scsi2nvme daemon{where}")
    assert list(of_the_daemon.health(situation)) == []
    configured = serving(tmp_path, *TWO_DISKS, port=free_port())

    async def work() -> None:
        async with running(configured) as daemon:

            def found() -> list[Finding]:
                return [*of_the_daemon.daemon(situation), *of_the_daemon.health(situation)]

            served, other = daemon.served
            other.controller.die("it was pulled out")
            here, up, dead, healthy = await asyncio.to_thread(found)
            assert (here.level, up.level) == (Level.OK, Level.OK)
            assert (dead.level, dead.mend) == (
                Level.WRONG,
                f"scsi2nvme reset {other.number}{where}",
            )
            assert dead.what.endswith("serial=B2 is dead: it was pulled out")
            assert (healthy.level, "0 % worn" in healthy.what) == (Level.OK, True)
            transport = served.controller.transport
            assert isinstance(transport, EmulatedTransport)
            transport.wear_out()
            *_, worn = await asyncio.to_thread(found)
            assert worn.level is Level.WARNING
            assert "its medium is read only" in worn.what
            assert worn.mend == f"scsi2nvme smart-log {served.number}{where}"

    asyncio.run(work())


def test_without_a_configuration_it_is_what_runs_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who serves a file by the portal is not told that the kernel's target lacks this and that."""
    monkeypatch.setattr("scsi2nvme.cli.verbs.check.situation.DAEMON_CONFIG", str(tmp_path / "no"))
    theirs, ours = Credentials("host", "at least 12 bytes"), Credentials("disk", "another 12 bytes")
    row = InitiatorTable("iqn.2026-11.test:host", theirs, ours)
    asked = ConfigFile(chap=theirs, mutual_chap=ours, initiators=(row,))
    assert Situation.of(None, str(tmp_path), tcmu=False).settings is None

    async def work() -> None:
        async with running(serving(tmp_path, *TWO_DISKS, port=free_port(), config=asked)):
            situation = await asyncio.to_thread(Situation.of, None, str(tmp_path), tcmu=False)
            assert situation.running
            assert (situation.kernel_target, situation.real_disks) == (False, False)
            (found,) = CHECKS[0].look(situation)
            assert found.what == "none; what runs has 2 controllers"
            assert levels([*CHECKS[1].look(situation)]) == [Level.OK]

    asyncio.run(work())


@pytest.mark.parametrize(
    ("state", "level", "mend"),
    [
        ("live", Level.OK, ""),
        ("starting", Level.WARNING, "scsi2nvme list"),
        ("resetting", Level.WARNING, "scsi2nvme list"),
        ("dead", Level.WRONG, "scsi2nvme reset 4"),
        ("not served", Level.WRONG, "scsi2nvme add 'emulated:a b'"),
    ],
)
def test_advice_is_what_the_daemon_does(state: str, level: Level, mend: str) -> None:
    """What never came up cannot be reset, and numbers have gaps where controllers were removed."""
    situation = Situation.of(None, None, tcmu=False)
    row = {"Number": 4, "DevicePath": "emulated:a b", "State": state, "Reason": ""}
    found = of_the_daemon._controller(situation, row)
    assert (found.level, found.mend) == (level, mend)


def test_who_serves_a_file_is_told_to_serve_it(tmp_path: Path) -> None:
    file = tmp_path / "a b.toml"
    file.write_text('[[controllers]]\nspec = "emulated:memory,size=1M"\n')
    file.chmod(0o600)
    situation = Situation.of(str(file), str(tmp_path), tcmu=False)
    (none,) = of_the_daemon.daemon(situation)
    assert none.mend == f"scsi2nvme serve --config '{file}' --state-dir {tmp_path}"


def test_advice_asks_for_what_the_project_needs() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = {each for row in extras["optional-dependencies"].values() for each in row}
    for library in (advice.DBUS_FAST, advice.RTSLIB, advice.SHTAB, advice.HYPOTHESIS):
        assert library.requirement in known
