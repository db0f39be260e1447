"""The daemon as a process: beginning, being asked, and ending."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from scsi2nvme.__main__ import main
from tests import fork_server
from tests.daemon import IQN, MEMORY, PROGRAM, Daemon, FreshDaemon, free_port, scsi2nvme
from tests.iscsi_client import Initiator

CHAP = """
[chap]
name = "host"
secret = "a long enough secret"
"""
DISK = "scsi2nvme-emulated-controller"
ONLY_OTHERS = """
[[initiators]]
name = "iqn.1993-08.org.debian:01:other"
"""
MASKED = """
[[initiators]]
name = "iqn.1993-08.org.debian:01:masked"
luns = [1]
"""


def iscsi_ls(daemon: Daemon, *options: str, credentials: str = "") -> str:
    """Return what an initiator finds at the portal."""
    url = f"iscsi://{credentials}127.0.0.1:{daemon.port}"
    command = ["iscsi-ls", *options, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def inquiry(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Log in to a LUN and read its INQUIRY data."""
    command = ["iscsi-inq", *options, url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with two namespaces in memory."""
    with Daemon(tmp_path, f"{MEMORY},namespaces=2,serial=SN1") as running:
        yield running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_status_0_and_no_words(tmp_path: Path, number: int) -> None:
    running = FreshDaemon(tmp_path, MEMORY)
    running.start()
    assert running.stop(number) == 0
    assert running.log.read_text() == ""
    assert not (tmp_path / "control.sock").exists()


def test_a_session_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    running = FreshDaemon(tmp_path, MEMORY)
    running.start()
    command = ["iscsi-perf", "-b", "8", "-t", "60", running.url()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as busy:
        assert busy.stdout is not None
        assert busy.stdout.read(1)
        try:
            assert running.stop() == 0
        finally:
            busy.kill()


def said(directory: Path, *arguments: str) -> tuple[str, str]:
    """Start and end a daemon; return what it has said, and its messages."""
    words = ["serve", *arguments, "--state-dir", str(directory)]
    reader, writer = os.pipe()
    with os.fdopen(reader) as out, tempfile.TemporaryFile("w+") as log:
        program = fork_server.fork(words, writer, log.fileno())
        os.close(writer)
        lines = []
        for line in out:
            lines.append(line)
            if line.startswith("Ready"):
                program.send_signal(signal.SIGTERM)
        log.seek(0)
        messages = log.read()
        assert program.wait(60) == 0, messages
    return "".join(lines), messages


def test_the_greeting_names_every_target_and_lun(tmp_path: Path) -> None:
    port = free_port()
    controllers = ["--controller", f"{MEMORY},namespaces=2,serial=S1"]
    controllers += ["--controller", f"{MEMORY},serial=S2"]
    text, _ = said(tmp_path, *controllers, "--iqn", IQN, "--portal", f"127.0.0.1:{port}")
    for end in (f"{IQN}:{DISK}-s1/0", f"{IQN}:{DISK}-s1/1", f"{IQN}:{DISK}-s2/0"):
        assert f"iscsi://127.0.0.1:{port}/{end}\n" in text
    assert text.endswith("Ready. Ctrl-C ends it.\nEnding.\n")


@pytest.mark.parametrize("base", ["", IQN])
def test_a_targets_name_follows_the_disk(tmp_path: Path, base: str) -> None:
    """Whatever comes before it in the list: an initiator must not find another disk."""
    words = ("--iqn", base) if base else ()
    images = [f"emulated:{tmp_path / name}.img,size=16M" for name in "abc"]

    def names(*specs: str) -> dict[str, str]:
        options = [word for spec in specs for word in ("--controller", spec)]
        text, _ = said(tmp_path, *options, *words, "--portal", "127.0.0.1:0")
        found = re.findall(r"  target (\S+)  \((.*)\)", text)
        return {spec: name for name, spec in found}

    every = names(*images)
    assert len(set(every.values())) == 3
    assert names(*reversed(images)) == every
    rest = names(*images[1:])
    assert rest == {spec: every[spec] for spec in images[1:]}
    if not base:
        assert names(images[2]) == {images[2]: every[images[2]]}


def test_a_copy_has_no_target_of_the_originals_name(tmp_path: Path) -> None:
    specs = [f"{MEMORY},serial=SAME", "emulated:memory,serial=SAME,size=32M"]
    options = [word for spec in specs for word in ("--controller", spec)]
    text, messages = said(tmp_path, *options, "--portal", "127.0.0.1:0")
    assert text.count("  target ") == 1
    assert f"controller '{specs[1]}' is not served over iSCSI" in messages


def test_a_name_that_was_given_is_no_other_disks(tmp_path: Path) -> None:
    """Not of one either that comes first, and whose own name it is."""
    first, second = f"{MEMORY},serial=S1", "emulated:memory,serial=S2,size=32M"
    name = f"iqn.2026-11.io.github.scsi2nvme:{DISK}-s1"
    file = tmp_path / "scsi2nvme.toml"
    file.write_text(
        f"[[controllers]]\nspec = '{first}'\n[[controllers]]\nspec = '{second}'\niqn = '{name}'\n"
    )
    file.chmod(0o600)
    text, messages = said(tmp_path, "--config", str(file), "--portal", "127.0.0.1:0")
    assert re.findall(r"  target (\S+)  \((.*)\)", text) == [(name, second)]
    assert f"controller '{first}' is not served over iSCSI" in messages


def test_what_two_disks_are_called_calls_neither(tmp_path: Path) -> None:
    specs = (f"{MEMORY},serial=A_B", "emulated:memory,serial=A-B,size=32M")
    controllers = [word for spec in specs for word in ("--controller", spec)]
    _, messages = said(tmp_path, *controllers, "--portal", "127.0.0.1:0")
    for spec in specs:
        assert f"controller '{spec}' is called by its number only" in messages


def test_a_service_manager_that_is_not_there_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    _, messages = said(tmp_path, "--controller", MEMORY, "--portal", "127.0.0.1:0")
    assert "the service manager at NOTIFY_SOCKET" in messages
    assert "Traceback" not in messages


@pytest.mark.parametrize(
    ("portal", "url"), [("0.0.0.0", "127.0.0.1"), ("[::]", "[::1]"), ("127.0.0.1", "127.0.0.1")]
)
@pytest.mark.parametrize("config", ["", CHAP, ONLY_OTHERS], ids=["open", "chap", "names"])
def test_urls_can_be_used_and_everybodys_access_is_told(
    tmp_path: Path, portal: str, url: str, config: str
) -> None:
    port, file = free_port(), tmp_path / "scsi2nvme.toml"
    file.write_text(config)
    file.chmod(0o600)
    text, messages = said(
        tmp_path,
        *("--config", str(file), "--controller", MEMORY, "--iqn", IQN),
        *("--portal", f"{portal}:{port}"),
    )
    assert f"iscsi://{url}:{port}/{IQN}/0\n" in text
    assert not re.search(r"iscsi://(0\.0\.0\.0|\[::\])", text)
    if portal != "127.0.0.1" and config != CHAP:
        assert f"whoever reaches {portal}:{port} may read and write it" in messages
        assert ("under the name iqn.1993-08.org.debian:01:other" in messages) == bool(config)
        assert messages.count("\n") == 1
    else:
        assert messages == ""
    assert ("iscsi-ls" in text) == (not config)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("luns = [0, 7]", "luns: there is no LUN 7; there are: 0, 1"),
        ("luns = [2]\ntargets = ['TARGET']", "luns: there is no LUN 2; there are: 0, 1"),
        ("targets = ['iqn.2026-11.org.example:no']", "there is no target 'iqn.2026-11.org.example"),
    ],
)
@pytest.mark.parametrize("iqn", ["", IQN])
def test_what_initiators_may_use_must_be_there(
    tmp_path: Path, row: str, words: str, iqn: str
) -> None:
    file = tmp_path / "scsi2nvme.toml"
    target = iqn or f"iqn.2026-11.io.github.scsi2nvme:{DISK}-s"
    row = row.replace("TARGET", target)
    file.write_text(f"[[initiators]]\nname = 'iqn.1993-08.org.debian:01:x'\n{row}\n")
    done = scsi2nvme(
        *("serve", "--config", str(file), "--controller", f"{MEMORY},namespaces=2,serial=S"),
        *(("--iqn", iqn) if iqn else ()),
        *("--portal", "127.0.0.1:0", "--state-dir", str(tmp_path)),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def test_list_shows_targets_luns_and_sessions(daemon: Daemon) -> None:
    where = ("--state-dir", str(daemon.state_dir))
    with Initiator(("127.0.0.1", daemon.port)) as one:
        one.login(IQN)
        shown = json.loads(scsi2nvme("list", *where, "--json").stdout)
        text = scsi2nvme("list", *where).stdout
    (target,) = shown["Targets"]
    assert target["Target"] == IQN
    assert target["Portals"] == [f"127.0.0.1:{daemon.port}"]
    assert [(row["LUN"], row["NameSpace"]) for row in target["LUNs"]] == [(0, 1), (1, 2)]
    (session,) = shown["Sessions"]
    assert (session["Target"], session["Connections"]) == (IQN, 1)
    for word in (IQN, session["Initiator"], session["ISID"], "64.00 MiB"):
        assert word in text
    for name in ("0", f"{DISK}-sn1", IQN, IQN.upper()):
        done = scsi2nvme("id-ctrl", name, *where)
        assert done.returncode == 0, done.stderr


def test_an_initiator_finds_targets_and_luns(daemon: Daemon) -> None:
    found = iscsi_ls(daemon, "--show-luns")
    assert f"Target:{IQN} Portal:127.0.0.1:{daemon.port},1" in found
    assert "Lun:0" in found
    assert "Lun:1" in found


def test_every_verb_reads_from_the_daemon_and_from_a_spec(
    daemon: Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--state-dir", str(daemon.state_dir))

    def read(*arguments: str) -> str:
        assert main(arguments) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    for verb, key in (
        ("list", "Devices"),
        ("id-ctrl", "subnqn"),
        ("id-ns", "nsze"),
        ("smart-log", "temperature"),
        ("error-log", "errors"),
    ):
        for source in (where, (f"{MEMORY},serial=SN1",)):
            assert key in json.loads(read(verb, *source, "--json"))
            assert key in read(verb, *source) or verb == "list"
    listed = json.loads(read("list", *where, "--json"))["Devices"]
    assert [(row["NameSpace"], row["SerialNumber"]) for row in listed] == [(1, "SN1"), (2, "SN1")]
    second = json.loads(read("id-ns", "-n", "2", *where, "--json"))
    assert second["nsze"] * 512 == 64 << 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("id-ns", "-n", "9"), ["no namespace 9", "1, 2"]),
        (("id-ctrl", "7"), ["no controller '7'", "there are: 0 or"]),
        (("reset", "7"), ["no controller '7'", "there are: 0 or"]),
    ],
)
def test_what_is_not_there_is_named(
    daemon: Daemon, arguments: tuple[str, ...], words: list[str]
) -> None:
    done = scsi2nvme(*arguments, "--state-dir", str(daemon.state_dir))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


def test_a_controller_is_reset_on_request(daemon: Daemon) -> None:
    done = scsi2nvme("reset", "0", "--state-dir", str(daemon.state_dir))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "controller reset: asked for" in daemon.log.read_text()
    assert inquiry(daemon.url()).returncode == 0


@pytest.mark.parametrize("taken", ["disk", "port", "state directory"])
def test_a_second_instance_is_refused_in_one_line(tmp_path: Path, taken: str) -> None:
    image = tmp_path / "disk.img"
    with Daemon(tmp_path, f"emulated:{image},size=64M") as running:
        other = tmp_path / "other"
        spec = f"emulated:{image}" if taken == "disk" else MEMORY
        port = running.port if taken == "port" else free_port()
        directory = tmp_path if taken == "state directory" else other
        done = scsi2nvme(
            *("serve", "--controller", spec),
            *("--portal", f"127.0.0.1:{port}", "--state-dir", str(directory)),
        )
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert {"disk": "disk.img", "port": str(port), "state directory": str(tmp_path)}[
            taken
        ] in done.stderr
        assert "in use" in done.stderr
        assert IQN in iscsi_ls(running)


def test_a_second_controller_that_fails_ends_the_first(tmp_path: Path) -> None:
    missing = tmp_path / "none" / "disk.img"
    done = scsi2nvme(
        *("serve", "--controller", MEMORY, "--controller", f"emulated:{missing}"),
        *("--portal", "127.0.0.1:0", "--state-dir", str(tmp_path)),
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert str(missing) in done.stderr


def test_reservations_that_are_lost_close_a_disk_until_they_are_replaced(tmp_path: Path) -> None:
    image = f"emulated:{tmp_path / 'disk.img'},size=64M"
    keys = bytes(8) + b"\x11" * 8 + bytes([0, 0, 0, 0, 1, 0, 0, 0])  # APTPL
    daemon = Daemon(tmp_path, image, arguments=())
    with daemon as running, Initiator(("127.0.0.1", running.port)) as one:
        one.login(IQN)
        one.hear()
        assert one.command(0, bytes([0x5F, *bytes(7), 24, 0]), data_out=keys).status == 0
    (saved,) = (tmp_path / "units").glob("reservations-*")
    saved.write_text('{"aptpl": tr')
    with daemon as running, Initiator(("127.0.0.1", running.port)) as one:
        assert running.logs(f"{saved} is damaged")
        assert running.logs("sg_persist --out --replace-lost")
        one.login(IQN)
        one.hear()
        assert one.command(0, bytes([0x28, *bytes(7), 1, 0]), data_in=512).sense_triple == (
            7,
            0x44,
            1,
        )
        assert saved.read_text() == '{"aptpl": tr'
        replace = bytes([0x5F, 8, 5, *bytes(5), 24, 0])
        assert one.command(0, replace, data_out=keys).status == 0
        assert one.command(0, bytes([0x28, *bytes(7), 1, 0]), data_in=512).status == 0
    assert '"type": 5' in saved.read_text()


def test_damaged_state_is_one_line(tmp_path: Path) -> None:
    image = f"emulated:{tmp_path / 'disk.img'},size=64M"
    with (
        Daemon(tmp_path, image, arguments=()) as running,
        Initiator(("127.0.0.1", running.port)) as one,
    ):
        one.login(IQN)
        data = bytes(8) + b"\x11" * 8 + bytes([0, 0, 0, 0, 1, 0, 0, 0])  # APTPL
        assert one.command(0, bytes(6)).status in (0, 2)
        assert one.command(0, bytes([0x5F, *bytes(7), 24, 0]), data_out=data).status == 0
    (saved,) = (tmp_path / "units").glob("reservations-*")
    damaged = saved.with_name(saved.name.replace("reservations-", quote("mode/", safe="")))
    damaged.write_text('{"aptpl": true, "pages": 1}')
    done = scsi2nvme("serve", "--controller", image, "--state-dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert f"saved state {damaged} is damaged" in done.stderr
    assert "move it away to start without it" in done.stderr


def test_chap_is_demanded(tmp_path: Path) -> None:
    with Daemon(tmp_path, MEMORY, config=CHAP) as running:
        assert inquiry(running.url()).returncode != 0
        assert inquiry(running.url(credentials="host%not the secret at all@")).returncode != 0
        right = inquiry(running.url(credentials="host%a long enough secret@"))
        assert right.returncode == 0, right.stderr


def test_only_listed_initiators_see_the_target(tmp_path: Path) -> None:
    with Daemon(tmp_path, MEMORY, config=ONLY_OTHERS) as running:
        assert IQN not in iscsi_ls(running)
        assert inquiry(running.url()).returncode != 0
        assert IQN in iscsi_ls(running, "-i", "iqn.1993-08.org.debian:01:other")


def test_a_target_is_described_by_its_alias_alone(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    table = f'[[controllers]]\nspec = "emulated:{image},size=64M"\n'
    for alias, told in (("", None), ('alias = "the cellar"\n', "the cellar")):
        with (
            Daemon(tmp_path, config=table + alias) as running,
            Initiator(("127.0.0.1", running.port)) as one,
        ):
            one.login(IQN)
            assert one.keys.get("TargetAlias") == told


def test_luns_are_masked(tmp_path: Path) -> None:
    initiator = ("-i", "iqn.1993-08.org.debian:01:masked")
    with Daemon(tmp_path, f"{MEMORY},namespaces=2", config=MASKED) as running:
        found = iscsi_ls(running, "--show-luns", *initiator)
        assert "Lun:1" in found
        assert "Lun:0" not in found


def test_a_read_only_disk_says_so(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 20))
    with Daemon(tmp_path, f"{MEMORY},readonly=on") as running:
        command = ["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", str(image), running.url()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0


def test_data_outlives_the_daemon(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(os.urandom(1 << 20) + bytes(63 << 20))
    spec = f"emulated:{tmp_path / 'disk.img'},size=64M"
    with FreshDaemon(tmp_path, spec) as running:
        subprocess.run(
            ["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", str(image), running.url()],
            check=True,
            timeout=60,
        )
    with FreshDaemon(tmp_path, spec) as running:
        subprocess.run(
            ["qemu-img", "compare", "-f", "raw", "-F", "raw", str(image), running.url()],
            check=True,
            timeout=60,
            stdout=subprocess.DEVNULL,
        )


def test_it_serves_on_ipv6(tmp_path: Path) -> None:
    port = free_port()
    with Daemon(tmp_path, MEMORY, arguments=("--portal", f"[::1]:{port}")):
        command = ["iscsi-ls", f"iscsi://[::1]:{port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert f"Portal:[::1]:{port},1" in done.stdout


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(60)
        manager.bind(str(tmp_path / "notify"))
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        command = [*PROGRAM, "serve", "--controller", MEMORY]
        command += ["--portal", "127.0.0.1:0", "--state-dir", str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
            assert manager.recv(100) == b"READY=1"
            process.terminate()
            while (told := manager.recv(100)).startswith(b"STATUS="):
                pass  # what it serves meanwhile
            assert told == b"STOPPING=1"
        assert process.returncode == 0
