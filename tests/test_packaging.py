"""What a wheel holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import scsi2nvme
from tests.daemon import Daemon

ROOT = Path(__file__).parent.parent
FOLDERS = ("scsi2nvme", "target", "drivers", "fuzz")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel of a checkout in which people have worked: strays lie about."""
    directory = tmp_path_factory.mktemp("packaging")
    checkout = directory / "checkout"
    for name in (*FOLDERS, "bench", "tests/c"):
        shutil.copytree(ROOT / name, checkout / name, symlinks=True)
    for name in ("meson.build", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout / name)
    (checkout / "scsi2nvme/_dataplane.abi3.so").write_text("stray")
    for module in [path for folder in FOLDERS for path in (checkout / folder).rglob("__init__.py")]:
        cache = module.parent / "__pycache__"
        cache.mkdir(exist_ok=True)
        (cache / "stray.cpython-311.pyc").write_text("stray")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    # What is in a wheel does not depend on how well it is compiled, which takes half of the time.
    options = ("-Doptimization=0", "-Db_lto=false")
    unoptimized = [f"--config-settings=setup-args={option}" for option in options]
    subprocess.run(
        [*command, *unoptimized, "--wheel-dir", str(directory), str(checkout)],
        check=True,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    (path,) = directory.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_version_is_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    build = re.search(r"^project\(.*\bversion: '([^']+)'", (ROOT / "meson.build").read_text())
    assert build is not None
    assert build[1] == project == scsi2nvme.__version__


def test_a_purge_takes_all_that_the_daemon_keeps(tmp_path: Path) -> None:
    """All of its state directory: what else lies there is somebody's own."""
    removed = re.findall(r"\$state/(\S+)", (ROOT / "packaging/debian/postrm").read_text())
    spec = f"emulated:{tmp_path}/disk.img,size=1M,controller=1,rescap=on,reservations=disk"
    with Daemon(tmp_path, spec, arguments=("--reactors", "1")):
        pass
    own = {path.name for path in tmp_path.iterdir() if not path.name.startswith("disk.img")}
    assert "host-identifier.json" in own
    assert own - {"daemon.log"} <= set(removed)
    assert {"dumps", "traces", "devices.json"} <= set(removed)  # by turns


@pytest.mark.slow
def test_a_wheel_is_for_every_python_from_3_11(wheel: zipfile.ZipFile) -> None:
    assert wheel.filename is not None
    assert "-cp311-abi3-" in wheel.filename


@pytest.mark.slow
def test_a_wheel_holds_every_module_once_and_no_strays(wheel: zipfile.ZipFile) -> None:
    expected = {"scsi2nvme/_dataplane.abi3.so"}
    for folder in FOLDERS:
        package = "scsi2nvme" if folder == "scsi2nvme" else f"scsi2nvme/{folder}"
        for path in (ROOT / folder).rglob("*.py"):
            expected.add(f"{package}/{path.relative_to(ROOT / folder)}")
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert len(names) == len(set(names))
    code = {name for name in names if name.endswith((".py", ".so", ".pyc", ".c", ".h"))}
    assert code == expected
    assert {name.split("/")[0] for name in names} == {"scsi2nvme"}
    assert "scsi2nvme/py.typed" in names  # PEP 561: else who uses the client has no types


@pytest.mark.slow
def test_a_wheel_has_the_extension_that_was_built(wheel: zipfile.ZipFile) -> None:
    assert wheel.read("scsi2nvme/_dataplane.abi3.so")[:4] == b"\x7fELF"
