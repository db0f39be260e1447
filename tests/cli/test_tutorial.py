"""What is typed without any disk, as the tutorial and README have it, whatever they have.

Other addresses are put in their place, as tests run side by side.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.daemon import IQN, PROGRAM, Daemon, free_port

ROOT = Path(__file__).parents[2]


def blocks(page: str, begin: str) -> list[str]:
    """Return what is to be typed below a heading."""
    text = (ROOT / page).read_text().split(f"\n## {begin}\n")[1].split("\n## ")[0]
    return re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def typed(lines: str, port: int, directory: Path) -> str:
    """Type lines in a shell; returns what they have written."""
    script = lines.replace("127.0.0.1:3260", f"127.0.0.1:{port}")
    done = subprocess.run(
        ["sh", "-eux"], input=script, cwd=directory, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def begun(command: str, port: int, directory: Path) -> Iterator[None]:
    """Have a command of a page serve, at another address."""
    words = command.replace("\\\n", " ").split()
    assert words[:2] == ["scsi2nvme", "serve"]
    process = subprocess.Popen(
        [*PROGRAM, *words[1:], "--portal", f"127.0.0.1:{port}"],
        cwd=directory,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert any(line.startswith("Ready") for line in process.stdout)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_the_tutorial_without_a_disk(tmp_path: Path) -> None:
    serve, look, *_ = blocks("docs/tutorial.md", "Through the portal")
    port = free_port()
    with begun(serve, port, tmp_path):
        shown = typed(look, port, tmp_path)
    assert "iqn.2026-11.org.example:disk" in shown
    assert "virtual size: 1 GiB" in shown


def test_what_the_readme_has_an_initiator_do(tmp_path: Path) -> None:
    """`make serve` itself is `make stranger`'s."""
    _, initiator = blocks("README.md", "Two commands")
    (tmp_path / "image.raw").write_bytes(bytes(1 << 20))
    with Daemon(tmp_path, "emulated:memory,size=1M") as running:
        shown = typed(
            initiator.replace("iqn.2026-11.io.github.scsi2nvme:disk0", IQN), running.port, tmp_path
        )
    assert "Vendor:NVMe" in shown.replace(" ", "")
