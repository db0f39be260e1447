"""Targets, LUNs, portals, initiators and secrets that change while the daemon serves."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from scsi2nvme.api import changing, configuration, methods
from scsi2nvme.api.changing import Allowance, Denial, NewLun, NewSecret
from scsi2nvme.api.configuration import Credentials, LunTable, TargetTable
from scsi2nvme.api.method import Method, Nothing, P, R
from scsi2nvme.client import Client, RpcError
from tests.daemon import IQN, MEMORY, PROGRAM, Daemon, free_port, scsi2nvme, target, targets
from tests.iscsi_chap import Chap
from tests.iscsi_client import Initiator, LoginError
from tests.support import row

READ = row("READ (10)").build(transfer_length=1)
WRITE = row("WRITE (10)").build(transfer_length=1)
TEST_UNIT_READY = bytes(6)
IDENTITY = row("INQUIRY").build(evpd=1, page_code=0x83, allocation_length=255)
REPORT_LUNS = row("REPORT LUNS").build(allocation_length=256)
LUNS_CHANGED, NOT_SUPPORTED = (6, 0x3F, 0x0E), (5, 0x25, 0)
FIRST, SECOND, THIRD = (f"{MEMORY},serial=S{number},namespaces=2" for number in range(3))
CHOSEN = "iqn.2026-11.test:chosen"
ALICE, BOB = "iqn.2026-11.test:alice", "iqn.2026-11.test:bob"
AUTHENTICATION_FAILURE, FORBIDDEN, NOT_FOUND = 0x0201, 0x0202, 0x0203
OLD, NEW = b"an old secret of ours", b"a new secret of ours"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon for those that take care of what they leave behind."""
    with Daemon(tmp_path_factory.mktemp("daemon"), config=targets(FIRST, SECOND)) as daemon:
        yield daemon


@pytest.fixture
def chosen(running: Daemon) -> Iterator[str]:
    """A target whose LUN 0 is the first disk."""
    ask(running, changing.ADD_TARGET, TargetTable(CHOSEN, "some"))
    ask(running, changing.MAP, NewLun(CHOSEN, 0, "0"))
    yield CHOSEN
    if status(running, CHOSEN) != NOT_FOUND:
        ask(running, changing.REMOVE_TARGET, changing.WhichTarget(CHOSEN))


def ask(running: Daemon, method: Method[P, R], params: P) -> R:
    with Client(running.state_dir / "control.sock") as daemon:
        return daemon.call(method, params)


def connected(running: Daemon, name: str = ALICE, host: str = "127.0.0.1") -> Initiator:
    return Initiator((host, running.port), name=name)


def triple(one: Initiator, lun: int) -> tuple[int, int, int] | None:
    result = one.command(lun, TEST_UNIT_READY)
    return result.sense_triple if result.status else None


def luns(one: Initiator) -> list[int]:
    data = one.command(0, REPORT_LUNS, data_in=256).data
    return [data[place + 1] for place in range(8, len(data), 8)]


def status(running: Daemon, iqn: str, name: str = ALICE, chap: Chap | None = None) -> int:
    with connected(running, name) as one:
        try:
            one.login(iqn, chap=chap)
        except LoginError as error:
            return error.status
    return 0


@pytest.mark.usefixtures("chosen")
def test_luns_come_and_go_and_every_nexus_is_told(running: Daemon) -> None:
    with (
        connected(running) as alice,
        connected(running, BOB) as bob,
        connected(running, "iqn.2026-11.test:elsewhere") as other,
    ):
        for one in (alice, bob):
            one.login(CHOSEN)
            one.hear()
        other.login(IQN)
        other.hear()
        assert alice.command(0, WRITE, data_out=b"\1" * 512).status == 0
        assert other.command(0, READ, data_in=512).data == b"\1" * 512
        lines = ask(running, changing.MAP, NewLun(CHOSEN, 5, target(1), 2))
        assert lines == [f"+ lun 5 of {CHOSEN}: namespace 2 of {SECOND}"]
        for one in (alice, bob):
            assert triple(one, 0) == LUNS_CHANGED
            assert luns(one) == [0, 5]
            one.hear(5)
        assert bob.command(5, WRITE, data_out=b"\2" * 512).status == 0
        assert alice.command(5, READ, data_in=512).data == b"\2" * 512
        ask(running, changing.UNMAP, changing.WhichLun(CHOSEN, 5))
        for one in (alice, bob):
            assert triple(one, 5) == NOT_SUPPORTED
            assert triple(one, 0) == LUNS_CHANGED
            assert triple(one, 0) is None
        assert triple(other, 0) is None


