"""`python -S tests/start.py …` is `scsi2nvme …`, without what an editable install adds to a start.

That looks for what is to be built, and for each module in the list of what would be installed,
which takes a fifth of a daemon's start; a run of the tests has built what there is to build.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"

sys.path[0] = str(ROOT)
sys.path.append(str(Path(sys.executable).parent.parent / "lib" / PYTHON / "site-packages"))

import scsi2nvme  # noqa: E402  # as the path says now

scsi2nvme.__path__.append(str(ROOT / "build" / "editable"))  # there is the native module

from scsi2nvme.__main__ import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
