"""The load that machines put on their disks, as far as that can be seen outside of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# Each time SIGTERM comes a line later, of all that are run once the load has begun.
ENDED_ANYWHERE = """
import faulthandler, os, signal, sys
from pathlib import Path
from tests.system import acknowledged

count = Path(sys.argv[1])
acknowledged._COUNT_S = 0.001

def trace(frame, event, _):
    global left
    if event == "line" and count in begun:
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGTERM)
    return trace

def rename(path, to):
    os.rename(path, to)
    begun.add(to)

Path.rename = rename
for line in range(1, 150):
    faulthandler.dump_traceback_later(20, exit=True)
    left, begun = line, set()
    sys.settrace(trace)
    acknowledged.work([], count)
    sys.settrace(None)
    assert left <= 0
"""


def test_a_load_ends_whenever_it_is_told_to(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", ENDED_ANYWHERE, tmp_path / "count"], check=True)
