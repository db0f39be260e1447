"""Controllers that come and go while others are served."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from scsi2nvme.api import changing, methods
from scsi2nvme.api.configuration import ConfigFile, ControllerTable, LunTable, TargetTable
from scsi2nvme.api.method import Method, P, R
from scsi2nvme.cli import control
from scsi2nvme.cli.config import Settings, plain, settings
from scsi2nvme.cli.daemon import memory, serve
from scsi2nvme.cli.daemon.front_ends.iscsi.portal import IscsiFrontEnd
from scsi2nvme.cli.errors import UsageError
from scsi2nvme.client import Client, RpcError
from tests.daemon import IQN, MEMORY, Daemon, scsi2nvme, targets
from tests.iscsi_client import OPERATIONAL_KEYS, Initiator, LoginError
from tests.support import row

READ = row("READ (10)").build(transfer_length=1)
WRITE = row("WRITE (10)").build(transfer_length=1)
DISK = "scsi2nvme-emulated-controller"
WHY = "`scsi2nvme events` and the daemon's messages say why"
THIRD = "iqn.2026-11.test:third"
NOT_FOUND, REMOVED = 0x0203, 0x0204
TASK_ABORTED = 0x40


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon"), MEMORY) as daemon:
        yield daemon


def ask(running: Daemon, method: Method[P, R], params: P | None = None) -> R:
    """Ask a daemon without the time that a program takes to start."""
    with Client(running.state_dir / "control.sock") as daemon:
        return daemon.call(method, params)


def add(running: Daemon, spec: str, iqn: str | None = None) -> methods.Added:
    return ask(running, methods.ADD, methods.NewController(spec, iqn))


def remove(running: Daemon, name: str) -> None:
    ask(running, methods.REMOVE, methods.WhichController(name))


def read(running: Daemon, name: str) -> str:
    return ask(running, methods.READ, methods.WhichStructure("id-ctrl", name))


def test_one_more_is_served_beside_the_others(tmp_path: Path) -> None:
    """The others' sessions go on, what was written is there, and the next one may come."""
    image = f"emulated:{tmp_path}/disk.img,size=8M,namespaces=2,serial=NEW"
    with (
        Daemon(tmp_path, MEMORY) as running,
        Initiator(("127.0.0.1", running.port)) as before,
    ):
        where = ("--state-dir", str(running.state_dir))
        before.login(IQN)
        before.hear()
        assert before.command(0, WRITE, data_out=b"\1" * 512).status == 0
        done = scsi2nvme("add", image, "--iqn", THIRD, "--alias", "new", *where)
        name = f"{DISK}-new"
        assert done.stdout == f"controller {name}, target {THIRD}: 2 namespaces\n", done.stderr
        with Initiator(("127.0.0.1", running.port)) as one:
            one.login(THIRD)
            for lun in (0, 1):
                one.hear(lun)
                assert one.command(lun, WRITE, data_out=bytes([lun + 2]) * 512).status == 0
                assert one.command(lun, READ, data_in=512).data == bytes([lun + 2]) * 512
            assert one.keys["TargetAlias"] == "new"
        assert before.command(0, READ, data_in=512).data == b"\1" * 512
        listed = ask(running, methods.SHOW)
        assert [each["State"] for each in listed["Controllers"]] == ["live", "live"]
        assert {each["Target"] for each in listed["Targets"]} == {IQN, THIRD}
        for called in (name, "1", THIRD):
            assert len(bytes.fromhex(read(running, called))) == 4096
        fourth = "emulated:memory,size=1M,serial=FOURTH,hmpre=1M,hmb=512K"
        assert add(running, fourth).namespaces == (1,)
        lent = [each["HostMemory"] for each in ask(running, methods.SHOW)["Controllers"]]
        assert lent == [0, 0, 512 << 10]
        assert running.stop() == 0
        words = running.log.read_text().splitlines()
        assert [line for line in words if "was added" not in line] == []


def test_a_controller_goes_and_may_come_again(tmp_path: Path) -> None:
    """Its sessions end and its disk is let go of; the others never notice."""
    image = f"emulated:{tmp_path}/disk.img,size=8M,serial=NEW"
    with (
        Daemon(tmp_path, MEMORY) as running,
        Initiator(("127.0.0.1", running.port)) as before,
    ):
        where = ("--state-dir", str(running.state_dir))
        before.login(IQN)
        before.hear()
        assert before.command(0, WRITE, data_out=b"\1" * 512).status == 0
        for data in (b"\2" * 512, b"\3" * 512):
            assert add(running, image, THIRD).target == THIRD
            with Initiator(("127.0.0.1", running.port)) as one:
                one.login(THIRD)
                one.hear()
                assert one.command(0, WRITE, data_out=data).status == 0
                remove(running, "1")
                assert one.sent_away()
            with Initiator(("127.0.0.1", running.port)) as late, pytest.raises(LoginError) as no:
                late.login(THIRD)
            assert no.value.status == NOT_FOUND
            listed = ask(running, methods.SHOW)
            assert [each["DevicePath"] for each in listed["Controllers"]] == [MEMORY]
            assert (tmp_path / "disk.img").read_bytes()[:512] == data
            # Another process may have it now.
            assert scsi2nvme("id-ctrl", image, *where).returncode == 0
        again = scsi2nvme("remove", "1", *where)
        assert again.returncode == 1
        known = "there are: 0 or scsi2nvme-emulated-controller-"  # and the serial number
        assert again.stderr.startswith(f"scsi2nvme: there is no controller '1'; {known}")
        assert again.stderr.count("\n") == 1
        assert before.command(0, READ, data_in=512).data == b"\1" * 512
        assert running.stop() == 0


