"""What is said where a machine's root filesystem cannot be built."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system import image, root
from tests.system.disk import BuildError


@pytest.mark.parametrize("known", [True, False])
def test_a_kernel_that_apt_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    """What builds says no more than that it failed."""

    def build(directory: Path, kernel: str) -> None:
        raise BuildError("it failed")

    monkeypatch.setattr(root, "build", build)
    apt = tmp_path / "apt-cache"
    apt.write_text(f"#!/bin/sh\nexit {0 if known else 100}\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(image, "CACHE", tmp_path / "cache")
    with pytest.raises(BuildError) as raised:
        image.images("linux-image-9.9-amd64")
    assert ("run: apt-get update" in str(raised.value)) is not known
