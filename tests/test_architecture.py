"""Who may import whom, and whose symbols C may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture import native
from tests.architecture.graph import Graph
from tests.architecture.imports import imported, sources

COMPOSERS = ("scsi2nvme.cli", "scsi2nvme.__main__", "scsi2nvme.manual", "scsi2nvme.fuzz")
TARGET, DRIVERS = "scsi2nvme.target", "scsi2nvme.drivers"
EXTENSION, NATIVE = "scsi2nvme._dataplane", "scsi2nvme.native"

# The bindings of the native data plane, by those whose layer they bind.
EMULATOR, QTEST, VFIO = (f"{NATIVE}.{name}" for name in ("emulator", "qtest", "vfio"))
OF_DRIVERS = (f"{NATIVE}.nvme", EMULATOR, QTEST, VFIO)
OF_TARGET = (f"{NATIVE}.iscsi", f"{NATIVE}.tcmu")
OF_ALL = tuple(f"{NATIVE}.{name}" for name in ("handle", "checksum", "transport"))
OF_PROGRAM = (f"{NATIVE}.plane", f"{NATIVE}.hot")

TRANSPORTS = tuple(f"{DRIVERS}.{name}" for name in ("emulated", "pci", "qemu", "vfio"))
# What runs commands, and so stands above those who say what they mean.
RUNNING = ("scsi2nvme.engine", "scsi2nvme.executor", "scsi2nvme.service", NATIVE)

# Package: what must not be imported in it, itself apart. All that apply to a module do.
FORBIDDEN: dict[str, tuple[str, ...]] = {
    TARGET: (DRIVERS, *OF_DRIVERS, "scsi2nvme.nvme", "scsi2nvme.cli", "scsi2nvme.fuzz"),
    f"{TARGET}.iscsi": (f"{TARGET}.tcmu", f"{NATIVE}.tcmu"),
    f"{TARGET}.tcmu": (f"{TARGET}.iscsi", f"{NATIVE}.iscsi"),
    DRIVERS: (
        TARGET,
        *OF_TARGET,
        *OF_PROGRAM,
        "scsi2nvme.cli",
        "scsi2nvme.commands",
        "scsi2nvme.engine",
        "scsi2nvme.fuzz",
        "scsi2nvme.unit",
        "scsi2nvme.scsi",
    ),
    f"{DRIVERS}.nvme": (*TRANSPORTS, f"{DRIVERS}.host", EMULATOR, QTEST, VFIO),
    f"{DRIVERS}.emulated": (
        *(f"{DRIVERS}.nvme", f"{DRIVERS}.host", *TRANSPORTS[1:]),
        *(f"{NATIVE}.nvme", QTEST, VFIO),
    ),
    f"{DRIVERS}.qemu": (
        *(f"{DRIVERS}.nvme", f"{DRIVERS}.host", f"{DRIVERS}.emulated"),
        *(EMULATOR, VFIO),
    ),
    f"{DRIVERS}.vfio": (
        *(f"{DRIVERS}.nvme", f"{DRIVERS}.host", f"{DRIVERS}.emulated"),
        *(EMULATOR, QTEST),
    ),
    NATIVE: ("scsi2nvme.nvme", "scsi2nvme.scsi", "scsi2nvme.commands", *RUNNING[:-1]),
    **dict.fromkeys(OF_DRIVERS, (*OF_TARGET, *OF_PROGRAM)),
    f"{NATIVE}.nvme": (EMULATOR, QTEST, VFIO, *OF_TARGET, *OF_PROGRAM),
    **dict.fromkeys(OF_PROGRAM, (EMULATOR, QTEST, VFIO, *OF_TARGET)),
    f"{NATIVE}.iscsi": (*OF_DRIVERS, f"{NATIVE}.tcmu"),
    f"{NATIVE}.tcmu": (*OF_DRIVERS, f"{NATIVE}.iscsi"),
    **dict.fromkeys(OF_ALL, (*OF_DRIVERS, *OF_PROGRAM, *OF_TARGET)),
    "scsi2nvme.commands": RUNNING,
    "scsi2nvme.command": (*RUNNING, "scsi2nvme.commands"),
    "scsi2nvme.unit": ("scsi2nvme.commands", "scsi2nvme.command", *RUNNING),
    "scsi2nvme.scsi": ("scsi2nvme.unit", "scsi2nvme.commands", "scsi2nvme.command", *RUNNING),
    "scsi2nvme.nvme": ("scsi2nvme.scsi", "scsi2nvme.unit", "scsi2nvme.commands", *RUNNING),
    "scsi2nvme.executor": ("scsi2nvme.commands", "scsi2nvme.command", "scsi2nvme.unit"),
    **{
        f"scsi2nvme.{low}": ("scsi2nvme",)
        for low in (
            *("fields", "tables", "background", "typed", "durable", "kernel_module"),
            *("printable", "records", "uuids"),
        )
    },
    "scsi2nvme.engine": ("scsi2nvme.executor", "scsi2nvme.service", NATIVE),
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
# Folder of C: whose headers it must not include. What the program asks of drivers it says in
# headers of its own, which they do.
FORBIDDEN_TO_INCLUDE = FORBIDDEN_TO_C | {"drivers/": ("scsi2nvme/csrc/dataplane.h", "target/")}


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
        if not within(module, NATIVE):
            rules += (*OF_DRIVERS, *OF_TARGET)
    if not within(module, NATIVE):
        rules += (EXTENSION,)
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
        ("scsi2nvme.target.iscsi.portal", "from scsi2nvme.native import nvme"),
        ("scsi2nvme.target.iscsi.portal", "from scsi2nvme.native.tcmu import PlaneTcmu"),
        ("scsi2nvme.target.tcmu.front_end", "from scsi2nvme.native.vfio import VfioWindow"),
        ("scsi2nvme.drivers.nvme.controller", "from scsi2nvme.native.emulator import Emulator"),
        ("scsi2nvme.drivers.transport", "from scsi2nvme.native.plane import Plane"),
        ("scsi2nvme.drivers.qemu.transport", "import scsi2nvme.native.tcmu"),
        ("scsi2nvme.drivers.emulated.model", "from scsi2nvme.native.qtest import QtestPort"),
        ("scsi2nvme.service.tasks", "from scsi2nvme.native.iscsi import PlaneSession"),
        ("scsi2nvme.commands.log", "from scsi2nvme.native.checksum import crc32c"),
        ("scsi2nvme.native.nvme", "from scsi2nvme.native.plane import Plane"),
        ("scsi2nvme.native.plane", "from scsi2nvme.native import emulator"),
        ("scsi2nvme.native.transport", "from scsi2nvme.nvme import command"),
    ],
)
def test_a_forbidden_import_is_found(module: str, source: str) -> None:
    assert violations(module, source)


def reached(graph: Graph, rules: dict[str, tuple[str, ...]]) -> list[str]:
    """Return what C files use and must not."""
    return [
        f"{source} uses {', '.join(sorted(symbols)) or 'all'} of {target}"
        for (source, target), symbols in graph.edges.items()
        for folder, forbidden in rules.items()
        if source.startswith(folder) and target.startswith(forbidden)
    ]


def test_c_uses_only_what_it_may_know() -> None:
    assert reached(native.symbol_graph(), FORBIDDEN_TO_C) == []


def test_c_includes_only_what_it_may_know() -> None:
    assert reached(native.include_graph(), FORBIDDEN_TO_INCLUDE) == []


@pytest.mark.parametrize(
    ("source", "header"),
    [
        ("target/tcmu/csrc/tcmu.h", "drivers/nvme/csrc/nvme.h"),
        ("target/iscsi/csrc/iscsi.h", "target/tcmu/csrc/tcmu_device.h"),
        ("drivers/nvme/csrc/qpair.c", "scsi2nvme/csrc/dataplane.h"),
        ("drivers/vfio/csrc/window.c", "target/tcmu/csrc/tcmu_device.h"),
        ("scsi2nvme/csrc/dataplane.h", "drivers/vfio/csrc/vfio.h"),
    ],
)
def test_a_forbidden_include_is_found(source: str, header: str) -> None:
    graph = Graph()
    graph.add(source, header)
    assert reached(graph, FORBIDDEN_TO_INCLUDE)


def test_every_module_is_looked_at() -> None:
    names = {name for name, _ in sources()}
    assert {"scsi2nvme.engine", "scsi2nvme.cli.verbs.serve", "scsi2nvme.drivers.transport"} <= names
