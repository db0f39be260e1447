"""Record the sessions of docs/recordings/: `python -m tests.recording`, run by `make docs`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.recording import RECORDINGS
from tests.recording.scene import cast, drawn

DIRECTORY = Path(__file__).parents[2] / "docs" / "recordings"


def main() -> int:
    """Play every session; write what has changed."""
    for name, (title, play) in RECORDINGS.items():
        with tempfile.TemporaryDirectory() as directory:
            recording = cast(title, play(Path(directory)))
        path = DIRECTORY / f"{name}.cast"
        if not path.exists() or path.read_text(encoding="utf-8") != recording:
            path.write_text(recording, encoding="utf-8")
            path.with_suffix(".svg").write_text(drawn(recording), encoding="utf-8")
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
