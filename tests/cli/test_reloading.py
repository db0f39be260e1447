"""What is configured while the daemon serves: told, saved, and made what the file says."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from scsi2nvme.api import configuration, methods, rpc
from scsi2nvme.api.method import Method, P, R
from scsi2nvme.cli import toml
from scsi2nvme.cli.config import load
from scsi2nvme.client import Client, RpcError
from tests.daemon import IQN, MEMORY, Daemon, free_port, scsi2nvme, target, targets
from tests.iscsi_client import Initiator, LoginError
from tests.support import row

READ = row("READ (10)").build(transfer_length=1)
SPECS = [f"{MEMORY},serial=S{number}" for number in range(3)]
SECRET = '[chap]\nname = "host"\nsecret = "a secret of 12 bytes"\n'
NOT_FOUND = 0x0203
POWER_ON, LUNS_CHANGED = (6, 0x29, 0), (6, 0x3F, 0x0E)


def ask(running: Daemon, method: Method[P, R], params: P | None = None) -> R:
    with Client(running.state_dir / "control.sock") as daemon:
        return daemon.call(method, params)


def reload(running: Daemon, *, dry_run: bool = False) -> list[str]:
    return ask(running, configuration.RELOAD, configuration.HowToReload(dry_run=dry_run))


def write(running: Daemon, text: str) -> None:
    (running.state_dir / "config.toml").write_text(text)


def served(running: Daemon) -> list[str]:
    return [each["DevicePath"] for each in ask(running, methods.SHOW)["Controllers"]]


def test_what_runs_is_told_without_secrets_and_saved_with_them(tmp_path: Path) -> None:
    """What was saved is what is configured: no step leads from one to the other."""
    path = tmp_path / "config.toml"
    with Daemon(tmp_path, config=targets(SPECS[0]) + SECRET) as running:
        where = ("--state-dir", str(tmp_path))
        ask(running, methods.ADD, methods.NewController(SPECS[1], target(1), "the second"))
        told = ask(running, configuration.GET)
        assert [each.spec for each in told.controllers] == SPECS[:2]
        assert told.chap == configuration.Credentials("host", "")
        assert ask(running, configuration.DIFF) == [
            f"- controller {SPECS[1]} as {target(1)}, alias 'the second'"
        ]
        path.chmod(0o640)
        done = scsi2nvme("saveconfig", *where)
        assert (done.stdout, done.stderr) == (f"saved to {path}\n", "")
        assert path.stat().st_mode & 0o777 == 0o640  # as it was
        saved = load(path)
        assert saved.chap == configuration.Credentials("host", "a secret of 12 bytes")
        assert saved.controllers[1] == configuration.ControllerTable(
            SPECS[1], target(1), "the second"
        )
        assert scsi2nvme("diff", *where).stdout == ""
        assert reload(running) == []
        assert scsi2nvme("config", *where).stdout == toml.written(told)
        assert running.stop() == 0
    with Daemon(tmp_path, arguments=("--config", str(path))) as running:
        assert served(running) == SPECS[:2]
        missing = scsi2nvme("saveconfig", str(tmp_path / "no" / "where"), *where)
        assert missing.returncode == 1
        assert missing.stderr.count("\n") == 1


def test_controllers_come_and_go_with_the_file(tmp_path: Path) -> None:
    """By a signal and by the verb; whoever uses what stays does not notice."""
    with (
        Daemon(tmp_path, config=targets(*SPECS[:2])) as running,
        Initiator(("127.0.0.1", running.port)) as before,
    ):
        where = ("--state-dir", str(tmp_path))
        before.login(IQN)
        before.hear()
        more = f'[[controllers]]\nspec = "{SPECS[2]}"\niqn = "{target(2)}"\nalias = "new"\n'
        write(running, targets(SPECS[0]) + more)
        steps = [
            f"- controller {SPECS[1]} as {target(1)}",
            f"+ controller {SPECS[2]} as {target(2)}, alias 'new'",
        ]
        assert scsi2nvme("reload", "--dry-run", *where).stdout.splitlines() == steps
        assert served(running) == SPECS[:2]
        os.kill(running.pid, signal.SIGHUP)
        assert running.logs(f"configuration: {steps[1]}")
        assert served(running) == [SPECS[0], SPECS[2]]
        with Initiator(("127.0.0.1", running.port)) as one:
            one.login(target(2))
            one.hear()
            assert one.command(0, READ, data_in=512).status == 0
            assert one.keys["TargetAlias"] == "new"
            write(running, targets(SPECS[0]) + more.replace('"new"', '"other"'))
            assert reload(running) == [f"~ controller {SPECS[2]} as {target(2)}, alias 'other'"]
            assert one.command(0, READ, data_in=512).status == 0
        with Initiator(("127.0.0.1", running.port)) as late, pytest.raises(LoginError) as no:
            late.login(target(1))
        assert no.value.status == NOT_FOUND
        assert before.command(0, READ, data_in=512).status == 0


def test_metrics_are_where_the_file_says(tmp_path: Path) -> None:
    """And stay where they are, with all else, if they cannot be there."""

    def told(port: int) -> bool:
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        with closing(connection):
            try:
                connection.request("GET", "/metrics")
                return b"scsi2nvme_build_info" in connection.getresponse().read()
            except ConnectionRefusedError:
                return False

    one, other = free_port(), free_port()
    with Daemon(tmp_path, config=targets(SPECS[0])) as running, socket.socket() as taken:
        for port in (one, other):
            write(running, f'metrics = "127.0.0.1:{port}"\n' + targets(SPECS[0]))
            (line,) = reload(running)
            assert line.endswith(f" metrics = 127.0.0.1:{port}")
            assert told(port)
        assert not told(one)
        third = free_port()
        taken.bind(("127.0.0.1", third))
        taken.listen()
        write(running, f'metrics = "127.0.0.1:{third}"\n' + targets(*SPECS[:2]))
        with pytest.raises(RpcError, match="Address already in use"):
            reload(running)
        assert served(running) == SPECS[:1]
        assert told(other)
        write(running, targets(SPECS[0]))
        assert reload(running) == [f"- metrics = 127.0.0.1:{other}"]
        assert not told(other)


def test_a_lun_in_whose_place_another_comes_tells_of_it(tmp_path: Path) -> None:
    """Who has mounted what was there must look again: POWER ON alone is passed over."""
    chosen = f"{IQN}:chosen"

    def mapped(spec: str) -> str:
        lun = f'{{ lun = 0, controller = "{spec}" }}'
        return targets(*SPECS[:2]) + f'[[targets]]\niqn = "{chosen}"\nluns = [{lun}]\n'

    with (
        Daemon(tmp_path, config=mapped(SPECS[0])) as running,
        Initiator(("127.0.0.1", running.port)) as one,
        Initiator(("127.0.0.1", running.port), name="iqn.2026-11.test:other") as other,
    ):
        one.login(chosen)
        other.login(IQN)
        for each in (one, other):
            each.hear()
        for spec, told in ((SPECS[1], [POWER_ON, LUNS_CHANGED]), (SPECS[0], [LUNS_CHANGED])):
            write(running, mapped(spec))
            reload(running)
            for triple in told:
                assert one.command(0, READ, data_in=512).sense_triple == triple
            assert one.command(0, READ, data_in=512).status == 0
        assert other.command(0, READ, data_in=512).status == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (targets(*SPECS[:2], "emulated:/nowhere/disk.img,size=1M"), "No such file"),
        (targets(*SPECS) + "reactors = 2\n", "is unknown"),
        ("reactors = 2\nping_s = 1\n" + targets(*SPECS), "reactors, ping_s: cannot be changed"),
        ("nonsense", "configuration"),
        (
            targets(*SPECS) + "[[initiators]]\nname = 'iqn.2026-11.test:one'\nluns = [9]\n",
            "luns: there is no LUN 9",
        ),
    ],
)
def test_a_file_is_followed_wholly_or_not_at_all(tmp_path: Path, text: str, words: str) -> None:
    with (
        Daemon(tmp_path, config=targets(SPECS[0])) as running,
        Initiator(("127.0.0.1", running.port)) as before,
    ):
        before.login(IQN)
        write(running, text)
        with pytest.raises(RpcError, match=words) as caught:
            reload(running)
        assert "\n" not in str(caught.value)
        assert served(running) == SPECS[:1]
        os.kill(running.pid, signal.SIGHUP)
        assert running.logs("configuration not reloaded")
        before.ping()
        write(running, targets(SPECS[0]))
        assert reload(running) == []


def at(port: int) -> str:
    """Return what a configuration says of a portal."""
    return f"portals = ['127.0.0.1:{port}']\n"


NOWHERE = "192.0.2.77"  # an address of no machine. Spec: RFC 5737


# What a file says that cannot be served, {own} being what is served already; and why.
REFUSED = (
    (targets(SPECS[0], "emulated:{dir}/no/disk.img,size=1M"), "No such file or dir"),
    (targets(SPECS[0], "emulated:{dir},size=1M"), "Is a directory"),
    (targets(SPECS[0], "emulated:{dir}/new.img,size=514K"), "no multiple of"),
    (targets(SPECS[0], "emulated:{dir}/odd.img"), "its 1000 bytes are not 1 equal shares"),
    (targets(SPECS[0], "emulated:{dir}/taken.img"), "in use by another process"),
    (targets("emulated:{dir}/own.img,serial=ANOTHER"), "has the serial number"),
    (targets(SPECS[0], "pci:0000:fe:1f.7"), "0000:fe:1f.7"),
    (targets(SPECS[0], f"{SPECS[1]},reservations=disk"), "it keeps no reservations"),
    (targets(SPECS[0], f"{SPECS[1]},fault=identify:status=0/06"), "Identify|identify|brought"),
    (f"portals = ['127.0.0.1:{{port}}', '{NOWHERE}']\n{{own}}", "Cannot assign requested"),
    ("portals = ['127.0.0.1:{port}', '127.0.0.1:{taken}']\n{own}", "Address already in use"),
    ("portals = ['127.0.0.1:{free}', '0.0.0.0:{free}']\n{own}", "Address already in use"),
    (f"metrics = '{NOWHERE}'\n{{own}}", "Cannot assign requested address"),
    ("metrics = '127.0.0.1:{taken}'\n{own}", "Address already in use"),
    ("{own}[[initiators]]\nname = 'iqn.2026-11.test:one'\nluns = [9]\n", "there is no LUN 9"),
    (
        targets(SPECS[0], f"{SPECS[1]},namespaces=2")
        + f"[[initiators]]\nname = 'iqn.2026-11.test:one'\ntargets = ['{target(1)}']\n"
        + "luns = [2]\n",
        "there is no LUN 2; there are: 0, 1",
    ),
    ("nonsense", "configuration"),
    ("reactors = 2\n{own}", "cannot be changed while it serves"),
)


def test_a_dry_run_is_refused_for_what_the_real_one_is(tmp_path: Path) -> None:
    """By the same line; and neither leaves anything behind."""
    (tmp_path / "odd.img").write_bytes(bytes(1000))
    own, port = f"emulated:{tmp_path}/own.img,size=1M", free_port()
    with (
        open(tmp_path / "taken.img", "wb") as image,
        socket.create_server(("127.0.0.1", 0)) as taken,
        Daemon(tmp_path, port=port, config=at(port) + targets(own), portal_given=False) as running,
    ):
        fcntl.flock(image, fcntl.LOCK_EX)
        values = {"own": targets(own), "dir": str(tmp_path), "port": str(port)}
        values |= {"taken": str(taken.getsockname()[1]), "free": str(free_port())}
        for text, words in REFUSED:
            for name, value in values.items():
                text = text.replace(f"{{{name}}}", value)
            write(running, text if "portals" in text else at(port) + text)
            before = sorted(os.listdir(tmp_path))
            told = []
            for dry_run in (True, True, False):
                assert sorted(os.listdir(tmp_path)) == before, text
                with pytest.raises(RpcError, match=words) as caught:
                    reload(running, dry_run=dry_run)
                told.append(str(caught.value))
            assert {*os.listdir(tmp_path)} - {*before} <= {"units"}
            assert len(set(told)) == 1, told
            assert "\n" not in told[0]
            assert served(running) == [own]


def test_a_dry_run_leaves_nothing_behind(tmp_path: Path) -> None:
    """What it says would be done can be done, and is done by then: images, addresses, names."""
    port, other, more, metrics = (free_port() for _ in range(4))
    before = [f"emulated:{tmp_path}/0.img,size=1M", f"qemu:{tmp_path}/1.img,size=1M"]
    after = [f"{spec},readonly=on" for spec in before]
    after += [f"emulated:{tmp_path}/2.img,size=1M", f"qemu:{tmp_path}/3.img,size=1M", SPECS[2]]

    def there() -> dict[str, int]:
        return {name: (tmp_path / name).stat().st_mtime_ns for name in os.listdir(tmp_path)}

    config = at(port) + targets(*before)
    with Daemon(tmp_path, port=port, config=config, portal_given=False) as running:
        write(
            running,
            f"portals = ['0.0.0.0:{port}', '127.0.0.1:{other}', '[::1]:{more}']\n"
            f"metrics = '127.0.0.1:{metrics}'\n"
            + targets(*after)
            + "[[initiators]]\nname = 'iqn.2026-11.test:one'\nluns = [0]\n",
        )
        files = there()
        steps = reload(running, dry_run=True)
        assert there() == files
        assert served(running) == before
        assert running.log.read_text() == ""
        assert reload(running) == steps
        assert served(running) == after


def test_what_another_comes_in_the_place_of_is_there_again_if_that_fails(tmp_path: Path) -> None:
    image = f"emulated:{tmp_path}/disk.img,size=8M"
    with Daemon(tmp_path, config=targets(image)) as running:
        write(running, targets(image + ",serial=ANOTHER"))
        with pytest.raises(RpcError, match="serial"):
            reload(running)
        assert served(running) == [image]
        with Initiator(("127.0.0.1", running.port)) as one:
            one.login(IQN)


def test_a_pipe_in_the_place_of_the_file_holds_nothing_up(tmp_path: Path) -> None:
    with Daemon(tmp_path, config=targets(SPECS[0])) as running:
        path = tmp_path / "config.toml"
        path.unlink()
        os.mkfifo(path, 0o600)
        with pytest.raises(RpcError, match="is no regular file") as caught:
            reload(running)
        assert caught.value.code == rpc.INVALID_PARAMS
        os.kill(running.pid, signal.SIGHUP)
        assert running.logs("configuration not reloaded")
        refused = scsi2nvme("saveconfig", "--state-dir", str(tmp_path))
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert path.is_fifo()


def test_without_a_file_there_is_nothing_to_reload(tmp_path: Path) -> None:
    with Daemon(tmp_path, MEMORY) as running:
        with pytest.raises(RpcError, match="without --config") as caught:
            reload(running)
        assert caught.value.code == rpc.IMPOSSIBLE
        nowhere = scsi2nvme("saveconfig", "--state-dir", str(tmp_path))
        assert (nowhere.returncode, nowhere.stderr.count("\n")) == (2, 1)
