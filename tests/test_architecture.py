"""Who may import whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.imports import imported, sources

COMPOSERS = ("scsi2nvme.cli", "scsi2nvme.__main__", "scsi2nvme.fuzz")
TARGET, DRIVERS = "scsi2nvme.target", "scsi2nvme.drivers"

# Package: what it must not import, itself apart.
FORBIDDEN = {
    TARGET: (DRIVERS, "scsi2nvme.nvme", "scsi2nvme.cli", "scsi2nvme.fuzz"),
    DRIVERS: (
        TARGET,
        "scsi2nvme.cli",
        "scsi2nvme.commands",
        "scsi2nvme.engine",
        "scsi2nvme.fuzz",
        "scsi2nvme.unit",
        "scsi2nvme.scsi",
    ),
}
FORBIDDEN_TO_CORE = (TARGET, DRIVERS, "scsi2nvme.cli", "scsi2nvme.fuzz")
NATIVE, BINDING = "scsi2nvme._dataplane", "scsi2nvme.dataplane"


def within(module: str, package: str) -> bool:
    """Whether `module` is `package` or lies in it."""
    return module == package or module.startswith(package + ".")


def violations(module: str, source: str) -> list[str]:
    """Return what `module` imports and must not."""
    rules: tuple[str, ...] = ()
    for package, forbidden in FORBIDDEN.items():
        if within(module, package):
            rules = forbidden
            break
    else:
        if not any(within(module, package) for package in COMPOSERS):
            rules = FORBIDDEN_TO_CORE
    if module != BINDING:
        rules += (NATIVE,)
    return [
        f"{module} imports {name}"
        for each in imported(module, source)
        for name in each.candidates()
        if any(within(name, package) for package in rules)
    ]


@pytest.mark.parametrize(
    ("module", "path"), list(sources()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_module_imports_only_what_it_may_know(module: str, path: Path) -> None:
    assert violations(module, path.read_text()) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("scsi2nvme.target.iscsi.portal", "from scsi2nvme.drivers import qemu"),
        ("scsi2nvme.target.iscsi.portal", "def f():\n    import scsi2nvme.nvme.command"),
        ("scsi2nvme.drivers.qemu.transport", "from scsi2nvme import engine"),
        ("scsi2nvme.drivers.qemu.transport", "from ...scsi.sense import Sense"),
        ("scsi2nvme.engine", "from scsi2nvme.target.iscsi.portal import Portal"),
        ("scsi2nvme.engine", "from scsi2nvme._dataplane import lib"),
        ("scsi2nvme.cli.daemon.serve", "import scsi2nvme._dataplane"),
    ],
)
def test_a_forbidden_import_is_found(module: str, source: str) -> None:
    assert violations(module, source)


def test_every_module_is_looked_at() -> None:
    names = {name for name, _ in sources()}
    assert {"scsi2nvme.engine", "scsi2nvme.cli.verbs.serve", "scsi2nvme.drivers.transport"} <= names
