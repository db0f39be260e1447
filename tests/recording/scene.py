"""A session at a terminal that is recorded: what is typed, what is told, as an asciicast.

Spec: docs.asciinema.org/manual/asciicast/v2. Times are made up, and what differs from run to run,
such as ports and clocks, is told as it was the first time: a recording is the same whenever it is
made, and a test holds it against the program.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from dataclasses import dataclass, field

from tests.daemon import PROGRAM, Daemon, scsi2nvme

WIDTH = 100
PROMPT = "$ "
PORT = 3260  # as it is told
_TYPED_S, _TOLD_S, _READ_S = 0.6, 0.3, 1.5


@dataclass
class Scene:
    """One session, with the daemon of whoever types; what it is told, line by line typed."""

    daemon: Daemon
    told: list[tuple[str, str]] = field(default_factory=list)
    home: str = "/var/lib/scsi2nvme/"  # what its directory is told to be

    def run(self, line: str, typed: str = "") -> None:
        """Run a line of the program's, with what is typed into it; it must end well."""
        words = [
            *shlex.split(line.partition("<")[0])[1:],
            "--state-dir",
            str(self.daemon.state_dir),
        ]
        if typed:
            command = [*PROGRAM, *words]
            done = subprocess.run(command, input=typed, capture_output=True, text=True)
        else:
            done = scsi2nvme(*words)
        assert done.returncode == 0, (line, done.stderr)
        self.tell(line, done.stdout + done.stderr)

    def run_another(self, line: str) -> None:
        """Run a line of other programs', in the daemon's directory; it must end well."""
        done = subprocess.run(
            shlex.split(line.replace(f":{PORT}", f":{self.daemon.port}")),
            cwd=self.daemon.state_dir,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (line, done.stderr)
        self.tell(line, done.stdout + done.stderr)

    def write(self, name: str, text: str) -> None:
        """Append to a file beside the daemon's state."""
        with (self.daemon.state_dir / name).open("a") as file:
            file.write(text)
        self.tell(f"cat >>{name} <<END\n{text}END")

    def hang_up(self, done: str) -> None:
        """Have the daemon read its file again, and wait until it tells that it has `done` that."""
        os.kill(self.daemon.pid, signal.SIGHUP)
        assert self.daemon.logs(done)
        self.tell("kill -HUP $(cat lock)")

    def tell(self, line: str, output: str = "") -> None:
        """Note what was typed, and what came of it."""
        self.told.append((self._usual(line), self._usual(output)))

    def _usual(self, text: str) -> str:
        """Return what is told as it always is: ports, clocks and numbers of processes."""
        text = text.replace(f":{self.daemon.port}", f":{PORT}")
        text = text.replace(f"{self.daemon.state_dir}/", self.home)
        text = text.replace(str(self.daemon.state_dir), self.home.rstrip("/") or ".")
        return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "2026-11-30 12:00:00", text)


def cast(title: str, told: list[tuple[str, str]]) -> str:
    """Return a session as an asciicast."""
    at_s = 0.0
    events: list[tuple[float, str, str]] = []
    for line, output in told:
        events.append((round(at_s, 1), "o", PROMPT))
        at_s += _TYPED_S
        for part in line.splitlines(keepends=True):
            events.append((round(at_s, 1), "o", part.replace("\n", "\r\n")))
        at_s += _TOLD_S
        events.append((round(at_s, 1), "o", "\r\n" + output.replace("\n", "\r\n")))
        at_s += _READ_S
    rows = sum(len(text.split("\n")) - 1 for _, _, text in events) + 1
    header = {"version": 2, "width": WIDTH, "height": rows, "title": title}
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in (header, *events))


def drawn(recording: str) -> str:
    """Return an asciicast's last screen as a picture, without anything of another site's."""
    from io import StringIO

    from rich.console import Console
    from rich.text import Text

    header, *events = map(json.loads, recording.splitlines())
    console = Console(width=header["width"], record=True, file=StringIO(), force_terminal=True)
    for line in "".join(text for _, _, text in events).replace("\r\n", "\n").splitlines():
        bold = line.startswith(PROMPT)
        console.print(Text(line, style="bold" if bold else ""), soft_wrap=False, overflow="fold")
    picture = console.export_svg(title=header["title"], font_aspect_ratio=0.61)
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