def test_who_logs_in_while_a_target_goes_is_told(tmp_path: Path) -> None:
    with (
        Daemon(tmp_path, MEMORY) as running,
        Initiator(("127.0.0.1", running.port)) as slow,
    ):
        names = {"InitiatorName": slow.name, "TargetName": IQN}
        slow.login_step(names | OPERATIONAL_KEYS, 1)
        remove(running, "0")
        with pytest.raises(LoginError) as caught:
            slow.login_step({}, 1, 3, transit=True)
        assert caught.value.status == REMOVED


def test_the_last_one_may_go(tmp_path: Path) -> None:
    with Daemon(tmp_path, MEMORY) as running:
        where = ("--state-dir", str(running.state_dir))
        done = scsi2nvme("remove", "0", *where)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert scsi2nvme("list", *where).returncode == 0
        with pytest.raises(RpcError, match="there are: none"):
            remove(running, "0")
        assert add(running, MEMORY).controller
        assert running.stop() == 0


def test_one_goes_while_commands_of_it_hang(tmp_path: Path) -> None:
    """They were acknowledged by nobody; whoever waits for them loses the session only."""
    hanging = "emulated:memory,size=8M,serial=HANG,fault=read:hang"
    with (
        Daemon(tmp_path, MEMORY) as running,
        Initiator(("127.0.0.1", running.port)) as one,
    ):
        add(running, hanging, THIRD)
        one.login(THIRD)
        one.hear()
        for _ in range(8):
            one.begin(0, READ, data_in=512)
        remove(running, "1")
        assert one.sent_away()
        assert running.stop() == 0


def test_what_hangs_is_aborted_when_its_disk_goes(tmp_path: Path) -> None:
    """Long before the disk's own deadline. The session has another disk's LUN, and stays."""
    hanging = "emulated:memory,size=8M,serial=HANG,fault=read:hang"
    luns = (LunTable(0, MEMORY), LunTable(1, hanging))
    with (
        Daemon(tmp_path, MEMORY) as running,
        Initiator(("127.0.0.1", running.port), timeout=20) as one,
    ):
        ask(running, methods.ADD, methods.NewController(hanging, target=False))
        ask(running, changing.ADD_TARGET, TargetTable(THIRD, luns=luns))
        one.login(THIRD)
        for lun in (0, 1):
            one.hear(lun)
        hung = one.begin(1, READ, data_in=512)
        one.ping()  # so that it has arrived
        with ThreadPoolExecutor(1) as pool:
            removed = pool.submit(remove, running, "1")
            assert one.finish(hung, 1).status == TASK_ABORTED
            removed.result()
        one.hear()
        assert one.command(0, READ, data_in=512).status == 0


def _write(port: int, lba: int, ended: threading.Event) -> int:
    """Write and read a block again and again; return how often."""
    cdbs = [row(name).build(lba=lba, transfer_length=1) for name in ("WRITE (10)", "READ (10)")]
    count = 0
    with Initiator(("127.0.0.1", port), name=f"iqn.2026-11.test:{lba}") as one:
        one.login(IQN)
        one.hear()
        while not ended.is_set():
            data = bytes([count % 256]) * 512
            assert one.command(0, cdbs[0], data_out=data).status == 0
            assert one.command(0, cdbs[1], data_in=512).data == data
            count += 1
    return count


def _come_and_go(running: Daemon) -> None:
    with Client(running.state_dir / "control.sock") as daemon:
        for number in range(20):
            new = methods.NewController(f"emulated:memory,size=1M,serial=S{number}")
            added = daemon.call(methods.ADD, new)
            daemon.call(methods.REMOVE, methods.WhichController(added.controller))


def test_controllers_come_and_go_beside_io(tmp_path: Path) -> None:
    """All reactors take part, and no command of the other disk fails, or is lost."""
    with Daemon(tmp_path, f"{MEMORY},serial=STAYS") as running:
        ended = threading.Event()
        with ThreadPoolExecutor() as pool:
            writers = [pool.submit(_write, running.port, lba, ended) for lba in range(3)]
            try:
                _come_and_go(running)
            finally:
                ended.set()
            counts = [each.result() for each in writers]
        assert all(counts)
        assert len(ask(running, methods.SHOW)["Controllers"]) == 1
        assert running.stop() == 0


