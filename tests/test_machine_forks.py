"""What a machine forks programs from, as far as that can be seen outside of one."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.daemon import MEMORY, Daemon, Process
from tests.system import forks
from tests.waiting import until


@pytest.mark.parametrize("name", forks.IMPORTED)
def test_what_is_imported_beforehand_is_there(name: str) -> None:
    import_module(name)


class OfMachine(Daemon):
    """A daemon as a machine's are."""

    def begin(self, stdout: int, stderr: int, environment: dict[str, str]) -> Process:
        become = "import sys; from tests.system import forks; forks._become(sys.argv[1:], range(3))"
        words = [sys.executable, "-c", become, "scsi2nvme", *self.words()]
        return subprocess.Popen(words, stdout=stdout, stderr=stderr, env=environment)


def test_it_tells_where_it_is(tmp_path: Path) -> None:
    """What each task of its event loop waits for, from the outside in; and serves on."""
    accepts = re.compile(r"\nTask .*\n  .*/listeners.py:\d+ _accept\n  .* sock_accept\n")
    with OfMachine(tmp_path, MEMORY) as daemon:
        os.kill(daemon.pid, signal.SIGURG)
        until(lambda: accepts.search(daemon.log.read_text()), "tasks are told")
        assert daemon.stop() == 0
    assert "Current thread" in daemon.log.read_text()


def test_what_is_no_program_of_debian_is_imported() -> None:
    for name in ("scsi2nvme", "acknowledged"):
        assert callable(forks.PROGRAMS[name](name))
