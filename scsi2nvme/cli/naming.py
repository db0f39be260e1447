"""What controllers and their targets are called where nobody has said it: by the disk.

A name must not become another disk's when the list of controllers changes, or the order in which
the machine finds them.
"""

from __future__ import annotations

import re

from scsi2nvme.fields import Values

BASE = "iqn.2026-11.io.github.scsi2nvme"

_MULTIPLE_CONTROLLERS = 1 << 1  # CMIC


def disk_name(identity: Values) -> str:
    """Return what a disk is called by its Identify Controller data: model and serial number.

    Of a disk with several controllers each has its own. Lower case letters, digits, `-` and `.`,
    as names of all kinds may have them. Spec: NVMe Base 2.0c 5.17.2.1 (MN, SN, CNTLID, CMIC).
    """
    words = [identity.text("mn"), identity.text("sn")]
    if identity.cmic & _MULTIPLE_CONTROLLERS:
        words.append(f"{identity.cntlid:x}")
    name = re.sub("[^a-z0-9.]+", "-", " ".join(words).lower())
    return name.strip("-.") or "disk"
