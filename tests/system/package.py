"""The Debian package of this checkout, and an older one, which lacks something and has another.

No other version was ever released: so the older one is made of this one.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.system.disk import ROOT, run

OLD, NEW = "old.deb", "new.deb"
EXTRAS = "completion,metrics,shell,tcmu"
OLDER = "0.0.1"
# Of the program's modules: one that the older one has not, and one that only it has.
NEWER_VERB, DROPPED = "cli/verbs/locate.py", "cli/dropped.py"


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
    compiling = (sys.executable, "-m", "compileall", "-q", "-s", tree, "-p", "/")
    run(*compiling, site)
    packing = ("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree)
    run(*packing, directory / NEW)
    (package,) = site.glob("python3.*/site-packages/scsi2nvme")
    _make_older(tree, package)
    run(*compiling, package)
    run(*packing, directory / OLD)
    return directory


def _make_older(tree: Path, package: Path) -> None:
    (package / NEWER_VERB).unlink()
    for compiled in (package / NEWER_VERB).parent.glob("__pycache__/locate.*"):
        compiled.unlink()
    (package / DROPPED).write_text("")
    for file, line in (
        (tree / "DEBIAN/control", f"Version: {OLDER}-1"),
        (package / "__init__.py", f'__version__ = "{OLDER}"'),
    ):
        begin = line.split()[0]
        text, count = re.subn(f"^{begin} .*$", line, file.read_text(), flags=re.MULTILINE)
        assert count == 1, file
        file.write_text(text)