@pytest.mark.usefixtures("chosen")
def test_a_target_that_goes_asks_for_logouts(running: Daemon) -> None:
    with connected(running) as good, connected(running, BOB) as dumb, connected(running) as other:
        good.login(CHOSEN)
        dumb.login(CHOSEN)
        other.login(IQN)
        other.hear()
        with ThreadPoolExecutor() as pool:
            leaving = pool.submit(good.leaves)
            ask(running, changing.REMOVE_TARGET, changing.WhichTarget(CHOSEN))
            assert leaving.result()
        assert dumb.sent_away()
        assert status(running, CHOSEN) == NOT_FOUND
        assert triple(other, 0) is None


@pytest.mark.usefixtures("chosen")
def test_a_lun_is_there_when_its_controller_is(running: Daemon) -> None:
    """And goes with it: what is mapped of a controller that is removed is mapped no more."""
    new = methods.NewController(THIRD, target=False)
    added = ask(running, methods.ADD, new)
    assert added.target == ""
    ask(running, changing.MAP, NewLun(CHOSEN, 1, added.controller))
    with connected(running) as one:
        one.login(CHOSEN)
        one.hear()
        one.hear(1)
        ask(running, methods.REMOVE, methods.WhichController(added.controller))
        assert triple(one, 1) == NOT_SUPPORTED
        assert luns(one) == [0]
    told = ask(running, configuration.GET, Nothing())
    assert [lun.lun for lun in told.targets[0].luns] == [0]


def test_portals_come_and_go(running: Daemon) -> None:
    more, first = f"127.0.0.2:{running.port}", f"127.0.0.1:{running.port}"
    with connected(running, BOB) as before:
        before.login(IQN)
        before.hear()
        assert ask(running, changing.ADD_PORTAL, changing.WhichPortal(more)) == [f"+ portal {more}"]
        with connected(running, host="127.0.0.2") as one:
            one.login(IQN)
            ask(running, changing.REMOVE_PORTAL, changing.WhichPortal(more))
            one.ping()
        with pytest.raises(ConnectionRefusedError):
            connected(running, host="127.0.0.2")
        for method, portal, words in (
            (changing.REMOVE_PORTAL, first, "nobody could connect"),
            (changing.REMOVE_PORTAL, more, "is not there"),
            (changing.ADD_PORTAL, first, "is there already"),
            (changing.ADD_PORTAL, "192.0.2.1:3260", "Cannot assign"),
            (changing.ADD_PORTAL, "nonsense", "is no IPv4"),
        ):
            with pytest.raises(RpcError, match=words):
                ask(running, method, changing.WhichPortal(portal))
        assert triple(before, 0) is None
    assert status(running, IQN) == 0


def test_targets_that_open_to_others_are_told_of(running: Daemon) -> None:
    far = changing.WhichPortal(f"0.0.0.0:{free_port()}")
    words = f"target {IQN}: whoever reaches {far.portal} may read and write it; demand a secret"
    pair = Credentials("us", NEW.decode())
    ask(running, changing.SET_SECRET, NewSecret("chap", pair))
    ask(running, changing.ADD_PORTAL, far)
    assert words not in running.log.read_text()
    ask(running, changing.SET_SECRET, NewSecret("chap"))
    ask(running, changing.REMOVE_PORTAL, far)
    assert running.log.read_text().count(words) == 1
    ask(running, changing.ADD_PORTAL, far)
    ask(running, changing.REMOVE_PORTAL, far)
    assert running.log.read_text().count(words) == 2


def test_initiators_are_allowed_and_denied(tmp_path: Path) -> None:
    with Daemon(tmp_path, config=targets(FIRST, SECOND)) as running:
        _allow_and_deny(running)


