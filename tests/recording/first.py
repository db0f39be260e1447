"""The first minutes: an image is served, written, read back, and still there after a restart."""

from __future__ import annotations

import os
from pathlib import Path

from tests.daemon import Daemon
from tests.recording.scene import PORT, Scene

BASE = "iqn.2026-11.org.example"
PORTAL = f"iscsi://127.0.0.1:{PORT}"
URL = f"{PORTAL}/{BASE}:disk/0"
SERVE = f"scsi2nvme serve --controller emulated:disk.img,size=64M --state-dir . --iqn {BASE}:disk"
IMAGE_BYTES, DISK_BYTES = 1 << 22, 64 << 20


def play(directory: Path) -> list[tuple[str, str]]:
    """Serve a disk as a newcomer does, with nothing but what the tutorial names."""
    text = b"".join(b"line %06d\n" % number for number in range(IMAGE_BYTES // 12 + 1))
    (directory / "image.raw").write_bytes(text[:IMAGE_BYTES])
    os.truncate(directory / "image.raw", DISK_BYTES)
    spec = f"emulated:{directory}/disk.img,size=64M"
    config = f'[[controllers]]\nspec = "{spec}"\niqn = "{BASE}:disk"\n'
    with Daemon(directory, config=config) as running:
        scene = Scene(running, home="")
        scene.tell(f"{SERVE} &", running.greeting)
        scene.run_another(f"iscsi-ls -s {PORTAL}")
        scene.run_another(f"iscsi-inq {URL}")
        scene.run_another(f"qemu-img convert -n -f raw -O raw image.raw {URL}")
        scene.run_another(f"qemu-img info -f raw {URL}")
        more = f"emulated:{directory}/more.img,size=64M,serial=S2"
        scene.run(f"scsi2nvme add {more} --iqn {BASE}:more")
        scene.run_another(f"iscsi-ls {PORTAL}")
        assert running.stop() == 0
        scene.tell("kill %1", "Ending.\n")
    with Daemon(directory, config=config) as again:
        scene.daemon = again
        scene.tell(f"{SERVE} >/dev/null &")
        scene.run_another(f"qemu-img compare -f raw -F raw image.raw {URL}")
        return scene.told
