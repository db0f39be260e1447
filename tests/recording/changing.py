"""Everything changes while it serves: disks, LUNs, initiators, secrets; by verbs, by the file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.daemon import MEMORY, Daemon
from tests.iscsi_client import Initiator
from tests.recording.scene import Scene
from tests.support import row

BASE = "iqn.2026-11.org.example"
LOAD, ALICE, BOB, CAROL = (f"{BASE}:{name}" for name in ("load", "alice", "bob", "carol"))
FAST, OLD, SHARED = f"{BASE}:fast", f"{BASE}:old", f"{BASE}:shared"
THIRD = f"{MEMORY},serial=S3,namespaces=2"
CONFIG = f"""\
[[controllers]]
spec = "{MEMORY},serial=S1"
iqn = "{FAST}"

[[controllers]]
spec = "{MEMORY},serial=S2"
iqn = "{OLD}"

[[initiators]]
name = "{LOAD}"

[[initiators]]
name = "{ALICE}"
"""
FOURTH = f"{MEMORY},serial=S4,namespaces=2"
MORE = f"""\

[[controllers]]
spec = "{FOURTH}"
target = false

[[targets]]
iqn = "{BASE}:new"
luns = [{{ lun = 0, controller = "{FOURTH}" }}, {{ lun = 1, controller = "{FOURTH}", nsid = 2 }}]

[[initiators]]
name = "{CAROL}"
targets = ["{BASE}:new"]
luns = [0, 1]
"""
READ = row("READ (10)").build(transfer_length=1)
WRITE = row("WRITE (10)").build(transfer_length=1)


@contextmanager
def load(running: Daemon, iqn: str, name: str) -> Iterator[None]:
    """Have an initiator write and read again and again; what it reads is what it wrote."""
    begun, ended = threading.Event(), threading.Event()

    def verify() -> int:
        count = 0
        with Initiator(("127.0.0.1", running.port), name=name) as one:
            one.login(iqn)
            one.hear()
            while not ended.is_set():
                data = bytes([count % 256]) * 512
                assert one.command(0, WRITE, data_out=data).status == 0
                assert one.command(0, READ, data_in=512).data == data
                count += 1
                begun.set()
        return count

    with ThreadPoolExecutor() as pool:
        verified = pool.submit(verify)
        try:
            assert begun.wait(30)
            yield
        finally:
            ended.set()
        assert verified.result()


def play(directory: Path) -> list[tuple[str, str]]:
    """Change all of it while an initiator verifies what it reads of a disk that stays."""
    with (
        Daemon(directory, config=CONFIG) as running,
        load(running, FAST, LOAD),
        Initiator(("127.0.0.1", running.port), name=ALICE) as alice,
    ):
        alice.login(OLD)
        alice.hear()
        scene = Scene(running)
        scene.run("scsi2nvme config")
        scene.run("scsi2nvme sessions")
        scene.run(f"scsi2nvme add {THIRD} --no-target")
        scene.run(f"scsi2nvme add-target {SHARED}")
        scene.run(f"scsi2nvme map {SHARED} 0 {THIRD}")
        scene.run(f"scsi2nvme map {SHARED} 1 {THIRD} 2")
        scene.run(f"scsi2nvme allow {BOB} {SHARED} --lun 0 --lun 1")
        scene.run("scsi2nvme set-secret chap host <secret", "a secret of 12 bytes")
        scene.run(f"scsi2nvme end-session {ALICE}")
        scene.run(f"scsi2nvme remove {OLD}")
        scene.run("scsi2nvme saveconfig")
        scene.run_another("cp config.toml before.toml")
        scene.run_another("sed -i 's/a secret of 12/another of 12/' config.toml")
        scene.write("config.toml", MORE)
        scene.run("scsi2nvme reload --dry-run")
        scene.hang_up("configuration: ~ chap (name host)")
        scene.run_another("cp before.toml config.toml")
        scene.run("scsi2nvme reload --dry-run")
        scene.hang_up(f"configuration: - controller {FOURTH}")
        scene.run("scsi2nvme sessions")
        scene.run("scsi2nvme diff")
        return scene.told