@pytest.mark.parametrize(
    ("spec", "options", "status", "words"),
    [
        ("emulated:/nowhere/disk.img,size=1M", [], 1, "No such file or directory"),
        ("emulated:memory,size=1", [], 2, "size"),
        ("nonsense", [], 2, "nonsense"),
        ("emulated:memory,size=1M", ["--iqn", IQN], 2, "is another controller's"),
        ("emulated:memory,size=1M", ["--iqn", "x"], 2, "is no iSCSI name"),
        ("emulated:memory,size=1M", ["--alias", "x" * 256], 2, "alias"),
    ],
)
def test_what_cannot_be_added_costs_nobody_anything(
    running: Daemon, spec: str, options: list[str], status: int, words: str
) -> None:
    where = ("--state-dir", str(running.state_dir))
    with Initiator(("127.0.0.1", running.port)) as before:
        before.login(IQN)
        done = scsi2nvme("add", spec, *options, *where)
        assert (done.returncode, done.stdout) == (status, "")
        assert done.stderr.count("\n") == 1
        assert words in done.stderr
        before.ping()
    assert len(ask(running, methods.SHOW)["Controllers"]) == 1
    assert running.log.read_text() == ""


@pytest.mark.parametrize(("option", "lent_bytes"), [("", 0), (",hmpre=16M", 16 << 20)])
def test_its_buffers_leave_room_for_fewer_connections(
    option: str, lent_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What all may take together stays within what there is."""
    here = memory.bound(memory.buffers(1, 1), 300)
    monkeypatch.setattr(memory, "available", lambda: here)
    configured = settings(
        ConfigFile(),
        default_state_dir=tmp_path,
        maximum_reactors=1,
        controllers=("emulated:memory,size=1M,serial=FIRST",),
        portals=("127.0.0.1:0",),
        reactors=1,
    )

    async def work() -> None:
        async with AsyncExitStack() as stack:
            daemon = await serve.Daemon.start(configured, stack)
            (front_end,) = daemon.front_ends
            assert isinstance(front_end, IscsiFrontEnd)
            admission = front_end._portal._admission
            before = admission.limits
            assert before.half_open + before.discovery + before.maximum == 300
            new = methods.NewController(f"emulated:memory,size=1M,serial=NEW{option}")
            await asyncio.to_thread(control.ask, tmp_path, methods.ADD, new)
            after = admission.limits
            buffers = memory.buffers(1, 2) - memory.buffers(1, 1) + lent_bytes
            fewer = -(-buffers // memory.CONNECTION_BYTES)
            assert fewer >= 20
            assert after.half_open + after.discovery + after.maximum == 300 - fewer

    asyncio.run(work())


def test_a_disk_that_is_served_is_not_added_again(tmp_path: Path) -> None:
    image = f"emulated:{tmp_path}/disk.img,size=1M"
    with Daemon(tmp_path, image) as running:
        done = scsi2nvme("add", image, "--iqn", THIRD, "--state-dir", str(running.state_dir))
        assert done.returncode == 1
        assert "in use" in done.stderr


def test_a_copy_is_added_without_its_original_s_names(tmp_path: Path) -> None:
    spec = "emulated:memory,size=1M,serial=SAME"
    with Daemon(tmp_path, spec) as running:
        where = ("--state-dir", str(running.state_dir))
        done = scsi2nvme("add", spec, *where)
        assert done.returncode == 0
        assert done.stdout == f"controller 1, target {IQN}:{DISK}-same: 0 namespaces; {WHY}\n"
        (served,) = ask(running, methods.SHOW)["Targets"][:1]
        assert len(served["LUNs"]) == 1
        # A target's name is not given twice, also where it was derived from the disk's.
        done = scsi2nvme("add", MEMORY, "--iqn", f"{IQN}:{DISK}-same", *where)
        assert (done.returncode, done.stdout) == (2, "")
        assert "-same': is another target's" in done.stderr


def test_a_lun_with_nothing_behind_it_is_told_of(tmp_path: Path) -> None:
    mapped = f"""
[[targets]]
iqn = "{THIRD}"
luns = [{{ lun = 3, controller = "nobody" }}]
"""
    with Daemon(tmp_path, config=targets(MEMORY) + mapped) as running:
        (line,) = running.log.read_text().splitlines()
    told = f"target {THIRD}: LUN 3 is not there: no controller 'nobody' serves a namespace 1"
    assert line.endswith(told)


def test_it_is_named_as_those_are_that_are_there() -> None:
    """Who was alone keeps the name that it was given; the next is named by that and its disk."""
    first = plain(_settings(ConfigFile(controllers=(ControllerTable(MEMORY),), iqn=IQN)))
    more = replace(first, controllers=(*first.controllers, ControllerTable(MEMORY)))
    assert [each.name("disk") for each in _settings(more).targets] == [IQN, f"{IQN}:disk"]
    other = replace(more, controllers=more.controllers[1:])
    assert [each.name("disk") for each in _settings(other).targets] == [f"{IQN}:disk"]
    with pytest.raises(UsageError, match="give each controller its iqn"):
        _settings(replace(more, base="eui.0123456789abcdef"))


def _settings(config: ConfigFile) -> Settings:
    return settings(config, default_state_dir=Path("/none"), maximum_reactors=1)
