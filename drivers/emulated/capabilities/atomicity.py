"""What is written as a whole: to others, and after a loss of power.

Every command is one to all others, up to MDTS (`drivers/emulated/csrc/io.c`). A disk in memory
loses all or nothing with its process; of a disk on a file whole pages are written, as the page
cache and disks do. Spec: NVM Command Set 1.0c 2.1.4.
"""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Fields
from scsi2nvme.drivers.emulated.image import NamespaceState
from scsi2nvme.drivers.emulated.lba_formats import BLOCK_BYTES, PHYSICAL_BYTES
from scsi2nvme.drivers.emulated.model import ATOMIC_BLOCKS, MAXIMUM_TRANSFER_BYTES
from scsi2nvme.drivers.scheme import Option, parse_size
from scsi2nvme.drivers.transport import TransportError

_LARGEST_BOUNDARY_BYTES = min(BLOCK_BYTES) << 16
_NAMESPACES_HAVE_THEIR_OWN = 1 << 1  # NSFEAT: NAWUN, NAWUPF and NACWU are valid


def _pieces(most: int, text: str) -> int:
    size = parse_size(text)
    if size % PHYSICAL_BYTES or size > most:
        raise ValueError(f"is no multiple of {PHYSICAL_BYTES} up to {most >> 10}K")
    return size


ATOMIC = Option(
    "atomic",
    "BYTES",
    "emulated only, of emulated:memory: how much one write command writes as a whole, to 1M "
    "(default 4K)",
    lambda text: _pieces(MAXIMUM_TRANSFER_BYTES, text),
    62,
    "atomic_bytes",
)
BOUNDARY = Option(
    "atomic-boundary",
    "BYTES",
    "emulated only: what crosses a multiple of it is not written as a whole (default: no "
    "boundaries)",
    lambda text: _pieces(_LARGEST_BOUNDARY_BYTES, text),
    63,
    "atomic_boundary_bytes",
)


def _start(controller: Controller) -> None:
    image = controller.model.image
    if controller.settings[ATOMIC.keyword] > PHYSICAL_BYTES and image.path is not None:
        raise TransportError(f"{image.name}: atomic is only for emulated:memory")


def _namespace(controller: Controller, state: NamespaceState) -> Fields:
    size = state.block_bytes
    atomic = controller.settings[ATOMIC.keyword] // size
    boundary = controller.settings[BOUNDARY.keyword] // size
    return {
        "nsfeat": _NAMESPACES_HAVE_THEIR_OWN,
        "nawun": max(atomic, ATOMIC_BLOCKS) - 1,
        "nawupf": atomic - 1,
        "nabsn": max(boundary - 1, 0),
        "nabspf": max(boundary - 1, 0),
    }


CAPABILITY = Capability(
    "atomic writes",
    controller=lambda controller: {"awun": ATOMIC_BLOCKS - 1, "awupf": 0},
    namespace=_namespace,
    options=(ATOMIC, BOUNDARY),
    settings={ATOMIC.keyword: PHYSICAL_BYTES, BOUNDARY.keyword: 0},
    start=_start,
)
