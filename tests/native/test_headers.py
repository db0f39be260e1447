"""The headers that the bindings are made from."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
HEADERS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("scsi2nvme", "target", "drivers")
    for path in (ROOT / folder).rglob("csrc/*.h")
    if "/* cdef begin */" in path.read_text(encoding="utf-8")
)


def test_each_is_bound_once_and_builds_the_binding_anew() -> None:
    described = (ROOT / "scsi2nvme/_dataplane_ffi.py").read_text(encoding="utf-8")
    assert sorted(re.findall(r'"(\S+/csrc/\S+\.h)"', described)) == HEADERS
    built = (ROOT / "meson.build").read_text(encoding="utf-8")
    assert sorted(re.findall(r"'(\S+/csrc/\S+\.h)'", built)) == HEADERS