def _allow_and_deny(running: Daemon) -> None:
    with connected(running) as alice, connected(running, BOB) as bob:
        for one in (alice, bob):
            one.login(IQN)
            one.hear()
        with ThreadPoolExecutor() as pool:
            leaving = pool.submit(bob.leaves)
            ask(running, changing.ALLOW, Allowance(ALICE, luns=(0, 1)))
            assert leaving.result()
        assert status(running, IQN, BOB) == FORBIDDEN
        assert triple(alice, 0) is None
        ask(running, changing.ALLOW, Allowance(BOB, target(1)))
        assert (status(running, IQN, BOB), status(running, target(1), BOB)) == (FORBIDDEN, 0)
        ask(running, changing.ALLOW, Allowance(ALICE, luns=(0,)))
        assert triple(alice, 1) == NOT_SUPPORTED
        assert triple(alice, 0) == LUNS_CHANGED
        with ThreadPoolExecutor() as pool, connected(running) as late:
            _log_in_halfway(late, IQN)
            denying = pool.submit(ask, running, changing.DENY, Denial(ALICE, IQN))
            assert alice.asked_to_log_out()
            assert luns(alice) == [0]  # until it goes, what it has seen
            assert triple(alice, 1) == NOT_SUPPORTED
            alice.logout()
            denying.result()
            with pytest.raises(LoginError) as no:
                late.login_step({}, 1, 3, transit=True)
            assert no.value.status == FORBIDDEN
    assert (status(running, IQN), status(running, target(1))) == (FORBIDDEN, 0)
    ask(running, changing.DENY, Denial(BOB))
    ask(running, changing.DENY, Denial(ALICE))
    for name in (ALICE, BOB, "iqn.2026-11.test:nobody"):
        assert status(running, IQN, name) == FORBIDDEN


def _log_in_halfway(one: Initiator, iqn: str) -> None:
    names = {"InitiatorName": one.name, "TargetName": iqn, "AuthMethod": "None"}
    one.login_step(names, 0, 1, transit=True)


def test_a_secret_counts_for_the_next_login(running: Daemon) -> None:
    old, new = Chap("us", OLD), Chap("us", NEW)
    mutual = Chap("us", NEW, target_name="disk", target_secret=OLD)
    with connected(running, BOB) as before:
        before.login(IQN)
        before.hear()
        for chap in (old, new):
            pair = Credentials("us", chap.secret.decode())
            lines = ask(running, changing.SET_SECRET, NewSecret("chap", pair))
            assert chap.secret.decode() not in " ".join(lines)
            assert status(running, IQN, chap=chap) == 0
        assert status(running, IQN, chap=old) == AUTHENTICATION_FAILURE
        ask(
            running,
            changing.SET_SECRET,
            NewSecret("mutual_chap", Credentials("disk", OLD.decode())),
        )
        with connected(running) as one:
            one.login(IQN, chap=mutual)
        assert triple(before, 0) is None
        for which in ("mutual_chap", "chap"):
            ask(running, changing.SET_SECRET, NewSecret(which))
    assert status(running, IQN) == 0
    log = running.log.read_text()
    assert OLD.decode() not in log
    assert NEW.decode() not in log


def test_a_secret_that_is_typed_is_not_shown(running: Daemon) -> None:
    where = ("--state-dir", str(running.state_dir))
    ours, theirs = pty.openpty()
    with open(ours, "r+b", buffering=0) as terminal:
        typing = subprocess.Popen(
            [*PROGRAM, "set-secret", "chap", "us", *where],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        shown = terminal.read(100)
        while not shown.endswith(b": "):
            shown += terminal.read(100)
        terminal.write(NEW + b"\n")
        assert typing.wait(30) == 0
        os.close(theirs)
        shown += terminal.read(1000)
    assert NEW not in shown
    assert b"chap (name us)" in shown
    assert status(running, IQN, chap=Chap("us", NEW)) == 0
    ask(running, changing.SET_SECRET, NewSecret("chap"))
    garbage = subprocess.run(
        [*PROGRAM, "set-secret", "chap", "us", *where], input=b"\xff" * 20, capture_output=True
    )
    assert (garbage.returncode, garbage.stderr.count(b"\n")) == (2, 1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["map", CHOSEN, "0", "0"], "no target"),
        (["map", IQN, "0", "0"], "no target"),
        (["add-target", IQN], "is another target's"),
        (["add-target", "x"], "is no iSCSI name"),
        (["allow", ALICE, "iqn.2026-11.test:none"], "there is no target"),
        (["deny", ALICE], "everybody may log in"),
        (["set-secret", "chap", "us"], "shorter than 12"),
        (["set-secret", "mutual_chap", "us"], "shorter than 12"),
    ],
)
def test_what_makes_no_sense_changes_nothing(running: Daemon, words: list[str], told: str) -> None:
    before = ask(running, configuration.GET, Nothing())
    done = scsi2nvme(*words, "--state-dir", str(running.state_dir))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
    assert ask(running, configuration.GET, Nothing()) == before


