"""The daemon as a process: beginning, being asked, and ending."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.daemon import IQN, Daemon, free_port
from tests.iscsi_client import Initiator

MEMORY = "emulated:memory,size=64M"
CHAP = """
[chap]
name = "host"
secret = "a long enough secret"
"""
ONLY_OTHERS = """
[[initiators]]
name = "iqn.1993-08.org.debian:01:other"
"""
MASKED = """
[[initiators]]
name = "iqn.1993-08.org.debian:01:masked"
luns = [1]
"""


def scsi2nvme(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(
        [sys.executable, "-m", "scsi2nvme", *arguments], capture_output=True, text=True, timeout=60
    )


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
    running = Daemon(tmp_path, MEMORY)
    running.start()
    assert running.stop(number) == 0
    assert running.log.read_text() == ""
    assert not (tmp_path / "control.sock").exists()


def test_a_session_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    running = Daemon(tmp_path, MEMORY)
    running.start()
    command = ["iscsi-perf", "-b", "8", "-t", "60", running.url()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as busy:
        assert busy.stdout is not None
        assert busy.stdout.read(1)
        try:
            assert running.stop() == 0
        finally:
            busy.kill()


def test_the_greeting_names_every_target_and_lun(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "scsi2nvme", "serve"]
    command += ["--controller", f"{MEMORY},namespaces=2", "--controller", MEMORY]
    command += ["--iqn", IQN, "--portal", f"127.0.0.1:{port}", "--state-dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ready"):
                break
        process.terminate()
        process.stdout.read()
    text = "".join(lines)
    for end in (f"{IQN}/0", f"{IQN}/1", f"{IQN}:1/0"):
        assert f"iscsi://127.0.0.1:{port}/{end}\n" in text
    assert process.returncode == 0


def test_an_initiator_finds_targets_and_luns(daemon: Daemon) -> None:
    found = iscsi_ls(daemon, "--show-luns")
    assert f"Target:{IQN} Portal:127.0.0.1:{daemon.port},1" in found
    assert "Lun:0" in found
    assert "Lun:1" in found


def test_every_verb_reads_from_the_daemon_and_from_a_spec(daemon: Daemon) -> None:
    where = ("--state-dir", str(daemon.state_dir))
    for verb, key in (
        ("list", "Devices"),
        ("id-ctrl", "subnqn"),
        ("id-ns", "nsze"),
        ("smart-log", "temperature"),
        ("error-log", "errors"),
    ):
        for source in (where, (f"{MEMORY},serial=SN1",)):
            done = scsi2nvme(verb, *source, "--json")
            assert done.returncode == 0, done.stderr
            assert key in json.loads(done.stdout)
            assert key in scsi2nvme(verb, *source).stdout or verb == "list"
    listed = json.loads(scsi2nvme("list", *where, "--json").stdout)["Devices"]
    assert [(row["NameSpace"], row["SerialNumber"]) for row in listed] == [(1, "SN1"), (2, "SN1")]
    second = json.loads(scsi2nvme("id-ns", "-n", "2", *where, "--json").stdout)
    assert second["nsze"] * 512 == 64 << 20


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("id-ns", "-n", "9"), ["no namespace 9", "1, 2"]),
        (("id-ctrl", "7"), ["no controller '7'", "0 to 0"]),
        (("reset", "7"), ["no controller '7'", "0 to 0"]),
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


@pytest.mark.parametrize("kind", ["reservations-", "mode/"])
def test_damaged_state_is_one_line(tmp_path: Path, kind: str) -> None:
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
    damaged = saved.with_name(saved.name.replace("reservations-", quote(kind, safe="")))
    damaged.write_text('{"aptpl": true, "pages": 1}')
    done = scsi2nvme("serve", "--controller", image, "--state-dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert f"saved state {damaged} is damaged" in done.stderr
    assert "move it away to start without it" in done.stderr


def test_whatever_is_asked_is_answered(daemon: Daemon) -> None:
    """On the control socket, by lines of any bytes and requests of any types."""
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=4,
    )
    verbs = st.sampled_from(["list", "id-ctrl", "id-ns", "smart-log", "exports"])
    requests = st.fixed_dictionaries(
        {"verb": verbs | json_values},
        optional={"controller": json_values, "nsid": json_values | st.integers(0, 1 << 70)},
    )

    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(daemon.state_dir / "control.sock"))
        stream = client.makefile("rb")

        @hypothesis.settings(max_examples=100, deadline=None, database=None)
        @given(requests.map(lambda one: json.dumps(one).encode()) | st.binary())
        def ask(line: bytes) -> None:
            client.sendall(line.replace(b"\n", b"") + b"\n")
            (answer,) = json.loads(stream.readline())
            assert answer in ("result", "error")

        ask()
    assert daemon.log.read_text() == ""


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
    with Daemon(tmp_path, spec) as running:
        subprocess.run(
            ["qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", str(image), running.url()],
            check=True,
            timeout=60,
        )
    with Daemon(tmp_path, spec) as running:
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
        command = [sys.executable, "-m", "scsi2nvme", "serve", "--controller", MEMORY]
        command += ["--portal", "127.0.0.1:0", "--state-dir", str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
            assert manager.recv(100) == b"READY=1"
            process.terminate()
            assert manager.recv(100) == b"STOPPING=1"
        assert process.returncode == 0
