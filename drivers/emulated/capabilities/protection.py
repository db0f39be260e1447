"""Metadata beside blocks, and end-to-end protection information in them; on request.

What is made, checked and moved stands in C (`drivers/emulated/csrc/metadata.c`); here is which
formats there are, and in which of them namespaces are at first. What metadata hold is kept in
memory only. Spec: NVM Command Set 1.0c 2.1.6, 5.2.
"""

from __future__ import annotations

from scsi2nvme.drivers.emulated.capability import Capability, Controller, Fields
from scsi2nvme.drivers.emulated.image import NamespaceState
from scsi2nvme.drivers.emulated.lba_formats import LbaFormats, Metadata
from scsi2nvme.drivers.scheme import (
    EXTENDED,
    METADATA,
    METADATA_BYTES,
    PROTECTION,
    PROTECTION_FIRST,
)
from scsi2nvme.drivers.transport import TransportError

_EXTENDED, _SEPARATE = 1 << 0, 1 << 1  # MC
_TYPES, _FIRST_BYTES, _LAST_BYTES = 7, 1 << 3, 1 << 4  # DPC
_DPS_FIRST = 1 << 3
_FLBAS_EXTENDED = 1 << 4


def _start(controller: Controller) -> None:
    model, settings = controller.model, controller.settings
    if model.image.path is not None:
        raise TransportError(f"{model.image.name}: metadata is only for emulated:memory")
    model.formats = LbaFormats(METADATA_BYTES)
    first = _DPS_FIRST if settings[PROTECTION_FIRST.keyword] else 0
    kind, size = settings[PROTECTION.keyword], settings[METADATA.keyword]
    metadata = Metadata(size, settings[EXTENDED.keyword] and size > 0, kind | first if kind else 0)
    for namespace in model.state.namespaces:
        model.metadata[namespace.nsid] = metadata
        model.attach(namespace)


def _namespace(controller: Controller, namespace: NamespaceState) -> Fields:
    metadata = controller.model.metadata_of(namespace)
    return {
        "mc": _EXTENDED | _SEPARATE,
        "dpc": _TYPES | _FIRST_BYTES | _LAST_BYTES,
        "dps": metadata.protection,
        "flbas": _FLBAS_EXTENDED if metadata.extended else 0,
    }


CAPABILITY = Capability(
    "End-to-end protection",
    namespace=_namespace,
    options=(METADATA, PROTECTION, PROTECTION_FIRST, EXTENDED),
    settings={
        METADATA.keyword: None,
        PROTECTION.keyword: 0,
        PROTECTION_FIRST.keyword: False,
        EXTENDED.keyword: False,
    },
    start=_start,
    offered=lambda settings: settings[METADATA.keyword] is not None,
)
