"""Who may import whom, and whose symbols C may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture import native
from tests.architecture.imports import imported, sources

COMPOSERS = ("scsi2nvme.cli", "scsi2nvme.__main__", "scsi2nvme.fuzz")
TARGET, DRIVERS = "scsi2nvme.target", "scsi2nvme.drivers"
NATIVE, BINDING = "scsi2nvme._dataplane", "scsi2nvme.dataplane"

TRANSPORTS = tuple(f"{DRIVERS}.{name}" for name in ("emulated", "pci", "qemu", "vfio"))
# What runs commands, and so stands above those who say what they mean.
RUNNING = ("scsi2nvme.engine", "scsi2nvme.executor", "scsi2nvme.service", BINDING)

# Package: what must not be imported in it, itself apart. All that apply to a module do.
FORBIDDEN: dict[str, tuple[str, ...]] = {
    TARGET: (DRIVERS, "scsi2nvme.nvme", "scsi2nvme.cli", "scsi2nvme.fuzz"),
    f"{TARGET}.iscsi": (f"{TARGET}.tcmu",),
    f"{TARGET}.tcmu": (f"{TARGET}.iscsi",),
    DRIVERS: (
        TARGET,
        "scsi2nvme.cli",
        "scsi2nvme.commands",
        "scsi2nvme.engine",
        "scsi2nvme.fuzz",
        "scsi2nvme.unit",
        "scsi2nvme.scsi",
    ),
    f"{DRIVERS}.nvme": (*TRANSPORTS, f"{DRIVERS}.host"),
    f"{DRIVERS}.emulated": (f"{DRIVERS}.nvme", f"{DRIVERS}.host", *TRANSPORTS[1:]),
    f"{DRIVERS}.qemu": (f"{DRIVERS}.nvme", f"{DRIVERS}.host", f"{DRIVERS}.emulated"),
    f"{DRIVERS}.vfio": (f"{DRIVERS}.nvme", f"{DRIVERS}.host", f"{DRIVERS}.emulated"),
    "scsi2nvme.commands": RUNNING,
    "scsi2nvme.command": (*RUNNING, "scsi2nvme.commands"),
    "scsi2nvme.unit": ("scsi2nvme.commands", "scsi2nvme.command", *RUNNING),
    "scsi2nvme.scsi": ("scsi2nvme.unit", "scsi2nvme.commands", "scsi2nvme.command", *RUNNING),
    "scsi2nvme.nvme": ("scsi2nvme.scsi", "scsi2nvme.unit", "scsi2nvme.commands", *RUNNING),
    "scsi2nvme.executor": ("scsi2nvme.commands", "scsi2nvme.command", "scsi2nvme.unit"),
    **{f"scsi2nvme.{low}": ("scsi2nvme",) for low in ("fields", "tables", "background")},
    "scsi2nvme.engine": ("scsi2nvme.executor", "scsi2nvme.service", BINDING),
}
FORBIDDEN_TO_CORE = (TARGET, DRIVERS, "scsi2nvme.cli", "scsi2nvme.fuzz")

# Folder of C: whose symbols it must not use.
FORBIDDEN_TO_C = {
    "target/": ("drivers/",),
    "target/iscsi/": ("target/tcmu/",),
    "target/tcmu/": ("target/iscsi/",),
    "scsi2nvme/csrc": ("target/", *(f"drivers/{name}/" for name in ("emulated", "qemu", "vfio"))),
    "drivers/": ("scsi2nvme/", "target/"),
}


def within(module: str, package: str) -> bool:
    """Whether `module` is `package` or lies in it."""
    return module == package or module.startswith(package + ".")


def violations(module: str, source: str) -> list[str]:
    """Return what `module` imports and must not."""
    rules: tuple[str, ...] = ()
    for package, forbidden in FORBIDDEN.items():
        if within(module, package):
            rules += forbidden
    if not any(within(module, package) for package in (*COMPOSERS, TARGET, DRIVERS)):
        rules += FORBIDDEN_TO_CORE
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
        ("scsi2nvme.unit.modes", "def f():\n    from scsi2nvme.commands import log"),
        ("scsi2nvme.drivers.nvme.controller", "import scsi2nvme.drivers.vfio.dma"),
        ("scsi2nvme.drivers.vfio.dma", "from scsi2nvme.drivers.nvme import controller"),
        ("scsi2nvme.cli.daemon.serve", "import scsi2nvme._dataplane"),
    ],
)
def test_a_forbidden_import_is_found(module: str, source: str) -> None:
    assert violations(module, source)


def test_c_uses_only_what_it_may_know() -> None:
    assert [
        f"{source} uses {', '.join(sorted(symbols))} of {target}"
        for (source, target), symbols in native.symbol_graph().edges.items()
        for folder, forbidden in FORBIDDEN_TO_C.items()
        if source.startswith(folder) and target.startswith(forbidden)
    ] == []


def test_every_module_is_looked_at() -> None:
    names = {name for name, _ in sources()}
    assert {"scsi2nvme.engine", "scsi2nvme.cli.verbs.serve", "scsi2nvme.drivers.transport"} <= names
