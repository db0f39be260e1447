"""The Debian package of this checkout, and an older one that differs in its version alone."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.system.disk import ROOT, run

OLD, NEW = "old.deb", "new.deb"
EXTRAS = "completion,metrics,shell,tcmu"
_OLDER = "0.0.1-1"


def build(program: Path) -> Path:
    """Return a directory with OLD and NEW, of the wheel that the program's disk was made of.

    They hold what their installation compiles, as it was compiled here, for this takes a minute in
    the machine; that of the same Python finds nothing left to do.
    """
    (wheel,) = program.glob("*.whl")
    directory = program / "packages"
    if (directory / OLD).exists():
        return directory
    directory.mkdir(exist_ok=True)
    run(ROOT / "packaging/deb.sh", sys.executable, wheel, EXTRAS, directory)
    tree, site = directory / "root", directory / "root/usr/lib/scsi2nvme/lib"
    run(sys.executable, "-m", "compileall", "-q", "-s", tree, "-p", "/", site)
    control = tree / "DEBIAN/control"
    for name in (NEW, OLD):
        run("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, directory / name)
        control.write_text(
            re.sub("^Version: .*$", f"Version: {_OLDER}", control.read_text(), flags=re.MULTILINE)
        )
    return directory
