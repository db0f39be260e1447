"""Initiators that others wrote, against a daemon on every kind of controller."""

from __future__ import annotations

import filecmp
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import load
from scsi2nvme.__main__ import main
from tests.daemon import IQN, Daemon, free_port
from tests.integration.disks import KINDS, MIB, spec
from tests.iscsi_chap import Chap
from tests.iscsi_client import Initiator, LoginError

SIZE_MIB = 64
USER, SECRET = "host", "a long enough secret"
CHAP = f'[chap]\nname = "{USER}"\nsecret = "{SECRET}"\n'
FIRST, BOTH = "iqn.1993-08.org.debian:01:first", "iqn.1993-08.org.debian:01:both"
MASKED = f"""
[[initiators]]
name = "{FIRST}"
luns = [0]
[[initiators]]
name = "{BOTH}"
"""
CRC32C = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}


def run(*command: str | Path) -> str:
    """Run a program that must succeed and return what it prints."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, capture_output=True, encoding="utf-8", errors="replace", timeout=120
    )
    assert done.returncode == 0, f"{words}: {done.stdout} {done.stderr}"
    return done.stdout


def fails(*command: str) -> str:
    """Run a program that must fail and return its complaint."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0, done.stdout
    return done.stderr


def image(path: Path, seed: int, size_mib: int = SIZE_MIB) -> Path:
    """Make a disk image: random pieces, zeroes and repetitions."""
    chance = random.Random(seed)
    with path.open("wb") as file:
        file.truncate(size_mib * MIB)
        for _ in range(64):
            length = chance.randrange(1, 512) * 512
            file.seek(chance.randrange(size_mib * MIB - length) // 512 * 512)
            file.write(chance.choice([chance.randbytes(length), b"\x5a" * length]))
    return path


def options(daemon: Daemon, **more: str | int) -> str:
    """Return `--image-opts` of LUN 0 for QEMU."""
    pairs: dict[str, str | int] = {
        "driver": "iscsi",
        "transport": "tcp",
        "portal": f"127.0.0.1:{daemon.port}",
        "target": IQN,
        "lun": 0,
    }
    return ",".join(f"{key}={value}" for key, value in {**pairs, **more}.items())


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@pytest.fixture
def daemon(kind: str, tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path, spec(kind, tmp_path, size_mib=SIZE_MIB)) as running:
        yield running
    assert running.log.read_text() == ""


def test_iscsi_tools_tell_what_there_is(daemon: Daemon) -> None:
    found = run("iscsi-ls", "--show-luns", f"iscsi://127.0.0.1:{daemon.port}")
    assert f"Target:{IQN} Portal:127.0.0.1:{daemon.port},1" in found
    assert "Lun:0" in found
    assert "DIRECT_ACCESS" in found
    capacity = run("iscsi-readcapacity16", daemon.url())
    assert re.search(r"LOGICAL BLOCK LENGTH IN BYTES:(512|4096)\n", capacity)
    assert f"Total size:{SIZE_MIB * MIB}\n" in capacity
    inquiry = run("iscsi-inq", daemon.url())
    assert "Peripheral Device Type:DIRECT_ACCESS" in inquiry
    assert "Vendor:NVMe" in inquiry
    pages = run("iscsi-inq", "-e", "1", "-c", "0", daemon.url())
    for page in ("0x00", "0x80", "0x83", "0xb0", "0xb1", "0xb2"):
        assert f"Page:{page}" in pages
        assert run("iscsi-inq", "-e", "1", "-c", page, daemon.url())


def test_libiscsi_sees_luns_come_and_go(tmp_path: Path) -> None:
    with Daemon(tmp_path, "emulated:memory,size=1M,capacity=8M") as daemon:

        def luns() -> set[str]:
            found = run("iscsi-ls", "--show-luns", f"iscsi://127.0.0.1:{daemon.port}")
            return set(re.findall(r"Lun:(\d+)", found))

        def verb(*words: str) -> None:
            assert main([*words, "--state-dir", str(tmp_path)]) == 0

        assert luns() == {"0"}
        verb("create-ns", "-S", "2Mi")
        verb("attach-ns", "-n", "2")
        assert luns() == {"0", "1"}
        assert f"Total size:{2 * MIB}\n" in run("iscsi-readcapacity16", daemon.url(1))
        verb("delete-ns", "-n", "2", "--force")
        assert luns() == {"0"}
        assert "NOT_SUPPORTED" in fails("iscsi-readcapacity16", daemon.url(1)).upper()


@pytest.mark.parametrize("block", [512, 4096])
def test_an_image_goes_there_and_back(kind: str, block: int, tmp_path: Path) -> None:
    original, copy = image(tmp_path / "original", seed=block), tmp_path / "copy"
    with Daemon(tmp_path, spec(kind, tmp_path, size_mib=SIZE_MIB, block=block)) as daemon:
        url = daemon.url()
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", original, url)
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", original, url)
        run("qemu-img", "convert", "-f", "raw", "-O", "raw", url, copy)
    assert filecmp.cmp(original, copy, shallow=False)
    assert daemon.log.read_text() == ""


@pytest.mark.parametrize(
    "arguments",
    [["-d", "32", "-s", "4096"], ["-d", "8", "-s", "65536"], ["-d", "1", "-s", "1048576"]],
    ids=" ".join,
)
def test_qemu_img_bench(daemon: Daemon, arguments: list[str]) -> None:
    common = ["-f", "raw", "-t", "none", "-c", "200", *arguments]
    assert "Run completed" in run("qemu-img", "bench", *common, daemon.url())
    write = ["-w", "--flush-interval", "50", "--pattern", "165"]
    assert "Run completed" in run("qemu-img", "bench", *write, *common, daemon.url())


def test_iscsi_perf(daemon: Daemon) -> None:
    output = run("iscsi-perf", "--random", "-b", "8", "-m", "32", "-t", "1", daemon.url())
    averages = re.findall(r"iops average (\d+)", output)
    assert int(averages[-1]) > 0
    assert "finished" in output


def test_header_digests_of_another_initiator(daemon: Daemon, tmp_path: Path) -> None:
    original = image(tmp_path / "original", seed=3)
    disk = options(daemon, **{"header-digest": "crc32c"})
    run("qemu-img", "convert", "-n", "-f", "raw", "--target-image-opts", original, disk)
    run("qemu-img", "compare", "--image-opts", f"driver=file,filename={original}", disk)
    verify = ["--verify", "--header-digest", "--operation", "mixed", "--seconds", "1"]
    run(load.program(), "--url", daemon.url(), "--depth", "8", "--cells", "16", *verify)


@pytest.mark.parametrize("keys", [{}, {"HeaderDigest": "None"}, {"DataDigest": "None"}])
def test_digests_of_everything_that_moves(daemon: Daemon, keys: dict[str, str]) -> None:
    """libiscsi knows no data digests: an initiator of our own does."""
    data = random.Random(1).randbytes(256 * 4096)
    wanted = CRC32C | keys
    with Initiator(("127.0.0.1", daemon.port)) as initiator:
        initiator.login(IQN, wanted)
        assert {key: initiator.keys[key] for key in CRC32C} == wanted
        initiator.command(0, bytes(6))  # takes the unit attention
        blocks = len(data) // 512
        length = blocks.to_bytes(2, "big")
        write = bytes([0x2A, 0, 0, 0, 0, 9, 0]) + length + b"\0"
        read = bytes([0x28]) + write[1:]
        assert initiator.command(0, write, data_out=data).status == 0
        assert initiator.command(0, read, data_in=len(data)).data == data
        initiator.logout()


def test_chap(kind: str, tmp_path: Path) -> None:
    original = image(tmp_path / "original", seed=4, size_mib=8)
    with Daemon(tmp_path, spec(kind, tmp_path, size_mib=8), config=CHAP) as daemon:
        right = daemon.url(credentials=f"{USER}%{SECRET}@")
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", original, right)
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", original, right)
        for credentials in ("", f"{USER}%another secret of length@", f"other%{SECRET}@"):
            fails("iscsi-readcapacity16", daemon.url(credentials=credentials))
        for algorithm in ("5", "6", "7", "8"):
            with Initiator(("127.0.0.1", daemon.port)) as initiator:
                initiator.login(IQN, chap=Chap(USER, SECRET.encode(), algorithm))
        with Initiator(("127.0.0.1", daemon.port)) as initiator, pytest.raises(LoginError):
            initiator.login(IQN, chap=Chap(USER, b"another secret", "7"))


def test_an_ipv6_portal_beside_the_other(kind: str, tmp_path: Path) -> None:
    original = image(tmp_path / "original", seed=5, size_mib=8)
    port = free_port()
    more = ("--portal", f"[::1]:{port}")
    with Daemon(tmp_path, spec(kind, tmp_path, size_mib=8), arguments=more) as daemon:
        found = run("iscsi-ls", f"iscsi://[::1]:{port}")
        assert f"Portal:[::1]:{port},1" in found
        assert f"Portal:127.0.0.1:{daemon.port},1" in found
        url = f"iscsi://[::1]:{port}/{IQN}/0"
        run("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", original, url)
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", original, daemon.url())


def test_luns_are_masked(kind: str, tmp_path: Path) -> None:
    disk = spec(kind, tmp_path, size_mib=8, namespaces=2)
    with Daemon(tmp_path, disk, config=MASKED) as daemon:

        def reaches(initiator: str, lun: int) -> bool:
            words = ["-i", initiator, daemon.url(lun)]
            done = subprocess.run(["iscsi-inq", *words], capture_output=True, timeout=60)
            return done.returncode == 0

        seen = {
            name: [lun for lun in (0, 1) if reaches(name, lun)]
            for name in (FIRST, BOTH, "iqn.1993-08.org.debian:01:stranger")
        }
        assert list(seen.values()) == [[0], [0, 1], []]
        second = options(daemon, lun=1, **{"initiator-name": FIRST})
        assert fails("qemu-img", "info", "--image-opts", second)
        allowed = options(daemon, lun=1, **{"initiator-name": BOTH})
        assert "virtual size: 8 MiB" in run("qemu-img", "info", "--image-opts", allowed)
