"""The status page in a browser, Chromium: what people see of what the daemon tells."""

from __future__ import annotations

import subprocess
from html.parser import HTMLParser
from pathlib import Path

from scsi2nvme import __version__
from tests.cli.workers import Worker
from tests.daemon import IQN, Daemon, free_port

NAME = "iqn.2026-11.test:page"
# What a browser must not take for an element.
FILE = "<b>disk.img"
HEALTH = "health=temperature:44,health=spare:7,health=used:93,health=media-errors:3"
BROWSER = (
    "chromium-headless-shell",
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--virtual-time-budget=5000",  # ms, that pass at once when nothing is waited for
    "--dump-dom",
)


class Page(HTMLParser):
    """The texts of a document's elements by their `id`, and the rows of its tables."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.rows: dict[str, list[list[str]]] = {}
        self._of = ""
        self._cell: list[str] | None = None
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._of = dict(attrs).get("id") or self._of
        if tag == "tr":
            self.rows.setdefault(self._of, []).append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self._cell is not None:
            self.rows[self._of][-1].append("".join(self._cell))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self._cell.append(data)
        else:
            self.texts[self._of] = self.texts.get(self._of, "") + data

    def table(self, name: str) -> list[dict[str, str]]:
        """Return a table's rows by the words in its head."""
        heads, *rows = self.rows[name]
        return [dict(zip(heads, row, strict=True)) for row in rows]


def test_people_see_what_the_daemon_tells(tmp_path: Path) -> None:
    """Whatever names say, and by the page's own policy of what may run in it."""
    port = free_port()
    disk = f"emulated:{tmp_path}/{FILE},size=64M,serial=S,{HEALTH}"
    arguments = ("--metrics", f"127.0.0.1:{port}")
    with (
        Daemon(tmp_path, disk, arguments=arguments) as running,
        Worker(running, NAME, IQN).initiator as one,
    ):
        one.hear()
        command = [*BROWSER, f"http://127.0.0.1:{port}/"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    page = Page(done.stdout)
    assert page.texts["told"].startswith(f"Version {__version__}, up "), done.stdout
    (controller,) = page.table("controllers")
    assert (controller["Controller"], controller["State"]) == (disk, "live")
    (health,) = page.table("health")
    del health["Controller"]
    assert list(health.values()) == ["44 °C", "93 %", "7 %", "3", "spare"]
    (unit,) = page.table("units")
    assert (unit["Namespace"], unit["Target"], unit["now"]) == ("1", IQN, "0")
    (session,) = page.table("sessions")
    assert (session["Initiator"], session["Target"]) == (NAME, IQN)