def test_what_was_saved_can_be_started_with(tmp_path: Path) -> None:
    """Also where something went that initiators might use. Initiators see the same disks."""
    gone, both = f"{CHOSEN}:gone", (LunTable(0, "0"), LunTable(5, "0", 2))
    with Daemon(tmp_path, config=targets(FIRST, SECOND)) as running:
        steps: tuple[tuple[Method[Any, Any], object], ...] = (
            (methods.ADD, methods.NewController(THIRD)),  # --iqn is not for this one
            (changing.ADD_TARGET, TargetTable(CHOSEN, luns=both)),
            (changing.ADD_TARGET, TargetTable(gone)),
            (changing.ALLOW, Allowance(ALICE, luns=(0, 5))),
            (changing.ALLOW, Allowance(BOB, target(1), (1,))),
            (changing.ALLOW, Allowance(BOB, gone)),
            (changing.ALLOW, Allowance(f"{BOB}:denied", target(1), (1,))),
            (changing.DENY, Denial(f"{BOB}:denied")),
            (changing.UNMAP, changing.WhichLun(CHOSEN, 5)),
            (changing.REMOVE_TARGET, changing.WhichTarget(gone)),
            (methods.REMOVE, methods.WhichController("1")),
        )
        for method, params in steps:
            ask(running, method, params)
        with pytest.raises(RpcError, match="luns: there is no LUN 7; there are: 0, 1"):
            ask(running, changing.ALLOW, Allowance(ALICE, luns=(7,)))
        initiators = ask(running, configuration.GET, Nothing()).initiators
        rows = {row.name: (row.targets, row.luns) for row in initiators}
        assert rows == {ALICE: (None, (0,)), BOB: ((), (1,)), f"{BOB}:denied": ((), (1,))}
        ask(running, changing.ALLOW, Allowance(BOB))
        told = ask(running, configuration.GET, Nothing())
        with connected(running) as one:
            one.login(CHOSEN)
            identity = one.command(0, IDENTITY, data_in=255).data
        assert scsi2nvme("saveconfig", "--state-dir", str(tmp_path)).returncode == 0
    config = ("--config", str(tmp_path / "config.toml"))
    with Daemon(tmp_path, port=running.port, arguments=config) as again:
        assert ask(again, configuration.DIFF, Nothing()) == []
        assert ask(again, configuration.GET, Nothing()) == told
        for name in (BOB, "iqn.2026-11.test:nobody"):
            assert status(again, target(1), name) == NOT_FOUND
        assert status(again, CHOSEN, "iqn.2026-11.test:nobody") == FORBIDDEN
        with connected(again) as one:
            one.login(CHOSEN)
            assert one.command(0, IDENTITY, data_in=255).data == identity


def _verified(running: Daemon, ended: threading.Event) -> int:
    """Write and read again and again; return how often."""
    count = 0
    with connected(running, "iqn.2026-11.test:load") as one:
        one.login(IQN)
        one.hear()
        while not ended.is_set():
            data = bytes([count % 256]) * 512
            assert one.command(0, WRITE, data_out=data).status == 0
            assert one.command(0, READ, data_in=512).data == data
            count += 1
    return count


def _by_verbs(running: Daemon) -> None:
    where = ("--state-dir", str(running.state_dir))
    for words in (
        ["add", THIRD, "--no-target"],
        ["add-target", CHOSEN],
        ["map", CHOSEN, "0", THIRD],
        ["map", CHOSEN, "7", THIRD, "2"],
        ["end-session", ALICE],
        ["remove", target(1)],
    ):
        done = scsi2nvme(*words, *where)
        assert done.returncode == 0, done.stderr
    pair = Credentials("us", NEW.decode())
    ask(running, changing.SET_SECRET, NewSecret("chap", pair))


def _by_signal(running: Daemon) -> None:
    path = running.state_dir / "config.toml"
    path.write_text(
        f'chap = {{ name = "us", secret = "{NEW.decode()}" }}\n'
        + targets(FIRST)
        + f'[[controllers]]\nspec = "{THIRD}"\ntarget = false\n'
        + f'[[targets]]\niqn = "{CHOSEN}"\n'
        + f'luns = [{{ lun = 0, controller = "{THIRD}" }}, '
        + f'{{ lun = 7, controller = "{THIRD}", nsid = 2 }}]\n'
    )
    os.kill(running.pid, signal.SIGHUP)
    assert running.logs(f"configuration: - controller {SECOND}")


@pytest.mark.parametrize("change", [_by_verbs, _by_signal])
def test_much_changes_under_load_and_the_load_goes_on(
    tmp_path: Path, change: Callable[[Daemon], None]
) -> None:
    ended = threading.Event()
    with (
        Daemon(tmp_path, config=targets(FIRST, SECOND)) as running,
        ThreadPoolExecutor() as pool,
        connected(running) as gone,
    ):
        load = pool.submit(_verified, running, ended)
        gone.login(target(1))
        gone.hear()
        try:
            change(running)
        finally:
            ended.set()
        assert load.result()
        assert gone.closed_by_target() or gone.closed_by_target()  # asked to log out before
        assert status(running, target(1)) == NOT_FOUND
        assert status(running, CHOSEN) == AUTHENTICATION_FAILURE
        with connected(running) as one:
            one.login(CHOSEN, chap=Chap("us", NEW))
            one.hear()
            assert luns(one) == [0, 7]
            one.hear(7)
            assert one.command(7, WRITE, data_out=b"\3" * 512).status == 0
            assert one.command(7, READ, data_in=512).data == b"\3" * 512
        saved = tmp_path / "saved.toml"
        assert scsi2nvme("saveconfig", str(saved), "--state-dir", str(tmp_path)).returncode == 0
    with Daemon(tmp_path, arguments=("--config", str(saved))) as again:
        assert status(again, CHOSEN, chap=Chap("us", NEW)) == 0
        assert status(again, target(1), chap=Chap("us", NEW)) == NOT_FOUND


def test_what_is_under_way_on_a_lun_that_goes_is_answered(tmp_path: Path) -> None:
    """The data as well; and who sees the same namespace elsewhere goes on."""
    slow = f"{MEMORY},fault=read:delay=300"
    with (
        Daemon(tmp_path, config=targets(slow)) as running,
        connected(running) as one,
        connected(running, BOB) as other,
    ):
        ask(running, changing.ADD_TARGET, TargetTable(CHOSEN))
        ask(running, changing.MAP, NewLun(CHOSEN, 0, "0"))
        one.login(CHOSEN)
        other.login(IQN)
        for each in (one, other):
            each.hear()
        under_way = one.begin(0, READ, data_in=512)
        one.ping()  # so that it has arrived
        ask(running, changing.UNMAP, changing.WhichLun(CHOSEN, 0))
        result = one.finish(under_way)
        assert (result.status, len(result.data)) == (0, 512)
        assert triple(one, 0) == NOT_SUPPORTED
        assert other.command(0, READ, data_in=512).status == 0


def test_what_hangs_for_good_on_a_lun_that_goes_holds_nobody_up(tmp_path: Path) -> None:
    """Neither its own session, nor another, nor the next change."""
    hanging = f"{FIRST},fault=read:hang"
    both = (LunTable(0, hanging), LunTable(1, SECOND))
    with (
        Daemon(tmp_path, config=targets(hanging, SECOND)) as running,
        connected(running, BOB) as other,
        connected(running) as one,
    ):
        ask(running, changing.ADD_TARGET, TargetTable(CHOSEN, luns=both))
        one.login(CHOSEN)
        other.login(target(1))
        for each, lun in ((one, 0), (one, 1), (other, 0)):
            each.hear(lun)
        one.begin(0, READ, data_in=512)
        one.ping()  # so that it has arrived
        begun = time.monotonic()
        ask(running, changing.UNMAP, changing.WhichLun(CHOSEN, 0))
        assert triple(one, 1) == LUNS_CHANGED
        for each, lun in ((one, 1), (other, 0)):
            assert each.command(lun, READ, data_in=512).status == 0
        ask(running, changing.MAP, NewLun(CHOSEN, 0, SECOND, 2))
        assert luns(one) == [0, 1]
        assert time.monotonic() - begun < 5  # which is far from the deadline of the device
        ended = ask(running, methods.END_SESSION, methods.WhichSession(ALICE))
        assert ended.sessions == 1
        assert time.monotonic() - begun < 15
        assert other.command(0, READ, data_in=512).status == 0
